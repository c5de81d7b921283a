//! Long transfers by curl, whose content is compared.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use rvs_testkit::{Family, Host, Replies, content};

use crate::method::Attach;
use crate::turn::await_turn;
use crate::world::{FAMILIES, Way, World};

/// 100 MiB.
const LEN: u64 = 100 << 20;
/// The first virtual port.
const PORT: u16 = 8000;

/// Longest time of a transfer.
const SECONDS_MAX: u32 = 60;

/// curl, with what all transfers have in common.
fn curl(service: SocketAddr, len: u64) -> Command {
    let mut command = Command::new("curl");
    // A server that is waited for is given no time for its opinion of the request.
    command.args(["--silent", "--show-error", "--fail", "--header", "Expect:"]);
    command.arg(format!("http://{service}/content/{len}")).stderr(Stdio::piped());
    command
}

/// What is done when a quarter of a transfer has passed. The rest of a long one is more than sockets hold.
pub(crate) type Midway<'a> = &'a (dyn Fn() + Sync);

/// A stream that has something done once so many bytes have passed.
struct Watched<'a, S> {
    stream: S,
    left: u64,
    act: Option<Midway<'a>>,
}

impl<'a, S> Watched<'a, S> {
    fn midway(stream: S, len: u64, act: Midway<'a>) -> Self {
        Self { stream, left: len / 4, act: Some(act) }
    }

    fn passed(&mut self, len: usize) {
        self.left = self.left.saturating_sub(len as u64);
        if let Some(act) = self.act.take_if(|_| self.left == 0) {
            act();
        }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.stream.read(buffer)?;
        self.passed(len);
        Ok(len)
    }
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.stream.write(bytes)?;
        self.passed(len);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Has the server send so many bytes to the client.
pub(crate) fn download(client: &Host, service: SocketAddr, len: u64) {
    download_with(client, service, len, &|| ());
}

/// The same, and has something done in the middle of it.
pub(crate) fn download_with(client: &Host, service: SocketAddr, len: u64, midway: Midway<'_>) {
    let mut command = curl(service, len);
    command.args(["--max-time", &SECONDS_MAX.to_string()]);
    let mut child = client.spawn(command.stdout(Stdio::piped())).unwrap();
    let same = content::is_same(Watched::midway(child.stdout.take().unwrap(), len, midway), len);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && same.as_ref().is_ok_and(|same| *same),
        "from {service}: {same:?} {said}"
    );
}

/// Has the client send so many bytes to the server, which compares them.
pub(crate) fn upload(client: &Host, service: SocketAddr, len: u64) {
    upload_with(client, service, len, &|| ());
}

/// The same, and has something done in the middle of it.
pub(crate) fn upload_with(client: &Host, service: SocketAddr, len: u64, midway: Midway<'_>) {
    try_upload_with(client, service, len, SECONDS_MAX, midway)
        .unwrap_or_else(|said| panic!("to {service}: {said}"));
}

/// The same within so many seconds; the error is what curl said.
pub(crate) fn try_upload(client: &Host, service: SocketAddr, len: u64, seconds: u32) -> Result<(), String> {
    try_upload_with(client, service, len, seconds, &|| ())
}

fn try_upload_with(
    client: &Host,
    service: SocketAddr,
    len: u64,
    seconds: u32,
    midway: Midway<'_>,
) -> Result<(), String> {
    let mut command = curl(service, len);
    command.args(["--max-time", &seconds.to_string()]);
    command.args(["--upload-file", "-", "--header", "Transfer-Encoding:"]);
    command.args(["--header", &format!("Content-Length: {len}")]);
    let mut child = client.spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped())).unwrap();
    let mut input = Watched::midway(child.stdin.take().unwrap(), len, midway);
    let output = thread::scope(|scope| {
        // If it ends early, it says why.
        scope.spawn(move || content::write(&mut input, len).ok());
        child.wait_with_output().unwrap()
    });
    let (said, answer) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    if output.status.success() && answer.starts_with("s1 ") {
        return Ok(());
    }
    Err(format!("{} {said}{answer}", output.status))
}

/// Transfers by NAT, both ways.
fn through_director(attach: Attach) {
    let _turn = await_turn();
    let mut world = World::new(Replies::ThroughDirector, attach);
    for family in FAMILIES {
        let service = world.serve(family, if family == Family::V4 { PORT } else { PORT + 1 }, Way::NAT);
        timed(&format!("up by NAT, {family:?}"), || upload(world.client(), service, LEN));
        timed(&format!("down by NAT, {family:?}"), || download(world.client(), service, LEN));
    }
}

/// Transfers by full NAT, both ways, to a server without a route through the director.
fn full_nat(attach: Attach, way: Way) {
    let _turn = await_turn();
    let mut world = World::new(Replies::PastDirector, attach);
    for family in FAMILIES {
        let service = world.serve(family, if family == Family::V4 { PORT } else { PORT + 1 }, way);
        timed(&format!("up by {way:?}, {family:?}"), || upload(world.client(), service, LEN));
        timed(&format!("down by {way:?}, {family:?}"), || download(world.client(), service, LEN));
    }
}

/// Transfers by methods where the director sees what clients send, and nothing else.
fn past_director(attach: Attach) {
    let _turn = await_turn();
    let mut world = World::new(Replies::PastDirector, attach);
    let ways = FAMILIES.into_iter().flat_map(|family| Way::PAST.map(|way| (family, way)));
    for ((family, way), port) in ways.zip(PORT..) {
        let service = world.serve(family, port, way);
        let unsummed = world.daemon.noted("tunnel_unsummed");
        timed(&format!("up by {way:?}, {family:?}"), || upload(world.client(), service, LEN));
        timed(&format!("down by {way:?}, {family:?}"), || download(world.client(), service, LEN));
        let is_summed = way.options.ends_with("--tun-csum");
        let bundles_went_without = is_summed && attach == Attach::Tc;
        let unsummed = world.daemon.noted("tunnel_unsummed") - unsummed;
        assert_eq!(unsummed > 0, bundles_went_without, "{way:?}: {unsummed}");
    }
}

fn timed(what: &str, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    println!("{what}: {:.2} s", start.elapsed().as_secs_f64());
}

#[test]
fn through_director_under_tc() {
    through_director(Attach::Tc);
}

#[test]
fn through_director_under_xdp() {
    through_director(Attach::Xdp);
}

#[test]
fn full_nat_under_tc() {
    full_nat(Attach::Tc, Way::FULL_NAT);
}

#[test]
fn full_nat_under_xdp() {
    full_nat(Attach::Xdp, Way::FULL_NAT);
}

#[test]
fn translated_under_tc() {
    full_nat(Attach::Tc, Way::TRANSLATED);
}

#[test]
fn translated_under_xdp() {
    full_nat(Attach::Xdp, Way::TRANSLATED);
}

#[test]
fn past_director_under_tc() {
    past_director(Attach::Tc);
}

#[test]
fn past_director_under_xdp() {
    past_director(Attach::Xdp);
}
