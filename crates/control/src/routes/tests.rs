//! The router against its table, and the bodies of transactions.
#![allow(clippy::unwrap_used, reason = "tests")]

use rvs_config::{Command, Tunnel, TunnelChecksum};
use serde_json::{Value, json};

use super::*;
use crate::http::RequestDecoder;
use crate::schema;

/// The head of a request as it comes out of the decoder.
fn head(method: &str, target: &str, media_type: &str) -> RequestHead {
    let mut decoder = RequestDecoder::default();
    let text = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\n\r\n");
    decoder.feed(text.as_bytes());
    decoder.head().unwrap().unwrap()
}

fn step(method: &str, target: &str, body: &[u8]) -> Result<Request, (u16, Value)> {
    let refused = |answer: Answer| (answer.status, serde_json::from_slice(&answer.body).unwrap());
    let routed = find(&head(method, target, "application/json")).map_err(refused)?;
    match routed.step(body.to_vec()) {
        Step::Ask(request) => Ok(request),
        Step::Answer(answer) => Err(refused(answer)),
    }
}

fn refusal(method: &str, target: &str, body: &[u8]) -> (u16, String) {
    let (status, body) = step(method, target, body).unwrap_err();
    (status, body["message"].as_str().unwrap().to_owned())
}

#[test]
fn every_route_is_found_and_documented() {
    let document = openapi::document();
    let documented: usize =
        document["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(documented, ROUTES.len());
    for route in ROUTES {
        let target = route.path.replace("{protocol}", "tcp").replace("{endpoint}", "192.0.2.1:80");
        let method = route.method.names()[0];
        let found = find(&head(method, &target, "application/json")).unwrap().route;
        assert_eq!(found.operation, route.operation);
        let operation = &document["paths"][route.path][method.to_ascii_lowercase()];
        assert_eq!(operation["operationId"], route.operation);
        assert_eq!(operation.get("requestBody").is_some(), route.body.is_some());
        assert_eq!(operation["responses"].get("403").is_some(), route.changes);
        assert_eq!(
            operation["responses"]["200"]["content"]["application/json"]["schema"],
            schema::reference(route.answer)
        );
        assert_eq!(route.changes, route.method == Method::Post, "GET never changes anything");
        for name in route.path.split('/').filter_map(|segment| segment.strip_prefix('{')) {
            let name = name.strip_suffix('}').unwrap();
            assert!(
                route.parameters.iter().any(|known| known.name == name && known.location == Location::Path)
            );
        }
    }
}

#[test]
fn requests_are_understood() {
    assert_eq!(step("GET", "/v1/services", b""), Ok(Request::Services));
    assert_eq!(step("HEAD", "/v1/status", b""), Ok(Request::Status));
    assert_eq!(step("GET", "http://localhost/v1/counters", b""), Ok(Request::Counters));
    assert_eq!(step("GET", "/v1/timeouts", b""), Ok(Request::Timeouts));
    assert_eq!(step("GET", "/v1/settings", b""), Ok(Request::Settings));
    assert_eq!(step("POST", "/v1/stop", b""), Ok(Request::Stop));
    let marked = ServiceKey::marked(7, true).unwrap();
    assert_eq!(step("GET", "/v1/services/mark-ipv6/7", b""), Ok(Request::Service(marked)));
    assert_eq!(step("GET", "/v1/marks", b""), Ok(Request::Marks));
    let v6 = ServiceKey { protocol: Protocol::Udp, address: "2001:db8::1".parse().unwrap(), port: 53 };
    assert_eq!(step("GET", "/v1/services/udp/%5B2001:db8::1%5D:53", b""), Ok(Request::Service(v6)));
    assert_eq!(step("GET", "/v1/services/udp/[2001:db8::1]:53", b""), Ok(Request::Service(v6)));
    let sctp = ServiceKey { protocol: Protocol::Sctp, ..v6 };
    assert_eq!(step("GET", "/v1/services/sctp/[2001:db8::1]:53", b""), Ok(Request::Service(sctp)));
    assert_eq!(step("GET", "/v1/connections", b""), Ok(Request::Connections(ConnQuery::default())));
    let query = ConnQuery { cursor: u64::MAX, limit: 10_000 };
    let target = "/v1/connections?limit=10000&cursor=18446744073709551615";
    assert_eq!(step("GET", target, b""), Ok(Request::Connections(query)));
}

#[test]
fn refusals_name_what_is_wrong() {
    let cases = [
        ("GET", "/v1/nothing", 404, r#"path "/v1/nothing": no such resource, see /v1/openapi.json"#),
        ("GET", "/v1/services/", 404, r#"path "/v1/services/": no such resource, see /v1/openapi.json"#),
        ("GET", "/", 404, r#"path "/": no such resource, see /v1/openapi.json"#),
        ("GET", "*", 400, r#"path "*": not a path in UTF-8"#),
        ("GET", "/v1/%ff", 400, r#"path "/v1/%ff": not a path in UTF-8"#),
        ("DELETE", "/v1/services", 405, "DELETE /v1/services: expected GET or HEAD"),
        ("GET", "/v1/commands", 405, "GET /v1/commands: expected POST"),
        (
            "GET",
            "/v1/services/dccp/192.0.2.1:80",
            400,
            "service dccp/192.0.2.1:80: expected tcp, udp or sctp, then ADDRESS:PORT, or mark-ipv4 or mark-ipv6, then a mark",
        ),
        (
            "GET",
            "/v1/services/tcp/192.0.2.1",
            400,
            "service tcp/192.0.2.1: expected tcp, udp or sctp, then ADDRESS:PORT, or mark-ipv4 or mark-ipv6, then a mark",
        ),
        ("GET", "/v1/connections?limit=0", 400, r#"limit "0": expected a number from 1 to 10000"#),
        ("GET", "/v1/connections?limit=10001", 400, r#"limit "10001": expected a number from 1 to 10000"#),
        (
            "GET",
            "/v1/connections?cursor=-1",
            400,
            r#"cursor "-1": expected a number from 0 to 18446744073709551615"#,
        ),
        ("GET", "/v1/connections?cursor=1&cursor=2", 400, r#"parameter "cursor": given twice"#),
        ("GET", "/v1/services?limit=1", 400, r#"parameter "limit": /v1/services has none of that name"#),
    ];
    for (method, target, status, message) in cases {
        assert_eq!(refusal(method, target, b""), (status, message.to_owned()), "{method} {target}");
    }
    let answer = find(&head("PUT", "/v1/status", "text/plain")).unwrap_err();
    assert_eq!(answer.allow.as_deref(), Some("GET, HEAD"));
    let answer = find(&head("POST", "/v1/commands", "text/plain")).unwrap_err();
    assert_eq!(answer.status, 415);
    assert!(find(&head("POST", "/v1/commands", "Application/JSON; charset=utf-8")).is_ok());
}

fn commands(body: &Value) -> Result<Vec<Command>, (u16, Value)> {
    match step("POST", "/v1/commands", body.to_string().as_bytes())? {
        Request::Commands(commands) => Ok(commands),
        other => panic!("{other:?}"),
    }
}

fn add_destination() -> Value {
    json!({"command": "add-destination",
        "service": {"protocol": "tcp", "address": "192.0.2.1", "port": 80},
        "destination": {"address": "10.0.0.1", "port": 80, "method": "dr", "weight": 1}})
}

#[test]
fn transactions_are_understood() {
    assert_eq!(commands(&json!({"commands": []})), Ok(vec![]));
    assert_eq!(
        commands(&json!({"commands": [{"command": "clear"}, {"command": "zero", "service": null}]})),
        Ok(vec![Command::Clear, Command::Zero { service: None }])
    );
    let understood = commands(&json!({"commands": [add_destination()]})).unwrap();
    assert!(matches!(understood.as_slice(), [Command::AddDestination { .. }]));
    let tunnels = [
        (json!({"type": "ipip"}), Tunnel::Ipip),
        (json!({"type": "gue", "port": 5555}), Tunnel::Gue { port: 5555, checksum: TunnelChecksum::None }),
        (json!({"type": "gre", "checksum": "csum"}), Tunnel::Gre { checksum: TunnelChecksum::Csum }),
    ];
    for (json, tunnel) in tunnels {
        let mut command = add_destination();
        command["destination"]["tunnel"] = json;
        let understood = commands(&json!({"commands": [command]})).unwrap();
        let [Command::AddDestination { destination, .. }] = understood.as_slice() else { panic!() };
        assert_eq!(destination.tunnel, tunnel);
    }
}

#[test]
fn a_bad_command_is_named_by_its_place() {
    let mut no_weight = add_destination();
    no_weight["destination"].as_object_mut().unwrap().remove("weight");
    let mut misspelt = add_destination();
    misspelt["destination"]["uper_threshold"] = json!(5);
    let mut bad_address = add_destination();
    bad_address["service"]["address"] = json!("192.0.2.256");
    let mut no_port = add_destination();
    no_port["destination"]["tunnel"] = json!({"type": "gue"});
    let mut port_of_gre = add_destination();
    port_of_gre["destination"]["tunnel"] = json!({"type": "gre", "port": 5});
    let cases = [
        (no_port, r#"command 1 ("add-destination"): missing field `port`"#),
        (port_of_gre, r#"command 1 ("add-destination"): unknown field `destination.tunnel.port`"#),
        (no_weight, r#"command 1 ("add-destination"): missing field `weight`"#),
        (misspelt, r#"command 1 ("add-destination"): unknown field `destination.uper_threshold`"#),
        (bad_address, r#"command 1 ("add-destination"): invalid IP address syntax"#),
        (json!({"command": "clear", "all": true}), r#"command 1 ("clear"): unknown field `all`"#),
        (
            json!({"command": "explode"}),
            r#"command 1 ("explode"): unknown variant `explode`, expected one of"#,
        ),
        (json!({}), "command 1: missing field `command`"),
        (json!(5), "command 1: "),
    ];
    for (bad, message) in cases {
        let body = json!({"commands": [{"command": "clear"}, bad, {"command": "worse"}]});
        let (status, refusal) = commands(&body).unwrap_err();
        assert_eq!((status, &refusal["index"]), (400, &json!(1)), "{body}");
        let found = refusal["message"].as_str().unwrap();
        assert!(found.starts_with(message), "{found} instead of {message}");
    }
}

#[test]
fn a_body_that_is_no_transaction_is_refused() {
    let deep = format!(r#"{{"commands": [{}{}]}}"#, "[".repeat(1000), "]".repeat(1000));
    for body in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"commands": 5}"#,
        r#"{"commands": [], "more": 1}"#,
        "\u{0}",
        r#"{"commands": [{]}"#,
    ] {
        let (status, message) = refusal("POST", "/v1/commands", body.as_bytes());
        assert_eq!(status, 400, "{body}");
        assert!(message.starts_with(r#"body: expected {"commands": [...]}: "#), "{message}");
    }
    assert_eq!(refusal("POST", "/v1/commands", deep.as_bytes()).0, 400);
    assert_eq!(refusal("POST", "/v1/commands", b"\xff\xfe").0, 400);
}
