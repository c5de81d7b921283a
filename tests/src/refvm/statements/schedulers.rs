//! §13.5: schedulers.

use anyhow::{Result, ensure};
use rvs_wire::tcp;

use crate::refvm::frames::{FIN_ACK, Flow};
use crate::refvm::scene::{Scene, chosen, only_to_client};
use crate::refvm::tests;

tests![
    s013_an_edit_keeps_the_rotation,
    s098_rr,
    s099_rr_skips_weight_0,
    s100_rr_goes_on_after_a_deletion,
    s101_wrr,
    s102_wrr_without_weights,
    s103_wlc_the_newest_first,
    s104_wlc_shares_by_weight,
    s105_lc_counts_active_more,
    s110_sh,
    s115_sh_weight_0_holds_a_bucket,
];

/// SYNs from as many ports, and where they go.
fn syns(scene: &mut Scene<'_>, first_port: u16, number: u16) -> Result<Vec<u8>> {
    let flow = scene.flow(80);
    let frames: Vec<_> = (0..number).map(|n| flow.with_client_port(first_port + n).syn()).collect();
    Ok(chosen(&scene.clients(&frames)?))
}

/// SYNs go there one by one.
fn goes(scene: &mut Scene<'_>, first_port: u16, expected: &[u8]) -> Result<()> {
    let number = u16::try_from(expected.len())?;
    let went = syns(scene, first_port, number)?;
    ensure!(went == expected, "expected {expected:?}, went to {went:?}");
    Ok(())
}

fn s013_an_edit_keeps_the_rotation(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-g")?;
    goes(scene, 41000, &[4])?;
    scene.rules("-E -t VIP:80 -s rr")?;
    goes(scene, 42000, &[3])?;
    scene.rules("-E -t VIP:80 -s wrr\n-E -t VIP:80 -s rr")?;
    goes(scene, 43000, &[4])
}

fn s098_rr(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    goes(scene, 41000, &[4, 3, 2, 4, 3, 2, 4])
}

fn s099_rr_skips_weight_0(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    scene.rules("-e -t VIP:80 -r 192.168.9.3 -m -w 0")?;
    goes(scene, 41000, &[4, 2, 4, 2])
}

fn s100_rr_goes_on_after_a_deletion(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-g")?;
    goes(scene, 41000, &[4, 3])?;
    scene.rules("-d -t VIP:80 -r 192.168.9.3")?;
    goes(scene, 42000, &[2, 4, 2])
}

fn s101_wrr(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules(
        "-A -t VIP:80 -s wrr\n-a -t VIP:80 -r 192.168.9.2 -m -w 1\n\
         -a -t VIP:80 -r 192.168.9.3 -m -w 3\n-a -t VIP:80 -r 192.168.9.4 -m -w 2",
    )?;
    goes(scene, 41000, &[4, 3, 2, 3, 4, 3, 4, 3, 2, 3, 4, 3])
}

fn s102_wrr_without_weights(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s wrr", "-m -w 0")?;
    let seen = scene.client(scene.flow(80).syn())?;
    only_to_client(&seen).map(drop)
}

fn s103_wlc_the_newest_first(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s wlc", "-m")?;
    goes(scene, 41000, &[4])
}

fn s104_wlc_shares_by_weight(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules(
        "-A -t VIP:80 -s wlc\n-a -t VIP:80 -r 192.168.9.2 -m -w 2\n-a -t VIP:80 -r 192.168.9.3 -m -w 1",
    )?;
    let went = syns(scene, 41000, 30)?;
    let to = |number| went.iter().filter(|&&n| n == number).count();
    ensure!((to(2), to(3)) == (20, 10), "{went:?}");
    Ok(())
}

fn s105_lc_counts_active_more(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s lc\n-a -t VIP:80 -r 192.168.9.2 -g")?;
    let flow = scene.flow(80);
    let close = |flow: Flow| [flow.syn(), flow.tcp(FIN_ACK)];
    let closed: Vec<_> = (0..10).flat_map(|n| close(flow.with_client_port(41000 + n))).collect();
    scene.clients(&closed)?;
    scene.counts(&[(2, 0, 10)])?;
    scene.rules("-a -t VIP:80 -r 192.168.9.3 -g")?;
    goes(scene, 42000, &[3])?;
    scene.counts(&[(2, 0, 10), (3, 1, 0)])?;
    goes(scene, 43000, &[2])
}

/// SYNs of clients 192.0.2.2 to .9.
fn clients(scene: &mut Scene<'_>, flags: u8) -> Vec<Vec<u8>> {
    (2..=9).map(|number| scene.flow(80).with_client(number).tcp(flags)).collect()
}

fn s110_sh(scene: &mut Scene<'_>) -> Result<()> {
    let destinations: String = (3..=5).map(|n| format!("-a -t VIP:80 -r 192.168.9.{n} -m\n")).collect();
    scene.rules(&format!("-A -t VIP:80 -s sh\n{destinations}"))?;
    let frames = clients(scene, tcp::SYN);
    let went = chosen(&scene.clients(&frames)?);
    ensure!(went == [4, 5, 4, 3, 5, 3, 4, 3], "{went:?}");
    Ok(())
}

fn s115_sh_weight_0_holds_a_bucket(scene: &mut Scene<'_>) -> Result<()> {
    let destinations: String = (3..=5).map(|n| format!("-a -t VIP:80 -r 192.168.9.{n} -m\n")).collect();
    scene.rules(&format!("-A -t VIP:80 -s sh\n{destinations}-e -t VIP:80 -r 192.168.9.4 -m -w 0"))?;
    let frames = clients(scene, tcp::SYN);
    let mut refused = 0;
    for frame in frames {
        let seen = scene.client(frame)?;
        refused += seen.to_clients.len();
    }
    ensure!(refused == 3, "{refused} clients were refused");
    Ok(())
}
