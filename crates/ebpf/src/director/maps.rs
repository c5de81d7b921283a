//! The maps. Their layout and their names are those of `rvs_abi`; sizes are set when they are created.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, bpf_fib_lookup};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray};
use rvs_abi::{Addr, Bucket, Config, Dest, Program, Rule, Service, ServiceKey, Stats, limits};
use rvs_core::pipeline::Scratch;
use rvs_core::{fragment, hold};

use crate::next_hop::Cached;

/// A slot for a fragment that came before the first of its packet; its frame is apart.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) word: u64,
    pub(crate) key: fragment::Key,
}

#[map]
pub(crate) static CONFIG: Array<Config> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static FILTER: Array<u64> = Array::with_max_entries(limits::FILTER_WORDS, BPF_F_MMAPABLE);
#[map]
pub(crate) static PORTS: Array<u64> = Array::with_max_entries(limits::PORTS, BPF_F_MMAPABLE);
#[map]
pub(crate) static SERVICE_KEYS: HashMap<ServiceKey, u32> = HashMap::with_max_entries(1, 0);
#[map]
pub(crate) static SERVICES: Array<Service> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static DESTS: Array<Dest> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static DEST_CONNS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static SCHED_TABLES: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static CONNS: Array<Bucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static CONN_OVERFLOW: Array<Bucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static LOCAL_PORTS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static STATS: Array<Stats> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static COUNTERS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static MARKED: Array<u64> = Array::with_max_entries(limits::MARKED_WORDS, BPF_F_MMAPABLE);
#[map]
pub(crate) static CLASSIFIER: Array<Rule> =
    Array::with_max_entries(limits::RULES_MAX * limits::RULE_LISTS, BPF_F_MMAPABLE);
#[map]
pub(crate) static LOCAL_ADDRESSES: Array<Addr> =
    Array::with_max_entries(limits::LOCAL_ADDRESSES, BPF_F_MMAPABLE);
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static FIB_QUERY: PerCpuArray<bpf_fib_lookup> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static NEXT_HOPS: PerCpuArray<Cached> = PerCpuArray::with_max_entries(limits::NEXT_HOPS, 0);
#[map]
pub(crate) static NEIGHBOUR_MARKS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(limits::NEIGHBOUR_MARKS, 0);
#[map]
pub(crate) static ERROR_BUDGETS: PerCpuArray<u64> = PerCpuArray::with_max_entries(limits::ERROR_BUDGETS, 0);
#[map]
pub(crate) static FRAGMENTS: LruHashMap<fragment::Key, fragment::Known> =
    LruHashMap::with_max_entries(limits::FRAGMENTS, 0);
#[map]
pub(crate) static HELD: Array<Held> =
    Array::with_max_entries(limits::HOLD_GROUPS * limits::HOLD_SHARE, BPF_F_MMAPABLE);
#[map]
pub(crate) static HELD_FRAMES: Array<hold::Bytes> =
    Array::with_max_entries(limits::HOLD_GROUPS * limits::HOLD_SHARE, 0);
/// When a fragment was last held in each group, in ticks.
#[map]
pub(crate) static HELD_AT: Array<u32> = Array::with_max_entries(limits::HOLD_GROUPS, 0);
#[map]
pub(crate) static SAVED_FRAME: PerCpuArray<hold::Saved> = PerCpuArray::with_max_entries(1, 0);
/// What is noted about control connections of FTP, see `rvs_core::ftp`.
#[map]
pub(crate) static FTP_CONTROLS: Array<u64> =
    Array::with_max_entries(limits::FTP_CONTROLS * limits::FTP_WORDS, 0);
/// The programs behind the first under XDP, by their numbers.
#[map]
pub(crate) static PROGRAMS_XDP: ProgramArray = ProgramArray::with_max_entries(Program::ALL.len() as u32, 0);
/// Those under TC.
#[map]
pub(crate) static PROGRAMS_TC: ProgramArray = ProgramArray::with_max_entries(Program::ALL.len() as u32, 0);
