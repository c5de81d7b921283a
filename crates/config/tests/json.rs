//! The JSON forms are an interface: the control socket, scripts and stored configurations speak them. A change here
//! is a change of that interface.
#![allow(clippy::unwrap_used, reason = "a failed conversion is a failed test")]

use std::fmt::Debug;

use rvs_config::{
    ClientAddress, Command, CommandError, ConnListing, Counters, DestListing, Destination, ForwardingMethod,
    Listing, MarkRule, MarkRules, Protocol, Rates, Scheduler, SchedulerFlags, ServiceKey, ServiceListing,
    Setting, Timeouts, TimeoutsUpdate, Tunnel, TunnelChecksum, VirtualService,
};
use serde::{Serialize, de::DeserializeOwned};

const KEY: &str = r#"{"protocol":"tcp","address":"10.0.0.1","port":80}"#;

/// `value` is written as `json`, and read back from it.
fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, json: &str) {
    assert_eq!(serde_json::to_string(value).unwrap(), json);
    assert_eq!(serde_json::from_str::<T>(json).unwrap(), *value);
}

fn key() -> ServiceKey {
    "10.0.0.1:80/tcp".parse().unwrap()
}

fn service() -> VirtualService {
    VirtualService {
        key: key(),
        scheduler: Scheduler::Wlc,
        flags: SchedulerFlags(0),
        one_packet: false,
        mss: 0,
        client_address: ClientAddress::default(),
    }
}

fn destination() -> Destination {
    Destination {
        key: "10.0.0.2:80".parse().unwrap(),
        method: ForwardingMethod::Dr,
        weight: 3,
        upper_threshold: 0,
        lower_threshold: 0,
        tunnel: Tunnel::Ipip,
    }
}

