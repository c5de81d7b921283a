//! DNS over UDP: a real name server (dnsmasq) and a real client (dig), and an answer that comes in fragments.

use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rvs_testkit::{Family, wait_until};

use crate::method::Attach;
use crate::mib::counted;
use crate::stage::LIMIT;
use crate::world::{FAMILIES, Process, Way, World, output};

/// The virtual port.
const PORT: u16 = 53;
const NAME: &str = "large.test";
/// The text at that name: so many strings, each of so many bytes. All of them take three fragments.
const STRINGS: u8 = 15;
const STRING: usize = 250;
/// What an answer may be long, as the server and the client agree (EDNS).
const ANSWER_MAX: &str = "4096";
/// Questions by each client.
const QUESTIONS: usize = 3;

fn strings() -> Vec<String> {
    (0..STRINGS).map(|number| char::from(b'a' + number).to_string().repeat(STRING)).collect()
}

/// A name server, when it listens.
fn start(world: &World, at: SocketAddr) -> Process {
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="]);
    command.args(["--no-resolv", "--no-hosts", "--bind-interfaces"]);
    command.args([format!("--listen-address={}", at.ip()), format!("--port={}", at.port())]);
    command.arg(format!("--edns-packet-max={ANSWER_MAX}"));
    command.arg(format!("--txt-record={NAME},{}", strings().join(",")));
    let process = Process::start(world.server(), command.stdin(Stdio::null()).stderr(Stdio::null()));
    let listens = || TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok();
    wait_until("dnsmasq listens", LIMIT, || world.server().netns().enter(listens).unwrap()).unwrap();
    process
}

/// Datagrams that the client's kernel has made whole of fragments.
fn reassembled(world: &World, family: Family) -> u64 {
    counted(world.client(), family, "Ip", "ReasmOKs")
}

/// Asks over UDP and no other way; the answer is the whole text.
fn ask(world: &World, service: SocketAddr) {
    let (at, port) = (format!("@{}", service.ip()), service.port().to_string());
    let size = format!("+bufsize={ANSWER_MAX}");
    let args =
        ["-r", &at, "-p", &port, "+notcp", "+ignore", &size, "+tries=5", "+time=2", "+short", "TXT", NAME];
    let expected: Vec<_> = strings().iter().map(|string| format!("\"{string}\"")).collect();
    assert_eq!(output(world.client(), "dig", &args).trim_end(), expected.join(" "), "{service}");
}

fn large_answers(way: Way) {
    for attach in [Attach::Tc, Attach::Xdp] {
        let world = World::new(way.replies(), attach);
        for family in FAMILIES {
            let _names = start(&world, world.listening(family, way, PORT));
            let service = world.add("-u", family, PORT, way);
            let before = reassembled(&world, family);
            (0..QUESTIONS).for_each(|_| ask(&world, service));
            let whole = reassembled(&world, family) - before;
            assert!(whole >= QUESTIONS as u64, "{way:?}, {attach:?}, {family:?}: {whole}");
        }
    }
}

#[test]
fn large_answers_by_nat() {
    large_answers(Way::NAT);
}

#[test]
fn large_answers_by_full_nat() {
    large_answers(Way::FULL_NAT);
}

#[test]
fn large_answers_by_translation() {
    large_answers(Way::TRANSLATED);
}

#[test]
fn large_answers_by_dr() {
    large_answers(Way::DR);
}

#[test]
fn large_answers_by_ipip() {
    large_answers(Way::IPIP);
}

#[test]
fn large_answers_by_gre() {
    large_answers(Way::GRE);
}

#[test]
fn large_answers_by_gue() {
    large_answers(Way::GUE);
}
