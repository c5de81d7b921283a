//! The reference-kernel harness: the same commands and the same frames go to kernel IPVS and to rvs, and what comes back
//! is compared byte for byte.
//!
//! It runs in the virtual machine of `rvs-refvm`, under a stock kernel with IPVS. There are several directors, each in a
//! namespace of its own with the same addresses, down to those of Ethernet (`lab`): one is the kernel's, the others are
//! rvs, one per place where its programs can hang. `world` sends to all of them and compares. The tests are the
//! statements of ipvs.md §13, a file per section (`statements`), and random histories for the schedulers (`random`).
//! Where rvs does something else, on purpose or not yet, `differences` says so and why, and the tests check that it
//! does exactly that.
//!
//! Clients and real servers have no stack: they are addresses, and the test is what sends and hears for them. Hence
//! nothing happens that the test doesn't do, and nothing in a frame is left to chance.

mod differences;
mod fragments;
mod frames;
mod lab;
mod links;
mod random;
mod scene;
mod statements;
mod tool;
mod world;

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use frames::Family;
use scene::Scene;
use world::{Part, World};

/// A test.
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) family: Family,
    pub(crate) run: fn(&mut Scene<'_>) -> Result<()>,
}

/// Tests, each named after its function.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        /// The tests of this file.
        pub(crate) const TESTS: &[crate::refvm::Test] = &[$(crate::refvm::Test {
            name: stringify!($name),
            family: crate::refvm::frames::Family::V4,
            run: $name,
        },)*];
    };
}
pub(crate) use tests;

/// The same for tests that are run in IPv4 and in IPv6.
macro_rules! tests_of_both {
    ($($name:ident),* $(,)?) => {
        /// The tests of this file that are run in IPv4 and in IPv6.
        pub(crate) const TESTS_OF_BOTH: &[crate::refvm::Test] = &[$(
            crate::refvm::Test {
                name: stringify!($name),
                family: crate::refvm::frames::Family::V4,
                run: $name,
            },
            crate::refvm::Test {
                name: concat!(stringify!($name), "_ipv6"),
                family: crate::refvm::frames::Family::V6,
                run: $name,
            },
        )*];
    };
}
pub(crate) use tests_of_both;

/// Runs the tests whose names contain one of the arguments, or all, and prints like a Rust test program. `random --seeds A..B`
/// plays random histories of these seeds instead, `random --seed N` that of one.
#[must_use]
pub fn run(arguments: &[String]) -> ExitCode {
    let run = |request: Request| match &request.seeds {
        Some(seeds) => random::many(&mut prepare()?, seeds.clone()),
        None => run_tests(prepare()?, &request),
    };
    match Request::parse(arguments).and_then(run) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("refvm-suite: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the arguments ask for.
#[derive(Default)]
struct Request {
    filters: Vec<String>,
    seeds: Option<Range<u64>>,
}

impl Request {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut request = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seed" => {
                    let seed = number(arguments.next(), argument)?;
                    request.seeds = Some(seed..seed + 1);
                }
                "--seeds" => {
                    let range = arguments.next().and_then(|range| range.split_once(".."));
                    let (from, to) = range.context("--seeds: expected a range, as 0..100")?;
                    request.seeds = Some(
                        number(Some(&from.to_owned()), argument)?..number(Some(&to.to_owned()), argument)?,
                    );
                }
                _ => request.filters.push(argument.clone()),
            }
        }
        let is_random = request.filters.as_slice() == ["random"];
        ensure!(request.seeds.is_none() || is_random, "seeds are for `random`: random --seeds 0..100");
        Ok(request)
    }

    fn wants(&self, test: &Test) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| test.name.contains(filter.as_str()))
    }
}

fn number(word: Option<&String>, option: &str) -> Result<u64> {
    let word = word.with_context(|| format!("{option}: expected a number"))?;
    word.parse().with_context(|| format!("{option} {word}: expected a number"))
}

fn prepare() -> Result<World> {
    let inside = std::env::var_os("REFVM").is_some_and(|value| value == "1");
    ensure!(inside, "this needs the reference kernel: cargo xtask test refvm");
    let binary = std::env::var_os("RVS_BINARY").context("RVS_BINARY does not say where rvs is")?;
    let start = Instant::now();
    let world = World::new(binary.as_ref())?;
    println!("directors ready after {:.1} s", start.elapsed().as_secs_f64());
    Ok(world)
}

/// Answers how many failed.
fn run_tests(mut world: World, request: &Request) -> Result<usize> {
    let start = Instant::now();
    let all = statements::ALL.iter().flat_map(|&(part, tests)| tests.iter().map(move |test| (part, test)));
    let tests: Vec<(Part, &Test)> = all.filter(|(_, test)| request.wants(test)).collect();
    if tests.is_empty() {
        bail!("no test is named like that");
    }
    let mut failed = Vec::new();
    for (number, &(part, test)) in tests.iter().enumerate() {
        let begun = Instant::now();
        let scene = Scene::new(&mut world, number, (part, test.family));
        let result = scene.and_then(|mut scene| (test.run)(&mut scene));
        let seconds = begun.elapsed().as_secs_f64();
        match result {
            Ok(()) => println!("test {} ... ok ({seconds:.1} s)", test.name),
            Err(error) => {
                println!("test {} ... FAILED ({seconds:.1} s)\n{error:?}\n", test.name);
                failed.push(test.name);
            }
        }
    }
    if request.filters.is_empty() {
        for (numbers, why) in statements::NOT_YET {
            println!("not yet: statements {numbers:?}: {why}");
        }
    }
    if request.filters.is_empty() && failed.is_empty() {
        differences::check_all_seen().inspect_err(|_| println!("test differences ... FAILED"))?;
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    failed.iter().for_each(|name| println!("failed: {name}"));
    println!(
        "test result: {word}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.2}s",
        tests.len() - failed.len(),
        failed.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(failed.len())
}
