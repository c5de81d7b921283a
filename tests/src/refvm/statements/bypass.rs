//! §2.6 step 1, §3.7: packets that go past the real servers (`cache_bypass`).

use std::process::Command;

use anyhow::{Result, ensure};
use rvs_config::Setting;
use rvs_netlink::Netns;
use rvs_wire::builder::{Payload, Tcp, Udp};
use rvs_wire::tcp;

use crate::refvm::differences::{ERRORS_FROM_OTHERS_ADDRESSES, OWN_ADDRESSES_ARE_NOT_PASSED};
use crate::refvm::frames::{self, Family, Flow, Head, Trouble};
use crate::refvm::lab::Seen;
use crate::refvm::scene::{Conn, Scene, bracketed, chosen, nothing, only, only_to_client};
use crate::refvm::tests_of_both;

tests_of_both![
    without_a_destination_packets_go_on,
    replies_move_them_along,
    connections_stay_past_the_real_servers,
    past_the_real_servers_without_connections,
    errors_of_and_about_packets_that_go_on,
    not_past_the_real_servers,
];

/// Whom the packets are for: no real server of any service, and not the director.
const NUMBER: u8 = 6;
/// A routing table of these tests.
const TABLE: &str = "100";

/// A service by mark without destinations, and packets to a host that have it.
struct Marked {
    mark: u32,
    /// As `ipvsadm` has it.
    name: String,
    /// A connection to the host.
    flow: Flow,
}

