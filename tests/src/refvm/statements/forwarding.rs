//! §13.3: forwarding. Tunnels are in a file of their own.

use anyhow::{Context as _, Result, ensure};
use rvs_config::Setting;
use rvs_wire::builder::{Payload, Tcp, Udp};
use rvs_wire::tcp;

use crate::refvm::differences::{NOT_FRAGMENTED, OWN_ERRORS_NOT_COUNTED, UDP_WITHOUT_CHECKSUM};
use crate::refvm::frames::{self, Family, Flow, Head, SYN_ACK, Trouble};
use crate::refvm::lab::NARROW_MTU;
use crate::refvm::scene::{Scene, nothing, only, only_to_client};
use crate::refvm::{tests, tests_of_both};

tests![
    s061_pmtu_disc_0,
    s062_what_may_be_fragmented,
    what_may_be_fragmented_on_a_narrow_way,
    s068_nat_of_a_datagram_without_checksum
];

tests_of_both![
    s053_time_to_live,
    s054_time_to_live_1,
    s055_time_to_live_2,
    s067_dr_changes_only_ttl_and_checksum,
    s069_nat_maps_ports,
    s070_nat_keeps_the_rest_of_a_reply,
    s074_dr_takes_the_port_of_the_service,
    s079_nat_to_the_loopback_address,
    nat_keeps_data_and_options,
    what_fits_into_a_narrow_way,
    nobody_is_told_about_an_error,
];

/// The tunnels of this version.
pub(super) const TUNNELS: [&str; 6] = [
    "-i",
    "-i --tun-type gue --tun-port 6080 --tun-nocsum",
    "-i --tun-type gue --tun-port 6080 --tun-csum",
    "-i --tun-type gue --tun-port 6080 --tun-remcsum",
    "-i --tun-type gre --tun-nocsum",
    "-i --tun-type gre --tun-csum",
];

/// A segment of the client with that header.
pub(super) fn tcp_with(flow: &Flow, ip: &Head, flags: u8, data_len: usize) -> Vec<u8> {
    let data = (0..data_len).map(|at| at.to_le_bytes()[0]).collect();
    flow.frame(ip, Payload::Tcp(Tcp { data, ..flow.segment(flags) }))
}

/// A segment of the client in a packet of that many bytes.
pub(super) fn tcp_of(flow: &Flow, ip: &Head, flags: u8, len: usize) -> Vec<u8> {
    tcp_with(flow, ip, flags, len - flow.family().header_len() - tcp::LEN)
}

