//! Header layouts and checksums, for programs in the kernel and for the host alike.
//!
//! Functions here work on fixed arrays that a caller has already proved to be there; they can't panic and don't
//! allocate. This crate may not know what a packet is for.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "builder")]
extern crate alloc;

#[cfg(feature = "builder")]
pub mod builder;
pub mod checksum;
pub mod eth;
pub mod gre;
pub mod gue;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod proxy;
pub mod sctp;
pub mod tcp;
pub mod toa;
pub mod udp;
