//! iperf3 by each method and in both families: streams with as much as it can send, and datagrams.

use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rvs_testkit::{Family, wait_until};
use serde_json::Value;

use crate::method::Attach;
use crate::mib::counted;
use crate::stage::LIMIT;
use crate::turn::await_turn;
use crate::world::{FAMILIES, Process, Way, World, output};

/// iperf3's own port, and that of the services.
const PORT: u16 = 5201;
/// Bytes of a stream, and of a segment of it at most.
const BYTES: u64 = 100_000_000;
const SEGMENT_MAX: u64 = 1460;
/// What even a busy machine reaches. Segments that are lost one after another would make it a thousand times slower.
const BITS_PER_SECOND_MIN: f64 = 50e6;
/// Of so many segments at most one is sent again.
const SENT_AGAIN: u64 = 20;
/// Datagrams: so many bytes, each of so many, at a speed that a busy machine keeps up with.
const DATAGRAMS: [&str; 7] = ["--udp", "--bytes", "2000000", "--length", "1000", "--bitrate", "20M"];
/// Of so many datagrams at most one is lost.
const DATAGRAMS_LOST: u64 = 100;

/// iperf3 on the server, where it is reached by that way, when it listens.
fn start(world: &World, family: Family, way: Way) -> Process {
    // Bound to the address that it is to answer from: of a socket for all, the kernel would choose another for datagrams.
    let own = world.listening(family, way, PORT);
    let mut command = Command::new("iperf3");
    command.args(["--server", "--bind", &own.ip().to_string(), "--port", &own.port().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process::start(world.server(), &mut command);
    let listens = || TcpStream::connect_timeout(&own, Duration::from_secs(1)).is_ok();
    wait_until("iperf3 listens", LIMIT, || world.server().netns().enter(listens).unwrap()).unwrap();
    process
}

/// Runs iperf3's client to the end; its account.
fn run(world: &World, service: SocketAddr, more: &[&str]) -> Value {
    let (address, port) = (service.ip().to_string(), service.port().to_string());
    let args = [&["--client", &address, "--port", &port, "--json"], more].concat();
    let report: Value = serde_json::from_str(&output(world.client(), "iperf3", &args)).unwrap();
    report["end"].clone()
}

/// A stream each way: all of it arrives, and fast.
fn stream(world: &World, service: SocketAddr) {
    for reverse in [&[][..], &["--reverse"]] {
        let end = run(world, service, &[&["--bytes", &BYTES.to_string()], reverse].concat());
        let (received, sent) = (&end["sum_received"], &end["sum_sent"]);
        let [arrived, left] = [received, sent].map(|sum| sum["bytes"].as_u64().unwrap());
        let speed = received["bits_per_second"].as_f64().unwrap();
        // It stops counting when the last byte is in the sender's buffer.
        assert!(left >= BYTES && arrived >= BYTES / 2, "{service} {reverse:?}: {end}");
        assert!(speed > BITS_PER_SECOND_MIN, "{service} {reverse:?}: {end}");
        let again = sent["retransmits"].as_u64().unwrap();
        assert!(again < left / SEGMENT_MAX / SENT_AGAIN, "{service} {reverse:?}: {end}");
        println!("{service} {reverse:?}: {:.2} Gbit/s, {again} segments again", speed / 1e9);
    }
}

fn streams(way: Way) {
    let _turn = await_turn();
    for attach in [Attach::Tc, Attach::Xdp] {
        let world = World::new(way.replies(), attach);
        for family in FAMILIES {
            let _server = start(&world, family, way);
            println!("{way:?}, {attach:?}");
            stream(&world, world.add("-t", family, PORT, way));
        }
    }
}

/// Datagrams each way, of which hardly one is lost on its way. A busy machine lets the receiver wait at times, so that
/// its socket overflows: that is no loss on the way.
fn datagrams(way: Way) {
    let _turn = await_turn();
    for attach in [Attach::Tc, Attach::Xdp] {
        let world = World::new(way.replies(), attach);
        for family in FAMILIES {
            let _server = start(&world, family, way);
            let service = world.add("-t", family, PORT, way);
            world.add("-u", family, PORT, way);
            for (reverse, receiver) in [(&[][..], world.server()), (&["--reverse"], world.client())] {
                let overflowed = || counted(receiver, family, "Udp", "RcvbufErrors");
                let before = overflowed();
                let udp = run(&world, service, &[&DATAGRAMS, reverse].concat());
                let [lost, sent] = ["lost_packets", "packets"].map(|name| udp["sum"][name].as_u64().unwrap());
                let overflowed = overflowed() - before;
                println!(
                    "{service} {reverse:?}: of {sent} {lost} lost, {overflowed} of them at the receiver's socket"
                );
                let is_whole = lost.saturating_sub(overflowed) * DATAGRAMS_LOST < sent;
                assert!(sent > 1000 && is_whole, "{service} {reverse:?}: {overflowed} at the socket: {udp}");
            }
        }
    }
}

#[test]
fn streams_by_nat() {
    streams(Way::NAT);
}

#[test]
fn streams_by_full_nat() {
    streams(Way::FULL_NAT);
}

#[test]
fn streams_by_translation() {
    streams(Way::TRANSLATED);
}

#[test]
fn streams_by_dr() {
    streams(Way::DR);
}

#[test]
fn streams_by_ipip() {
    streams(Way::IPIP);
}

#[test]
fn streams_by_gre() {
    streams(Way::GRE);
}

#[test]
fn streams_by_gue() {
    streams(Way::GUE);
}

#[test]
fn datagrams_by_nat() {
    datagrams(Way::NAT);
}

#[test]
fn datagrams_by_full_nat() {
    datagrams(Way::FULL_NAT);
}

#[test]
fn datagrams_by_dr() {
    datagrams(Way::DR);
}

#[test]
fn datagrams_by_gre() {
    datagrams(Way::GRE);
}
