//! §2.1, §3.1: real servers that are clients too, and a service whose real server is another service.

use anyhow::{Context as _, Result, ensure};
use rvs_wire::builder::{Payload, Tcp, Udp};
use rvs_wire::tcp;

use crate::refvm::differences::NO_REDIRECTS;
use crate::refvm::frames::{self, DIRECTOR_SERVER_MAC, Family, Flow, Head, SYN_ACK, Trouble, server_mac};
use crate::refvm::scene::{Scene, only, only_to_client};
use crate::refvm::tests_of_both;

tests_of_both![
    a_real_server_as_a_client_of_another,
    a_real_server_as_a_client_of_itself,
    a_service_as_a_real_server_of_another,
];

/// The real server that is a client.
const CLIENT: u8 = 5;

/// A connection of it.
fn flow(scene: &Scene<'_>, vport: u16) -> Flow {
    Flow { cip: scene.family.server(CLIENT), ..scene.flow(vport) }
}

/// A packet of it, in a frame.
fn frame(flow: &Flow, payload: &Payload) -> Vec<u8> {
    flow.ip().frame(DIRECTOR_SERVER_MAC, server_mac(CLIENT), payload)
}

fn segment(flow: &Flow, flags: u8) -> Vec<u8> {
    frame(flow, &Payload::Tcp(flow.segment(flags)))
}

/// It has a service of its own, and connections there while it opens others.
fn a_real_server_as_a_client_of_another(scene: &mut Scene<'_>) -> Result<()> {
    for (own, vport, method) in [(90, 91, "-m"), (92, 93, "-g")] {
        scene.rules(&format!("-A -t VIP:{own} -s rr\n-a -t VIP:{own} -r RS{CLIENT}:{own} {method}"))?;
        scene.rules(&format!("-A -t VIP:{vport} -s rr\n-a -t VIP:{vport} -r RS4:{vport} {method}"))?;
        let served = scene.flow(own);
        let seen = scene.client(served.syn())?;
        only(&seen, CLIENT)?;
        let flow = flow(scene, vport);
        let seen = scene.server(segment(&flow, tcp::SYN))?;
        let out = frames::packet(only(&seen, 4)?);
        let to = if method == "-m" { scene.family.server(4) } else { scene.vip };
        ensure!(frames::addresses(out) == Some((flow.cip, to)), "{seen:?}");
        if method == "-m" {
            let replies = flow.at(4, vport);
            let reply = replies.tcp(SYN_ACK);
            let seen = match scene.family {
                Family::V4 => scene.server_differs(reply, &NO_REDIRECTS)?,
                Family::V6 => scene.server(reply)?,
            };
            let out = seen.to_servers.iter().map(|frame| frames::packet(frame));
            let out = out.filter(|packet| frames::addresses(packet) == Some((scene.vip, flow.cip)));
            ensure!(out.count() == 1, "{seen:?}");
            let got =
                Head::new(flow.cip, replies.rip).packet(&Payload::Tcp(Tcp::new(flow.cport, vport, tcp::ACK)));
            let seen = scene.server(replies.error(4, Trouble::Port, &got))?;
            ensure!(!seen.to_servers.is_empty(), "{seen:?}");
        }
        let seen = scene.server(segment(&flow, tcp::ACK))?;
        only(&seen, 4)?;
        // What it serves goes on as before.
        let seen = scene.client(served.ack())?;
        only(&seen, CLIENT)?;
        let conns = scene.conns_to_port(vport)?;
        ensure!(conns.len() == 1, "{conns:?}");
    }
    Ok(())
}

/// It gets its own packets, with its own address as their source, as from IPVS.
fn a_real_server_as_a_client_of_itself(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules(&format!("-A -u VIP:94 -s rr\n-a -u VIP:94 -r RS{CLIENT}:9400 -m"))?;
    let flow = flow(scene, 94);
    let seen = scene.server(frame(&flow, &Payload::Udp(Udp::new(flow.cport, flow.vport, b"question"))))?;
    let out = frames::packet(only(&seen, CLIENT)?);
    ensure!(frames::addresses(out) == Some((flow.cip, flow.cip)), "{seen:?}");
    Ok(())
}

/// A packet is balanced once: the second service is for others, and here is the stack, which has nobody at its port.
fn a_service_as_a_real_server_of_another(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:95 -s rr\n-a -t VIP:95 -r VIP:96 -m")?;
    scene.rules("-A -t VIP:96 -s rr\n-a -t VIP:96 -r RS4:96 -m")?;
    let flow = scene.flow(95);
    let seen = scene.client(flow.syn())?;
    let out = frames::packet(only_to_client(&seen)?);
    ensure!(frames::is_reset(out), "{seen:?}");
    ensure!(frames::ports(out) == Some((95, flow.cport)), "{seen:?}");
    let seen = scene.client(flow.to_port(96).syn())?;
    only(&seen, 4).context("the second service")?;
    Ok(())
}
