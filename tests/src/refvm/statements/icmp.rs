//! §13.2 48 to 52 and ipvs.md §2.8: ICMP errors about balanced packets.

use anyhow::{Context as _, Result, ensure};
use rvs_wire::builder::{Payload, Tcp};
use rvs_wire::{eth, icmp, tcp};

use super::forwarding::{TUNNELS, each, tcp_of};
use crate::refvm::differences::{TUNNEL_ERRORS_OF_IPV6, TUNNEL_MTU_AS_TOLD};
use crate::refvm::frames::{self, Family, Flow, SYN_ACK, Trouble};
use crate::refvm::lab::Seen;
use crate::refvm::scene::{Scene, nothing, only, only_to_client};
use crate::refvm::tests_of_both;

tests_of_both![
    s048_an_error_of_the_client,
    s049_an_error_of_a_server,
    s050_an_error_of_a_router_behind,
    s051_an_error_about_a_tunnel,
    s052_an_error_without_a_connection,
    errors_of_the_client_by_each_method,
    errors_of_each_kind,
    short_quotes,
    a_wrong_checksum,
    errors_behind_direct_routing,
    a_tunnel_that_is_too_narrow,
];

/// Errors of each kind that is looked at.
const TROUBLES: [Trouble; 3] = [Trouble::Port, Trouble::Time, Trouble::TooBig(1300)];

/// A NAT connection to .4 at port 8080.
fn established(scene: &mut Scene<'_>) -> Result<Flow> {
    scene.rules("-A -t VIP:80 -s rr\n-a -t VIP:80 -r RS4:8080 -m")?;
    let flow = scene.flow(80);
    scene.client(flow.syn())?;
    scene.server(flow.at(4, 8080).tcp(SYN_ACK))?;
    scene.client(flow.ack())?;
    Ok(flow)
}

/// What the service answers to a connection.
fn answer(flow: &Flow, data: &[u8]) -> Payload {
    Payload::Tcp(Tcp { data: data.to_vec(), ..Tcp::new(flow.vport, flow.cport, tcp::ACK) })
}

/// The error in the only frame: what it says, from and to whom, and what it quotes.
fn error(packet: &[u8], trouble: Trouble) -> Result<&[u8]> {
    let (kind, word, quoted) = frames::error(packet).context("no error")?;
    let family = frames::family(packet).context("no packet")?;
    ensure!((kind, word) == trouble.message(family), "{kind:?} {word}");
    Ok(quoted)
}

fn s048_an_error_of_the_client(scene: &mut Scene<'_>) -> Result<()> {
    let flow = established(scene)?;
    let trouble = Trouble::TooBig(1300);
    let seen = scene.client(flow.error(trouble, &answer(&flow, &[1; 100])))?;
    let out = frames::packet(only(&seen, 4)?);
    let server = scene.family.server(4);
    let quoted = error(out, trouble)?;
    ensure!(frames::ttl(out) == Some(63), "{seen:?}");
    ensure!(frames::addresses(out) == Some((flow.cip, server)), "{seen:?}");
    ensure!(frames::addresses(quoted) == Some((server, flow.cip)), "{seen:?}");
    ensure!(frames::ports(quoted) == Some((8080, flow.cport)), "{seen:?}");
    scene.state("ESTABLISHED", 900)
}

/// What the server got is the packet that is quoted; the quoted checksum stays as it is.
fn told_to_the_client(scene: &mut Scene<'_>, from: u8, trouble: Trouble) -> Result<()> {
    scene.rules("-A -u VIP:53 -s rr\n-a -u VIP:53 -r RS4:5353 -m")?;
    let flow = scene.flow(53);
    let seen = scene.client(flow.udp(b"question"))?;
    let got = frames::packet(only(&seen, 4)?);
    let seen = scene.server(flow.at(4, 5353).error(from, trouble, got))?;
    let out = frames::packet(only_to_client(&seen)?);
    let quoted = error(out, trouble)?;
    ensure!(frames::addresses(out) == Some((flow.vip, flow.cip)), "{seen:?}");
    ensure!(frames::addresses(quoted) == Some((flow.cip, flow.vip)), "{seen:?}");
    ensure!(frames::ports(quoted) == Some((flow.cport, 53)), "{seen:?}");
    ensure!(frames::payload(quoted).get(4..) == frames::payload(got).get(4..), "{seen:?}");
    Ok(())
}

