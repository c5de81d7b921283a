//! §13.3: forwarding.

use anyhow::{Context as _, Result, ensure};
use rvs_wire::builder::{Ipv4, Payload, Tcp, Udp};
use rvs_wire::{ipv4, tcp};

use crate::refvm::differences::{NO_ICMP_ERRORS, UDP_WITHOUT_CHECKSUM};
use crate::refvm::frames::{self, Flow, SYN_ACK, server};
use crate::refvm::scene::{Scene, nothing, only, only_to_client};
use crate::refvm::tests;

tests![
    s053_time_to_live,
    s054_time_to_live_1,
    s055_time_to_live_2,
    s056_type_of_service_of_a_tunnel,
    s057_dont_fragment_of_a_tunnel,
    s058_what_fits_into_a_tunnel,
    s067_dr_changes_only_ttl_and_checksum,
    s068_nat_of_a_datagram_without_checksum,
    s069_nat_maps_ports,
    s070_nat_keeps_the_rest_of_a_reply,
    s074_dr_takes_the_port_of_the_service,
    nat_keeps_data_and_options,
];

/// The methods of this version.
const METHODS: [&str; 3] = ["-m", "-g", "-i"];

/// A segment of the client with that header.
fn tcp_with(flow: &Flow, ip: &Ipv4, flags: u8, data_len: usize) -> Vec<u8> {
    let data = (0..data_len).map(|at| at.to_le_bytes()[0]).collect();
    flow.frame(ip, Payload::Tcp(Tcp { data, ..flow.segment(flags) }))
}

/// Runs `check` with services at ports 1, 2 and 3 that forward by NAT, DR and TUN.
fn each_method(
    scene: &mut Scene<'_>,
    check: impl Fn(&mut Scene<'_>, &Flow, &str) -> Result<()>,
) -> Result<()> {
    for (port, method) in (1..).zip(METHODS) {
        scene.cluster(&format!("-t VIP:{port} -s rr"), method)?;
        let flow = scene.flow(port);
        check(scene, &flow, method).with_context(|| format!("method {method}"))?;
    }
    Ok(())
}

/// The client's packet as a server gets it; the tunnel's header comes before.
fn inner<'a>(packet: &'a [u8], method: &str) -> &'a [u8] {
    if method == "-i" { frames::payload(packet) } else { packet }
}

fn s053_time_to_live(scene: &mut Scene<'_>) -> Result<()> {
    each_method(scene, |scene, flow, method| {
        let seen = scene.client(flow.syn())?;
        let out = frames::packet(only(&seen, 4)?);
        ensure!(frames::ttl(out) == Some(63) && frames::ttl(inner(out, method)) == Some(63), "{seen:?}");
        Ok(())
    })
}

fn s054_time_to_live_1(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let flow = scene.flow(80);
    let syn = tcp_with(&flow, &Ipv4 { ttl: 1, ..flow.ip() }, tcp::SYN, 0);
    let seen = scene.client_differs(syn, &NO_ICMP_ERRORS)?;
    let error = frames::packet(only_to_client(&seen)?);
    ensure!(frames::payload(error).starts_with(&[11, 0]), "{seen:?}");
    scene.state("SYN_RECV", 60)?;
    let counted = |text: &str| text.contains("192.168.9.4:80                      1        1        0");
    scene.listing("-Ln --stats", counted).map(drop)
}

fn s055_time_to_live_2(scene: &mut Scene<'_>) -> Result<()> {
    each_method(scene, |scene, flow, method| {
        let seen = scene.client(tcp_with(flow, &Ipv4 { ttl: 2, ..flow.ip() }, tcp::SYN, 0))?;
        ensure!(frames::ttl(inner(frames::packet(only(&seen, 4)?), method)) == Some(1), "{seen:?}");
        Ok(())
    })
}

fn s056_type_of_service_of_a_tunnel(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-i")?;
    for (number, (tos, outer)) in (0..).zip([(0xb9, 0xb9), (0x03, 0x02)]) {
        let flow = scene.flow(80).with_client_port(50000 + number);
        let seen = scene.client(tcp_with(&flow, &Ipv4 { tos, ..flow.ip() }, tcp::SYN, 0))?;
        let out = frames::packet(seen.to_servers.first().context("nothing sent")?);
        ensure!(out.get(1) == Some(&outer) && inner(out, "-i").get(1) == Some(&tos), "{seen:?}");
    }
    Ok(())
}

fn s057_dont_fragment_of_a_tunnel(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-i")?;
    for (number, dont_fragment) in (0..).zip([true, false]) {
        let flow = scene.flow(80).with_client_port(50000 + number);
        let seen = scene.client(tcp_with(&flow, &Ipv4 { dont_fragment, ..flow.ip() }, tcp::SYN, 0))?;
        let out = frames::packet(seen.to_servers.first().context("nothing sent")?);
        let is_set = out.get(6).is_some_and(|flags| flags & ipv4::DF != 0);
        let has_number = out.get(4..6).is_some_and(|id| id != [0, 0]);
        ensure!(is_set == dont_fragment && has_number != dont_fragment, "{seen:?}");
    }
    Ok(())
}

