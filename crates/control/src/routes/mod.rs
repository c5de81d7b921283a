//! The resources: one table, which the router follows and which the OpenAPI document is made of, so that the two can't
//! differ.

mod commands;
mod target;
#[cfg(test)]
mod tests;

use rvs_config::{Protocol, ServiceKey};

use crate::api::{ConnQuery, Request, RequestError};
use crate::http::{Answer, RequestHead};
use crate::limits;
use crate::openapi;
use target::Target;

/// The methods of this protocol. HEAD is GET without the answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
}

impl Method {
    fn takes(self, method: &str) -> bool {
        self.names().contains(&method)
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Get => &["GET", "HEAD"],
            Self::Post => &["POST"],
        }
    }
}

/// Where a parameter is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location {
    /// A segment of the path; required.
    Path,
    /// After the question mark; optional.
    Query,
}

/// A parameter of a resource.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) location: Location,
    /// Name of its schema.
    pub(crate) schema: &'static str,
    pub(crate) description: &'static str,
}

/// A resource and a method.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// Segments in braces are parameters.
    pub(crate) path: &'static str,
    /// Its name in generated clients.
    pub(crate) operation: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) parameters: &'static [Parameter],
    /// Name of the body's schema, if it takes one.
    pub(crate) body: Option<&'static str>,
    /// Name of the schema of the answer 200.
    pub(crate) answer: &'static str,
    /// Whether it takes the right to change something.
    pub(crate) changes: bool,
    /// Statuses of refusals that only this resource has, and when.
    pub(crate) refusals: &'static [(u16, &'static str)],
    action: Action,
}

#[derive(Debug)]
enum Action {
    /// Answered here.
    Document,
    /// Asked of the director.
    Ask(fn(&Arguments) -> Result<Request, Answer>),
}

/// What a request says besides which resource it means.
#[derive(Debug)]
struct Arguments {
    target: Target,
    body: Vec<u8>,
}

const CONN_PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "cursor",
        location: Location::Query,
        schema: "Cursor",
        description: "where to begin: `next` of the page before",
    },
    Parameter {
        name: "limit",
        location: Location::Query,
        schema: "PageLimit",
        description: "how many at most",
    },
];

const SERVICE_PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "protocol",
        location: Location::Path,
        schema: "ServiceKind",
        description: "transport protocol, or address family of a service for a firewall mark",
    },
    Parameter {
        name: "endpoint",
        location: Location::Path,
        schema: "Endpoint",
        description: "virtual address and port, `192.0.2.1:80` or `[2001:db8::1]:80`; of a service for a firewall mark, the mark",
    },
];

/// What most resources have.
const GET: Route = Route {
    method: Method::Get,
    path: "",
    operation: "",
    summary: "",
    parameters: &[],
    body: None,
    answer: "",
    changes: false,
    refusals: &[],
    action: Action::Document,
};

/// Every resource there is.
pub(crate) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/services",
        operation: "listServices",
        summary: "everything that is configured",
        answer: "Listing",
        action: Action::Ask(|_| Ok(Request::Services)),
        ..GET
    },
    Route {
        path: "/v1/services/{protocol}/{endpoint}",
        operation: "getService",
        summary: "one service with its destinations",
        parameters: SERVICE_PARAMETERS,
        answer: "ServiceListing",
        refusals: &[(404, "there is no such service")],
        action: Action::Ask(|arguments| Ok(Request::Service(arguments.service()?))),
        ..GET
    },
    Route {
        path: "/v1/connections",
        operation: "listConnections",
        summary: "connections, a page at a time",
        parameters: CONN_PARAMETERS,
        answer: "ConnPage",
        action: Action::Ask(|arguments| Ok(Request::Connections(arguments.page()?))),
        ..GET
    },
    Route {
        path: "/v1/status",
        operation: "getStatus",
        summary: "how the director is: interfaces, capacity, limits reached, warnings",
        answer: "Status",
        action: Action::Ask(|_| Ok(Request::Status)),
        ..GET
    },
    Route {
        path: "/v1/counters",
        operation: "getCounters",
        summary: "what became of packets, a row per outcome",
        answer: "CounterTable",
        action: Action::Ask(|_| Ok(Request::Counters)),
        ..GET
    },
    Route {
        path: "/v1/marks",
        operation: "listMarkRules",
        summary: "the rules that give packets a firewall mark",
        answer: "MarkRules",
        action: Action::Ask(|_| Ok(Request::Marks)),
        ..GET
    },
    Route {
        path: "/v1/timeouts",
        operation: "getTimeouts",
        summary: "the time-outs that ipvsadm --set changes",
        answer: "Timeouts",
        action: Action::Ask(|_| Ok(Request::Timeouts)),
        ..GET
    },
    Route {
        path: "/v1/settings",
        operation: "getSettings",
        summary: "the settings that rvs sysctl shows, with their values",
        answer: "SettingTable",
        action: Action::Ask(|_| Ok(Request::Settings)),
        ..GET
    },
    Route {
        method: Method::Post,
        path: "/v1/commands",
        operation: "applyCommands",
        summary: "carries out commands in order, all or none",
        body: Some("Commands"),
        answer: "Applied",
        changes: true,
        refusals: &[
            (413, "the body is too large"),
            (415, "the body is not application/json"),
            (422, "a command is refused, and none was carried out"),
        ],
        action: Action::Ask(|arguments| Ok(Request::Commands(commands::decode(&arguments.body)?))),
        ..GET
    },
    Route {
        method: Method::Post,
        path: "/v1/stop",
        operation: "stop",
        summary: "takes the data plane down and ends the director: packets are balanced no more",
        answer: "Stopped",
        changes: true,
        action: Action::Ask(|_| Ok(Request::Stop)),
        ..GET
    },
    Route {
        path: "/v1/openapi.json",
        operation: "getDocument",
        summary: "this document",
        answer: "Document",
        ..GET
    },
];

