//! §13.4: connections and timers.

use anyhow::{Context as _, Result, ensure};
use rvs_wire::tcp;

use crate::refvm::frames::{FIN_ACK, Flow, SYN_ACK, server};
use crate::refvm::scene::Scene;
use crate::refvm::{Test, tests};

tests![
    s080_nat_a_syn,
    s081_nat_established,
    s082_nat_the_server_ends_first,
    s083_nat_both_have_ended,
    s084_nat_the_client_ends_first,
    s085_nat_a_reset_of_the_client,
    s086_a_reset_of_the_client_in_syn_recv,
    s087_nat_a_reset_of_the_server_in_syn_recv,
    s088_dr_sees_one_direction,
    s089_udp,
    s090_timeouts_of_new_connections,
    s091_timeouts_of_old_connections,
];

/// For which all directors take part.
pub(crate) const TABLE_TESTS: &[Test] = &[
    Test { name: "every_cell_of_the_table_of_nat", run: every_cell_of_the_table_of_nat },
    Test { name: "every_cell_of_the_table_of_dr", run: every_cell_of_the_table_of_dr },
];

/// Who sends a segment.
#[derive(Debug, Clone, Copy)]
enum Side {
    Client,
    Server,
}
use Side::{Client, Server};

/// Sends segments of a connection to .4.
fn play(scene: &mut Scene<'_>, flow: &Flow, segments: &[(Side, u8)]) -> Result<()> {
    for &(from, flags) in segments {
        match from {
            Client => scene.client(flow.tcp(flags))?,
            Server => scene.server(flow.at(server(4), 80).tcp(flags))?,
        };
    }
    Ok(())
}

/// A handshake by NAT.
const OPEN: [(Side, u8); 3] = [(Client, tcp::SYN), (Server, SYN_ACK), (Client, tcp::ACK)];

/// Plays segments by NAT and checks what came of the connection: its state, its timeout, whether it is active.
fn nat(scene: &mut Scene<'_>, segments: &[(Side, u8)], state: &str, expiry: u32, active: u32) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let flow = scene.flow(80);
    play(scene, &flow, segments)?;
    scene.state(state, expiry)?;
    scene.counts(&[(4, active, 1 - active)])
}

fn s080_nat_a_syn(scene: &mut Scene<'_>) -> Result<()> {
    nat(scene, &[(Client, tcp::SYN)], "SYN_RECV", 60, 1)
}

fn s081_nat_established(scene: &mut Scene<'_>) -> Result<()> {
    nat(scene, &OPEN, "ESTABLISHED", 900, 1)
}

fn s082_nat_the_server_ends_first(scene: &mut Scene<'_>) -> Result<()> {
    nat(scene, &[&OPEN[..], &[(Server, FIN_ACK)]].concat(), "FIN_WAIT", 120, 0)
}

fn s083_nat_both_have_ended(scene: &mut Scene<'_>) -> Result<()> {
    nat(scene, &[&OPEN[..], &[(Server, FIN_ACK), (Client, FIN_ACK)]].concat(), "TIME_WAIT", 120, 0)
}

fn s084_nat_the_client_ends_first(scene: &mut Scene<'_>) -> Result<()> {
    nat(scene, &[&OPEN[..], &[(Client, FIN_ACK)]].concat(), "CLOSE_WAIT", 60, 0)?;
    let flow = scene.flow(80);
    play(scene, &flow, &[(Server, FIN_ACK)])?;
    scene.state("TIME_WAIT", 120)
}

fn s085_nat_a_reset_of_the_client(scene: &mut Scene<'_>) -> Result<()> {
    nat(scene, &[&OPEN[..], &[(Client, tcp::RST)]].concat(), "CLOSE", 10, 0)
}

fn s086_a_reset_of_the_client_in_syn_recv(scene: &mut Scene<'_>) -> Result<()> {
    nat(scene, &[(Client, tcp::SYN), (Client, tcp::RST)], "SYN_RECV", 60, 1)
}

fn s087_nat_a_reset_of_the_server_in_syn_recv(scene: &mut Scene<'_>) -> Result<()> {
    nat(scene, &[(Client, tcp::SYN), (Server, tcp::RST)], "CLOSE", 10, 0)
}

