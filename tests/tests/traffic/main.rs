//! Real traffic through the real program: clients and servers in network namespaces, `rvs director` between them,
//! configured by `rvs ipvsadm`. Needs root, curl and iperf3.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod attach;
mod bulk;
mod daemon;
mod demo;
mod documents;
mod drain;
mod links;
mod load;
mod method;
mod neighbours;
mod other_traffic;
mod program;
mod residue;
mod routes;
mod stage;
mod turn;
