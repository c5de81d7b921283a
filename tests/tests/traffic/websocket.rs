//! Connections that live long: WebSockets, with a real server (websocketd) and a real client (of python3-websockets).

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rvs_testkit::wait_until;

use crate::method::Attach;
use crate::stage::LIMIT;
use crate::world::{FAMILIES, Process, Way, World};

/// The first virtual port.
const PORT: u16 = 8000;
/// What the server does for a connection: sends each message back, and one of its own unasked.
const ECHO: &str = r#"while read -r line; do echo "$line"; echo "pushed $line"; done"#;
/// Messages each way, and by how much each is longer than the one before: the length of a frame is written in two ways
/// (RFC 6455 §5.2).
const MESSAGES: usize = 100;
const LONGER: usize = 5;

/// The server, when it listens.
fn start(world: &World, port: u16) -> Process {
    let mut command = Command::new("websocketd");
    command.args([&format!("--port={port}"), "sh", "-c", ECHO]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process::start(world.server(), &mut command);
    let at = SocketAddr::new(world.server().address().into(), port);
    let listens = || TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok();
    wait_until("websocketd listens", LIMIT, || world.server().netns().enter(listens).unwrap()).unwrap();
    process
}

/// A client who sends the lines of its input. Ends with the test.
struct Client {
    input: ChildStdin,
    shown: Receiver<String>,
    _process: Process,
}

impl Client {
    fn connect(world: &World, service: SocketAddr) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-m", "websockets", &format!("ws://{service}/")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(world.client(), &mut command);
        let (input, output) = process.pipes();
        let (tell, shown) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).lines();
            lines.map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        Self { input, shown, _process: process }
    }

    /// The next line that holds this, from there on.
    fn await_line(&self, about: &str) -> String {
        loop {
            let line = self.shown.recv_timeout(LIMIT).unwrap_or_else(|e| panic!("{about:?}: {e}"));
            if let Some(at) = line.find(about) {
                return line[at..].to_owned();
            }
        }
    }

    /// Sends a message; the server's two come back.
    fn exchange(&mut self, message: &str) {
        writeln!(self.input, "{message}").unwrap();
        assert_eq!(self.await_line("< "), format!("< {message}"));
        assert_eq!(self.await_line("< "), format!("< pushed {message}"));
    }

    /// Closes the connection, as both ends agree.
    fn close(self) {
        drop(self.input);
        let closed = |line: &String| line.contains("Connection closed");
        let mut lines = std::iter::from_fn(|| self.shown.recv_timeout(LIMIT).ok());
        let last = lines.find(closed).unwrap();
        assert!(last.ends_with("Connection closed: 1000 (OK)."), "{last}");
    }
}

/// One connection from first to last, while the director is killed and started again.
fn long_conversation(way: Way, attach: Attach) {
    let mut world = World::new(way.replies(), attach);
    for (family, port) in FAMILIES.into_iter().zip(PORT..) {
        let _server = start(&world, way.server_port(port));
        let mut client = Client::connect(&world, world.add("-t", family, port, way));
        client.await_line("Connected to ");
        for number in 0..MESSAGES {
            if number == MESSAGES / 2 {
                world.daemon.kill();
            }
            client.exchange(&format!("{}{number}", "x".repeat(LONGER * number)));
        }
        world.daemon.restart();
        client.exchange("the last");
        client.close();
    }
}

#[test]
fn long_conversation_through_nat() {
    long_conversation(Way::NAT, Attach::Tc);
}

#[test]
fn long_conversation_through_full_nat() {
    long_conversation(Way::FULL_NAT, Attach::Xdp);
}

#[test]
fn long_conversation_through_dr() {
    long_conversation(Way::DR, Attach::Tc);
}

#[test]
fn long_conversation_through_a_tunnel() {
    long_conversation(Way::GUE, Attach::Xdp);
}