fn s049_an_error_of_a_server(scene: &mut Scene<'_>) -> Result<()> {
    told_to_the_client(scene, 4, Trouble::Port)
}

fn s050_an_error_of_a_router_behind(scene: &mut Scene<'_>) -> Result<()> {
    told_to_the_client(scene, 20, Trouble::Time)
}

/// IPVS finds the tunnel by the server alone: here each has one of its own.
fn s051_an_error_about_a_tunnel(scene: &mut Scene<'_>) -> Result<()> {
    for servers in [scene.family, scene.family.other()] {
        scene.servers = servers;
        let first = if servers == scene.family { 2 } else { 10 };
        for (server, method) in (first..).zip(TUNNELS) {
            let port = u16::from(server);
            scene.rules(&format!("-A -t VIP:{port} -s rr\n-a -t VIP:{port} -r RS{server} {method}"))?;
            // Errors to one client are few.
            let flow = scene.flow(port).with_client(server);
            about_a_tunnel(scene, &flow, server).with_context(|| format!("{method}, server {servers:?}"))?;
        }
    }
    Ok(())
}

/// An error of the server's host, which has no such tunnel, or of a router, to the director. IPVS only knows those of IPv4
/// in IPv4.
fn about_a_tunnel(scene: &mut Scene<'_>, flow: &Flow, server: u8) -> Result<()> {
    let syn = flow.syn();
    let seen = scene.client(syn.clone())?;
    let got = frames::packet(only(&seen, server)?);
    let (director, _) = frames::addresses(got).context("no addresses")?;
    let trouble = if scene.family == Family::V4 { Trouble::Protocol } else { Trouble::Time };
    let sent = flow.at(server, 0).to(director).error(server, trouble, got);
    match (scene.family, scene.servers) {
        (Family::V4, Family::V4) => {
            let seen = scene.server(sent)?;
            let out = frames::packet(only_to_client(&seen)?);
            let quoted = error(out, trouble)?;
            ensure!(frames::addresses(out) == Some((flow.vip, flow.cip)), "{seen:?}");
            same_but_ttl(quoted, frames::packet(&syn))
        }
        (Family::V6, Family::V6) => {
            let expected = flow.told(&trouble.about(frames::innermost(got)));
            scene.server_is_told(sent, expected, &TUNNEL_ERRORS_OF_IPV6)
        }
        _ => nothing(&scene.server(sent)?),
    }
}

/// Two packets that differ in nothing but the time to live and the checksum over it.
fn same_but_ttl(a: &[u8], b: &[u8]) -> Result<()> {
    let differs = |at: &usize| a.get(*at) != b.get(*at);
    let changed: Vec<usize> = (0..a.len().max(b.len())).filter(differs).collect();
    ensure!(changed.iter().all(|at| matches!(at, 8 | 10 | 11)), "bytes {changed:?} differ");
    Ok(())
}

fn s052_an_error_without_a_connection(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let flow = scene.flow(80);
    nothing(&scene.client(flow.error(Trouble::Port, &answer(&flow, b"")))?)?;
    scene.conns(0).map(drop)
}

/// Those that leave it as it is send the error as well.
fn errors_of_the_client_by_each_method(scene: &mut Scene<'_>) -> Result<()> {
    each(scene, 4, &[&["-m", "-g"][..], &TUNNELS].concat(), |scene, flow, method| {
        scene.client(flow.syn())?;
        let sent = flow.error(Trouble::Time, &answer(flow, &[1; 40]));
        let seen = scene.client(sent.clone())?;
        let out = frames::innermost(frames::packet(only(&seen, 4)?));
        if method != "-m" {
            ensure!(frames::payload(out) == frames::payload(frames::packet(&sent)), "{seen:?}");
        }
        Ok(())
    })
}