/// A request whose head names a resource.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) route: &'static Route,
    target: Target,
}

/// What is to be done with a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing more: this is the answer.
    Answer(Answer),
    /// Ask the director.
    Ask(Request),
}

/// Finds the resource that a head names.
///
/// # Errors
/// The answer, when there is none or it does not take this.
pub(crate) fn find(head: &RequestHead) -> Result<Routed, Answer> {
    let target = Target::parse(&head.target)
        .ok_or_else(|| malformed(format!("path {:?}: not a path in UTF-8", head.target)))?;
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some(target) = target.matching(route.path) else { continue };
        if !route.method.takes(&head.method) {
            allowed.extend(route.method.names().iter().map(|name| (*name).to_owned()));
            continue;
        }
        target.check_query(route).map_err(malformed)?;
        if route.body.is_some() && !head.is_json {
            let message = format!("{}: expected content-type: application/json", route.path);
            return Err(Answer::refusal(RequestError::UnsupportedMediaType, message));
        }
        return Ok(Routed { route, target });
    }
    Err(if allowed.is_empty() {
        let message = format!("path {:?}: no such resource, see /v1/openapi.json", target.path);
        Answer::refusal(RequestError::UnknownPath, message)
    } else {
        let message = format!("{} {}: expected {}", head.method, target.path, allowed.join(" or "));
        Answer::refusal(RequestError::MethodNotAllowed { allowed }, message)
    })
}

impl Routed {
    /// Bytes that the body may have.
    pub(crate) fn body_bytes_max(&self) -> usize {
        if self.route.body.is_some() { limits::BODY_BYTES_MAX } else { 0 }
    }

    /// What to do now that the body is there.
    pub(crate) fn step(self, body: Vec<u8>) -> Step {
        match self.route.action {
            Action::Document => Step::Answer(Answer::json(200, &openapi::document())),
            Action::Ask(request) => {
                request(&Arguments { target: self.target, body }).map_or_else(Step::Answer, Step::Ask)
            }
        }
    }
}

fn malformed(message: impl Into<String>) -> Answer {
    Answer::refusal(RequestError::Malformed, message)
}

impl Arguments {
    fn service(&self) -> Result<ServiceKey, Answer> {
        let [protocol, endpoint] = self.target.variables.as_slice() else {
            return Err(Answer::refusal(RequestError::Internal, "service: the route has other parameters"));
        };
        let by_mark = |is_ipv6| endpoint.parse().ok().and_then(|mark| ServiceKey::marked(mark, is_ipv6));
        let marked = match protocol.as_str() {
            "mark-ipv4" => Some(by_mark(false)),
            "mark-ipv6" => Some(by_mark(true)),
            _ => None,
        };
        if let Some(key) = marked {
            let wrong =
                || malformed(format!("service {protocol}/{endpoint}: expected a mark, 1 to 4294967295"));
            return key.ok_or_else(wrong);
        }
        let parsed = Protocol::ALL.iter().copied().find(|known| known.name() == protocol);
        let parsed = parsed.zip(endpoint.parse::<core::net::SocketAddr>().ok());
        let (protocol, endpoint) = parsed.ok_or_else(|| {
            malformed(format!("service {protocol}/{endpoint}: expected tcp, udp or sctp, then ADDRESS:PORT, or mark-ipv4 or mark-ipv6, then a mark"))
        })?;
        Ok(ServiceKey { protocol, address: endpoint.ip(), port: endpoint.port() })
    }

    fn page(&self) -> Result<ConnQuery, Answer> {
        let default = ConnQuery::default();
        let cursor = self.number("cursor", 0, u64::MAX)?.unwrap_or(default.cursor);
        let limit = self.number("limit", 1, u64::from(limits::CONN_PAGE_MAX))?;
        let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(default.limit);
        Ok(ConnQuery { cursor, limit })
    }

    fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Answer> {
        let Some(value) = self.target.query(name) else { return Ok(None) };
        match value.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(malformed(format!("{name} {value:?}: expected a number from {least} to {most}"))),
        }
    }
}
