//! §13.3: forwarding.

use anyhow::{Result, ensure};

use crate::refvm::frames;
use crate::refvm::scene::{Scene, only};
use crate::refvm::tests;

tests![s067_dr_changes_only_ttl_and_checksum];

fn s067_dr_changes_only_ttl_and_checksum(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-g")?;
    let syn = scene.flow(80).syn();
    let seen = scene.client(syn.clone())?;
    let out = frames::packet(only(&seen, 4)?);
    let sent = frames::packet(&syn);
    let changed: Vec<usize> = (0..sent.len()).filter(|&at| out.get(at) != sent.get(at)).collect();
    let within = changed.iter().all(|at| matches!(at, 8 | 10 | 11));
    ensure!(out.len() == sent.len() && within && frames::ttl(out) == Some(63), "bytes {changed:?} differ");
    Ok(())
}
