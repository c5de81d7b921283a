//! The least of HTTP/1.1 (RFC 9112) that a load balancer's test needs: keep-alive, `GET`, bodies with a length.

mod client;
mod message;
mod server;

pub use client::{HttpClient, HttpRun, Report};
pub use server::HttpServer;
