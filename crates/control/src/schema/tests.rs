//! Values of every type and variant, as they are serialised, against the schemas; closed, so that a field that a type has
//! and its schema does not have is found as well.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use rvs_abi::{Event, OUTCOMES};
use rvs_config::{
    Command, CommandError, ConnListing, Counters, DestKey, DestListing, Destination, ForwardingMethod,
    Listing, MarkRule, MarkRules, PortRange, Protocol, Rates, Scheduler, SchedulerFlags, ServiceKey,
    ServiceListing, Settings, Timeouts, TimeoutsUpdate, Tunnel, TunnelChecksum, VirtualService,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::components;
use crate::api::{
    Applied, Attach, Capacity, Commands, ConnPage, CounterClass, CounterListing, CounterTable, ErrorBody,
    EventListing, Failure, Fill, Interface, LimitReached, RequestError, SettingTable, Status, Stopped,
};
use crate::openapi;

/// Checks a value against a schema; the first fault, with its place.
fn check(all: &Map<String, Value>, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (keyword, expected) in schema.as_object().unwrap() {
        let good = match keyword.as_str() {
            "description" | "default" => true,
            "additionalProperties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    check(all, expected, field, &format!("{at}.{name}"))?;
                }
                true
            }
            "$ref" => {
                let name = expected.as_str().unwrap().strip_prefix("#/components/schemas/").unwrap();
                check(all, &all[name], value, &format!("{at}<{name}>"))?;
                true
            }
            "oneOf" => {
                let alternatives = expected.as_array().unwrap();
                alternatives.iter().filter(|one| check(all, one, value, at).is_ok()).count() == 1
            }
            "type" => is_type(expected.as_str().unwrap(), value),
            "const" => value == expected,
            "enum" => expected.as_array().unwrap().contains(value),
            "minimum" => value.as_u64().is_none_or(|number| number >= expected.as_u64().unwrap()),
            "maximum" => value.as_u64().is_none_or(|number| number <= expected.as_u64().unwrap()),
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(all, expected, item, &format!("{at}[]"))?;
                }
                true
            }
            "required" => {
                let missing = |name: &&Value| value.get(name.as_str().unwrap()).is_none();
                !expected.as_array().unwrap().iter().any(|name| missing(&name))
            }
            "properties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    let schema = expected.get(name).ok_or(format!("{at}.{name}: not in the schema"))?;
                    check(all, schema, field, &format!("{at}.{name}"))?;
                }
                true
            }
            other => panic!("{at}: keyword {other} is not known to this test"),
        };
        if !good {
            return Err(format!("{at}: {value} against {keyword} {expected}"));
        }
    }
    Ok(())
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        other => panic!("type {other} is not known to this test"),
    }
}

fn fits<T: Serialize>(name: &str, values: &[T]) {
    let all = components();
    for value in values {
        let value = serde_json::to_value(value).unwrap();
        check(&all, &all[name], &value, name).unwrap();
    }
}

/// Every alternative of a `oneOf` has a value, and every value an alternative.
fn fits_each<T: Serialize>(name: &str, values: &[T]) {
    fits(name, values);
    let all = components();
    for alternative in all[name]["oneOf"].as_array().unwrap() {
        let mut values = values.iter().map(|value| serde_json::to_value(value).unwrap());
        assert!(
            values.any(|value| check(&all, alternative, &value, name).is_ok()),
            "no value for {alternative}"
        );
    }
}

/// Every word of an `enum` is a value, and every value a word.
fn fits_words<T: Serialize>(name: &str, values: &[T]) {
    let values: Vec<_> = values.iter().map(|value| serde_json::to_value(value).unwrap()).collect();
    assert_eq!(components()[name]["enum"], Value::Array(values));
}

fn service_key() -> ServiceKey {
    ServiceKey { protocol: Protocol::Tcp, address: "192.0.2.1".parse().unwrap(), port: 80 }
}

