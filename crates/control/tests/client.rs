//! The client against a server, and against none.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rvs_config::{
    Command, CommandError, Protocol, Scheduler, SchedulerFlags, ServiceKey, Timeouts, VirtualService,
};
use rvs_control::api::{ConnQuery, Request};
use rvs_control::{Client, Error};
use support::{CONNS, Dir, Director};

fn add_service(number: u32) -> Command {
    let address = Ipv4Addr::from(0xC612_0000 + number).into();
    let key = ServiceKey { protocol: Protocol::Tcp, address, port: 80 };
    Command::AddService(VirtualService {
        key,
        scheduler: Scheduler::Wrr,
        flags: SchedulerFlags(0),
        one_packet: false,
        mss: 0,
        client_address: rvs_config::ClientAddress::default(),
    })
}

fn key(number: u32) -> ServiceKey {
    match add_service(number) {
        Command::AddService(service) => service.key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_can_be_asked() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut client = Client::connect(&director.path).unwrap();
    assert_eq!(client.apply(&[add_service(1)]).unwrap().applied, 1);
    let listing = client.services().unwrap();
    assert_eq!(listing.services.len(), 1);
    assert_eq!(client.service(&key(1)).unwrap(), listing.services[0]);
    assert_eq!(client.status().unwrap().instance, "test");
    assert_eq!(client.counters().unwrap().counters.len(), rvs_abi::OUTCOMES.len());
    assert_eq!(client.timeouts().unwrap(), Timeouts::default());
    assert_eq!(client.document().unwrap(), rvs_control::openapi::document());
    assert_eq!(client.stop().unwrap().message, "instance test taken down");
    let v6 = ServiceKey { protocol: Protocol::Udp, address: "2001:db8::1".parse().unwrap(), port: 53 };
    let error = client.service(&v6).unwrap_err();
    assert_eq!(error.to_string(), "service [2001:db8::1]:53/udp: no such service");
    let last = director.fake.requests.lock().unwrap().last().unwrap().clone();
    assert_eq!((last.0, last.1.pid), (Request::Service(v6), i32::try_from(std::process::id()).unwrap()));
}

#[test]
fn ten_thousand_commands_apply_whole_or_not_at_all() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut client = Client::connect(&director.path).unwrap();
    let mut commands: Vec<_> = (0..10_000).map(add_service).collect();
    commands[7_777] = Command::Clear;
    match client.apply(&commands).unwrap_err() {
        Error::Answered { status: 422, body } => {
            assert_eq!(body.index, Some(7_777));
            assert!(matches!(body.command_error(), Some(CommandError::NotSupported { .. })));
        }
        other => panic!("{other}"),
    }
    assert_eq!(client.services().unwrap().services, []);
    commands[7_777] = add_service(7_777);
    assert_eq!(client.apply(&commands).unwrap().applied, 10_000);
    assert_eq!(client.services().unwrap().services.len(), 10_000);
}

#[test]
fn connections_come_page_by_page() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut client = Client::connect(&director.path).unwrap();
    let page = client.connections(ConnQuery { cursor: 100, limit: 5 }).unwrap();
    assert_eq!((page.connections.len(), page.next), (5, Some(105)));
    let mut seen = 0;
    client
        .each_connection(|connection| {
            assert_eq!(connection.client, Ipv4Addr::from(seen));
            seen += 1;
            true
        })
        .unwrap();
    assert_eq!(u64::from(seen), CONNS);
    let before = director.fake.count();
    let mut seen = 0;
    client
        .each_connection(|_| {
            seen += 1;
            seen < 10
        })
        .unwrap();
    assert_eq!((seen, director.fake.count() - before), (10, 1), "ended early");
}

#[test]
fn without_a_director_the_error_says_so() {
    let dir = Dir::new();
    let path = dir.join("director.sock");
    let error = Client::connect(&path).unwrap_err().to_string();
    let expected = format!(
        "no director answers at {}: No such file or directory (is 'rvs director' running?)",
        path.display()
    );
    assert_eq!(error, expected);
    drop(UnixListener::bind(&path).unwrap());
    let error = Client::connect(&path).unwrap_err().to_string();
    assert!(error.ends_with(": Connection refused (is 'rvs director' running?)"), "{error}");
    let long = dir.join(&"x".repeat(200));
    let error = Client::connect(long).unwrap_err().to_string();
    assert!(error.ends_with(": File name too long (is 'rvs director' running?)"), "{error}");
}

#[test]
fn a_restarted_director_is_found_again() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut client = Client::connect(&director.path).unwrap();
    assert!(client.status().is_ok());
    drop(director);
    assert!(matches!(client.status(), Err(Error::NoDirector { .. })));
    let director = Director::new(&dir);
    assert!(client.status().is_ok());
    drop(director);
    let director = Director::new(&dir);
    assert!(client.status().is_ok(), "a connection of the old one is replaced without a word");
    drop(director);
    let director = Director::new(&dir);
    assert!(client.apply(&[]).is_ok(), "and a change is sent once, on a new one");
    assert_eq!(director.fake.count(), 1);
}

/// A director that answers every connection with these bytes.
fn answers_with(dir: &Dir, bytes: &'static [u8]) -> (Client, std::thread::JoinHandle<()>) {
    let path = dir.join("strange.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let client = Client::connect(&path).unwrap().answer_within(Duration::from_millis(300));
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1000];
        assert_ne!(stream.read(&mut request).unwrap(), 0);
        stream.write_all(bytes).unwrap();
        if bytes.is_empty() {
            // Silent until the client has enough.
            assert_eq!(stream.read(&mut request).unwrap(), 0);
        }
    });
    (client, thread)
}

#[test]
fn strange_answers_are_named() {
    for (bytes, expected) in [
        (
            &b"220 mail.example ESMTP\r\n"[..],
            "answer is not understood: head: not HTTP/1.1: invalid HTTP version",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "answer 200 is not understood: missing field `tcp_s`",
        ),
        (
            b"HTTP/1.1 502 Bad\r\nContent-Length: 2\r\n\r\n{}",
            "answer 502 is not understood: missing field `message`",
        ),
        (
            b"HTTP/1.1 422 New\r\nContent-Length: 45\r\n\r\n{\"message\":\"no luck\",\"error\":{\"error\":\"new\"}}",
            "no luck",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}", "answer: cut short"),
        (b"", "waiting for the answer: not done after 300ms"),
    ] {
        let dir = Dir::new();
        let (mut client, thread) = answers_with(&dir, bytes);
        let error = client.timeouts().unwrap_err().to_string();
        assert!(error.contains(expected), "{error} instead of {expected}");
        thread.join().unwrap();
    }
}
