//! Clients that mean harm, or know no better: noise, requests cut short, too much of everything, no haste.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use rvs_control::Access;
use rvs_control::limits::{self, Limits};
use support::{Dir, Director, LIMIT};

const REQUEST: &str = "POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"commands\":[]}";

#[test]
fn a_request_cut_short_is_answered_and_changes_nothing() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    for length in 0..REQUEST.len() {
        let mut raw = director.raw();
        raw.send(&REQUEST[..length]);
        raw.end_sending();
        match raw.try_answer() {
            None => assert_eq!(length, 0, "only a connection without a request has no answer"),
            Some(answer) => {
                assert_eq!(
                    (answer.status, answer.message()),
                    (400, "request: cut short".into()),
                    "cut after {length}"
                );
            }
        }
        assert!(raw.is_ended());
    }
    assert_eq!(director.fake.count(), 0);
    assert_eq!(director.raw().get("/v1/status").status, 200);
}

#[test]
fn noise_is_answered_with_one_line_or_nothing() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..1000 {
        let mut bytes: Vec<u8> = match round % 2 {
            0 => (0..noise() % 300).map(|_| noise().to_le_bytes()[3]).collect(),
            _ => REQUEST.as_bytes().to_vec(),
        };
        for _ in 0..noise() % 5 {
            let place = usize::try_from(noise()).unwrap() % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(place) {
                *byte = noise().to_le_bytes()[3];
            }
        }
        let mut raw = director.raw();
        // The other side may have ended the connection in the middle of it.
        drop(raw.try_send(&bytes));
        raw.end_sending();
        while let Some(answer) = raw.try_answer() {
            assert!(answer.status == 200 || !answer.message().is_empty(), "{answer:?}");
        }
    }
    assert_eq!(director.raw().get("/v1/status").status, 200);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let head = |fields: &str| {
        format!("POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{fields}\r\n")
    };
    let mut raw = director.raw();
    raw.send(head(&format!("Content-Length: {}\r\n", limits::BODY_BYTES_MAX + 1)));
    let answer = raw.answer();
    assert_eq!(
        (answer.status, answer.message()),
        (413, format!("body: larger than {} bytes", limits::BODY_BYTES_MAX))
    );
    assert!(raw.is_ended());

    let mut raw = director.raw();
    raw.send(head("Transfer-Encoding: chunked\r\n"));
    raw.send(format!("{:x}\r\n", limits::BODY_BYTES_MAX + 1));
    assert_eq!(raw.answer().status, 413);

    let mut raw = director.raw();
    raw.send(head(&format!("X: {}\r\n", "y".repeat(limits::HEAD_BYTES_MAX))));
    assert_eq!(raw.answer().status, 431);

    let mut raw = director.raw();
    raw.send("GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    let answer = raw.answer();
    assert_eq!((answer.status, answer.message()), (413, "body: this resource takes none".into()));
    assert_eq!(director.fake.count(), 0);
}

/// A client that goes on sending after it was refused sees the answer, not a broken pipe.
#[test]
fn a_refused_upload_sees_its_answer() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut raw = director.raw();
    raw.send("POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n");
    raw.send(vec![b'x'; 4_000_000]);
    assert_eq!(raw.answer().status, 404);
}

fn hasty() -> Limits {
    let short = Duration::from_millis(200);
    Limits { idle: short, request: short, answer: short, ..Limits::default() }
}

#[test]
fn idle_connections_are_closed() {
    let dir = Dir::new();
    let director = Director::with(&dir, Access::owner(), hasty());
    let mut raw = director.raw();
    assert_eq!(raw.get("/v1/status").status, 200);
    assert_eq!(raw.try_answer(), None);
}

#[test]
fn a_request_that_drips_is_ended() {
    let dir = Dir::new();
    let director = Director::with(&dir, Access::owner(), hasty());
    let mut raw = director.raw();
    let begun = Instant::now();
    for byte in REQUEST.bytes().cycle() {
        assert!(begun.elapsed() < LIMIT, "it was never ended");
        // Each byte comes well within the limit, the whole does not.
        std::thread::sleep(Duration::from_millis(20));
        if byte == b'\r' || raw.try_send(&[byte]).is_err() {
            break;
        }
    }
    let answer = raw.answer();
    assert_eq!((answer.status, answer.message()), (408, "request: not complete after 200ms".into()));
}

#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    let dir = Dir::new();
    let limits = Limits { clients: 1, clients_reserved: 0, ..hasty() };
    let director = Director::with(&dir, Access::owner(), limits);
    let mut raw = director.raw();
    let request = "GET /v1/connections?limit=10000 HTTP/1.1\r\nHost: x\r\n\r\n";
    raw.send(request.repeat(20));
    support::until("the only place is free again", || {
        let mut other = director.raw();
        drop(other.try_send(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"));
        other.try_answer().is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn one_client_too_many_is_told_so() {
    let dir = Dir::new();
    let limits = Limits { clients: 3, clients_reserved: 0, ..Limits::default() };
    let director = Director::with(&dir, Access::owner(), limits);
    let mut served: Vec<_> = (0..3).map(|_| director.raw()).collect();
    for raw in &mut served {
        assert_eq!(raw.get("/v1/status").status, 200);
    }
    let mut refused = director.raw();
    let answer = refused.get("/v1/status");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.message(), "director: serves 3 clients already, try again");
    assert_eq!(answer.json()["error"], serde_json::json!({"error": "busy", "maximum": 3}));
    assert!(refused.is_ended());

    let mut silent = Vec::new();
    support::until("there is a limit even to being refused", || {
        silent.push(director.raw());
        director.running.counts().clients_closed > 0
    });
    assert!(director.running.counts().clients_refused >= limits::REFUSALS_MAX as u64);
    let answer = silent[0].answer();
    assert_eq!(answer.status, 503, "also told to those who ask for nothing");
    drop(silent);

    assert_eq!(served[0].get("/v1/status").status, 200, "those who were there are served on");
    drop(served.pop());
    support::until("the place is free again", || {
        let mut raw = director.raw();
        drop(raw.try_send(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"));
        raw.try_answer().is_some_and(|answer| answer.status == 200)
    });
}