/// Runs `check` with services that forward to one server by each of the methods, which may be tunnels to servers of the
/// other family.
pub(super) fn each(
    scene: &mut Scene<'_>,
    server: u8,
    methods: &[&str],
    check: impl Fn(&mut Scene<'_>, &Flow, &str) -> Result<()>,
) -> Result<()> {
    for family in [scene.family, scene.family.other()] {
        scene.servers = family;
        let methods = methods.iter().filter(|method| family == scene.family || method.starts_with("-i"));
        let first: u16 = if family == scene.family { 100 } else { 200 };
        let methods: Vec<_> = (first..).zip(methods).collect();
        let service = |(port, method): &(u16, &&str)| {
            format!("-A -t VIP:{port} -s rr\n-a -t VIP:{port} -r RS{server} {method}\n")
        };
        scene.rules(&methods.iter().map(service).collect::<String>())?;
        for (port, method) in methods {
            let flow = scene.flow(port);
            check(scene, &flow, method).with_context(|| format!("method {method}, server {family:?}"))?;
        }
    }
    scene.servers = scene.family;
    Ok(())
}

/// All methods.
fn each_method(
    scene: &mut Scene<'_>,
    check: impl Fn(&mut Scene<'_>, &Flow, &str) -> Result<()>,
) -> Result<()> {
    each(scene, 4, &[&["-m", "-g"][..], &TUNNELS].concat(), check)
}

fn s053_time_to_live(scene: &mut Scene<'_>) -> Result<()> {
    each_method(scene, |scene, flow, _| {
        let seen = scene.client(flow.syn())?;
        let out = frames::packet(only(&seen, 4)?);
        let both = [out, frames::innermost(out)].map(frames::ttl);
        ensure!(both == [Some(63); 2], "{seen:?}");
        Ok(())
    })
}

/// And §13.3 77.
fn s054_time_to_live_1(scene: &mut Scene<'_>) -> Result<()> {
    each_method(scene, |scene, flow, method| {
        // Errors to one client are few.
        let flow = flow.with_client(if method.len() > 2 { 3 + flow.vport.to_le_bytes()[0] % 10 } else { 2 });
        let syn = tcp_with(&flow, &Head { ttl: 1, ..flow.ip() }, tcp::SYN, 0);
        let seen = scene.client(syn.clone())?;
        let (kind, _, quoted) = frames::error(frames::packet(only_to_client(&seen)?)).context("no error")?;
        let expected = Trouble::Time.message(scene.family).0;
        ensure!(kind == expected && quoted == frames::packet(&syn), "{seen:?}");
        Ok(())
    })?;
    let conns = scene.conns(14)?;
    ensure!(conns.iter().all(|conn| conn.state == "SYN_RECV"), "{conns:?}");
    let bytes = if scene.family == Family::V4 { 40 } else { 60 };
    let wanted = vec![vec![1, 1, 0, bytes, 0]; 28];
    scene.numbers_differ("-Ln --stats", &wanted, &OWN_ERRORS_NOT_COUNTED)
}

fn s055_time_to_live_2(scene: &mut Scene<'_>) -> Result<()> {
    each_method(scene, |scene, flow, _| {
        let seen = scene.client(tcp_with(flow, &Head { ttl: 2, ..flow.ip() }, tcp::SYN, 0))?;
        ensure!(frames::ttl(frames::innermost(frames::packet(only(&seen, 4)?))) == Some(1), "{seen:?}");
        Ok(())
    })
}

/// The client is told that the way has that MTU, by the packet as it would have left.
pub(super) fn too_big(scene: &mut Scene<'_>, sent: Vec<u8>, mtu: u16) -> Result<()> {
    let seen = scene.client(sent.clone())?;
    let (kind, word, quoted) = frames::error(frames::packet(only_to_client(&seen)?)).context("no error")?;
    ensure!((kind, word) == Trouble::TooBig(mtu).message(scene.family), "{kind:?} {word}: {seen:?}");
    let ttl = frames::ttl(frames::packet(&sent)).map(|ttl| ttl - 1);
    ensure!(frames::ttl(quoted) == ttl, "{seen:?}");
    Ok(())
}

/// A route's own MTU (ipvs.md §3.2), for all methods.
fn what_fits_into_a_narrow_way(scene: &mut Scene<'_>) -> Result<()> {
    each(scene, 17, &["-m", "-g", "-i"], |scene, flow, method| {
        let outer = if method == "-i" { scene.servers.header_len() } else { 0 };
        let usable = usize::from(NARROW_MTU) - outer;
        let seen = scene.client(tcp_of(flow, &flow.ip(), tcp::SYN, usable))?;
        let out = frames::packet(only(&seen, 17)?);
        ensure!(out.len() == usize::from(NARROW_MTU), "{} bytes", out.len());
        too_big(scene, tcp_of(flow, &flow.ip(), tcp::ACK, usable + 1), u16::try_from(usable)?)
    })
}

/// In fragments of the outer packet, which may be fragmented: sizes around what just fits.
fn in_outer_fragments(scene: &mut Scene<'_>, flow: &Flow, ip: &Head) -> Result<()> {
    for len in [1430, 1440, 1448, 1456, 1460, 1468, 1473, 1480, 1481, 1499, 1500] {
        let seen = scene.client(tcp_of(flow, ip, tcp::ACK, len))?;
        let count = seen.to_servers.len();
        let is_right = match len {
            1430 | 1440 => count == 1,
            1481.. => count == 2,
            _ => count == 1 || count == 2,
        };
        ensure!(is_right && seen.to_clients.is_empty(), "{len}: {seen:?}");
        let may_be = |frame: &Vec<u8>| !frames::dont_fragment(frames::packet(frame));
        ensure!(scene.servers == Family::V6 || seen.to_servers.iter().all(may_be), "{len}: {seen:?}");
    }
    Ok(())
}

fn s061_pmtu_disc_0(scene: &mut Scene<'_>) -> Result<()> {
    each(scene, 4, &TUNNELS, |scene, flow, _| {
        scene.client(flow.syn())?;
        scene.with(Setting::PmtuDisc, 0, |scene| in_outer_fragments(scene, flow, &flow.ip()))
    })
}

fn s062_what_may_be_fragmented(scene: &mut Scene<'_>) -> Result<()> {
    each(scene, 4, &TUNNELS, |scene, flow, _| {
        let ip = Head { dont_fragment: false, ..flow.ip() };
        scene.client(tcp_with(flow, &ip, tcp::SYN, 0))?;
        in_outer_fragments(scene, flow, &ip)
    })
}

/// By all methods, on a way that is narrow by its route.
fn what_may_be_fragmented_on_a_narrow_way(scene: &mut Scene<'_>) -> Result<()> {
    each(scene, 17, &["-m", "-g", "-i"], |scene, flow, method| {
        let ip = Head { dont_fragment: false, ..flow.ip() };
        scene.client(tcp_with(flow, &ip, tcp::SYN, 0))?;
        let outer = if method == "-i" { scene.servers.header_len() } else { 0 };
        for len in [1400, 1401, 1408, 1499, 1500].map(|len| len - outer) {
            let seen = scene.client(tcp_of(flow, &ip, tcp::ACK, len))?;
            let count = if len + outer == 1400 { 1 } else { 2 };
            ensure!(seen.to_servers.len() == count && seen.to_clients.is_empty(), "{len}: {seen:?}");
        }
        Ok(())
    })
}

/// Nor where the time to live of an error is used up, or it is too big for its way (ipvs.md §2.8).
fn nobody_is_told_about_an_error(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s rr\n-a -t VIP:80 -r RS17 -m")?;
    let flow = scene.flow(80);
    scene.client(flow.syn())?;
    let got = Payload::Tcp(Tcp { data: vec![7; 1350], ..Tcp::new(80, flow.cport, tcp::ACK) });
    let about = Trouble::Port.about(&Head::new(flow.vip, flow.cip).packet(&got));
    let long = flow.frame(&flow.ip(), about);
    let seen = match scene.family {
        Family::V4 => scene.client_differs(long, &NOT_FRAGMENTED)?,
        Family::V6 => scene.client(long)?,
    };
    ensure!(seen.to_clients.is_empty(), "{seen:?}");
    let about = Trouble::Port
        .about(&Head::new(flow.vip, flow.cip).packet(&Payload::Tcp(Tcp::new(80, flow.cport, 0))));
    let seen = scene.client(flow.frame(&Head { ttl: 1, ..flow.ip() }, about))?;
    nothing(&seen)
}

fn s067_dr_changes_only_ttl_and_checksum(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-g")?;
    let syn = scene.flow(80).syn();
    let seen = scene.client(syn.clone())?;
    let out = frames::packet(only(&seen, 4)?);
    let sent = frames::packet(&syn);
    let changed: Vec<usize> = (0..sent.len()).filter(|&at| out.get(at) != sent.get(at)).collect();
    let may: &[usize] = if scene.family == Family::V4 { &[8, 10, 11] } else { &[7] };
    let within = changed.iter().all(|at| may.contains(at));
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
    scene.rules("-A -t VIP:80 -s rr\n-a -t VIP:80 -r RS4:8080 -m")?;
    let flow = scene.flow(80);
    let seen = scene.client(flow.syn())?;
    let out = frames::packet(only(&seen, 4)?);
    ensure!(frames::ports(out) == Some((flow.cport, 8080)), "{seen:?}");
    ensure!(frames::addresses(out) == Some((flow.cip, scene.family.server(4))), "{seen:?}");
    let seen = scene.server(flow.at(4, 8080).tcp(SYN_ACK))?;
    let out = frames::packet(only_to_client(&seen)?);
    ensure!(frames::ports(out) == Some((80, flow.cport)), "{seen:?}");
    ensure!(frames::addresses(out) == Some((flow.vip, flow.cip)), "{seen:?}");
    Ok(())
}

fn s070_nat_keeps_the_rest_of_a_reply(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let flow = scene.flow(80);
    scene.client(flow.syn())?;
    let reply = flow.at(4, 80);
    for dont_fragment in [true, false] {
        let ip = Head { dont_fragment, id: 0xbeef, tos: 0x48, ..reply.ip() };
        let segment = Payload::Tcp(Tcp::new(80, flow.cport, tcp::ACK));
        let sent = reply.frame(&ip, segment);
        let seen = scene.server(sent.clone())?;
        let out = frames::packet(only_to_client(&seen)?);
        let kept = if scene.family == Family::V4 { 8 } else { 7 };
        ensure!(out.get(..kept) == frames::packet(&sent).get(..kept), "{seen:?}");
        ensure!(frames::ttl(out) == Some(63), "{seen:?}");
    }
    let late = reply.frame(&Head { ttl: 1, ..reply.ip() }, Payload::Tcp(Tcp::new(80, flow.cport, tcp::ACK)));
    let seen = scene.server(late)?;
    ensure!(seen.to_clients.is_empty() && seen.to_servers.len() == 1, "{seen:?}");
    Ok(())
}

fn s074_dr_takes_the_port_of_the_service(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s rr\n-a -t VIP:80 -r RS4:8080 -g\n-a -t VIP:80 -r RS3:8080 -i")?;
    let is_port_80 = |text: &str| text.matches(":80 ").count() == 3;
    scene.listing("-Ln", is_port_80).map(drop)
}

/// §3.1: no packet from outside gets to the director's own loopback address.
fn s079_nat_to_the_loopback_address(scene: &mut Scene<'_>) -> Result<()> {
    let loopback = if scene.family == Family::V4 { "127.0.0.1" } else { "::1" };
    scene.rules(&format!("-A -t VIP:80 -s rr\n-a -t VIP:80 -r {loopback} -m"))?;
    let flow = scene.flow(80);
    let seen = scene.client(flow.syn())?;
    nothing(&seen)
}

/// §3.3, last line, and the incremental checksum over odd lengths.
fn nat_keeps_data_and_options(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    scene.cluster("-u VIP:53 -s rr", "-m")?;
    let flow = scene.flow(80);
    scene.client(flow.syn())?;
    let reply = flow.at(4, 80);
    let most = 1500 - scene.family.header_len() - tcp::LEN;
    for len in [0, 1, 2, 3, 7, 536, most - 1, most] {
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
        let seen = scene.server(flow.at(4, 53).udp(&data))?;
        only_to_client(&seen)?;
    }
    let no_reply = scene.server(flow.at(4, 81).tcp(tcp::ACK))?;
    ensure!(no_reply.to_clients.len() == 1, "what is no reply is forwarded as it is: {no_reply:?}");
    nothing(&scene.clients(&[])?)
}
