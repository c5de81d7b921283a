//! Real traffic through the real program: clients and servers in network namespaces, `rvs director` between them,
//! configured by `rvs ipvsadm`. Needs root, curl, dig, dnsmasq, iperf3, nginx, vsftpd, and websocketd with the client of
//! python3-websockets.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod attach;
mod client_address;
mod crafted;
mod curl;
mod daemon;
mod demo;
mod dns;
mod documents;
mod drain;
mod fragments;
mod ftp;
mod full_nat_sources;
mod hairpin;
mod iperf3;
mod links;
mod load;
mod local;
mod method;
mod mib;
mod neighbours;
mod other_traffic;
mod path_mtu;
mod peers;
mod program;
mod proxy;
mod refusals;
mod residue;
mod reverse_path;
mod routes;
mod segment_size;
mod stage;
mod transfer;
mod tunnel_fragments;
mod tunnel_sources;
mod turn;
mod uplinks;
mod websocket;
mod wire;
mod world;