fn mark_rule() -> MarkRule {
    let prefix = |text: &str| Some(text.parse().unwrap());
    MarkRule {
        mark: u32::MAX,
        source: prefix("2001:db8::/32"),
        destination: prefix("::/0"),
        protocol: Some(Protocol::Sctp),
        source_ports: Some(PortRange { first: 0, last: 1 }),
        ports: Some(PortRange { first: 1, last: u16::MAX }),
    }
}

#[test]
fn marks() {
    fits_each("ServiceKey", &[service_key(), ServiceKey::marked(u32::MAX, true).unwrap()]);
    fits("MarkRules", &[MarkRules { rules: vec![mark_rule()], rules_max: 256 }]);
}

fn dest_key() -> DestKey {
    DestKey { address: "2001:db8::1".parse().unwrap(), port: 8080 }
}

fn service() -> VirtualService {
    VirtualService {
        key: service_key(),
        scheduler: Scheduler::Wlc,
        flags: SchedulerFlags(7),
        one_packet: false,
        mss: 0,
        client_address: rvs_config::ClientAddress::default(),
    }
}

fn destination() -> Destination {
    let (upper_threshold, lower_threshold) = (rvs_config::limits::THRESHOLD_MAX, 1);
    let (method, weight) = (ForwardingMethod::Tunnel, rvs_config::limits::WEIGHT_MAX);
    let tunnel = Tunnel::Gue { port: u16::MAX, checksum: TunnelChecksum::Remcsum };
    Destination { key: dest_key(), method, weight, upper_threshold, lower_threshold, tunnel }
}

fn commands() -> Vec<Command> {
    let (service_key, dest_key) = (service_key(), dest_key());
    // A new variant has to be added to the match, and then to the list.
    let known = |command: Command| match command {
        Command::AddService(_)
        | Command::EditService(_)
        | Command::DeleteService { .. }
        | Command::Clear
        | Command::AddDestination { .. }
        | Command::EditDestination { .. }
        | Command::DeleteDestination { .. }
        | Command::Zero { .. }
        | Command::SetTimeouts(_)
        | Command::SetSettings { .. }
        | Command::AddMarkRule { .. }
        | Command::DeleteMarkRule { .. }
        | Command::ClearMarkRules => command,
    };
    vec![
        known(Command::AddService(service())),
        known(Command::EditService(service())),
        known(Command::DeleteService { service: service_key }),
        known(Command::Clear),
        known(Command::AddMarkRule { number: None, rule: mark_rule() }),
        known(Command::AddMarkRule { number: Some(256), rule: MarkRule { source: None, ..mark_rule() } }),
        known(Command::DeleteMarkRule { number: 1 }),
        known(Command::ClearMarkRules),
        known(Command::AddDestination { service: service_key, destination: destination() }),
        known(Command::EditDestination { service: service_key, destination: destination() }),
        known(Command::DeleteDestination { service: service_key, destination: dest_key }),
        known(Command::Zero { service: None }),
        known(Command::Zero { service: Some(service_key) }),
        known(Command::SetTimeouts(TimeoutsUpdate { tcp_s: 0, tcp_fin_s: 120, udp_s: 2_678_400 })),
        known(Command::SetSettings { settings: [("sloppy_tcp".to_owned(), 1)].into() }),
    ]
}

fn command_errors() -> Vec<CommandError> {
    let (service, destination, what) = (service_key(), dest_key(), "weight 3: expected 1".to_owned());
    let known = |error: CommandError| match error {
        CommandError::ServiceExists { .. }
        | CommandError::NoSuchService { .. }
        | CommandError::ServiceNotDefined { .. }
        | CommandError::DestinationExists { .. }
        | CommandError::NoSuchDestination { .. }
        | CommandError::SchedulerNotFound
        | CommandError::OutOfRange { .. }
        | CommandError::Invalid { .. }
        | CommandError::LimitReached { .. }
        | CommandError::NotSupported { .. } => error,
    };
    vec![
        known(CommandError::ServiceExists { service }),
        known(CommandError::NoSuchService { service }),
        known(CommandError::ServiceNotDefined { service }),
        known(CommandError::DestinationExists { service, destination }),
        known(CommandError::NoSuchDestination { service, destination }),
        known(CommandError::SchedulerNotFound),
        known(CommandError::OutOfRange { what: what.clone() }),
        known(CommandError::Invalid { what: what.clone() }),
        known(CommandError::LimitReached { what: what.clone() }),
        known(CommandError::NotSupported { what }),
    ]
}

