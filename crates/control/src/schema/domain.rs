//! Schemas of what an operator configures and of what there is: the types of `rvs-config`.

use rvs_config::{Protocol, Scheduler, TunnelChecksum, limits};
use serde_json::{Value, json};

use super::{Field, array, field, number, object, optional, reference, text, variant, word};

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("Protocol", word(Protocol::ALL.iter().map(|protocol| protocol.name()), "transport protocol")),
        (
            "ServiceKind",
            word(
                Protocol::ALL.iter().map(|protocol| protocol.name()).chain(["mark-ipv4", "mark-ipv6"]),
                "what kind of service it is",
            ),
        ),
        ("Address", json!({"type": "string", "description": "an IPv4 or IPv6 address as text"})),
        ("Endpoint", text("ADDRESS:PORT, an IPv6 address in brackets")),
        ("Port", number(u16::MAX, "port number")),
        ("ServiceKey", service_key()),
        ("Prefix", text("ADDRESS/BITS, no bit set behind them; ADDRESS alone is one address")),
        ("PortRange", object("ports, the last one included", port_range())),
        (
            "MarkRule",
            object("which packets get which mark; what is not said takes every packet", mark_rule()),
        ),
        ("MarkRules", object("the rules that give packets a mark", mark_rules())),
        ("DestKey", object("what a destination is known by within its service", dest_key())),
        ("Scheduler", word(Scheduler::ALL.iter().map(|scheduler| scheduler.name()), "scheduler")),
        (
            "SchedulerFlags",
            number(7_u8, "bit 0: flag-1 (sh-fallback), bit 1: flag-2 (sh-port), bit 2: flag-3"),
        ),
        (
            "ClientAddress",
            word(
                ["option", "none", "proxy"],
                "how full NAT tells servers who the client is; option if absent",
            ),
        ),
        ("ForwardingMethod", word(["masq", "dr", "tunnel", "fullnat"], "how packets reach a destination")),
        ("TunnelChecksum", word(TunnelChecksum::ALL.iter().map(|checksum| checksum.name()), "checksum")),
        ("Tunnel", tunnel()),
        ("Destination", object("a destination", destination())),
        ("Counters", object("traffic since the last zeroing; bytes are IP total lengths", counters())),
        ("Rates", object("rates per second, averaged as IPVS does", rates())),
        ("DestListing", object("a destination and what happens on it", dest_listing())),
        ("ServiceListing", object("a service, its destinations and what happens on it", service_listing())),
        ("Timeouts", object("time-outs in force, in seconds", timeouts("time-out"))),
        ("Listing", object("everything that is configured", listing())),
        ("ConnListing", object("a connection", connection())),
        ("Command", command()),
    ]
}

fn service_key() -> Value {
    let at_address = vec![
        field("protocol", reference("Protocol")),
        field("address", reference("Address")),
        field("port", reference("Port")),
    ];
    let by_mark =
        vec![field("mark", mark()), field("family", word(["ipv4", "ipv6"], "address family of the packets"))];
    json!({"description": "what a virtual service is known by", "oneOf": [
        object("packets to an address and port", at_address),
        object("packets with a firewall mark", by_mark),
    ]})
}

fn mark() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": u32::MAX, "description": "firewall mark"})
}

fn port_range() -> Vec<Field> {
    vec![field("first", reference("Port")), field("last", reference("Port"))]
}

fn mark_rule() -> Vec<Field> {
    vec![
        field("mark", mark()),
        optional("source", reference("Prefix")),
        optional("destination", reference("Prefix")),
        optional("protocol", reference("Protocol")),
        optional("source_ports", reference("PortRange")),
        optional("ports", reference("PortRange")),
    ]
}

fn mark_rules() -> Vec<Field> {
    vec![
        field("rules", array(reference("MarkRule"), "the first that takes a packet counts")),
        field("rules_max", number(limits::MARK_RULES_MAX as u64, "how many there may be")),
    ]
}

fn dest_key() -> Vec<Field> {
    vec![field("address", reference("Address")), field("port", reference("Port"))]
}

fn virtual_service() -> Vec<Field> {
    vec![
        field("key", reference("ServiceKey")),
        field("scheduler", reference("Scheduler")),
        optional("flags", reference("SchedulerFlags")),
        optional(
            "one_packet",
            json!({"type": "boolean", "default": false,
            "description": "each UDP datagram is scheduled by itself"}),
        ),
        optional(
            "mss",
            json!({"type": "integer", "minimum": 0, "maximum": limits::MSS_MAX, "default": 0,
            "description": "TCP maximum segment size that neither end may exceed, in bytes, 536 or more; 0: as the ends agree"}),
        ),
        optional("client_address", reference("ClientAddress")),
    ]
}

fn destination() -> Vec<Field> {
    let threshold = |text| number(limits::THRESHOLD_MAX, text);
    let mut fields = dest_key();
    fields.extend([
        field("method", reference("ForwardingMethod")),
        field("weight", number(limits::WEIGHT_MAX, "0 means quiesced: no new connections")),
        optional("upper_threshold", threshold("connections above which it gets no new ones; 0: no limit")),
        optional("lower_threshold", threshold("connections below which it gets new ones again")),
        optional("tunnel", reference("Tunnel")),
    ]);
    fields
}

