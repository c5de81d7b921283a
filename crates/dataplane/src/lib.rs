//! The only door to the kernel's data plane: loads its programs, keeps its maps and attachments pinned, maps
//! its memory.
//!
//! Callers are the director, which works on [`Maps`] through `rvs_model::Memory` and attaches interfaces, and
//! tests and benchmarks, which run the programs on single frames. This crate decides nothing about packets,
//! services or connections.
//!
//! **What stays.** Maps are pinned as `<bpffs>/rvs/<instance>/NAME`, attachments as
//! `links/NETNS-IFINDEX-KIND` beside them (before kernel 6.6, those to TC are filters, which stay by
//! themselves), a [`Journal`] of a change that is being made as `JOURNAL`. So forwarding goes on without any process; a later [`Kernel::open`] adopts the maps, and
//! [`Kernel::attach`] replaces programs between two packets. The instance's directory is also its lock.
//!
//! What a real server shows instead of a director's address ([`client_address`]) is pinned as
//! `<bpffs>/rvs/client-address@<instance>/NAME`.
//!
//! **Capabilities.** `CAP_BPF` to make maps and load programs; `CAP_NET_ADMIN` to load programs of these
//! types and to attach them; `CAP_PERFMON` because without it the verifier allows programs less (kernel 6.1
//! refuses their loops); `CAP_SYS_ADMIN` only to mount a BPF file system where there is none. The user must
//! be the owner of the instance's directory (root, if root made it), or have `CAP_DAC_OVERRIDE`.
//!
//! **Unsafe code** is in `bpf` (system calls), `mapping` (mapped memory), `store` (one system call) and `listeners` (sockets
//! of other processes).

pub mod agent;
mod bpf;
mod bpffs;
mod cgroup;
mod cgroup_links;
pub mod client_address;
mod error;
mod filter;
mod generations;
mod hooks;
mod instance;
mod journal;
mod kernel;
mod links;
mod listeners;
mod mapping;
mod maps;
mod netlink;
mod programs;
pub mod segment_size;
mod store;

pub use error::{Error, Result, VerifierLog};
pub use hooks::{AttachMode, Attached, Attachment, Mode};
pub use instance::{Options, TcHook, possible_cpus};
pub use journal::Journal;
pub use kernel::{Handle, Kernel, instances, remove};
pub use maps::Maps;
pub use programs::{ProgramInfo, TestRun};
