//! The programs: loading them over pinned maps, what the kernel says about them, running them on one packet.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use aya::maps::{Map, MapError, PerCpuArray, PerCpuValues, ProgramArray};
use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use rvs_abi::Program;
use rvs_abi::map::{Region, SERVICE_KEYS};
use rvs_model::Capacity;
use zerocopy::IntoBytes;

use crate::error::{Error, Result, VerifierLog};
use crate::{generations, hooks};

/// The object as `cargo xtask ebpf` made it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../programs/director.bpf.o");

/// Packets as a driver hands them in.
const XDP: &str = "rvs_xdp";
/// Packets of an interface without XDP.
const TC: &str = "rvs_tc";
/// What XDP passed on.
const TC_AFTER_XDP: &str = "rvs_tc_after_xdp";

/// What this host sends.
const LOCAL: &str = "rvs_local";

/// Those that interfaces have.
const FIRST: [&str; 4] = [XDP, TC, TC_AFTER_XDP, LOCAL];
/// The programs behind the first under each hook: the array that they are called by, and they in the order of their numbers.
const BEHIND: [(&str, [&str; Program::ALL.len()]); 2] = [
    (
        "PROGRAMS_XDP",
        [
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
            "rvs_xdp_mss",
        ],
    ),
    (
        "PROGRAMS_TC",
        [
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
            "rvs_tc_mss",
        ],
    ),
];
/// In the place of a program that there is under the other hook alone.
const NONE: &str = "";

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

/// The loaded programs.
#[derive(Debug)]
pub(crate) struct Programs {
    ebpf: Ebpf,
    infos: Vec<ProgramInfo>,
}

impl Programs {
    /// Loads them over the maps pinned in `directory`; maps that are not there are made and pinned.
    pub(crate) fn load(directory: &Path, capacity: &Capacity) -> Result<Self> {
        let mut ebpf = create(directory, capacity)?;
        let behind = BEHIND.into_iter().flat_map(|(_, names)| names).filter(|name| *name != NONE);
        let infos = FIRST
            .into_iter()
            .chain(behind)
            .map(|name| load(&mut ebpf, name).map_err(|e| refusal(name, e)))
            .collect::<Result<Vec<_>>>()?;
        let mut programs = Self { ebpf, infos };
        for (array, names) in BEHIND {
            programs.fill(directory, array, names)?;
        }
        Ok(programs)
    }

    /// Fills an array of programs, and pins it.
    fn fill(
        &mut self,
        directory: &Path,
        array: &'static str,
        names: [&'static str; Program::ALL.len()],
    ) -> Result<()> {
        let failed = |e: MapError| Error::system(format!("fill map {array}"), io::Error::other(e));
        let mut map = self.ebpf.take_map(array).ok_or_else(|| missing(array))?;
        let Map::ProgramArray(data) = &map else { return Err(missing(array)) };
        let callers: Vec<_> = self.infos.iter().take(FIRST.len()).map(|info| info.id).collect();
        generations::pin(directory, array, &callers, data.fd().as_fd())?;
        let mut programs = ProgramArray::try_from(&mut map).map_err(failed)?;
        for (index, name) in (0..).zip(names).filter(|(_, name)| *name != NONE) {
            let program = self.ebpf.program(name).ok_or_else(|| missing(name))?;
            programs.set(index, program.fd().map_err(|e| refusal(name, e))?, 0).map_err(failed)?;
        }
        Ok(())
    }

    /// What the kernel says about each.
    pub(crate) fn infos(&self) -> &[ProgramInfo] {
        &self.infos
    }

    /// Their descriptors.
    pub(crate) fn descriptors(&self) -> Result<hooks::Programs<'_>> {
        let classifier =
            |name| Ok::<_, Error>(self.classifier(name)?.fd().map_err(|e| refusal(name, e))?.as_fd());
        let xdp: BorrowedFd<'_> = self.xdp()?.fd().map_err(|e| refusal(XDP, e))?.as_fd();
        Ok(hooks::Programs {
            xdp,
            tc: classifier(TC)?,
            tc_after_xdp: classifier(TC_AFTER_XDP)?,
            local: classifier(LOCAL)?,
        })
    }

    fn xdp(&self) -> Result<&Xdp> {
        let program = self.ebpf.program(XDP).ok_or_else(|| missing(XDP))?;
        program.try_into().map_err(|e| refusal(XDP, e))
    }

    fn classifier(&self, name: &'static str) -> Result<&SchedClassifier> {
        let program = self.ebpf.program(name).ok_or_else(|| missing(name))?;
        program.try_into().map_err(|e| refusal(name, e))
    }

    /// Runs the program under XDP.
    pub(crate) fn run_xdp(&self, packet: &[u8], ifindex: u32, repeat: u32) -> Result<TestRun> {
        let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, len, 0, ifindex, 0, 0];
        let program = self.xdp()?;
        run(packet, context.as_bytes(), repeat, |options| program.test_run(options))
            .map_err(|e| refusal(XDP, e))
    }

    /// Runs the program under TC.
    pub(crate) fn run_tc(&self, packet: &[u8], ifindex: u32, repeat: u32) -> Result<TestRun> {
        self.run_classifier(TC, packet, ifindex, 0, repeat)
    }

    /// Runs the program under TC, for a packet with a mark.
    pub(crate) fn run_tc_marked(&self, packet: &[u8], ifindex: u32, mark: u32) -> Result<TestRun> {
        self.run_classifier(TC, packet, ifindex, mark, 1)
    }

    /// Runs the program under TC behind XDP.
    pub(crate) fn run_tc_after_xdp(&self, packet: &[u8], ifindex: u32, repeat: u32) -> Result<TestRun> {
        self.run_classifier(TC_AFTER_XDP, packet, ifindex, 0, repeat)
    }

    /// Runs the program for what this host sends.
    pub(crate) fn run_local(&self, packet: &[u8], ifindex: u32, repeat: u32) -> Result<TestRun> {
        self.run_classifier(LOCAL, packet, ifindex, 0, repeat)
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

    fn run_classifier(
        &self,
        name: &'static str,
        packet: &[u8],
        ifindex: u32,
        mark: u32,
        repeat: u32,
    ) -> Result<TestRun> {
        // The beginning of `struct __sk_buff`, up to and with `ifindex`.
        let mut context = [0_u32; 11];
        context[2] = mark;
        context[10] = ifindex;
        let program = self.classifier(name)?;
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

pub(crate) fn load(ebpf: &mut Ebpf, name: &'static str) -> Result<ProgramInfo, ProgramError> {
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
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
