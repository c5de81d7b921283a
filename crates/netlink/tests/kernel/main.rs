//! Every operation of rvs-netlink against the running kernel, in network namespaces of its own. Needs root.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod ethtool;
mod link;
mod monitor;
mod neighbour;
mod netns;
mod pair;
mod route;
mod sysctl;
