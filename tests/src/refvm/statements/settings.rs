//! §13.2 and §13.4, as far as settings decide, and one-packet scheduling: ipvs.md §2.2 to §2.4, §2.7, §2.8, §4.6.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rvs_config::Setting;
use rvs_wire::builder::{Payload, Tcp};
use rvs_wire::sctp::chunk;
use rvs_wire::tcp;

use super::forwarding::TUNNELS;
use super::marks;
use crate::refvm::frames::{self, Flow, Trouble};
use crate::refvm::lab::Seen;
use crate::refvm::scene::{Scene, chosen, nothing, only, only_to_client};
use crate::refvm::tests_of_both;

tests_of_both![
    s024_sloppy_tcp,
    sloppy_sctp,
    s031_expire_nodest_conn_and_a_deleted_destination,
    s042_expire_nodest_conn_and_a_quiesced_destination,
    s040_conn_reuse_mode_in_fin_wait,
    s044_a_datagram_of_a_destination_is_refused,
    s044_a_destination_by_mark_is_refused,
    s046_a_reset_of_a_destination_is_not,
    s052_schedule_icmp,
    replies_are_routed_from_the_virtual_address_or_not,
    pmtu_disc_0,
    s094_one_packet_scheduling,
    s095_a_reply_under_one_packet_scheduling,
];

const METHODS: [&str; 2] = ["-m", "-g"];

fn s024_sloppy_tcp(scene: &mut Scene<'_>) -> Result<()> {
    for (port, method) in (80..).zip(METHODS) {
        scene.cluster(&format!("-t VIP:{port} -s rr"), method)?;
        let flow = scene.flow(port);
        let seen = scene.client(flow.ack())?;
        ensure!(frames::is_reset(frames::packet(only_to_client(&seen)?)), "{seen:?}");
        let seen = scene.with(Setting::SloppyTcp, 1, |scene| {
            nothing(&scene.client(flow.rst())?)?;
            scene.client(flow.ack())
        })?;
        only(&seen, 4)?;
        let conns = scene.conns_to_port(port)?;
        ensure!(conns.iter().map(|conn| conn.state.as_str()).eq(["ESTABLISHED"]), "{conns:?}");
        // What ends one begins one as well, and what has no flag.
        for (flags, client, server) in [(frames::FIN_ACK, 3, 3), (0, 5, 2)] {
            let flow = flow.with_client(client);
            let seen = scene.with(Setting::SloppyTcp, 1, |scene| scene.client(flow.tcp(flags)))?;
            only(&seen, server)?;
        }
        let conns = scene.conns_to_port(port)?;
        ensure!(conns.iter().filter(|conn| conn.state == "CLOSE").count() == 2, "{conns:?}");
    }
    Ok(())
}

fn sloppy_sctp(scene: &mut Scene<'_>) -> Result<()> {
    for ((port, method), accepted) in (80..).zip(METHODS).zip(["C-WAIT", "C-ECHOED"]) {
        let begun = [
            (chunk::DATA, 4, "ESTABLISHED"),
            (chunk::INIT_ACK, 3, accepted),
            (chunk::SHUTDOWN, 2, "S-RECEIVED"),
        ];
        scene.cluster(&format!("--sctp-service VIP:{port} -s rr"), method)?;
        for (number, (kind, server, _)) in (3..).zip(begun) {
            let flow = scene.flow(port).with_client(number);
            let seen = scene.with(Setting::SloppySctp, 1, |scene| scene.client(flow.sctp(&[kind])))?;
            only(&seen, server)?;
        }
        let conns = scene.conns_to_port(port)?;
        for (_, _, state) in begun {
            ensure!(conns.iter().filter(|conn| conn.state == state).count() == 1, "{state}: {conns:?}");
        }
    }
    Ok(())
}

/// A connection to .4 that is ESTABLISHED.
fn established(scene: &mut Scene<'_>, port: u16, method: &str) -> Result<Flow> {
    scene.cluster(&format!("-t VIP:{port} -s rr"), method)?;
    let flow = scene.flow(port);
    for frame in [flow.syn(), flow.ack()] {
        only(&scene.client(frame)?, 4)?;
    }
    Ok(flow)
}