fn s088_dr_sees_one_direction(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-g")?;
    let flow = scene.flow(80);
    let steps = [(tcp::SYN, "SYN_RECV", 60), (tcp::ACK, "ESTABLISHED", 900), (FIN_ACK, "FIN_WAIT", 120)];
    for (flags, state, expiry) in steps {
        play(scene, &flow, &[(Client, flags)])?;
        scene.state(state, expiry)?;
    }
    scene.counts(&[(4, 0, 1)])
}

fn s089_udp(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-u VIP:53 -s rr", "-m")?;
    let flow = scene.flow(53);
    scene.client(flow.udp(b"question"))?;
    scene.state("UDP", 300)?;
    scene.counts(&[(4, 0, 1)])?;
    scene.server(flow.at(server(4), 53).udp(b"answer"))?;
    scene.state("UDP", 300)
}

/// The timeouts that IPVS begins with.
const DEFAULTS: &str = "--set 900 120 300";

fn s090_timeouts_of_new_connections(scene: &mut Scene<'_>) -> Result<()> {
    scene.listing("-L --timeout", |text| text == "Timeout (tcp tcpfin udp): 900 120 300\n")?;
    scene.tool("--set 100 0 0")?;
    let listed = scene.listing("-L --timeout", |text| text == "Timeout (tcp tcpfin udp): 100 120 300\n");
    let result = listed.and_then(|_| nat(scene, &OPEN, "ESTABLISHED", 100, 1));
    scene.tool(DEFAULTS)?;
    result
}

fn s091_timeouts_of_old_connections(scene: &mut Scene<'_>) -> Result<()> {
    nat(scene, &OPEN, "ESTABLISHED", 900, 1)?;
    scene.tool("--set 100 0 0")?;
    let flow = scene.flow(80);
    let result = (|| {
        scene.state("ESTABLISHED", 900)?;
        play(scene, &flow, &[(Client, tcp::ACK)])?;
        scene.state("ESTABLISHED", 100)
    })();
    scene.tool(DEFAULTS)?;
    result
}

/// Events of the table of ipvs.md §5.4.
const EVENTS: [u8; 5] = [tcp::SYN, FIN_ACK, tcp::ACK, tcp::RST, 0];

/// Leads a connection into each state that segments can lead to, then sends one more of each kind from each side, all
/// side by side on ports of their own; the listings must agree.
fn every_cell(scene: &mut Scene<'_>, method: &str, paths: &[&[(Side, u8)]], last: &[Side]) -> Result<()> {
    scene.rules(&format!("-A -t VIP:80 -s rr\n-a -t VIP:80 -r 192.168.9.4 {method}"))?;
    let mut flow = scene.flow(80).with_client_port(50000);
    let mut number = 0;
    for path in paths {
        for &from in last {
            for event in EVENTS {
                play(scene, &flow, &[*path, &[(from, event)]].concat())
                    .with_context(|| format!("{path:?}, then {from:?} {event:#x}"))?;
                flow.cport += 1;
                number += 1;
            }
        }
    }
    let conns = scene.conns(number)?;
    let states: std::collections::BTreeSet<&str> = conns.iter().map(|conn| conn.state.as_str()).collect();
    ensure!(states.len() >= 5, "only the states {states:?}");
    Ok(())
}

fn every_cell_of_the_table_of_nat(scene: &mut Scene<'_>) -> Result<()> {
    let syn = (Client, tcp::SYN);
    let paths: &[&[(Side, u8)]] = &[
        &[syn],
        &[syn, (Client, tcp::ACK)],
        &[syn, (Client, 0)],
        &[syn, (Client, tcp::ACK), (Server, FIN_ACK)],
        &[syn, (Client, FIN_ACK)],
        &[syn, (Client, tcp::ACK), (Client, FIN_ACK)],
        &[syn, (Client, tcp::ACK), (Client, FIN_ACK), (Server, tcp::SYN)],
    ];
    every_cell(scene, "-m", paths, &[Client, Server])
}

fn every_cell_of_the_table_of_dr(scene: &mut Scene<'_>) -> Result<()> {
    let syn = (Client, tcp::SYN);
    let paths: &[&[(Side, u8)]] = &[
        &[syn],
        &[syn, (Client, tcp::ACK)],
        &[syn, (Client, 0)],
        &[syn, (Client, tcp::ACK), (Client, FIN_ACK)],
        &[syn, (Client, FIN_ACK)],
    ];
    every_cell(scene, "-g", paths, &[Client])
}
