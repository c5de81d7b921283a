//! §13.3: what tunnels put around a packet, and what fits into them.

use anyhow::{Context as _, Result, ensure};
use rvs_abi::proto;
use rvs_wire::tcp;

use super::forwarding::{TUNNELS, each, tcp_of, tcp_with, too_big};
use crate::refvm::frames::{self, Family, Flow, Head};
use crate::refvm::scene::{Scene, only};
use crate::refvm::tests_of_both;

tests_of_both![
    s056_type_of_service_of_a_tunnel,
    s057_dont_fragment_of_a_tunnel,
    s058_what_fits_into_a_tunnel,
    s063_headers_of_a_tunnel,
    s066_the_source_port_of_a_flow,
];

/// The outer packet of the only frame, which went to .4.
fn outer(seen: &crate::refvm::lab::Seen) -> Result<&[u8]> {
    only(seen, 4).map(frames::packet)
}

fn s056_type_of_service_of_a_tunnel(scene: &mut Scene<'_>) -> Result<()> {
    each(scene, 4, &TUNNELS, |scene, flow, _| {
        for (tos, expected) in [(0xb9, 0xb9), (0x03, 0x02), (0x02, 0x02)] {
            let seen = scene.client(tcp_with(flow, &Head { tos, ..flow.ip() }, tcp::SYN, 0))?;
            let out = outer(&seen)?;
            let both = [out, frames::innermost(out)].map(frames::tos);
            ensure!(both == [Some(expected), Some(tos)], "{seen:?}");
        }
        Ok(())
    })
}

/// And §13.3 76: nothing of IPv6 forbids the tunnel to be fragmented.
fn s057_dont_fragment_of_a_tunnel(scene: &mut Scene<'_>) -> Result<()> {
    each(scene, 4, &TUNNELS, |scene, flow, _| {
        for dont_fragment in [true, false] {
            let seen = scene.client(tcp_with(flow, &Head { dont_fragment, ..flow.ip() }, tcp::SYN, 0))?;
            let out = outer(&seen)?;
            if scene.servers == Family::V4 {
                let is_set = dont_fragment && scene.family == Family::V4;
                let has_number = out.get(4..6).is_some_and(|id| id != [0, 0]);
                ensure!(frames::dont_fragment(out) == is_set && has_number != is_set, "{seen:?}");
            }
        }
        Ok(())
    })
}

/// What a tunnel adds, beside the outer IP header.
fn overhead(method: &str) -> usize {
    match method {
        "-i" => 0,
        _ if method.contains("gue") => 12,
        _ if method.contains("nocsum") => 4,
        _ => 8,
    }
}

/// And §13.3 59, 60 and 78.
fn s058_what_fits_into_a_tunnel(scene: &mut Scene<'_>) -> Result<()> {
    each(scene, 4, &TUNNELS, |scene, flow, method| {
        let usable = 1500 - scene.servers.header_len() - overhead(method);
        let seen = scene.client(tcp_of(flow, &flow.ip(), tcp::SYN, usable))?;
        let out = outer(&seen)?;
        ensure!(out.len() == 1500, "the outer packet has {} bytes", out.len());
        for len in [usable + 1, 1500] {
            too_big(scene, tcp_of(flow, &flow.ip(), tcp::ACK, len), u16::try_from(usable)?)?;
        }
        Ok(())
    })
}

/// And §13.3 64, 65 and 76.
fn s063_headers_of_a_tunnel(scene: &mut Scene<'_>) -> Result<()> {
    each(scene, 4, &TUNNELS, |scene, flow, method| {
        let sent = tcp_with(flow, &flow.ip(), tcp::SYN, 7);
        let seen = scene.client(sent.clone())?;
        let out = outer(&seen)?;
        let (number, kind) = match scene.family {
            Family::V4 => (proto::IPIP, [8, 0]),
            Family::V6 => (proto::IPV6, [0x86, 0xdd]),
        };
        let rest = frames::payload(out);
        let protocol = match method {
            "-i" => number,
            _ if method.contains("gue") => {
                ensure!(rest.get(2..4) == Some(&6080_u16.to_be_bytes()), "{seen:?}");
                ensure!(rest.get(8..12) == Some(&[0, number, 0, 0]), "{seen:?}");
                // That it is right, if it is there, is checked of every frame.
                let has_checksum = rest.get(6..8) != Some(&[0, 0]);
                ensure!(has_checksum != method.contains("nocsum"), "{seen:?}");
                proto::UDP
            }
            _ => {
                let flags = if method.contains("nocsum") { 0 } else { 0x80 };
                ensure!(rest.get(..4) == Some(&[flags, 0, kind[0], kind[1]]), "{seen:?}");
                ensure!(flags == 0 || rest.get(6..8) == Some(&[0, 0]), "{seen:?}");
                proto::GRE
            }
        };
        ensure!(frames::protocol(out) == Some(protocol), "{seen:?}");
        let addresses = [1, 4].map(|number| scene.servers.server(number));
        ensure!(frames::addresses(out).map(|(a, b)| [a, b]) == Some(addresses), "{seen:?}");
        let inner = frames::tunnelled(out).context("no tunnel")?;
        let data = frames::payload(frames::packet(&sent));
        ensure!(frames::payload(inner) == data, "{seen:?}");
        Ok(())
    })
}

/// That it is in the range, and the same for all packets of a flow, is checked of every exchange.
fn s066_the_source_port_of_a_flow(scene: &mut Scene<'_>) -> Result<()> {
    let gue: Vec<&str> = TUNNELS.into_iter().filter(|method| method.contains("gue")).collect();
    each(scene, 4, &gue, |scene, flow, _| {
        let others = (0..5).map(|number| flow.with_client_port(flow.cport + 1000 + number));
        let flows: Vec<Flow> = std::iter::once(*flow).chain(others).collect();
        let frames = |flags| flows.iter().map(move |flow| tcp_with(flow, &flow.ip(), flags, 100));
        let seen = scene.clients(&frames(tcp::SYN).chain(frames(tcp::ACK)).collect::<Vec<_>>())?;
        ensure!(seen.to_servers.len() == 12, "{seen:?}");
        Ok(())
    })
}
