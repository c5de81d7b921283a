//! The control protocol of a director: HTTP/1.1 with JSON over a Unix stream socket.
//!
//! `rvs director` runs the [`Server`]; `rvs ipvsadm`, `rvs status` and the other clients use the [`Client`]. What can
//! be asked and answered is in [`api`]; every resource is one line of one table (`routes`), from which both the router
//! and the OpenAPI document ([`openapi::document`]) come.
//!
//! Layers, from the bottom: `http` turns bytes into requests and answers and does no I/O; `routes` turns a request
//! into an [`api::Request`]; `server` and `client` own the sockets, threads and time-outs. This crate decides who may
//! change something ([`Access`]), and nothing else: what a request does is the handler's business.
#![forbid(unsafe_code)]

mod access;
pub mod api;
mod client;
mod error;
mod http;
pub mod limits;
pub mod openapi;
mod routes;
mod schema;
mod server;
mod unix;

pub use access::{Access, Peer};
pub use client::Client;
pub use error::Error;
pub use server::{Counts, Running, Server, remove_dead};
