//! The programs: loading them over pinned maps, what the kernel says about them, running them on one packet.

use core::cmp::Reverse;
use core::num::NonZero;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Map, MapError, PerCpuArray, PerCpuValues, ProgramArray};
use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use rvs_abi::map::{HELD, Region, SERVICE_KEYS};
use rvs_abi::{Program, ProgramSet};
use rvs_model::Capacity;
use zerocopy::IntoBytes;

use crate::error::{Error, Result, VerifierLog};
use crate::generations;
use crate::mapping::Mapping;

/// The object as `cargo xtask ebpf` made it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../programs/director.bpf.o");

/// The programs that interfaces have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// Packets as a driver hands them in.
    Xdp,
    /// Packets of an interface without XDP.
    Tc,
    /// What XDP passed on.
    TcAfterXdp,
    /// What this host sends.
    Local,
}

impl First {
    const ALL: [Self; 4] = [Self::Xdp, Self::Tc, Self::TcAfterXdp, Self::Local];

    const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "rvs_xdp",
            Self::Tc => "rvs_tc",
            Self::TcAfterXdp => "rvs_tc_after_xdp",
            Self::Local => "rvs_local",
        }
    }

    /// Those behind it.
    const fn behind(self) -> &'static Behind {
        match self {
            Self::Xdp => &BEHIND_XDP,
            Self::Tc | Self::TcAfterXdp | Self::Local => &BEHIND_TC,
        }
    }
}

/// The programs behind the first under a hook.
#[derive(Debug)]
struct Behind {
    /// The array that they are called by.
    array: &'static str,
    /// In the order of their numbers.
    names: [&'static str; Program::ALL.len()],
}

static BEHIND_XDP: Behind = Behind {
    array: "PROGRAMS_XDP",
    names: [
        "rvs_xdp_begin",
        "rvs_xdp_error",
        "rvs_xdp_follow",
        "rvs_xdp_tell",
        "rvs_xdp_gather",
        "rvs_xdp_cut",
        NONE,
        "rvs_xdp_xlate",
        "rvs_xdp_listen",
        "rvs_xdp_heard",
        "rvs_xdp_past",
        "rvs_xdp_mss",
        "rvs_xdp_head",
    ],
};
static BEHIND_TC: Behind = Behind {
    array: "PROGRAMS_TC",
    names: [
        "rvs_tc_begin",
        "rvs_tc_error",
        "rvs_tc_follow",
        "rvs_tc_tell",
        "rvs_tc_gather",
        "rvs_tc_cut_up",
        "rvs_tc_here",
        "rvs_tc_xlate",
        "rvs_tc_listen",
        "rvs_tc_heard",
        "rvs_tc_past",
        "rvs_tc_mss",
        "rvs_tc_head",
    ],
};
/// In the place of a program that there is under the other hook alone.
const NONE: &str = "";

/// The names of all, in the order in which they are told about.
fn names_of_all() -> impl Iterator<Item = &'static str> {
    First::ALL.into_iter().map(First::name).chain(BEHIND_XDP.names).chain(BEHIND_TC.names)
}

impl Behind {
    /// Those that there are to be, and where in the array.
    fn wanted(&self, on_demand: ProgramSet) -> impl Iterator<Item = (u32, &'static str)> {
        let is_wanted =
            move |program: &Program| !ProgramSet::ON_DEMAND.has(*program) || on_demand.has(*program);
        Program::ALL
            .into_iter()
            .filter(is_wanted)
            .map(|program| (program as u32, self.names[program as usize]))
            .filter(|(_, name)| *name != NONE)
    }
}

/// How many ICMP errors may be sent, for each CPU.
const ERROR_BUDGETS: &str = "ERROR_BUDGETS";

/// Bytes that a program may add to a packet: room in the buffer for what comes out.
const GROWTH_MAX: usize = 256;
/// Lines of the verifier's log that go into an error's text.
const LOG_LINES: usize = 2;
/// How lines of its statistics begin, which come last.
const STATISTICS: [&str; 3] = ["verification time ", "stack depth ", "processed "];

/// What the kernel says about a loaded program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Its name.
    pub name: &'static str,
    /// The kernel's number for it.
    pub id: u32,
    /// Instructions that the verifier went through, of the million that it allows.
    pub verified_instructions: u32,
    /// Bytes of BPF instructions.
    pub translated_bytes: u32,
    /// Bytes of machine code; 0 without a compiler in the kernel.
    pub jitted_bytes: u32,
    /// How long verifying and compiling took.
    pub load_time: Duration,
}

