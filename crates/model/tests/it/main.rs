//! The core's parts over the model's memory: the connection table, alone and with several threads, the schedulers, and
//! packets that nobody should send.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may fail, and counts small numbers"
)]

mod audit;
mod bypass;
mod clamp;
mod client_option;
mod dropped_fragments;
mod fill;
mod fragments;
mod ftp;
mod full_nat;
mod full_nat_pool;
mod hooked;
mod icmp;
mod local;
mod malformed;
mod meanwhile;
mod proxy;
mod races;
mod schedulers;
mod strangers;
mod support;
mod table;
mod threads;
mod translated;
mod tunnel_fragments;
mod tunnel_sources;