fn s031_expire_nodest_conn_and_a_deleted_destination(scene: &mut Scene<'_>) -> Result<()> {
    for (port, method) in (80..).zip(METHODS) {
        let flow = established(scene, port, method)?;
        scene.with(Setting::ExpireNodestConn, 1, |scene| {
            scene.rules(&format!("-d -t VIP:{port} -r RS4:{port}"))?;
            // Connections of the other method are left of the round before.
            scene.conns(usize::from(port - 80))?;
            let seen = scene.client(flow.ack())?;
            ensure!(frames::is_reset(frames::packet(only_to_client(&seen)?)), "{seen:?}");
            Ok(())
        })?;
        // One that was deleted before: a packet ends its connection, and a SYN begins another at once.
        let other = flow.with_client(3);
        only(&scene.client(other.syn())?, 3)?;
        scene.rules(&format!("-d -t VIP:{port} -r RS3:{port}"))?;
        nothing(&scene.client(other.ack())?)?;
        let seen = scene.with(Setting::ExpireNodestConn, 1, |scene| scene.client(other.syn()))?;
        only(&seen, 2)?;
        let conns = scene.conns_to_port(port)?;
        ensure!(conns.iter().map(|conn| conn.state.as_str()).eq(["SYN_RECV"]), "{conns:?}");
    }
    Ok(())
}

fn s042_expire_nodest_conn_and_a_quiesced_destination(scene: &mut Scene<'_>) -> Result<()> {
    for (port, method) in (80..).zip(METHODS) {
        let flow = established(scene, port, method)?;
        scene.rules(&format!("-e -t VIP:{port} -r RS4:{port} {method} -w 0"))?;
        only(&scene.client(flow.syn())?, 4)?;
        let seen = scene.with(Setting::ExpireNodestConn, 1, |scene| {
            only(&scene.client(flow.ack())?, 4)?;
            scene.client(flow.syn())
        })?;
        only(&seen, 3)?;
        let conns = scene.conns_to_port(port)?;
        ensure!(conns.iter().map(|conn| conn.state.as_str()).eq(["SYN_RECV"]), "{conns:?}");
    }
    Ok(())
}

/// The kernel's documentation tells of 1 and 2; both bits are tested (ipvs.md §2.3).
fn s040_conn_reuse_mode_in_fin_wait(scene: &mut Scene<'_>) -> Result<()> {
    for (port, mode) in (80..).zip([2, 3]) {
        let flow = established(scene, port, "-g")?;
        only(&scene.client(flow.fin())?, 4)?;
        let seen = scene.with(Setting::ConnReuseMode, mode, |scene| scene.client(flow.syn()))?;
        only(&seen, 3)?;
        scene.conns_to_port(port)?;
    }
    Ok(())
}

/// The error that the real server gets, about what it sent, which went one hop.
fn refused(seen: &Seen, frame: &[u8], scene: &Scene<'_>) -> Result<()> {
    let [out] = seen.to_servers.as_slice() else { anyhow::bail!("{seen:?}") };
    ensure!(seen.to_clients.is_empty(), "{seen:?}");
    let (kind, _, quoted) = frames::error(frames::packet(out)).context("no error")?;
    let sent = frames::packet(frame);
    ensure!(kind == Trouble::Port.message(scene.family).0 && quoted.len() == sent.len(), "{seen:?}");
    ensure!(frames::ttl(quoted) == Some(63) && frames::payload(quoted) == frames::payload(sent), "{seen:?}");
    Ok(())
}

fn s044_a_datagram_of_a_destination_is_refused(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-u VIP:53 -s rr", "-m")?;
    scene.rules("-A -t VIP:80 -s rr\n-a -t VIP:80 -r RS4:8080 -m")?;
    scene.rules("-A --sctp-service VIP:80 -s rr\n-a --sctp-service VIP:80 -r RS4:8080 -m")?;
    scene.rules("-A -t VIP:81 -s rr\n-a -t VIP:81 -r RS4:81 -g")?;
    let flow = scene.flow(53);
    scene.with(Setting::NatIcmpSend, 1, |scene| {
        let of = |port| flow.at(4, port);
        for frame in [of(53).udp(b"answer"), of(8080).tcp(tcp::ACK), of(8080).sctp(&[chunk::DATA])] {
            let seen = scene.server(frame.clone())?;
            refused(&seen, &frame, scene)?;
        }
        // Of another port, protocol or method.
        for frame in [of(54).udp(b"answer"), of(8080).udp(b"answer"), of(81).tcp(tcp::ACK)] {
            only_to_client(&scene.server(frame)?)?;
        }
        // One that has gone, and one that comes.
        scene.rules("-d -u VIP:53 -r RS4:53\n-a -u VIP:53 -r RS5:53 -m")?;
        only_to_client(&scene.server(of(53).udp(b"answer"))?)?;
        let frame = flow.at(5, 53).udp(b"answer");
        let seen = scene.server(frame.clone())?;
        refused(&seen, &frame, scene)
    })?;
    let seen = scene.server(flow.at(3, 53).udp(b"answer"))?;
    only_to_client(&seen).map(drop)
}