fn request_errors() -> Vec<RequestError> {
    vec![
        RequestError::Malformed,
        RequestError::Forbidden { uid: 65_534 },
        RequestError::UnknownPath,
        RequestError::MethodNotAllowed { allowed: vec!["GET".to_owned()] },
        RequestError::TimedOut { limit_s: 30 },
        RequestError::TooLarge { maximum: 1 },
        RequestError::UnsupportedMediaType,
        RequestError::HeadTooLarge { bytes_max: 1, fields_max: 1 },
        RequestError::Internal,
        RequestError::UnsupportedCoding,
        RequestError::Busy { maximum: 64 },
        RequestError::Unavailable,
    ]
}

#[test]
fn commands_fit_their_schema() {
    fits_each("Command", &commands());
    fits("Commands", &[Commands { commands: commands() }]);
}

#[test]
fn errors_fit_their_schemas() {
    fits_each("CommandError", &command_errors());
    fits_each("RequestError", &request_errors());
    let of_requests = request_errors().into_iter().map(|error| ErrorBody::new(error, "line"));
    let of_commands = command_errors().into_iter().map(ErrorBody::from);
    let bodies: Vec<_> = of_requests.chain(of_commands).collect();
    fits("ErrorBody", &bodies);
    let (_, refused) = Failure::Refused { index: 3, error: CommandError::SchedulerNotFound }.answer();
    fits("ErrorBody", &[&refused]);
    assert_eq!(refused.index, Some(3));
    for body in bodies {
        let text = serde_json::to_string(&body).unwrap();
        assert_eq!(serde_json::from_str::<ErrorBody>(&text).unwrap(), body, "it can be read back");
    }
}