/// What a program did with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRun {
    /// Its answer: `XDP_*` or `TC_ACT_*`.
    pub action: u32,
    /// The packet as it left it.
    pub packet: Vec<u8>,
    /// Time of one run: the average over all.
    pub duration: Duration,
}

/// The programs: those that something needs are loaded, and stay.
#[derive(Debug)]
pub(crate) struct Programs {
    ebpf: Ebpf,
    /// Where arrays are pinned.
    directory: PathBuf,
    /// By which they are called.
    arrays: Vec<(&'static str, Map)>,
    on_demand: ProgramSet,
    infos: Vec<ProgramInfo>,
}

impl Programs {
    /// Reads them, over the maps pinned in `directory`; maps that are not there are made and pinned.
    pub(crate) fn open(directory: &Path, capacity: &Capacity) -> Result<Self> {
        let mut ebpf = create(directory, capacity)?;
        let mut arrays = Vec::new();
        for Behind { array, .. } in [&BEHIND_XDP, &BEHIND_TC] {
            arrays.push((*array, ebpf.take_map(array).ok_or_else(|| missing(array))?));
        }
        let directory = directory.to_owned();
        Ok(Self { ebpf, directory, arrays, on_demand: ProgramSet::NONE, infos: Vec::new() })
    }

    /// The slots for held fragments.
    pub(crate) fn held(&self) -> Result<Mapping> {
        let Some(Map::Array(map)) = self.ebpf.map(HELD) else { return Err(missing(HELD)) };
        Mapping::new(map.fd().as_fd())
            .map_err(|source| Error::system(format!("map {HELD} into memory"), source))
    }

    /// A program for an interface, with all behind it.
    pub(crate) fn first(&mut self, first: First) -> Result<OwnedFd> {
        if !self.is_loaded(first.name()) {
            let behind = first.behind();
            let mut names = vec![first.name()];
            names.extend(behind.wanted(self.on_demand).map(|(_, name)| name));
            self.load_all(&names)?;
            self.fill(behind, self.on_demand)?;
            self.pin(first)?;
        }
        let name = first.name();
        let fd = self.program(name)?.fd().map_err(|e| refusal(name, e))?;
        fd.as_fd().try_clone_to_owned().map_err(|e| Error::system(format!("hold program {name}"), e))
    }

    /// Loads these behind those that are loaded, and from now on with each.
    pub(crate) fn load(&mut self, on_demand: ProgramSet) -> Result<()> {
        let all = self.on_demand.with(on_demand);
        for behind in [&BEHIND_XDP, &BEHIND_TC] {
            let is_called =
                |first: &First| first.behind().array == behind.array && self.is_loaded(first.name());
            if First::ALL.iter().any(is_called) {
                let names: Vec<_> = behind.wanted(all).map(|(_, name)| name).collect();
                self.load_all(&names)?;
                self.fill(behind, all)?;
            }
        }
        self.on_demand = all;
        Ok(())
    }

    /// What the kernel says about each that is loaded.
    pub(crate) fn infos(&self) -> &[ProgramInfo] {
        &self.infos
    }

    fn is_loaded(&self, name: &str) -> bool {
        self.infos.iter().any(|info| info.name == name)
    }

