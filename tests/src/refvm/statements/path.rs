//! §13.2: the packet path.

use anyhow::{Result, ensure};

use crate::refvm::frames::{self, SYN_ACK};
use crate::refvm::scene::{Scene, nothing, only, only_to_client};
use crate::refvm::tests;

tests![
    s020_no_service,
    s021_an_ack_without_a_connection,
    s022_a_reset_without_a_connection,
    s023_a_syn_ack_is_a_syn,
];

/// The director's own stack refuses.
fn resets(scene: &mut Scene<'_>, frame: Vec<u8>) -> Result<()> {
    let seen = scene.client(frame)?;
    let frame = only_to_client(&seen)?;
    ensure!(frames::is_reset(frames::packet(frame)), "expected a reset: {}", frames::describe(frame));
    Ok(())
}

fn s020_no_service(scene: &mut Scene<'_>) -> Result<()> {
    let syn = scene.flow(80).syn();
    resets(scene, syn)
}

fn s021_an_ack_without_a_connection(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let ack = scene.flow(80).ack();
    resets(scene, ack)
}

fn s022_a_reset_without_a_connection(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let seen = scene.client(scene.flow(80).rst())?;
    nothing(&seen)
}

fn s023_a_syn_ack_is_a_syn(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let seen = scene.client(scene.flow(80).tcp(SYN_ACK))?;
    only(&seen, 4)?;
    scene.state("SYN_RECV", 60)
}
