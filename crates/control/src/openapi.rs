//! The OpenAPI 3.1 document, made of the router's own table.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::http::JSON;
use crate::routes::{Location, Method, Parameter, ROUTES, Route};
use crate::schema;

/// The statuses that every resource has when it can't answer.
const REFUSALS: &[(u16, &str)] = &[
    (400, "the request is malformed"),
    (408, "the request did not arrive in time"),
    (431, "the request's head is too large"),
    (500, "a fault of this program"),
    (503, "too many clients at once, or the director is starting or ending"),
];
const FORBIDDEN: (u16, &str) = (403, "this user may read and not change");

/// The document of this version: what `rvs director --openapi` prints and `GET /v1/openapi.json` answers.
#[must_use]
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        let method = match route.method {
            Method::Get => "get",
            Method::Post => "post",
        };
        item[method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "rvs director",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"},
            "description": "The control protocol of a director, over its Unix socket. Whoever can open the socket may \
                read; root, the director's own user and members of the configured group may change.",
        },
        "servers": [{"url": "http://localhost", "description": "the Unix socket /run/rvs/director.sock"}],
        "paths": paths,
        "components": {"schemas": schema::components()},
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": route.operation,
        "summary": route.summary,
        "parameters": route.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses(route),
    });
    if let Some(body) = route.body {
        operation["requestBody"] = json!({"required": true, "content": content(body)});
    }
    operation
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": match parameter.location {
            Location::Path => "path",
            Location::Query => "query",
        },
        "required": parameter.location == Location::Path,
        "description": parameter.description,
        "schema": schema::reference(parameter.schema),
    })
}

fn responses(route: &Route) -> Value {
    let forbidden = route.changes.then_some(FORBIDDEN);
    let refusals: BTreeSet<_> = REFUSALS.iter().chain(route.refusals).copied().chain(forbidden).collect();
    let mut responses = json!({"200": {"description": "done", "content": content(route.answer)}});
    for (status, description) in refusals {
        responses[status.to_string()] = json!({"description": description, "content": content("ErrorBody")});
    }
    responses
}

fn content(name: &str) -> Value {
    json!({JSON: {"schema": schema::reference(name)}})
}
