//! Small clusters in network namespaces on one machine, with real HTTP over real TCP.
//!
//! The demo, the tests and the benchmarks build on it: [`Cluster`] makes a client, a director and real servers,
//! [`HttpServer`] and [`HttpClient`] send traffic between them, [`Capture`] reads and writes raw frames, [`Cgroup`]
//! keeps programs together, [`Residue`] tells what was left behind. It needs root and nothing else: no program, no package.
//!
//! This crate knows nothing of rvs: it makes no service, loads no program and starts no director. Every wait in it ends.
#![forbid(unsafe_code)]

mod capture;
mod cgroup;
mod cluster;
mod error;
mod http;
mod poll;
mod residue;
mod wait;

pub use capture::{Capture, Direction, Frame};
pub use cgroup::Cgroup;
pub use cluster::{Cluster, ClusterBuilder, Family, Host, Interface, Neighbours, Offloads, Replies};
pub use error::{Error, Result};
pub use http::content;
pub use http::{HttpClient, HttpRun, HttpServer, Report};
pub use residue::Residue;
pub use wait::{TimedOut, wait_until};
