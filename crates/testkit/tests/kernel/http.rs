//! What `http.rs` does on a real kernel.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rvs_netlink::Netns;
use rvs_testkit::{Cluster, HttpClient, HttpServer, wait_until};

/// Any free port of loopback.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn lone_server() -> (Netns, HttpServer) {
    let netns = Netns::create_unique("rvs-test").unwrap();
    let server = HttpServer::start(&netns, "s1", LOOPBACK).unwrap();
    (netns, server)
}

/// Sends `request` and returns all that comes until the server closes.
fn raw(netns: &Netns, server: &HttpServer, request: &str) -> String {
    netns
        .enter(|| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
        .unwrap()
}

#[test]
fn answers_with_its_name_and_the_peer() {
    let (netns, server) = lone_server();
    let two = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = raw(&netns, &server, two);
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answer}");
    assert_eq!(answer.matches("\r\n\r\ns1 127.0.0.1:").count(), 2, "{answer}");
    assert_eq!((server.requests(), server.connections()), (2, 1));
}

#[test]
fn other_methods_and_nonsense_are_refused() {
    let (netns, server) = lone_server();
    assert!(raw(&netns, &server, "POST / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(raw(&netns, &server, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert_eq!(raw(&netns, &server, &"x".repeat(8 * 1024)), "", "a head without end is cut off");
}

#[test]
fn connections_are_renewed_after_so_many_requests() {
    let (netns, server) = lone_server();
    let client = HttpClient::new(server.address()).connections(4).requests(100).requests_per_connection(5);
    let report = client.run(&netns).unwrap();
    assert_eq!((report.answers_of("s1"), report.failed()), (100, 0), "{report:?}");
    // Each of the four may end with a connection not used up.
    assert!((20..=24).contains(&report.connections), "{}", report.connections);
    assert_eq!(server.connections(), report.connections);
}

#[test]
fn failures_are_counted_with_their_reason() {
    let (netns, server) = lone_server();
    let address = server.address();
    drop(server);
    let report = HttpClient::new(address).requests(10).connections(2).run(&netns).unwrap();
    assert_eq!(report.failures.get("connect: connection refused"), Some(&10), "{report:?}");
    assert_eq!((report.answered(), report.connections), (0, 0));
}

#[test]
fn a_run_is_watched_and_stopped() {
    let (netns, server) = lone_server();
    let run = HttpClient::new(server.address()).connections(4).requests(u64::MAX).start(&netns).unwrap();
    wait_until("some answers", Duration::from_secs(10), || run.answered() >= 100).unwrap();
    assert!(!run.is_finished());
    let report = run.stop();
    assert!(report.answered() >= 100);
    assert_eq!((report.failed(), report.answered()), (0, server.requests()));
}

#[test]
fn a_server_that_goes_is_noticed_by_its_clients() {
    let (netns, server) = lone_server();
    let run = HttpClient::new(server.address()).requests(u64::MAX).start(&netns).unwrap();
    wait_until("some answers", Duration::from_secs(10), || run.answered() >= 10).unwrap();
    drop(server);
    wait_until("a failure", Duration::from_secs(10), || run.failed() >= 1).unwrap();
    let report = run.stop();
    assert!(
        report.failures.keys().all(|k| k.starts_with("connect: ") || k.starts_with("answer: ")),
        "{report:?}"
    );
}

#[test]
fn a_hundred_thousand_requests() {
    let cluster = Cluster::routed(1).build().unwrap();
    let servers = cluster.start_servers(80).unwrap();
    let target = SocketAddr::from((cluster.servers()[0].address(), 80));
    let start = Instant::now();
    let client = HttpClient::new(target).connections(64).requests(100_000);
    let report = client.run(cluster.client().netns()).unwrap();
    assert_eq!((report.answers_of("s1"), report.failed()), (100_000, 0), "{report:?}");
    assert_eq!((servers[0].requests(), report.connections), (100_000, 64));
    println!("100 000 requests over 64 connections: {:?}", start.elapsed());
}