fn tunnel() -> Value {
    let of = |name, description, fields| variant("type", name, description, fields);
    let port = json!({"type": "integer", "minimum": 1, "maximum": u16::MAX,
        "description": "UDP port that the real server takes packets at"});
    let checksum = || optional("checksum", reference("TunnelChecksum"));
    let description = "how packets are wrapped, with method tunnel; ipip when it is left out. \
        remcsum is for gue only, the default is none";
    json!({"description": description, "oneOf": [
        of("ipip", "IP in IP", vec![]),
        of("gue", "generic UDP encapsulation", vec![field("port", port), checksum()]),
        of("gre", "generic routing encapsulation", vec![checksum()]),
    ]})
}

fn counters() -> Vec<Field> {
    vec![
        field("conns", number(u64::MAX, "connections created")),
        field("in_packets", number(u64::MAX, "packets from clients")),
        field("out_packets", number(u64::MAX, "packets to clients that came through the director")),
        field("in_bytes", number(u64::MAX, "bytes from clients")),
        field("out_bytes", number(u64::MAX, "bytes to clients that came through the director")),
    ]
}

fn rates() -> Vec<Field> {
    vec![
        field("cps", number(u64::MAX, "connections per second")),
        field("in_pps", number(u64::MAX, "packets per second from clients")),
        field("out_pps", number(u64::MAX, "packets per second to clients")),
        field("in_bps", number(u64::MAX, "bytes per second from clients")),
        field("out_bps", number(u64::MAX, "bytes per second to clients")),
    ]
}

fn dest_listing() -> Vec<Field> {
    let mut fields = destination();
    fields.extend([
        field("active_conns", number(u32::MAX, "connections in an active state")),
        field("inactive_conns", number(u32::MAX, "all others")),
        field("persistent_conns", number(u32::MAX, "persistence templates bound to it")),
        field("counters", reference("Counters")),
        field("rates", reference("Rates")),
    ]);
    fields
}

fn service_listing() -> Vec<Field> {
    let mut fields = virtual_service();
    fields.extend([
        field("destinations", array(reference("DestListing"), "its destinations, newest first")),
        field("counters", reference("Counters")),
        field("rates", reference("Rates")),
    ]);
    fields
}

fn timeouts(what: &str) -> Vec<Field> {
    vec![
        field("tcp_s", number(limits::TIMEOUT_S_MAX, &format!("{what} of TCP ESTABLISHED"))),
        field("tcp_fin_s", number(limits::TIMEOUT_S_MAX, &format!("{what} of TCP FIN_WAIT"))),
        field("udp_s", number(limits::TIMEOUT_S_MAX, &format!("{what} of UDP"))),
    ]
}

fn listing() -> Vec<Field> {
    vec![
        field("services", array(reference("ServiceListing"), "services in no particular order")),
        field("conn_table_size", number(u32::MAX, "slots of the connection table")),
        field("timeouts", reference("Timeouts")),
    ]
}

fn connection() -> Vec<Field> {
    vec![
        field("protocol", reference("Protocol")),
        field("client", reference("Address")),
        field("client_port", reference("Port")),
        field("vip", reference("Address")),
        field("vport", reference("Port")),
        field("destination", reference("Address")),
        field("dport", reference("Port")),
        field("method", reference("ForwardingMethod")),
        field("state", text("state, by the name IPVS lists it under")),
        field("expires_s", number(u32::MAX, "seconds until it expires")),
        field("packets", number(u32::MAX, "packets from the client")),
    ]
}

fn rule_number(description: &str) -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": limits::MARK_RULES_MAX, "description": description})
}

fn command() -> Value {
    let of = |name, description, fields| variant("command", name, description, fields);
    let service = || field("service", reference("ServiceKey"));
    let destination = || field("destination", reference("Destination"));
    json!({"description": "a change", "oneOf": [
        of("add-service", "ipvsadm -A", virtual_service()),
        of("edit-service", "ipvsadm -E: replaces scheduler and flags together", virtual_service()),
        of("delete-service", "ipvsadm -D", vec![service()]),
        of("clear", "ipvsadm -C: removes every service", vec![]),
        of("add-destination", "ipvsadm -a", vec![service(), destination()]),
        of("edit-destination", "ipvsadm -e: replaces all attributes together", vec![service(), destination()]),
        of("delete-destination", "ipvsadm -d", vec![service(), field("destination", reference("DestKey"))]),
        of("zero", "ipvsadm -Z: zeroes the statistics of one service, or all of them", vec![optional(
            "service",
            json!({"oneOf": [reference("ServiceKey"), {"type": "null"}]}),
        )]),
        of("set-timeouts", "ipvsadm --set", timeouts("new time-out, 0 keeps the old one")),
        of("set-settings", "rvs sysctl NAME=VALUE ...: settings that are not named stay", vec![field(
            "settings",
            json!({"type": "object", "description": "new values by name: GET /v1/settings has the names and ranges",
                "additionalProperties": number(u32::MAX, "the value")}),
        )]),
        of("add-mark-rule", "adds a rule that gives packets a mark", vec![
            optional("number", rule_number("the number that it shall have; the last when it is left out")),
            field("rule", reference("MarkRule")),
        ]),
        of("delete-mark-rule", "removes one", vec![field("number", rule_number("its number"))]),
        of("clear-mark-rules", "removes all of them", vec![]),
    ]})
}
