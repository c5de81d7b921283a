//! Schemas of answers that are no success.

use serde_json::{Value, json};

use super::{Field, array, field, number, object, optional, reference, text, variant};

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("ErrorBody", object("why it was not done; nothing was changed", error_body())),
        ("CommandError", command_error()),
        ("RequestError", request_error()),
    ]
}

fn error_body() -> Vec<Field> {
    let either = json!({"oneOf": [reference("CommandError"), reference("RequestError")]});
    vec![
        field("message", text("one line that names the object and what was expected")),
        field("error", either),
        optional("index", number(u64::MAX, "which command of a transaction, counted from 0")),
    ]
}

fn command_error() -> Value {
    let of = |name, description, fields| variant("error", name, description, fields);
    let service = || field("service", reference("ServiceKey"));
    let destination = || field("destination", reference("DestKey"));
    let what = || vec![field("what", text("which object, and what was expected"))];
    json!({"description": "why the director refused", "oneOf": [
        of("service-exists", "a service to add exists", vec![service()]),
        of("no-such-service", "a service does not exist", vec![service()]),
        of("service-not-defined", "the service of a destination does not exist", vec![service()]),
        of("destination-exists", "a destination to add exists", vec![service(), destination()]),
        of("no-such-destination", "a destination does not exist", vec![service(), destination()]),
        of("scheduler-not-found", "no scheduler of that name", vec![]),
        of("out-of-range", "weight, threshold or time-out out of range", what()),
        of("invalid", "not a valid service or destination", what()),
        of("limit-reached", "a limit of this director is reached", what()),
        of("not-supported", "this version can't do that yet", what()),
    ]})
}

fn request_error() -> Value {
    let of = |name, description, fields| variant("error", name, description, fields);
    let maximum = |text| vec![field("maximum", number(u64::MAX, text))];
    json!({"description": "why a request did not reach the director's tables", "oneOf": [
        of("malformed", "400: not HTTP/1.1, not JSON, or not what this resource takes", vec![]),
        of("forbidden", "403: this user may read and not change",
            vec![field("uid", number(u32::MAX, "the peer's effective user id"))]),
        of("unknown-path", "404: no such resource", vec![]),
        of("method-not-allowed", "405: the resource has other methods",
            vec![field("allowed", array(json!({"type": "string"}), "these"))]),
        of("timed-out", "408: the request did not arrive in time",
            vec![field("limit_s", number(u64::MAX, "seconds it had"))]),
        of("too-large", "413: the body is too large", maximum("bytes it may have")),
        of("unsupported-media-type", "415: the body is not application/json", vec![]),
        of("head-too-large", "431: the head is too large", vec![
            field("bytes_max", number(u64::MAX, "bytes it may have")),
            field("fields_max", number(u64::MAX, "header fields it may have")),
        ]),
        of("internal", "500: a fault of this program", vec![]),
        of("unsupported-coding", "501: a transfer coding other than chunked", vec![]),
        of("busy", "503: too many clients at once", maximum("how many are served")),
        of("unavailable", "503: the director is starting or ending", vec![]),
    ]})
}
