//! The protocol over a real socket: keep-alive, pipelines, chunks, interim answers, refusals.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use rvs_control::api::Request;
use support::{Dir, Director};

const SERVICE: &str =
    r#"{"command":"add-service","key":{"protocol":"tcp","address":"192.0.2.1","port":80},"scheduler":"wlc"}"#;

#[test]
fn one_connection_serves_many_requests() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut raw = director.raw();
    for _ in 0..100 {
        assert_eq!(raw.get("/v1/timeouts").body, r#"{"tcp_s":900,"tcp_fin_s":120,"udp_s":300}"#);
    }
    assert_eq!(director.running.counts().clients, 1);
    assert_eq!(director.running.counts().requests, 100);
}

#[test]
fn refusals_leave_the_connection_usable() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut raw = director.raw();
    assert_eq!(raw.get("/v1/nothing").status, 404);
    raw.send("DELETE /v1/services HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = raw.answer();
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("\r\nAllow: GET, HEAD\r\n"), "{}", answer.head);
    assert_eq!(raw.post("/v1/commands", "nonsense").status, 400);
    assert_eq!(raw.get("/v1/services/tcp/192.0.2.9:80").status, 404);
    assert_eq!(raw.get("/v1/status").status, 200);
    assert_eq!(director.running.counts().requests_refused, 4);
}

#[test]
fn a_pipeline_is_answered_in_order() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut raw = director.raw();
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    let body = format!(r#"{{"commands":[{SERVICE}]}}"#);
    let post = format!(
        "POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    raw.send(
        get("/v1/services/tcp/192.0.2.1:80")
            + &post
            + &get("/v1/services/tcp/192.0.2.1:80")
            + &get("/v1/status"),
    );
    let statuses: Vec<_> = (0..4).map(|_| raw.answer().status).collect();
    assert_eq!(statuses, [404, 200, 200, 200]);
}

#[test]
fn chunked_bodies_are_put_together() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut raw = director.raw();
    let head = "POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = format!(r#"{{"commands":[{SERVICE}]}}"#);
    let chunks: String = body
        .as_bytes()
        .chunks(7)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()))
        .collect();
    // Byte by byte, so that every state of the decoder waits once.
    for byte in format!("{head}{chunks}0\r\n\r\n").bytes() {
        raw.send([byte]);
    }
    assert_eq!(raw.answer().body, r#"{"applied":1}"#);
    assert_eq!(raw.get("/v1/status").status, 200);
}

#[test]
fn a_client_that_waits_is_told_to_continue() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut raw = director.raw();
    let body = r#"{"commands":[]}"#;
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
    };
    raw.send(head("/v1/commands"));
    assert_eq!(raw.head().unwrap().head, "HTTP/1.1 100 Continue\r\n\r\n");
    raw.send(body);
    assert_eq!(raw.answer().body, r#"{"applied":0}"#);
    raw.send(head("/v1/nothing"));
    assert_eq!(raw.answer().status, 404, "the final answer comes at once, and no body is asked for");
    assert!(raw.is_ended());
}

#[test]
fn head_is_get_without_the_body() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut raw = director.raw();
    let length = raw.get("/v1/status").body.len();
    for (target, status) in [("/v1/status", 200), ("/v1/nothing", 404)] {
        raw.send(format!("HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let head = raw.head().unwrap();
        assert_eq!(head.status, status);
        assert_eq!(head.head.contains(&format!("Content-Length: {length}\r\n")), status == 200);
    }
    assert_eq!(raw.get("/v1/timeouts").status, 200, "no body came in between");
}

#[test]
fn connections_end_when_the_client_says_so() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    for request in
        ["GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET /v1/status HTTP/1.0\r\n\r\n"]
    {
        let mut raw = director.raw();
        raw.send(request);
        let answer = raw.answer();
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("Connection: close\r\n"), "{}", answer.head);
        assert!(raw.is_ended());
    }
}

#[test]
fn refusals_are_structured() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut raw = director.raw();
    let twice = format!(r#"{{"commands":[{SERVICE},{{"command":"clear"}}]}}"#);
    let answer = raw.post("/v1/commands", &twice);
    assert_eq!(answer.status, 422);
    let json = answer.json();
    let error = serde_json::json!({"error": "not-supported", "what": "Clear"});
    assert_eq!((&json["error"], &json["index"]), (&error, &serde_json::json!(1)));
    assert!(answer.message().starts_with("Clear"), "{}", answer.message());
    assert_eq!(raw.get("/v1/services").json()["services"], serde_json::json!([]), "nothing was changed");
    let once = format!(r#"{{"commands":[{SERVICE}]}}"#);
    assert_eq!(raw.post("/v1/commands", &once).status, 200);
    let answer = raw.post("/v1/commands", &once);
    let service = serde_json::json!({"protocol": "tcp", "address": "192.0.2.1", "port": 80});
    let error = serde_json::json!({"error": "service-exists", "service": service});
    let expected = serde_json::json!({
        "message": "service 192.0.2.1:80/tcp: already exists", "error": error, "index": 0
    });
    assert_eq!((answer.status, answer.json()), (422, expected));
    let answer = raw.get("/v1/services/udp/192.0.2.1:80");
    assert_eq!((answer.status, answer.message()), (404, "service 192.0.2.1:80/udp: no such service".into()));
}

#[test]
fn only_json_is_taken() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut raw = director.raw();
    raw.send(
        "POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
    );
    let answer = raw.answer();
    assert_eq!(
        (answer.status, answer.message()),
        (415, "/v1/commands: expected content-type: application/json".into())
    );
    assert_eq!(director.fake.count(), 0);
}

#[test]
fn the_document_is_served() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let answer = director.raw().get("/v1/openapi.json");
    assert_eq!(answer.json(), rvs_control::openapi::document());
    assert_eq!(answer.json()["openapi"], "3.1.0");
}

#[test]
fn a_handler_that_panics_is_one_clients_trouble() {
    let dir = Dir::new();
    let path = dir.join("director.sock");
    let server = rvs_control::Server::bind(&path, 0o600, rvs_control::Access::owner()).unwrap();
    let running = server.start(|request, _| match request {
        Request::Stop => panic!("a fault of the handler, on purpose"),
        _ => rvs_control::api::Response::Timeouts(rvs_config::Timeouts::default()),
    });
    let running = running.unwrap();
    let mut raw = support::Raw::connect(&path);
    let answer = raw.post("/v1/stop", "");
    assert_eq!(
        (answer.status, answer.message()),
        (500, "director: a fault of this program, see its log".into())
    );
    assert_eq!(raw.get("/v1/timeouts").status, 200);
    running.stop();
}
