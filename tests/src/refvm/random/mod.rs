//! Random histories: commands and packets by a seed, the same to IPVS and to rvs. Whatever leaves the director is compared,
//! so that the destination of each new connection is, and what was made of each packet; in the end, what is listed.
//! Everything is by the seed: family, services, methods, settings, protocols, headers, sizes, fragments, errors. A test per
//! scheduler plays some; `refvm-suite random --seeds 0..2000` plays as many as one wants.

mod errors;
mod history;
mod numbers;
mod packets;
mod setup;

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::frames::Family;
use super::scene::Scene;
use super::tests;
use super::world::{Part, World};
use history::History;
use setup::SCHEDULERS;

tests![random_rr, random_wrr, random_lc, random_wlc, random_sh];

/// Histories per scheduler.
const SEEDS: u64 = 12;
/// How long a history may take: INIT of SCTP, and what an ICMP error begins, live for 3 s and more (ipvs.md §4.3, §5.7).
const LONGEST: Duration = Duration::from_secs(2);
/// How often one that takes longer is played, and differs each time, until it is taken to differ.
const ATTEMPTS: u16 = 5;
/// How often many seeds say how far they are.
const PROGRESS: Duration = Duration::from_secs(15);
/// Differences after which no more are looked for: each costs time.
const FAILURES_MAX: usize = 25;

fn random_rr(scene: &mut Scene<'_>) -> Result<()> {
    of_scheduler(scene, "rr")
}

fn random_wrr(scene: &mut Scene<'_>) -> Result<()> {
    of_scheduler(scene, "wrr")
}

fn random_lc(scene: &mut Scene<'_>) -> Result<()> {
    of_scheduler(scene, "lc")
}

fn random_wlc(scene: &mut Scene<'_>) -> Result<()> {
    of_scheduler(scene, "wlc")
}

fn random_sh(scene: &mut Scene<'_>) -> Result<()> {
    of_scheduler(scene, "sh")
}

/// The first seeds whose turn that scheduler has.
fn of_scheduler(scene: &mut Scene<'_>, scheduler: &str) -> Result<()> {
    let first = (0..).zip(SCHEDULERS).find(|(_, name)| *name == scheduler).context("no scheduler")?.0;
    (0..SEEDS).try_for_each(|round| play(scene, first + round * 5))
}

/// Plays the history of a seed. Connections of the shortest states must not end in it, as rvs counts their ends a little
/// later: one that differs and took too long, on a machine that has much to do, is played again.
fn play(scene: &mut Scene<'_>, seed: u64) -> Result<()> {
    let mut attempt = 0;
    let result = loop {
        let start = Instant::now();
        let result = History::new(seed, attempt).play(scene);
        attempt += 1;
        if result.is_ok() || start.elapsed() <= LONGEST || attempt == ATTEMPTS {
            break result;
        }
        println!("seed {seed} differs, but took {:.1} s: once more", start.elapsed().as_secs_f64());
        scene.world.settle()?;
    };
    result.with_context(|| {
        format!(
            "seed {seed}; repeat with: cargo xtask refvm -t 600 -- env RVS_BINARY=$PWD/target/release/rvs \
             target/release/refvm-suite random --seed {seed}"
        )
    })
}

/// Plays all seeds of a range, whatever becomes of the others, and says how it goes. Answers how many differ.
pub(super) fn many(world: &mut World, seeds: Range<u64>) -> Result<usize> {
    ensure!(!seeds.is_empty(), "no seeds in {seeds:?}");
    let start = Instant::now();
    let mut told = start;
    let mut failed = Vec::new();
    let mut scene = Scene::new(world, 0, (Part::One(0), Family::V4))?;
    let mut played = 0_u32;
    for seed in seeds.clone() {
        if let Err(error) = play(&mut scene, seed) {
            println!("seed {seed} ... FAILED\n{error:?}\n");
            failed.push(seed);
            scene.world.settle()?;
        }
        played += 1;
        let is_last = seed + 1 == seeds.end || failed.len() >= FAILURES_MAX;
        if told.elapsed() >= PROGRESS || is_last {
            told = Instant::now();
            let minutes = start.elapsed().as_secs_f64() / 60.0;
            println!(
                "seeds {}..{}: {} differ; {:.0} seeds a minute",
                seeds.start,
                seed + 1,
                failed.len(),
                f64::from(played) / minutes
            );
        }
        if failed.len() >= FAILURES_MAX {
            break;
        }
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("random result: {word}. {played} seeds played; these differ: {failed:?}");
    Ok(failed.len())
}