#[test]
fn words_are_those_of_the_types() {
    fits_words("Protocol", &[Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let (none, csum, remcsum) = (TunnelChecksum::None, TunnelChecksum::Csum, TunnelChecksum::Remcsum);
    fits_words("TunnelChecksum", &[none, csum, remcsum]);
    fits_words("Scheduler", Scheduler::ALL);
    fits_words("ClientAddress", rvs_config::ClientAddress::ALL);
    fits_words(
        "ForwardingMethod",
        &[ForwardingMethod::Masq, ForwardingMethod::Dr, ForwardingMethod::Tunnel, ForwardingMethod::FullNat],
    );
    fits_words("Attach", &[Attach::Xdp, Attach::XdpGeneric, Attach::Tc, Attach::None]);
    let classes = [CounterClass::Pass, CounterClass::HandOver, CounterClass::Forward, CounterClass::Drop];
    fits_words("CounterClass", &classes);
}

#[test]
fn listings_fit_their_schemas() {
    let counters = Counters { conns: u64::MAX, in_packets: 1, out_packets: 2, in_bytes: 3, out_bytes: 4 };
    let rates = Rates { cps: u64::MAX, in_pps: 1, out_pps: 2, in_bps: 3, out_bps: 4 };
    let (active_conns, inactive_conns, persistent_conns) = (u32::MAX, 1, 2);
    let destination = destination();
    let dest = DestListing { destination, active_conns, inactive_conns, persistent_conns, counters, rates };
    let service = ServiceListing { service: service(), destinations: vec![dest], counters, rates };
    fits("ServiceListing", std::slice::from_ref(&service));
    let timeouts = Timeouts::default();
    fits("Timeouts", &[timeouts]);
    fits("Listing", &[Listing { services: vec![service], conn_table_size: 4096, timeouts }]);
}

#[test]
fn tunnels_fit_their_schema() {
    let (none, csum) = (TunnelChecksum::None, TunnelChecksum::Csum);
    let tunnels = [Tunnel::Ipip, Tunnel::Gue { port: 1, checksum: none }, Tunnel::Gre { checksum: csum }];
    fits_each("Tunnel", &tunnels);
    let all = components();
    let bad = [
        json!({"type": "gue"}),
        json!({"type": "gue", "port": 0}),
        json!({"type": "gre", "port": 5}),
        json!({"type": "ipip", "checksum": "none"}),
        json!({"port": 5}),
    ];
    for bad in bad {
        assert!(check(&all, &all["Tunnel"], &bad, "Tunnel").is_err(), "{bad}");
    }
}

#[test]
fn connections_fit_their_schema() {
    let connection = ConnListing {
        protocol: Protocol::Udp,
        client: "198.51.100.7".parse().unwrap(),
        client_port: 40_000,
        vip: "192.0.2.1".parse().unwrap(),
        vport: 53,
        destination: "10.0.0.1".parse().unwrap(),
        dport: 53,
        method: ForwardingMethod::Masq,
        state: "UDP".to_owned(),
        expires_s: 300,
        packets: u32::MAX,
    };
    fits(
        "ConnPage",
        &[
            ConnPage { connections: vec![connection], next: Some(u64::MAX) },
            ConnPage { connections: vec![], next: None },
        ],
    );
}

#[test]
fn the_rest_fits_its_schemas() {
    let fill = Fill { used: 1, maximum: 2 };
    let interface =
        Interface { name: "eth0".into(), index: 2, attach: Attach::Xdp, reason: "driver has it".into() };
    let status = Status {
        version: "0.1.0".into(),
        instance: "default".into(),
        pid: 1,
        uptime_s: 5,
        kernel: "6.1.0".into(),
        interfaces: vec![interface],
        capacity: Capacity { services: fill, destinations: fill, connections: fill },
        limits_reached: vec![LimitReached { limit: "services".into(), maximum: 2, times: 1 }],
        events: Event::ALL.iter().map(|event| EventListing::new(*event, 3)).collect(),
        warnings: vec!["eth1: not attached".into()],
    };
    fits("Status", &[status]);
    let counters = OUTCOMES.iter().map(|outcome| CounterListing::new(*outcome, 7)).collect();
    fits("CounterTable", &[CounterTable { counters }]);
    fits("SettingTable", &[SettingTable::from(Settings::default())]);
    fits("Applied", &[Applied { applied: 10_000 }]);
    fits("Stopped", &[Stopped { message: "instance default taken down".into() }]);
    fits("Document", &[openapi::document()]);
}

#[test]
fn the_checker_finds_faults() {
    let all = components();
    let good = serde_json::to_value(service_key()).unwrap();
    for (field, bad) in
        [("port", json!(65_536)), ("protocol", json!("TCP")), ("address", json!(1)), ("more", json!(1))]
    {
        let mut value = good.clone();
        value[field] = bad;
        assert!(check(&all, &all["ServiceKey"], &value, "ServiceKey").is_err(), "{field}");
    }
    assert!(check(&all, &all["ServiceKey"], &json!({"protocol": "tcp"}), "ServiceKey").is_err());
    assert!(check(&all, &all["Command"], &json!({"command": "clear", "service": null}), "Command").is_err());
}

/// Names of all schemas that something refers to.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let target = fields.get("$ref").and_then(Value::as_str);
            found.extend(target.map(|target| target.rsplit('/').next().unwrap().to_owned()));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_schema_exists_and_is_used() {
    let mut referred = BTreeSet::new();
    references(&openapi::document(), &mut referred);
    let defined: BTreeSet<_> = components().keys().cloned().collect();
    assert_eq!(referred, defined);
}
