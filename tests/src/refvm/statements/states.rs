//! §13.4: connections and timers.

use anyhow::{Context as _, Result, ensure};
use rvs_abi::proto;
use rvs_wire::builder::Payload;
use rvs_wire::sctp::chunk;
use rvs_wire::tcp;

use crate::refvm::frames::{self, FIN_ACK, Family, Flow, SYN_ACK};
use crate::refvm::scene::{Scene, nothing, only, only_to_client};
use crate::refvm::{tests, tests_of_both};

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

tests_of_both![
    s096_sctp_a_second_init,
    s097_sctp_established,
    every_cell_of_the_table_of_nat,
    every_cell_of_the_table_of_dr,
    sctp_states_of_nat,
    sctp_states_of_dr,
    ah_and_esp_follow_the_exchange_of_keys,
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
            Server => scene.server(flow.at(4, 80).tcp(flags))?,
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
    scene.server(flow.at(4, 53).udp(b"answer"))?;
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
    scene.rules(&format!("-A -t VIP:80 -s rr\n-a -t VIP:80 -r RS4 {method}"))?;
    side_by_side(scene, paths, last, &EVENTS, play)
}

/// Plays each path with each event behind it; the listings must agree, and show that the states differ.
fn side_by_side(
    scene: &mut Scene<'_>,
    paths: &[&[(Side, u8)]],
    last: &[Side],
    events: &[u8],
    play: impl Fn(&mut Scene<'_>, &Flow, &[(Side, u8)]) -> Result<()>,
) -> Result<()> {
    let mut flow = scene.flow(80).with_client_port(50000);
    let mut number = 0;
    for path in paths {
        for &from in last {
            for &event in events {
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

/// Sends SCTP packets of a connection to .4, which have one chunk each.
fn play_sctp(scene: &mut Scene<'_>, flow: &Flow, chunks: &[(Side, u8)]) -> Result<()> {
    for &(from, kind) in chunks {
        let seen = match from {
            Client => scene.client(flow.sctp(&[kind]))?,
            Server => scene.server(flow.at(4, 3868).sctp(&[kind]))?,
        };
        // The port changes under NAT, and with it the checksum: it is right, as checked of every frame, or none.
        for frame in seen.to_clients.iter().chain(&seen.to_servers) {
            let checksum = frames::payload(frames::packet(frame)).get(8..12);
            ensure!(checksum != Some(&[0; 4]), "{seen:?}");
        }
    }
    Ok(())
}

fn sctp_cluster(scene: &Scene<'_>, method: &str) -> Result<()> {
    let server = if method == "-m" { "RS4:3868" } else { "RS4:80" };
    scene.rules(&format!("-A --sctp-service VIP:80 -s rr\n-a --sctp-service VIP:80 -r {server} {method}"))
}

/// The first state lasts for less time than listings may take: another connection may have to be tried.
fn s096_sctp_a_second_init(scene: &mut Scene<'_>) -> Result<()> {
    sctp_cluster(scene, "-m")?;
    let mut shown = Vec::new();
    for attempt in 0..TRIES {
        let flow = scene.flow(80).with_client_port(50000 + attempt);
        play_sctp(scene, &flow, &[(Client, chunk::INIT)])?;
        let client = scene.text(&format!("CIP:{} ", flow.cport));
        shown = scene.look("-Lnc")?;
        let line = |text: &String| text.lines().find(|line| line.contains(&client)).map(str::to_owned);
        let lines: Vec<_> = shown.iter().filter_map(line).collect();
        if lines.len() == shown.len() {
            let is_right = |line: &String| line.starts_with("SCTP 00:0") && line.contains(" INIT1 ");
            ensure!(lines.iter().all(is_right), "{lines:#?}");
            shown.clear();
            break;
        }
    }
    ensure!(shown.is_empty(), "{TRIES} connections were gone before all had listed them: {shown:#?}");
    let flow = scene.flow(81);
    scene.rules("-A --sctp-service VIP:81 -s rr\n-a --sctp-service VIP:81 -r RS4:3868 -m")?;
    scene.clients(&vec![flow.sctp(&[chunk::INIT]); 2])?;
    let conns = scene.conns_to_port(81)?;
    ensure!(conns.iter().all(|conn| conn.state == "INIT") && conns.len() == 1, "{conns:?}");
    Ok(())
}

/// How often to try what time may run out for.
const TRIES: u16 = 10;

fn s097_sctp_established(scene: &mut Scene<'_>) -> Result<()> {
    sctp_cluster(scene, "-m")?;
    let flow = scene.flow(80);
    let steps = [
        (Server, chunk::INIT_ACK, "C-SENT", 61, 0),
        (Client, chunk::COOKIE_ECHO, "C-REPLIED", 61, 0),
        (Server, chunk::COOKIE_ACK, "ESTABLISHED", 900, 1),
    ];
    play_sctp(scene, &flow, &[(Client, chunk::INIT)])?;
    for (from, kind, state, timeout, active) in steps {
        play_sctp(scene, &flow, &[(from, kind)])?;
        scene.state(state, timeout)?;
        scene.counts(&[(4, active, 1 - active)])?;
    }
    Ok(())
}

/// Events of the table of ipvs.md §5.7; of those that share a column, one.
const CHUNKS: [u8; 10] = [
    chunk::DATA,
    chunk::INIT,
    chunk::INIT_ACK,
    chunk::COOKIE_ECHO,
    chunk::COOKIE_ACK,
    chunk::SHUTDOWN,
    chunk::SHUTDOWN_ACK,
    chunk::SHUTDOWN_COMPLETE,
    chunk::ERROR,
    chunk::ABORT,
];

/// As [`every_cell`], from the states that last until the listing.
fn sctp_states(scene: &mut Scene<'_>, method: &str, paths: &[&[(Side, u8)]], last: &[Side]) -> Result<()> {
    sctp_cluster(scene, method)?;
    side_by_side(scene, paths, last, &CHUNKS, play_sctp)
}

fn sctp_states_of_nat(scene: &mut Scene<'_>) -> Result<()> {
    let (init, echo) = ((Client, chunk::INIT), (Client, chunk::COOKIE_ECHO));
    let paths: &[&[(Side, u8)]] = &[
        &[init, init],
        &[init, (Server, chunk::INIT_ACK)],
        &[init, (Server, chunk::INIT_ACK), echo],
        &[init, (Server, chunk::INIT_ACK), echo, (Server, chunk::COOKIE_ACK)],
        &[init, (Server, chunk::COOKIE_ACK), (Server, chunk::SHUTDOWN)],
    ];
    sctp_states(scene, "-m", paths, &[Client, Server])
}

fn sctp_states_of_dr(scene: &mut Scene<'_>) -> Result<()> {
    let (init, echo) = ((Client, chunk::INIT), (Client, chunk::COOKIE_ECHO));
    let paths: &[&[(Side, u8)]] = &[&[init, init], &[init, echo], &[init, (Client, chunk::INIT_ACK)]];
    sctp_states(scene, "-g", paths, &[Client])
}

/// §5.8: behind an exchange of keys between the same ends, to its server; without one, they are the stack's.
fn ah_and_esp_follow_the_exchange_of_keys(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -u VIP:500 -s rr\n-a -u VIP:500 -r RS4:500 -m\n-a -u VIP:500 -r RS3:500 -g")?;
    // SPI, number, and something encrypted; for AH, next header and length come first.
    let esp = Payload::Other(proto::ESP, [&[0, 0, 1, 0, 0, 0, 0, 1][..], &[0x5a; 40]].concat());
    let ah = [&[proto::UDP, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1][..], &[0, 80, 0, 81, 0, 9, 0, 0, 7]].concat();
    let ah = Payload::Other(proto::AH, ah);
    let flow = scene.flow(500).with_client_port(500);
    scene.client(flow.frame(&flow.ip(), esp.clone()))?;
    for (client, server) in [(2, 3), (3, 4)] {
        let flow = flow.with_client(client);
        only(&scene.client(flow.udp(b"keys"))?, server)?;
        // In IPv6, AH is one of the headers in front of what a packet carries: it is that which counts.
        let payloads = if scene.family == Family::V4 { vec![&esp, &ah] } else { vec![&esp] };
        for payload in payloads {
            only(&scene.client(flow.frame(&flow.ip(), payload.clone()))?, server)?;
            let reply = flow.at(server, 500);
            let seen = scene.server(reply.frame(&reply.ip(), payload.clone()))?;
            let out = frames::packet(only_to_client(&seen)?);
            let from = frames::addresses(out).map(|(from, _)| from);
            let expected = if server == 4 { scene.vip } else { reply.rip };
            ensure!(from == Some(expected), "{seen:?}");
        }
    }
    let conns = scene.conns(2)?;
    ensure!(conns.iter().all(|conn| conn.state == "UDP"), "{conns:?}");
    scene.client(flow.frame(&flow.ip(), ah))?;
    nothing(&scene.clients(&[])?)
}
