//! The real binary, from the outside: what it prints, its exit statuses, and the life of a director. Needs root: directors
//! run in network namespaces of their own and under names of their own.
#![allow(clippy::unwrap_used, reason = "in tests, what is not there is a failure")]

mod access;
mod families;
mod help;
mod interfaces;
mod ipvsadm;
mod journal;
mod lifecycle;
mod marks;
mod options;
mod restore;
mod support;
mod sysctl;
mod traffic;
mod usage;