    /// Loads those of the programs that are not. The kernel verifies several at the same time, each on a CPU.
    fn load_all(&mut self, names: &[&'static str]) -> Result<()> {
        let place = |name: &str| names.iter().position(|wanted| *wanted == name);
        let is_loaded = |name: &str| self.infos.iter().any(|info| info.name == name);
        let mut programs: Vec<_> = self
            .ebpf
            .programs_mut()
            .filter(|(name, _)| !is_loaded(name))
            .filter_map(|(name, program)| Some((place(name)?, program)))
            .collect();
        // What there are most of: the last is the first to be taken.
        programs.sort_by_key(|(place, _)| Reverse(*place));
        if programs.len() < names.iter().filter(|name| !is_loaded(name)).count() {
            return Err(names
                .iter()
                .find(|name| !is_loaded(name))
                .map_or_else(|| missing("programs"), |name| missing(name)));
        }
        let queue = Mutex::new(programs);
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let work = || {
            let mut infos = Vec::new();
            while let Some((place, program)) = next() {
                infos.push(load(program, names[place]).map_err(|e| refusal(names[place], e))?);
            }
            Ok::<_, Error>(infos)
        };
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(names.len());
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        let mut refused = None;
        for result in results {
            match result {
                Ok(Ok(infos)) => self.infos.extend(infos),
                Ok(Err(e)) => refused = Some(e),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        let rank = |info: &ProgramInfo| names_of_all().position(|name| name == info.name);
        self.infos.sort_by_key(rank);
        refused.map_or(Ok(()), Err)
    }

    /// Puts into an array all that there are to be in it.
    fn fill(&mut self, behind: &Behind, on_demand: ProgramSet) -> Result<()> {
        let array = behind.array;
        let failed = |e: MapError| Error::system(format!("fill map {array}"), io::Error::other(e));
        let found = self.arrays.iter_mut().find(|(name, _)| *name == array);
        let (_, map) = found.ok_or_else(|| missing(array))?;
        let mut map = ProgramArray::try_from(map).map_err(failed)?;
        for (index, name) in behind.wanted(on_demand) {
            let program = self.ebpf.program(name).ok_or_else(|| missing(name))?;
            map.set(index, program.fd().map_err(|e| refusal(name, e))?, 0).map_err(failed)?;
        }
        Ok(())
    }

    /// Pins the array by which a program calls those behind it, for as long as there is this program.
    fn pin(&self, first: First) -> Result<()> {
        let array = first.behind().array;
        let caller = self.infos.iter().find(|info| info.name == first.name()).map(|info| info.id);
        let map = self.arrays.iter().find(|(name, _)| *name == array);
        let (Some(caller), Some((_, Map::ProgramArray(map)))) = (caller, map) else {
            return Err(missing(array));
        };
        generations::pin(&self.directory, array, caller, map.fd().as_fd())
    }

    fn program(&self, name: &'static str) -> Result<&aya::programs::Program> {
        self.ebpf.program(name).ok_or_else(|| missing(name))
    }

    /// Runs the program under XDP.
    pub(crate) fn run_xdp(&mut self, packet: &[u8], ifindex: u32, repeat: u32) -> Result<TestRun> {
        let name = First::Xdp.name();
        let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, len, 0, ifindex, 0, 0];
        self.first(First::Xdp)?;
        let program: &Xdp = self.program(name)?.try_into().map_err(|e| refusal(name, e))?;
        run(packet, context.as_bytes(), repeat, |options| program.test_run(options))
            .map_err(|e| refusal(name, e))
    }

    /// See [`crate::Kernel::age_error_budgets`].
    pub(crate) fn age_error_budgets(&mut self, nanoseconds: u64) -> Result<()> {
        let failed = |e: MapError| Error::system(format!("change map {ERROR_BUDGETS}"), io::Error::other(e));
        let map = self.ebpf.map_mut(ERROR_BUDGETS).ok_or_else(|| missing(ERROR_BUDGETS))?;
        let mut budgets = PerCpuArray::<_, u64>::try_from(map).map_err(failed)?;
        for index in 0..budgets.len() {
            let old = budgets.get(&index, 0).map_err(failed)?;
            if old.iter().any(|budget| *budget != 0) {
                let aged: Vec<u64> = old.iter().map(|budget| budget.saturating_sub(nanoseconds)).collect();
                let aged = PerCpuValues::try_from(aged)
                    .map_err(|e| Error::system(format!("change map {ERROR_BUDGETS}"), e))?;
                budgets.set(index, aged, 0).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Runs one of those under TC, for a packet with a mark.
    pub(crate) fn run_classifier(
        &mut self,
        first: First,
        packet: &[u8],
        ifindex: u32,
        mark: u32,
        repeat: u32,
    ) -> Result<TestRun> {
        // The beginning of `struct __sk_buff`, up to and with `ifindex`.
        let mut context = [0_u32; 11];
        context[2] = mark;
        context[10] = ifindex;
        self.first(first)?;
        let name = first.name();
        let program: &SchedClassifier = self.program(name)?.try_into().map_err(|e| refusal(name, e))?;
        run(packet, context.as_bytes(), repeat, |options| program.test_run(options))
            .map_err(|e| refusal(name, e))
    }
}

fn run(
    packet: &[u8],
    context: &[u8],
    repeat: u32,
    test_run: impl FnOnce(TestRunOptions<'_>) -> Result<aya::programs::TestRunResult, ProgramError>,
) -> Result<TestRun, ProgramError> {
    let mut out = vec![0; packet.len() + GROWTH_MAX];
    let options = TestRunOptions {
        data_in: Some(packet),
        data_out: Some(&mut out),
        ctx_in: Some(context),
        repeat,
        ..TestRunOptions::new()
    };
    let result = test_run(options)?;
    out.truncate(result.data_size_out as usize);
    Ok(TestRun { action: result.return_value, packet: out, duration: result.duration })
}

/// Reads the object and makes those of its maps that are not pinned.
fn create(directory: &Path, capacity: &Capacity) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    // Nothing in the object is relocated against the kernel's own types.
    loader.btf(None);
    let paths: BTreeMap<_, _> = Region::ALL
        .iter()
        .map(|r| r.name())
        .chain([SERVICE_KEYS])
        .map(|name| (name, directory.join(name)))
        .collect();
    for (name, path) in &paths {
        loader.map_pin_path(name, path.as_path());
    }
    for region in Region::ALL {
        loader.map_max_entries(region.name(), capacity.entries(region));
    }
    loader.map_max_entries(SERVICE_KEYS, capacity.service_keys());
    loader.load(OBJECT).map_err(|e| refused_maps(&e))
}

/// The kernel refused a map, or the object is broken.
pub(crate) fn refused_maps(e: &EbpfError) -> Error {
    Error::Load {
        object: "maps".into(),
        reason: permission_hint(chain(e), errno(e)),
        log: VerifierLog::default(),
    }
}

/// Loads the program of that name.
pub(crate) fn load_of(ebpf: &mut Ebpf, name: &'static str) -> Result<ProgramInfo, ProgramError> {
    load(ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?, name)
}

fn load(program: &mut aya::programs::Program, name: &'static str) -> Result<ProgramInfo, ProgramError> {
    let start = Instant::now();
    let info = match program {
        aya::programs::Program::Xdp(xdp) => {
            xdp.load()?;
            xdp.info()?
        }
        aya::programs::Program::SchedClassifier(classifier) => {
            classifier.load()?;
            classifier.info()?
        }
        aya::programs::Program::SockOps(sock_ops) => {
            sock_ops.load()?;
            sock_ops.info()?
        }
        aya::programs::Program::CgroupSockAddr(sock_addr) => {
            sock_addr.load()?;
            sock_addr.info()?
        }
        _ => return Err(ProgramError::UnexpectedProgramType),
    };
    Ok(ProgramInfo {
        name,
        id: info.id(),
        verified_instructions: info.verified_instruction_count().unwrap_or(0),
        translated_bytes: info.size_translated().unwrap_or(0),
        jitted_bytes: info.size_jitted(),
        load_time: start.elapsed(),
    })
}

pub(crate) fn missing(name: &'static str) -> Error {
    Error::Load { object: name.into(), reason: "the object lacks it".into(), log: VerifierLog::default() }
}

pub(crate) fn refusal(name: &'static str, e: ProgramError) -> Error {
    let errno = errno(&e);
    let (reason, log) = match e {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let words = last_words(&log);
            let reason = if words.is_empty() { io_error.to_string() } else { format!("{io_error}: {words}") };
            (reason, VerifierLog(log))
        }
        other => (chain(&other), VerifierLog::default()),
    };
    Error::Load { object: name.into(), reason: permission_hint(reason, errno), log }
}

/// What the verifier said last, before its statistics.
fn last_words(log: &str) -> String {
    let is_word = |line: &&str| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start));
    let words: Vec<_> = log.lines().map(str::trim).filter(is_word).collect();
    words[words.len().saturating_sub(LOG_LINES)..].join(": ")
}

/// An error and its causes in one line.
fn chain(e: &(dyn std::error::Error + 'static)) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = e.source();
    }
    text
}

/// The system's error number at the end of a chain.
fn errno(e: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(e);
    while let Some(e) = cause {
        if let Some(e) = e.downcast_ref::<std::io::Error>() {
            return e.raw_os_error();
        }
        cause = e.source();
    }
    None
}

fn permission_hint(reason: String, errno: Option<i32>) -> String {
    match errno {
        Some(libc::EPERM) => format!("{reason}; CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed"),
        _ => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_last_words_come_before_its_statistics() {
        let log = "0: R1=ctx() R10=fp0\n1: (61) r0 = *(u32 *)(r2 +0)\nR2 !read_ok\nverification time 9 usec\n\
                   stack depth 0\nprocessed 1 insns (limit 1000000)\n";
        assert_eq!(last_words(log), "1: (61) r0 = *(u32 *)(r2 +0): R2 !read_ok");
        assert_eq!(last_words(""), "");
    }
}
