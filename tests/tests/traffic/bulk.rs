//! Programs of others: curl, and iperf3 with as much as it can send.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use rvs_testkit::wait_until;
use serde_json::Value;

use crate::method::{Attach, Method};
use crate::stage::{LIMIT, Stage};
use crate::turn::await_turn;
use crate::world::{Process, output};

/// iperf3's own port.
const PORT: u16 = 5201;
/// Bytes sent each way.
const BYTES: u64 = 100_000_000;
/// What even a busy machine reaches. Segments that are lost one after another would make it a thousand times slower.
const BITS_PER_SECOND_MIN: f64 = 50e6;

/// Twelve requests by curl, each over a connection of its own, and who answered them.
fn curl(stage: &Stage) -> [usize; 3] {
    let url = format!("http://{}/[1-12]", stage.service());
    let args =
        ["--silent", "--show-error", "--fail", "--max-time", "10", "--header", "Connection: close", &url];
    let bodies = output(stage.cluster.client(), "curl", &args);
    ["s1 ", "s2 ", "s3 "].map(|name| bodies.lines().filter(|line| line.starts_with(name)).count())
}

/// A server behind another port of the virtual address, on `s1`.
fn start_iperf3(stage: &Stage) -> Process {
    let server = &stage.cluster.servers()[0];
    let mut command = Command::new("iperf3");
    command.args(["--server", "--port", &PORT.to_string()]).stdin(Stdio::null());
    let process = Process::start(server, command.stdout(Stdio::null()).stderr(Stdio::null()));
    let address = SocketAddr::from((server.address(), PORT));
    let connects = || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
    wait_until("iperf3 listens", LIMIT, || server.netns().enter(connects).unwrap()).unwrap();
    let (vip, option) = (stage.cluster.vip(), stage.method.option());
    stage.ipvsadm(&format!("-A -t {vip}:{PORT} -s rr"));
    stage.ipvsadm(&format!("-a -t {vip}:{PORT} -r {address} {option}"));
    process
}

/// Sends, and checks what arrived.
fn iperf3(stage: &Stage, more: &[&str]) {
    let (vip, bytes) = (stage.cluster.vip().to_string(), BYTES.to_string());
    let args = [&["--client", &vip, "--bytes", &bytes, "--json"], more].concat();
    let report: Value = serde_json::from_str(&output(stage.cluster.client(), "iperf3", &args)).unwrap();
    let received = &report["end"]["sum_received"];
    let (bytes, speed) = (received["bytes"].as_u64().unwrap(), received["bits_per_second"].as_f64().unwrap());
    // It stops counting when the last byte is in the sender's buffer.
    assert!(bytes >= BYTES / 2, "{args:?}: {received}");
    assert!(speed > BITS_PER_SECOND_MIN, "{args:?}: {received}");
    println!("{:?}, {args:?}: {:.2} Gbit/s", stage.method, speed / 1e9);
}

fn real_programs(method: Method, attach: Attach) {
    let _turn = await_turn();
    let stage = Stage::new(method, attach);
    assert_eq!(curl(&stage), [6, 4, 2]);
    let _server = start_iperf3(&stage);
    iperf3(&stage, &[]);
    iperf3(&stage, &["--reverse"]);
}

#[test]
fn nat_under_tc() {
    real_programs(Method::Nat, Attach::Tc);
}

#[test]
fn nat_under_xdp() {
    real_programs(Method::Nat, Attach::Xdp);
}

#[test]
fn dr_under_tc() {
    real_programs(Method::Dr, Attach::Tc);
}

#[test]
fn dr_under_xdp() {
    real_programs(Method::Dr, Attach::Xdp);
}

#[test]
fn tun_under_tc() {
    real_programs(Method::Tun, Attach::Tc);
}

#[test]
fn tun_under_xdp() {
    real_programs(Method::Tun, Attach::Xdp);
}
