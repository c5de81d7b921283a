//! §13.8: statistics.

use anyhow::Result;
use rvs_wire::tcp;

use crate::refvm::frames::{SYN_ACK, server};
use crate::refvm::scene::{Scene, nothing};
use crate::refvm::tests;

tests![
    s140_a_syn_is_counted,
    s141_replies_are_counted,
    s142_what_a_deleted_destination_does_not_get_is_not_counted,
    s143_zeroing,
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
    scene.server(flow.at(server(4), 80).tcp(SYN_ACK))?;
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
