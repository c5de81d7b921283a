//! The least of HTTP/1.1 (RFC 9112) that a load balancer's test needs: keep-alive, `GET`, `PUT`, bodies with a length.

mod client;
pub mod content;
mod message;
mod server;

pub use client::{HttpClient, HttpRun, Report};
pub use server::HttpServer;