fn errors_of_each_kind(scene: &mut Scene<'_>) -> Result<()> {
    let flow = established(scene)?;
    let reply = flow.at(4, 8080);
    let seen = scene.client(flow.ack())?;
    let got = frames::packet(only(&seen, 4)?).to_vec();
    for trouble in TROUBLES.into_iter().chain([Trouble::Protocol]) {
        let seen = scene.client(flow.error(trouble, &answer(&flow, &[1; 20])))?;
        only(&seen, 4)?;
        let seen = scene.server(reply.error(4, trouble, &got))?;
        only_to_client(&seen)?;
    }
    Ok(())
}

/// An old host quotes eight bytes behind the header (RFC 792); the ports are enough.
fn short_quotes(scene: &mut Scene<'_>) -> Result<()> {
    let flow = established(scene)?;
    let reply = flow.at(4, 8080);
    let seen = scene.client(flow.ack())?;
    let got = frames::packet(only(&seen, 4)?).to_vec();
    for len in [8, 7, 4, 3, 0] {
        let quoted = &got[..scene.family.header_len() + len];
        scene.server(reply.error(4, Trouble::Port, quoted)).with_context(|| format!("{len} bytes"))?;
        let sent = flow.answered(&answer(&flow, &[1; 20]));
        let about = Trouble::Port.about(&sent[..scene.family.header_len() + len]);
        scene.client(flow.frame(&flow.ip(), about)).with_context(|| format!("{len} bytes"))?;
    }
    Ok(())
}

/// A router behind quotes the client's packet as it was: nobody changes the error.
fn errors_behind_direct_routing(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s rr\n-a -t VIP:80 -r RS4 -g")?;
    let flow = scene.flow(80);
    let seen = scene.client(flow.syn())?;
    let got = frames::packet(only(&seen, 4)?);
    let sent = flow.at(4, 80).error(20, Trouble::Time, got);
    let seen = scene.server(sent.clone())?;
    let out = frames::packet(only_to_client(&seen)?);
    ensure!(frames::payload(out) == frames::payload(frames::packet(&sent)), "{seen:?}");
    ensure!(frames::addresses(out) == frames::addresses(frames::packet(&sent)), "{seen:?}");
    let bytes = u64::try_from(out.len())?;
    let counted = |text: &str| text.lines().filter(|line| line.ends_with(&format!(" {bytes}"))).count() == 2;
    scene.listing("-Ln --stats", counted).map(drop)
}

fn a_wrong_checksum(scene: &mut Scene<'_>) -> Result<()> {
    let flow = established(scene)?;
    let mut sent = flow.error(Trouble::Port, &answer(&flow, &[1; 20]));
    sent[eth::LEN + scene.family.header_len() + icmp::CHECKSUM] ^= 1;
    let seen: Seen = scene.client(sent)?;
    nothing(&seen)
}

/// A link on the way to the server is narrower than the director knows: the client is told what is left of it. IPVS tells
/// what it knew before.
fn a_tunnel_that_is_too_narrow(scene: &mut Scene<'_>) -> Result<()> {
    // Servers that no other test sends much to: IPVS remembers how wide their way is.
    for (number, method) in [14, 15, 16, 19].into_iter().zip([TUNNELS[0], TUNNELS[1], TUNNELS[4], TUNNELS[5]])
    {
        let port = u16::from(number);
        scene.rules(&format!("-A -t VIP:{port} -s rr\n-a -t VIP:{port} -r RS{number} {method}"))?;
        let flow = scene.flow(port);
        scene.client(flow.syn())?;
        let seen = scene.client(tcp_of(&flow, &flow.ip(), tcp::ACK, 1390))?;
        let got = frames::packet(only(&seen, number)?);
        let (director, _) = frames::addresses(got).context("no addresses")?;
        let quoted = &got[..100];
        let error = flow.at(number, 0).to(director).error(20, Trouble::TooBig(1400), quoted);
        let left = u16::try_from(1400 - (got.len() - frames::innermost(got).len()))?;
        let expected = flow.told(&Trouble::TooBig(left).about(frames::innermost(quoted)));
        let difference =
            if scene.family == Family::V4 { &TUNNEL_MTU_AS_TOLD } else { &TUNNEL_ERRORS_OF_IPV6 };
        scene.server_is_told(error, expected, difference).with_context(|| method.to_owned())?;
    }
    Ok(())
}