/// Does something with such a service and the setting on.
fn with_service(
    scene: &mut Scene<'_>,
    options: &str,
    act: impl FnOnce(&mut Scene<'_>, &Marked) -> Result<()>,
) -> Result<()> {
    // All tests have this host; connections of those before live on, to other ports.
    let own = scene.flow(0).cport;
    let flow = Flow { vip: scene.family.server(NUMBER), ..scene.flow(own % 1000 + 8000) };
    let mark = 5000 + u32::from(flow.cport);
    let name = format!("-f {mark}{}", if scene.family == Family::V4 { "" } else { " -6" });
    scene.rules(&format!("-A {name} -s rr {options}"))?;
    scene.world.mark(flow.vip, mark)?;
    route(scene, "add", mark)?;
    let marked = Marked { mark, name, flow };
    let result = scene.with(Setting::CacheBypass, 1, |scene| act(scene, &marked));
    route(scene, "del", mark)?;
    scene.world.mark(flow.vip, 0)?;
    result
}

/// IPVS sees packets to other hosts only if they are routed to the director by their mark.
fn route(scene: &Scene<'_>, what: &str, mark: u32) -> Result<()> {
    let family = if scene.family == Family::V4 { "-4" } else { "-6" };
    let mark = mark.to_string();
    let rule = ["rule", what, "fwmark", &mark, "lookup", TABLE];
    let default = ["route", what, "local", "default", "dev", "lo", "table", TABLE];
    scene.world.directors(|director: &Netns| {
        for args in [&rule[..], &default] {
            let output = director.output(Command::new("ip").arg(family).args(args))?;
            ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    })
}

/// What came out is for whom the client sent it to, from the client.
fn goes_on(seen: &Seen, flow: &Flow) -> Result<()> {
    let out = frames::packet(only(seen, NUMBER)?);
    ensure!(frames::addresses(out) == Some((flow.cip, flow.vip)), "{seen:?}");
    Ok(())
}

/// The connections to that port, once there are so many.
fn conns(scene: &Scene<'_>, flow: &Flow, number: usize) -> Result<Vec<Conn>> {
    let to = format!("{}:{}", bracketed(flow.vip), flow.vport);
    scene.conns_to(&to, |conns| conns.len() == number)
}

/// A segment of the client's with a used up time to live.
fn late(flow: &Flow, flags: u8) -> Vec<u8> {
    flow.frame(&Head { ttl: 1, ..flow.ip() }, Payload::Tcp(flow.segment(flags)))
}

/// The client is told of its packet.
fn is_told(scene: &mut Scene<'_>, flow: &Flow, sent: Vec<u8>, trouble: Trouble) -> Result<()> {
    let told = flow.told(&trouble.about(frames::packet(&sent)));
    scene.client_is_told(sent, told, &ERRORS_FROM_OTHERS_ADDRESSES).map(drop)
}

fn without_a_destination_packets_go_on(scene: &mut Scene<'_>) -> Result<()> {
    with_service(scene, "", |scene, Marked { flow, name, .. }| {
        for frame in [flow.syn(), flow.ack(), flow.to_port(53).udp(b"question")] {
            goes_on(&scene.client(frame)?, flow)?;
        }
        for flow in [*flow, flow.to_port(53)] {
            let conns = conns(scene, &flow, 1)?;
            ensure!(conns.iter().all(|conn| conn.dest.ends_with(":0")), "{conns:?}");
        }
        // They are no destination's, and count for no service.
        scene.numbers(&format!("-Ln --stats {name}"), |numbers| numbers.iter().all(|number| *number == 0))?;
        for flags in [tcp::FIN | tcp::ACK, tcp::RST] {
            goes_on(&scene.client(flow.tcp(flags))?, flow)?;
            conns(scene, flow, 1)?;
        }
        // What the host says itself goes on as well.
        let reply = flow.at(NUMBER, flow.vport).tcp(tcp::ACK);
        only_to_client(&scene.server(reply)?).map(drop)
    })
}

/// Replies that come by the director are of these connections, whether a service has their source for a real server or not.
fn replies_move_them_along(scene: &mut Scene<'_>) -> Result<()> {
    with_service(scene, "", |scene, Marked { flow, name, .. }| {
        is_moved_along(scene, flow, NUMBER)?;
        scene.rules(&format!("-A -t VIP:81 -s rr\n-a -t VIP:81 -r RS{NUMBER}:81 -m"))?;
        is_moved_along(scene, &flow.with_client_port(flow.cport + 5000), NUMBER)?;
        // They are no destination's, and count for no service.
        scene.numbers("-Ln --stats", |numbers| numbers.iter().all(|number| *number == 0))?;
        // The same for a real server that answers as the host that it is one for.
        scene.rules(&format!("-a {name} -r RS4 -g"))?;
        is_moved_along(scene, &flow.with_client_port(flow.cport + 10000), 4)
    })
}

/// Segments of the host's, which came by the director, move a connection along.
fn is_moved_along(scene: &mut Scene<'_>, flow: &Flow, to: u8) -> Result<()> {
    only(&scene.client(flow.syn())?, to)?;
    let host = flow.at(NUMBER, flow.vport);
    only_to_client(&scene.server(host.tcp(tcp::SYN | tcp::ACK))?)?;
    only(&scene.client(flow.ack())?, to)?;
    for (flags, state) in [(tcp::ACK, "ESTABLISHED"), (tcp::FIN | tcp::ACK, "FIN_WAIT"), (tcp::RST, "CLOSE")]
    {
        only_to_client(&scene.server(host.tcp(flags))?)?;
        let client = format!("{}:{}", bracketed(flow.cip), flow.cport);
        let to = format!("{}:{}", bracketed(flow.vip), flow.vport);
        let is_there = |conn: &Conn| conn.client == client && conn.state == state;
        scene.conns_to(&to, |conns| conns.iter().any(is_there))?;
    }
    Ok(())
}

/// When there is a destination again, only new connections go to it; the others outlive the setting too.
fn connections_stay_past_the_real_servers(scene: &mut Scene<'_>) -> Result<()> {
    with_service(scene, "", |scene, Marked { flow, name, .. }| {
        goes_on(&scene.client(flow.syn())?, flow)?;
        scene.rules(&format!("-a {name} -r RS4:99 -m"))?;
        goes_on(&scene.client(flow.ack())?, flow)?;
        only(&scene.client(flow.with_client_port(flow.cport + 5000).syn())?, 4)?;
        scene.world.set(Setting::CacheBypass.name(), 0)?;
        goes_on(&scene.client(flow.ack())?, flow)?;
        scene.world.set(Setting::ExpireNodestConn.name(), 1)?;
        let seen = scene.client(flow.ack())?;
        scene.world.set(Setting::ExpireNodestConn.name(), 0)?;
        goes_on(&seen, flow)?;
        // One that is over begins anew, with a destination.
        goes_on(&scene.client(flow.rst())?, flow)?;
        only(&scene.client(flow.syn())?, 4).map(drop)
    })
}

fn past_the_real_servers_without_connections(scene: &mut Scene<'_>) -> Result<()> {
    with_service(scene, "-o", |scene, Marked { flow, .. }| {
        let flow = flow.to_port(54);
        goes_on(&scene.client(flow.udp(b"question"))?, &flow)?;
        let payload = Payload::Udp(Udp::new(flow.cport, flow.vport, &[7; 3000]));
        let seen = scene.clients(&flow.in_frames(&flow.ip().fragments(&payload, 1200, 0x321)))?;
        ensure!(
            !seen.to_servers.is_empty() && chosen(&seen).iter().all(|number| *number == NUMBER),
            "{seen:?}"
        );
        conns(scene, &flow, 0).map(drop)
    })
}

fn errors_of_and_about_packets_that_go_on(scene: &mut Scene<'_>) -> Result<()> {
    with_service(scene, "", |scene, Marked { flow, .. }| {
        is_told(scene, flow, late(flow, tcp::SYN), Trouble::Time)?;
        // It was made all the same (§2.2).
        conns(scene, flow, 1)?;
        goes_on(&scene.client(flow.ack())?, flow)?;
        let answer = Payload::Tcp(Tcp::new(flow.vport, flow.cport, tcp::ACK));
        goes_on(&scene.client(flow.error(Trouble::TooBig(1300), &answer))?, flow)?;
        // Of no connection, and it begins none.
        let other = flow.with_client_port(flow.cport + 5000);
        let answer = Payload::Tcp(Tcp::new(other.vport, other.cport, tcp::ACK));
        scene.with(Setting::ScheduleIcmp, 1, |scene| {
            nothing(&scene.client(other.error(Trouble::Port, &answer))?)
        })
    })
}

/// Without the setting, for services by address, and for the director's own address.
fn not_past_the_real_servers(scene: &mut Scene<'_>) -> Result<()> {
    with_service(scene, "", |scene, Marked { mark, flow, .. }| {
        scene.rules("-A -t VIP:81 -s rr")?;
        only_to_client(&scene.client(scene.flow(81).syn())?)?;
        scene.world.set(Setting::CacheBypass.name(), 0)?;
        is_told(scene, flow, flow.syn(), Trouble::Port)?;
        scene.world.set(Setting::CacheBypass.name(), 1)?;
        let own = scene.flow(8080);
        scene.world.mark(own.vip, *mark)?;
        if scene.family == Family::V6 {
            let told = own.told(&Trouble::Port.about(frames::packet(&own.syn())));
            return scene.client_is_told(own.syn(), told, &OWN_ADDRESSES_ARE_NOT_PASSED).map(drop);
        }
        only_to_client(&scene.client(own.syn())?).map(drop)
    })
}