fn s058_what_fits_into_a_tunnel(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-i")?;
    let flow = scene.flow(80);
    let headers = ipv4::LEN + tcp::LEN;
    let seen = scene.client(tcp_with(&flow, &flow.ip(), tcp::SYN, 1480 - headers))?;
    let out = frames::packet(only(&seen, 4)?);
    ensure!(out.len() == 1500, "the outer packet has {} bytes", out.len());
    let long = tcp_with(&flow, &flow.ip(), tcp::ACK, 1481 - headers);
    let seen = scene.client_differs(long, &NO_ICMP_ERRORS)?;
    let error = frames::payload(frames::packet(only_to_client(&seen)?));
    ensure!(error.starts_with(&[3, 4]) && error.get(6..8) == Some(&1480_u16.to_be_bytes()), "{seen:?}");
    Ok(())
}

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

fn s068_nat_of_a_datagram_without_checksum(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-u VIP:53 -s rr", "-m")?;
    let flow = scene.flow(53);
    let datagram = Udp { no_checksum: true, ..Udp::new(flow.cport, flow.vport, b"question") };
    let seen = scene.client_differs(flow.frame(&flow.ip(), Payload::Udp(datagram)), &UDP_WITHOUT_CHECKSUM)?;
    let out = frames::payload(frames::packet(only(&seen, 4)?));
    ensure!(out.get(6..8).is_some_and(|checksum| checksum != [0, 0]), "{seen:?}");
    Ok(())
}

fn s069_nat_maps_ports(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s rr\n-a -t VIP:80 -r 192.168.9.4:8080 -m")?;
    let flow = scene.flow(80);
    let seen = scene.client(flow.syn())?;
    let out = frames::packet(only(&seen, 4)?);
    ensure!(frames::ports(out) == Some((flow.cport, 8080)), "{seen:?}");
    ensure!(frames::addresses(out) == Some((flow.cip, server(4))), "{seen:?}");
    let seen = scene.server(flow.at(server(4), 8080).tcp(SYN_ACK))?;
    let out = frames::packet(only_to_client(&seen)?);
    ensure!(frames::ports(out) == Some((80, flow.cport)), "{seen:?}");
    ensure!(frames::addresses(out) == Some((flow.vip, flow.cip)), "{seen:?}");
    Ok(())
}

fn s070_nat_keeps_the_rest_of_a_reply(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let flow = scene.flow(80);
    scene.client(flow.syn())?;
    let reply = flow.at(server(4), 80);
    for dont_fragment in [true, false] {
        let ip = Ipv4 { dont_fragment, id: 0xbeef, tos: 0x48, ..reply.ip() };
        let segment = Payload::Tcp(Tcp::new(80, flow.cport, tcp::ACK));
        let sent = reply.frame(&ip, segment);
        let seen = scene.server(sent.clone())?;
        let out = frames::packet(only_to_client(&seen)?);
        ensure!(out.get(..8) == frames::packet(&sent).get(..8), "{seen:?}");
        ensure!(frames::ttl(out) == Some(63), "{seen:?}");
    }
    let late = reply.frame(&Ipv4 { ttl: 1, ..reply.ip() }, Payload::Tcp(Tcp::new(80, flow.cport, tcp::ACK)));
    let seen = scene.server_may_differ(late, &NO_ICMP_ERRORS)?;
    ensure!(seen.to_clients.is_empty(), "{seen:?}");
    Ok(())
}

fn s074_dr_takes_the_port_of_the_service(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules(
        "-A -t VIP:80 -s rr\n-a -t VIP:80 -r 192.168.9.4:8080 -g\n-a -t VIP:80 -r 192.168.9.3:8080 -i",
    )?;
    let is_port_80 = |text: &str| text.contains("192.168.9.4:80 ") && text.contains("192.168.9.3:80 ");
    scene.listing("-Ln", is_port_80).map(drop)
}

/// §3.3, last line, and the incremental checksum over odd lengths.
fn nat_keeps_data_and_options(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    scene.cluster("-u VIP:53 -s rr", "-m")?;
    let flow = scene.flow(80);
    scene.client(flow.syn())?;
    let reply = flow.at(server(4), 80);
    for len in [0, 1, 2, 3, 7, 536, 1459, 1460] {
        let data: Vec<u8> = (0..len).map(|at: usize| (at * 7).to_le_bytes()[0]).collect();
        let options = vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        let options = if len > 1400 { Vec::new() } else { options };
        let segment = Tcp { data: data.clone(), options: options.clone(), ..flow.segment(tcp::ACK) };
        let seen = scene.client(flow.frame(&flow.ip(), Payload::Tcp(segment)))?;
        only(&seen, 4)?;
        let segment = Tcp { data: data.clone(), options, ..Tcp::new(80, flow.cport, tcp::ACK) };
        let seen = scene.server(reply.frame(&reply.ip(), Payload::Tcp(segment)))?;
        only_to_client(&seen)?;
        let seen = scene.client(flow.to_port(53).udp(&data))?;
        only(&seen, 4)?;
        let seen = scene.server(flow.at(server(4), 53).udp(&data))?;
        only_to_client(&seen)?;
    }
    let no_reply = scene.server(flow.at(server(4), 81).tcp(tcp::ACK))?;
    ensure!(no_reply.to_clients.len() == 1, "what is no reply is forwarded as it is: {no_reply:?}");
    nothing(&scene.clients(&[])?)
}