#[test]
fn commands_about_services() {
    let attributes = format!(
        r#""key":{KEY},"scheduler":"wlc","flags":0,"one_packet":false,"mss":0,"client_address":"option""#
    );
    same(&Command::AddService(service()), &format!(r#"{{"command":"add-service",{attributes}}}"#));
    same(&Command::EditService(service()), &format!(r#"{{"command":"edit-service",{attributes}}}"#));
    same(
        &Command::DeleteService { service: key() },
        &format!(r#"{{"command":"delete-service","service":{KEY}}}"#),
    );
    let options = VirtualService { mss: 1360, client_address: ClientAddress::None, ..service() };
    let said = r#""scheduler":"wlc","flags":0,"one_packet":false,"mss":1360,"client_address":"none""#;
    same(&options, &format!(r#"{{"key":{KEY},{said}}}"#));
    let least = format!(r#"{{"key":{KEY},"scheduler":"wlc"}}"#);
    assert_eq!(serde_json::from_str::<VirtualService>(&least).unwrap(), service());
    same(&Command::Clear, r#"{"command":"clear"}"#);
    same(&Command::Zero { service: None }, r#"{"command":"zero","service":null}"#);
    let update = TimeoutsUpdate { tcp_s: 1, tcp_fin_s: 2, udp_s: 3 };
    same(&Command::SetTimeouts(update), r#"{"command":"set-timeouts","tcp_s":1,"tcp_fin_s":2,"udp_s":3}"#);
    let settings = [("sloppy_tcp".to_owned(), 1), ("conn_reuse_mode".to_owned(), 0)].into();
    let text = r#"{"command":"set-settings","settings":{"conn_reuse_mode":0,"sloppy_tcp":1}}"#;
    same(&Command::SetSettings { settings }, text);
}

#[test]
fn commands_about_destinations() {
    let dest = r#"{"address":"10.0.0.2","port":80,"method":"dr","weight":3,"upper_threshold":0,"lower_threshold":0,"tunnel":{"type":"ipip"}}"#;
    for (name, command) in [
        ("add-destination", Command::AddDestination { service: key(), destination: destination() }),
        ("edit-destination", Command::EditDestination { service: key(), destination: destination() }),
    ] {
        same(&command, &format!(r#"{{"command":"{name}","service":{KEY},"destination":{dest}}}"#));
    }
    let delete = Command::DeleteDestination { service: key(), destination: destination().key };
    let dest = r#"{"address":"10.0.0.2","port":80}"#;
    same(&delete, &format!(r#"{{"command":"delete-destination","service":{KEY},"destination":{dest}}}"#));
}

#[test]
fn tunnels() {
    let with = |tunnel| Destination { method: ForwardingMethod::Tunnel, tunnel, ..destination() };
    let json = |tunnel: &str| {
        let head = r#""address":"10.0.0.2","port":80,"method":"tunnel","weight":3"#;
        format!(r#"{{{head},"upper_threshold":0,"lower_threshold":0{tunnel}}}"#)
    };
    same(&with(Tunnel::Ipip), &json(r#","tunnel":{"type":"ipip"}"#));
    let gue = |checksum| with(Tunnel::Gue { port: 5555, checksum });
    for checksum in TunnelChecksum::ALL {
        let tunnel = format!(r#","tunnel":{{"type":"gue","port":5555,"checksum":"{}"}}"#, checksum.name());
        same(&gue(*checksum), &json(&tunnel));
    }
    let gre = with(Tunnel::Gre { checksum: TunnelChecksum::Csum });
    same(&gre, &json(r#","tunnel":{"type":"gre","checksum":"csum"}"#));
    let read = |tunnel: &str| serde_json::from_str::<Destination>(&json(tunnel));
    assert_eq!(read("").unwrap(), with(Tunnel::Ipip));
    assert_eq!(read(r#","tunnel":{"type":"gue","port":5555}"#).unwrap(), gue(TunnelChecksum::None));
    for wrong in [r#"{"type":"gue"}"#, r#"{"type":"vxlan"}"#, r#"{"type":"gue","port":65536}"#, r#"{}"#] {
        assert!(read(&format!(r#","tunnel":{wrong}"#)).is_err(), "{wrong}");
    }
}

#[test]
fn ipv6_and_sctp() {
    let service: ServiceKey = "[2001:db8::1]:3868/sctp".parse().unwrap();
    same(&service, r#"{"protocol":"sctp","address":"2001:db8::1","port":3868}"#);
}

#[test]
fn what_is_left_out_has_its_default() {
    let json = r#"{"address":"10.0.0.2","port":80,"method":"dr","weight":3}"#;
    assert_eq!(serde_json::from_str::<Destination>(json).unwrap(), destination());
    let json = format!(r#"{{"key":{KEY},"scheduler":"wlc"}}"#);
    assert_eq!(serde_json::from_str::<VirtualService>(&json).unwrap(), service());
}

#[test]
fn errors() {
    same(
        &CommandError::NoSuchService { service: key() },
        &format!(r#"{{"error":"no-such-service","service":{KEY}}}"#),
    );
    same(&CommandError::SchedulerNotFound, r#"{"error":"scheduler-not-found"}"#);
    let what = "persistence (-p)".to_owned();
    same(&CommandError::NotSupported { what }, r#"{"error":"not-supported","what":"persistence (-p)"}"#);
}

#[test]
fn listings() {
    let (counters, rates) = (Counters::default(), Rates::default());
    let traffic = concat!(
        r#""counters":{"conns":0,"in_packets":0,"out_packets":0,"in_bytes":0,"out_bytes":0},"#,
        r#""rates":{"cps":0,"in_pps":0,"out_pps":0,"in_bps":0,"out_bps":0}"#
    );
    let dest = DestListing {
        destination: destination(),
        active_conns: 1,
        inactive_conns: 2,
        persistent_conns: 0,
        counters,
        rates,
    };
    let dest_json = format!(
        concat!(
            r#"{{"address":"10.0.0.2","port":80,"method":"dr","weight":3,"upper_threshold":0,"lower_threshold":0,"tunnel":{{"type":"ipip"}},"#,
            r#""active_conns":1,"inactive_conns":2,"persistent_conns":0,{}}}"#
        ),
        traffic
    );
    let listing = Listing {
        services: vec![ServiceListing { service: service(), destinations: vec![dest], counters, rates }],
        conn_table_size: 4096,
        timeouts: Timeouts::default(),
    };
    let json = format!(
        concat!(
            r#"{{"services":[{{"key":{},"scheduler":"wlc","flags":0,"one_packet":false,"mss":0,"client_address":"option","destinations":[{}],{}}}],"#,
            r#""conn_table_size":4096,"timeouts":{{"tcp_s":900,"tcp_fin_s":120,"udp_s":300}}}}"#
        ),
        KEY, dest_json, traffic
    );
    same(&listing, &json);
}

#[test]
fn connections() {
    let conn = ConnListing {
        protocol: key().protocol,
        client: "192.0.2.2".parse().unwrap(),
        client_port: 4000,
        vip: key().address,
        vport: key().port,
        destination: "10.0.0.2".parse().unwrap(),
        dport: 80,
        method: ForwardingMethod::Masq,
        state: "ESTABLISHED".to_owned(),
        expires_s: 899,
        packets: 3,
    };
    let json = concat!(
        r#"{"protocol":"tcp","client":"192.0.2.2","client_port":4000,"vip":"10.0.0.1","vport":80,"#,
        r#""destination":"10.0.0.2","dport":80,"method":"masq","state":"ESTABLISHED","expires_s":899,"packets":3}"#
    );
    same(&conn, json);
}

/// The example of the documentation.
#[test]
fn settings_in_a_list_of_commands() {
    let page = include_str!("../../../docs/settings.md");
    let example = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let value: serde_json::Value = serde_json::from_str(example).unwrap();
    let commands: Vec<Command> = serde_json::from_value(value["commands"].clone()).unwrap();
    let settings = [("expire_nodest_conn".to_owned(), 1), ("sloppy_tcp".to_owned(), 1)].into();
    assert_eq!(commands, [Command::SetSettings { settings }]);
    for setting in Setting::ALL {
        assert!(page.contains(&format!("`{setting}`")), "{setting}");
    }
}

#[test]
fn services_by_mark() {
    for (family, is_ipv6) in [("ipv4", false), ("ipv6", true)] {
        let key = ServiceKey::marked(7, is_ipv6).unwrap();
        same(&key, &format!(r#"{{"mark":7,"family":"{family}"}}"#));
        assert_eq!((key.mark(), key.address.is_ipv6()), (Some(7), is_ipv6));
    }
    assert_eq!(ServiceKey::marked(0, false), None);
    assert_eq!(key().mark(), None);
    for (json, expected) in [
        (r#"{"mark":0,"family":"ipv4"}"#, "service of mark 0: expected 1 to 4294967295"),
        (r#"{"mark":7}"#, "missing field `family`"),
        (
            r#"{"mark":7,"family":"ipv4","port":80}"#,
            "service of mark 7: expected no protocol, address or port beside a mark",
        ),
        (r#"{"address":"10.0.0.1","port":80}"#, "missing field `protocol`"),
        (r#"{"protocol":"tcp","port":80}"#, "missing field `address`"),
        (r#"{"protocol":"tcp","address":"10.0.0.1"}"#, "missing field `port`"),
    ] {
        assert_eq!(serde_json::from_str::<ServiceKey>(json).unwrap_err().to_string(), expected);
    }
    assert!(
        serde_json::from_str::<ServiceKey>(r#"{"protocol":"mark","address":"0.0.0.7","port":0}"#).is_err()
    );
}

#[test]
fn commands_about_marks() {
    let rule = MarkRule {
        mark: 7,
        source: None,
        destination: Some("203.0.113.0/24".parse().unwrap()),
        protocol: Some(Protocol::Tcp),
        source_ports: None,
        ports: Some("80-90".parse().unwrap()),
    };
    let json = r#"{"mark":7,"destination":"203.0.113.0/24","protocol":"tcp","ports":{"first":80,"last":90}}"#;
    let add = |number| Command::AddMarkRule { number, rule };
    same(&add(None), &format!(r#"{{"command":"add-mark-rule","rule":{json}}}"#));
    same(&add(Some(2)), &format!(r#"{{"command":"add-mark-rule","number":2,"rule":{json}}}"#));
    same(&Command::DeleteMarkRule { number: 3 }, r#"{"command":"delete-mark-rule","number":3}"#);
    same(&Command::ClearMarkRules, r#"{"command":"clear-mark-rules"}"#);
    same(
        &MarkRules { rules: vec![rule], rules_max: 256 },
        &format!(r#"{{"rules":[{json}],"rules_max":256}}"#),
    );
}
