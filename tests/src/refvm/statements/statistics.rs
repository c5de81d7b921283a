//! §13.8: statistics.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rvs_wire::tcp;

use crate::refvm::frames::SYN_ACK;
use crate::refvm::scene::{Scene, nothing};
use crate::refvm::tests;

tests![
    s140_a_syn_is_counted,
    s141_replies_are_counted,
    s142_what_a_deleted_destination_does_not_get_is_not_counted,
    s143_zeroing,
    s144_rates_approach_a_steady_stream,
    s145_layouts_of_numbers,
];

/// Whether a destination's line of `--stats` has these numbers: connections, packets in and out, bytes in and out.
fn has(text: &str, number: u8, counters: [u64; 5]) -> bool {
    let name = format!("192.168.9.{number}:");
    let line = text.lines().find(|line| line.contains(&name)).unwrap_or_default();
    let numbers: Vec<u64> = line.split_whitespace().skip(2).filter_map(|word| word.parse().ok()).collect();
    numbers == counters
}

fn s140_a_syn_is_counted(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    scene.client(scene.flow(80).syn())?;
    scene.listing("-Ln --stats", |text| has(text, 4, [1, 1, 0, 40, 0]) && has(text, 3, [0; 5])).map(drop)
}

fn s141_replies_are_counted(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    scene.cluster("-t VIP:81 -s rr", "-g")?;
    let flow = scene.flow(80);
    scene.clients(&[flow.syn(), flow.to_port(81).syn()])?;
    scene.server(flow.at(4, 80).tcp(SYN_ACK))?;
    scene.listing("-Ln --stats -t VIP:80", |text| has(text, 4, [1, 1, 1, 40, 40]))?;
    scene.listing("-Ln --stats -t VIP:81", |text| has(text, 4, [1, 1, 0, 40, 0])).map(drop)
}

fn s142_what_a_deleted_destination_does_not_get_is_not_counted(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let flow = scene.flow(80);
    scene.client(flow.syn())?;
    scene.rules("-d -t VIP:80 -r 192.168.9.4")?;
    let seen = scene.client(flow.ack())?;
    nothing(&seen)?;
    scene.rules("-a -t VIP:80 -r 192.168.9.4 -m")?;
    scene.listing("-Ln --stats", |text| has(text, 4, [1, 1, 0, 40, 0])).map(drop)
}

fn s143_zeroing(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let flow = scene.flow(80);
    scene.client(flow.syn())?;
    scene.listing("-Ln --stats", |text| has(text, 4, [1, 1, 0, 40, 0]))?;
    scene.rules("-Z -t VIP:80")?;
    scene.listing("-Ln --stats", |text| has(text, 4, [0; 5]))?;
    scene.conns(1)?;
    scene.client(flow.tcp(tcp::ACK))?;
    scene.listing("-Ln --stats", |text| has(text, 4, [0, 1, 0, 40, 0]))?;
    scene.rules("-Z")?;
    scene.listing("-Ln --stats", |text| has(text, 4, [0; 5])).map(drop)
}

/// Packets that are sent at once, and the time from one such burst to the next: 100 packets/s.
const BURST: usize = 10;
const BEAT: Duration = Duration::from_millis(100);
/// Time between two samples of an estimator, in seconds, and what of the difference to a sample is left after it
/// (ipvs.md §9.3).
const PERIOD: f64 = 2.0;
const LEFT: f64 = 0.75;
/// How far a rate may be from the law, as a part of the stream's. A burst more or less in one sample is 1/20 of that
/// sample; nothing is sent while the directors are looked at, under software emulation for up to half a second, which is
/// a quarter of a sample. A sample counts a quarter.
const TOLERANCE: f64 = 0.1;

/// What is missing from the average at a sample taken `seconds` after the stream began, as a part of its rate. The first
/// sample saw only as much of the stream as there was.
fn missing(seconds: f64) -> f64 {
    let periods = (seconds / PERIOD).floor().max(0.0);
    let rest = (seconds - periods * PERIOD).max(0.0);
    (1.0 - (1.0 - LEFT) * rest / PERIOD) * LEFT.powf(periods)
}

/// Packets and bytes per second that come in for a destination.
fn rates(text: &str, number: u8) -> Result<(f64, f64)> {
    let name = format!("192.168.9.{number}:");
    let line = text.lines().find(|line| line.contains(&name)).context("no such destination")?;
    let numbers: Vec<f64> = line.split_whitespace().skip(2).filter_map(|word| word.parse().ok()).collect();
    let &[_, packets, _, bytes, _] = numbers.as_slice() else { bail!("{line}") };
    Ok((packets, bytes))
}

/// Each director takes its samples at moments of its own, so at the same time one may be up to a period behind another:
/// each is held to the law, between a sample that was taken just now and one that is a period old.
fn s144_rates_approach_a_steady_stream(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let burst = vec![scene.flow(80).syn(); BURST];
    let start = Instant::now();
    let mut sent = 0.0;
    for (beats, end) in [(60, 6.0), (100, 16.0)] {
        for _ in 0..beats {
            scene.clients(&burst)?;
            sent += BURST as f64;
            let next = BEAT.mul_f64(sent / BURST as f64);
            thread::sleep(next.saturating_sub(start.elapsed()));
        }
        let before = start.elapsed().as_secs_f64();
        let stream = sent / before;
        // The law holds for any rate, if it is steady.
        ensure!(before < end * 1.5, "this machine is too slow for a steady stream: {stream:.1} packets/s");
        let shown = scene.look("-Ln --rate --exact")?;
        let after = start.elapsed().as_secs_f64();
        let wanted = stream * (1.0 - missing(before - PERIOD) - TOLERANCE)
            ..=stream * (1.0 - missing(after) + TOLERANCE);
        for text in shown {
            let (packets, bytes) = rates(&text, 4)?;
            ensure!(
                wanted.contains(&packets),
                "after {before:.1} s {packets} packets/s, not {wanted:?}\n{text}"
            );
            // Frames of 40 bytes; both numbers are rounded.
            ensure!((bytes - 40.0 * packets).abs() <= 40.0, "{bytes} bytes/s of {packets} packets/s\n{text}");
        }
    }
    Ok(())
}

/// The layouts; that of large numbers is a matter of text, and tested where the text is made.
fn s145_layouts_of_numbers(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let flow = scene.flow(80);
    let frames: Vec<_> = (0..1000).map(|_| flow.syn()).collect();
    for part in frames.chunks(250) {
        scene.clients(part)?;
    }
    scene.listing("-Ln --stats --exact", |text| has(text, 4, [1, 1000, 0, 40000, 0]))?;
    scene.listing("-Ln --stats", |text| text.contains("40000")).map(drop)
}