/// And whatever the protocol, where the service is one by mark.
fn s044_a_destination_by_mark_is_refused(scene: &mut Scene<'_>) -> Result<()> {
    let name = marks::service(scene);
    scene.rules(&format!("-A {name} -s rr\n-a {name} -r RS4:53 -m\n-a {name} -r RS5:53 -g"))?;
    let flow = scene.flow(53);
    let of = flow.at(4, 53);
    scene.with(Setting::NatIcmpSend, 1, |scene| {
        for frame in [of.udp(b"answer"), of.tcp(tcp::ACK), of.sctp(&[chunk::DATA])] {
            let seen = scene.server(frame.clone())?;
            refused(&seen, &frame, scene)?;
        }
        for frame in [flow.at(4, 54).udp(b"answer"), flow.at(5, 53).udp(b"answer"), of.tcp(tcp::RST)] {
            only_to_client(&scene.server(frame)?)?;
        }
        scene.rules(&format!("-D {name}"))?;
        only_to_client(&scene.server(of.udp(b"answer"))?).map(drop)
    })
}

fn s046_a_reset_of_a_destination_is_not(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    scene.cluster("--sctp-service VIP:80 -s rr", "-m")?;
    let server = scene.flow(80).at(4, 80);
    for frame in [server.tcp(tcp::RST), server.tcp(tcp::RST | tcp::ACK), server.sctp(&[chunk::ABORT])] {
        let seen = scene.with(Setting::NatIcmpSend, 1, |scene| scene.server(frame))?;
        let out = frames::packet(only_to_client(&seen)?);
        ensure!(frames::addresses(out).map(|(from, _)| from) == Some(server.rip), "{seen:?}");
    }
    Ok(())
}

/// With the setting on, the error goes to a real server, and others about the same packets follow.
fn s052_schedule_icmp(scene: &mut Scene<'_>) -> Result<()> {
    for (port, method) in (80..).zip(["-m", "-g", TUNNELS[0]]) {
        scene.cluster(&format!("-t VIP:{port} -s rr"), method)?;
        let flow = scene.flow(port);
        let answer = Payload::Tcp(Tcp { data: vec![1; 40], ..Tcp::new(port, flow.cport, tcp::ACK) });
        let error = flow.error(Trouble::TooBig(1300), &answer);
        nothing(&scene.client(error.clone())?)?;
        let seen = scene.with(Setting::ScheduleIcmp, 1, |scene| scene.clients(&[error.clone(), error]))?;
        ensure!(chosen(&seen) == [4, 4] && seen.to_clients.is_empty(), "{method}: {seen:?}");
        let stats = format!("-Ln --stats -t VIP:{port}");
        scene.listing(&stats, |text| text.lines().any(|line| line.contains(" 1        2 ")))?;
    }
    // Nobody is there: it is dropped.
    scene.rules("-A -t VIP:90 -s rr")?;
    let flow = scene.flow(90);
    let answer = Payload::Tcp(Tcp { data: vec![1; 40], ..Tcp::new(90, flow.cport, tcp::ACK) });
    let error = flow.error(Trouble::Port, &answer);
    nothing(&scene.with(Setting::ScheduleIcmp, 1, |scene| scene.client(error))?)
}

/// `ip` in the namespace of each director.
fn ip(scene: &Scene<'_>, args: &str) -> Result<()> {
    let family = if scene.vip.is_ipv4() { "-4" } else { "-6" };
    scene.world.directors(|director| {
        let output = director.output(Command::new("ip").arg(family).args(args.split_whitespace()))?;
        ensure!(output.status.success(), "ip {family} {args}: {output:?}");
        Ok(())
    })
}

