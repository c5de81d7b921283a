//! iperf3 by each method and in both families: streams with as much as it can send, and datagrams.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rvs_testkit::{Family, wait_until};
use serde_json::Value;

use crate::method::Attach;
use crate::mib::{counted, is_listening};
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

/// A service and the server behind it.
struct Target<'a> {
    world: &'a World,
    family: Family,
    way: Way,
    service: SocketAddr,
}

impl Target<'_> {
    /// iperf3 on the server for one client, where it is reached by that way, when it listens. It listens anew after each
    /// client, and who comes just then is refused: so each client has one of its own.
    fn start(&self) -> Process {
        // Bound to the address that it is to answer from: of a socket for all, the kernel would choose another for datagrams.
        let own = self.world.listening(self.family, self.way, PORT);
        let mut command = Command::new("iperf3");
        command.args([
            "--server",
            "--one-off",
            "--bind",
            &own.ip().to_string(),
            "--port",
            &own.port().to_string(),
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::start(self.world.server(), &mut command);
        wait_until("iperf3 listens", LIMIT, || is_listening(self.world.server(), own.port())).unwrap();
        process
    }

    /// Runs iperf3's client to the end; its account.
    fn run(&self, more: &[&str]) -> Value {
        let _server = self.start();
        let (address, port) = (self.service.ip().to_string(), self.service.port().to_string());
        let args = [&["--client", &address, "--port", &port, "--json"], more].concat();
        let report: Value = serde_json::from_str(&output(self.world.client(), "iperf3", &args)).unwrap();
        // It ends as if all were well.
        assert!(report["error"].is_null(), "{} {more:?}: {report}", self.service);
        report["end"].clone()
    }
}

/// A stream each way: all of it arrives, and fast.
fn stream(target: &Target<'_>) {
    let service = target.service;
    for reverse in [&[][..], &["--reverse"]] {
        let end = target.run(&[&["--bytes", &BYTES.to_string()], reverse].concat());
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
            println!("{way:?}, {attach:?}");
            let service = world.add("-t", family, PORT, way);
            stream(&Target { world: &world, family, way, service });
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
            let service = world.add("-t", family, PORT, way);
            world.add("-u", family, PORT, way);
            let target = Target { world: &world, family, way, service };
            for (reverse, receiver) in [(&[][..], world.server()), (&["--reverse"], world.client())] {
                let overflowed = || counted(receiver, family, "Udp", "RcvbufErrors");
                let before = overflowed();
                let udp = target.run(&[&DATAGRAMS, reverse].concat());
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
