//! Schemas of the bodies of requests and of good answers.

use serde_json::{Value, json};

use super::{Field, array, field, number, object, reference, text, word};
use crate::limits;

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("Cursor", number(u64::MAX, "a place in the connection table; 0 is its beginning")),
        ("PageLimit", page_limit()),
        ("ConnPage", object("some of the connections, in the order of the table", conn_page())),
        ("Commands", object("a transaction", vec![field("commands", commands())])),
        (
            "Applied",
            object("the transaction is done", vec![field("applied", number(u64::MAX, "its commands"))]),
        ),
        ("Stopped", object("the data plane is down", vec![field("message", text("what was taken down"))])),
        ("Status", object("a director's account of itself", status())),
        ("Interface", object("an interface that the director looked at", interface())),
        ("Attach", word(["xdp", "xdp-generic", "tc", "none"], "where the program is attached")),
        ("Capacity", object("how much of each table is in use", capacity())),
        ("Fill", object("the fill of a table", fill())),
        ("LimitReached", object("a limit that was reached", limit_reached())),
        ("CounterClass", word(["pass", "hand-over", "forward", "drop"], "what kind of outcome it is")),
        ("CounterListing", object("how many packets ended in one outcome", counter())),
        ("CounterTable", object("what became of packets", vec![field("counters", counters())])),
        ("SettingListing", object("a setting", setting())),
        ("SettingTable", object("settings in force", vec![field("settings", settings())])),
        ("EventListing", object("something that happens to a packet and does not end it", event())),
        ("Document", json!({"type": "object", "description": "an OpenAPI 3.1 document"})),
    ]
}

fn settings() -> Value {
    array(reference("SettingListing"), "all there are, by name")
}

fn setting() -> Vec<Field> {
    vec![
        field("name", text("its name, which is that of IPVS under net.ipv4.vs")),
        field("value", number(u32::MAX, "its value")),
        field("default", number(u32::MAX, "its value until it is set")),
        field("maximum", number(u32::MAX, "its largest value; the smallest is 0")),
        field("text", text("one line that explains it")),
    ]
}

fn event() -> Vec<Field> {
    vec![
        field("name", text("its name")),
        field("count", number(u64::MAX, "how often, since the data plane was loaded")),
        field("text", text("one line that explains it")),
    ]
}

fn page_limit() -> Value {
    let (default, maximum) = (limits::CONN_PAGE_DEFAULT, limits::CONN_PAGE_MAX);
    json!({"type": "integer", "minimum": 1, "maximum": maximum, "default": default})
}

fn conn_page() -> Vec<Field> {
    let next = json!({"oneOf": [reference("Cursor"), {"type": "null"}],
        "description": "the cursor of the next page; null on the last"});
    vec![field("connections", array(reference("ConnListing"), "connections")), field("next", next)]
}

fn commands() -> Value {
    array(reference("Command"), "carried out in this order, all or none")
}

fn counters() -> Value {
    array(reference("CounterListing"), "a row per outcome, those at zero included")
}

fn status() -> Vec<Field> {
    vec![
        field("version", text("the program's version")),
        field("instance", text("the instance's name")),
        field("pid", number(u32::MAX, "process id of the daemon")),
        field("uptime_s", number(u64::MAX, "seconds since the daemon started; the data plane may be older")),
        field("kernel", text("release of the running kernel")),
        field("interfaces", array(reference("Interface"), "interfaces, by name")),
        field("capacity", reference("Capacity")),
        field("limits_reached", array(reference("LimitReached"), "limits reached since the daemon started")),
        field(
            "events",
            array(reference("EventListing"), "what else the programs count, those at zero included"),
        ),
        field("warnings", array(json!({"type": "string"}), "what an operator should know, a line each")),
    ]
}

fn interface() -> Vec<Field> {
    vec![
        field("name", text("its name")),
        field("index", number(u32::MAX, "its index in the director's network namespace")),
        field("attach", reference("Attach")),
        field("reason", text("why there, in one line")),
    ]
}

fn capacity() -> Vec<Field> {
    ["services", "destinations", "connections"].map(|name| field(name, reference("Fill"))).into()
}

fn fill() -> Vec<Field> {
    vec![
        field("used", number(u64::MAX, "entries in use")),
        field("maximum", number(u64::MAX, "entries there are")),
    ]
}

fn limit_reached() -> Vec<Field> {
    vec![
        field("limit", text("its name")),
        field("maximum", number(u64::MAX, "how much it is")),
        field("times", number(u64::MAX, "how often it was reached")),
    ]
}

fn counter() -> Vec<Field> {
    vec![
        field("name", text("the outcome's name")),
        field("class", reference("CounterClass")),
        field("count", number(u64::MAX, "packets since the data plane was loaded")),
        field("text", text("one line that explains it")),
    ]
}