/// `snat_reroute` (§2.7.1): packets from the virtual address have another way, by the servers' network.
fn replies_are_routed_from_the_virtual_address_or_not(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s rr\n-a -t VIP:80 -r RS4:80 -m")?;
    let flow = scene.flow(80);
    only(&scene.client(flow.syn())?, 4)?;
    let (vip, gateway): (IpAddr, IpAddr) = (scene.vip, scene.family.server(5));
    ip(scene, &format!("route add default via {gateway} table 77"))?;
    ip(scene, &format!("rule add from {vip} table 77"))?;
    let reply = || flow.at(4, 80).tcp(frames::SYN_ACK);
    let rerouted = scene.server(reply());
    let as_it_came = scene.with(Setting::SnatReroute, 0, |scene| scene.server(reply()));
    ip(scene, &format!("rule del from {vip} table 77"))?;
    ip(scene, "route flush table 77")?;
    only(&rerouted?, 5)?;
    only_to_client(&as_it_came?).map(drop)
}

/// §3.5: the outer header of what is small enough.
fn pmtu_disc_0(scene: &mut Scene<'_>) -> Result<()> {
    for (port, method) in (80..).zip(TUNNELS) {
        scene.rules(&format!("-A -t VIP:{port} -s rr\n-a -t VIP:{port} -r RS4 {method}"))?;
        let flow = scene.flow(port);
        let seen = scene.with(Setting::PmtuDisc, 0, |scene| scene.client(flow.syn()))?;
        let out = frames::packet(only(&seen, 4)?);
        ensure!(!frames::dont_fragment(out) || !scene.vip.is_ipv4(), "{method}: {seen:?}");
    }
    Ok(())
}

fn s094_one_packet_scheduling(scene: &mut Scene<'_>) -> Result<()> {
    for (port, method) in (53..).zip(["-m", "-g", TUNNELS[0]]) {
        scene.rules(&format!(
            "-A -u VIP:{port} -s rr -o\n-a -u VIP:{port} -r RS3:{port} {method}\n-a -u VIP:{port} -r RS4:{port} {method}"
        ))?;
        let flow = scene.flow(port);
        for number in [4, 3, 4] {
            only(&scene.client(flow.udp(b"question"))?, number).with_context(|| method.to_owned())?;
        }
        scene.conns(0)?;
        let line = |text: &str, words: [&str; 2]| {
            let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            lines.any(|line| line.get(2..4) == Some(&words[..]))
        };
        scene.listing(&format!("-Ln --stats -u VIP:{port}"), |text| {
            line(text, ["3", "3"]) && line(text, ["2", "2"]) && line(text, ["1", "1"])
        })?;
    }
    for form in ["-Ln", "-S -n"] {
        scene.listing(form, |text| text.contains(" ops\n") || text.contains(" -o\n"))?;
    }
    // An edit that does not repeat it takes it away: the datagrams of a flow have one server again.
    scene.rules("-E -u VIP:53 -s rr")?;
    let flow = scene.flow(53);
    let first = chosen(&scene.client(flow.udp(b"question"))?);
    ensure!(chosen(&scene.client(flow.udp(b"question"))?) == first, "{first:?}");
    scene.conns(1).map(drop)
}

fn s095_a_reply_under_one_packet_scheduling(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -u VIP:53 -s rr -o\n-a -u VIP:53 -r RS4:53 -m")?;
    let flow = scene.flow(53);
    only(&scene.client(flow.udp(b"question"))?, 4)?;
    let server = flow.at(4, 53);
    let seen = scene.server(server.udp(b"answer"))?;
    let out = frames::packet(only_to_client(&seen)?);
    ensure!(frames::addresses(out) == Some((server.rip, flow.cip)), "{seen:?}");
    // One that does not arrive is answered, and counted all the same.
    let old = frames::Head { ttl: 1, ..flow.ip() };
    let payload = Payload::Udp(rvs_wire::builder::Udp::new(flow.cport, 53, b"question"));
    let seen = scene.client(flow.frame(&old, payload))?;
    only_to_client(&seen)?;
    scene.listing("-Ln --stats -u VIP:53", |text| {
        text.lines().any(|line| line.split_whitespace().skip(2).take(2).eq(["2", "2"]))
    })?;
    scene.conns(0).map(drop)
}
