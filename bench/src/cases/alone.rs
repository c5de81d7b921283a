//! The program alone: nanoseconds of one run, over a program that returns at once.
//!
//! `BPF_PROG_TEST_RUN` repeats a run on the same buffer, so a program would see its own output from the second run on,
//! and only one flow. Here it is not run itself: a program is that writes the next flow's frame over the whole buffer,
//! takes away what the last run pushed in front of it, and makes a tail call. The same with a program that returns at
//! once in the place of the one under test is the floor; the difference is what the program takes, with the flows'
//! connections as cold as their number makes them.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, bail};
use aya::maps::ProgramArray;
use aya::programs::{ProgramFd, TestRun as _, TestRunOptions};
use rvs_netlink::MacAddr;

use super::{CONNS, KI};
use crate::Options;
use crate::interrupt;
use crate::measure::{Cpu, Series, per};
use crate::report::{Line, Report};
use crate::rig::{
    self, DataPlane, End, FRAME_LEN, Hook, Kind, Programs, Rig, Service, Traffic, program_by_id,
};

pub(super) const NAME: &str = "alone";
/// Flows that take turns; 0: every frame is the first of a new one.
const FLOWS: [u32; 4] = [1, 64 * KI, 512 * KI, 0];
const RUNS: u32 = 1 << 20;
/// A quarter of what the table is made for, when each makes a connection.
const RUNS_NEW: u32 = 1 << 18;
const RUNS_QUICK: u32 = 1 << 18;
const PROGRAM: &str = "rvs_xdp";
const SERVICES: [Service; 3] = [Service::Dr, Service::Tunnel, Service::Nat];

/// Feeds a program with frames.
struct Feeder {
    programs: Programs,
    floor: ProgramFd,
    program: ProgramFd,
    macs: [MacAddr; 2],
    ingress: u32,
}

impl Feeder {
    fn new(rig: &Rig, plane: &mut DataPlane, floor: &Programs) -> Result<Self> {
        let infos = plane.kernel()?.programs();
        let id = infos.iter().find(|info| info.name == PROGRAM).context("the data plane has no XDP")?.id;
        let director = rig.cluster.director().interface("to-client");
        Ok(Self {
            programs: Programs::load("bench_feed", 0)?,
            floor: floor.xdp()?.fd()?.try_clone()?,
            program: program_by_id(id)?,
            macs: [director.mac, rig.cluster.client().interface("eth0").mac],
            ingress: director.index,
        })
    }

    /// Nanoseconds of so many runs, of the program under test or of the floor.
    fn run(&mut self, cpu: &Cpu, traffic: &Traffic, is_floor: bool, runs: u32) -> Result<f64> {
        rig::aim(&mut self.programs, traffic, self.macs)?;
        let map = self.programs.ebpf.map_mut("FED").context("the object lacks FED")?;
        let fed = if is_floor { &self.floor } else { &self.program };
        ProgramArray::try_from(map)?.set(0, fed, 0)?;
        cpu.take_thread()?;
        // Once round the flows, so that each has its connection and that is proven.
        if traffic.flows > 0 {
            self.repeat(traffic.flows.max(2) * 2)?;
        }
        self.repeat(runs)
    }

    /// Nanoseconds of one run. The kernel's clock stops while it lets others run.
    fn repeat(&self, runs: u32) -> Result<f64> {
        interrupt::check()?;
        let context = rig::context(self.ingress);
        let frame = [0; FRAME_LEN];
        let options = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&context),
            repeat: runs,
            ..TestRunOptions::new()
        };
        let result = self.programs.xdp()?.test_run(options).context("run the program")?;
        Ok(per(u64::try_from(result.duration.as_nanos())?, 1))
    }
}

pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let cpu = Cpu::new(options.cpu)?;
    let rig = Rig::new(cpu.clone())?;
    let mut plane = DataPlane::new(&rig, CONNS)?;
    plane.attach(&rig, Hook::Xdp.mode())?;
    let floor = Programs::load("bench_return", 0)?;
    let mut feeder = Feeder::new(&rig, &mut plane, &floor)?;
    let mut floors = vec![Series::default(); FLOWS.len()];
    let mut results = vec![[const { Series::new() }; SERVICES.len()]; FLOWS.len()];
    for _ in 0..options.rounds() {
        for (flows, (floor, series)) in FLOWS.into_iter().zip(floors.iter_mut().zip(&mut results)) {
            let nanos = round(&rig, &plane, &cpu, &mut feeder, flows, options.quick)?;
            floor.push(nanos[0]);
            series.iter_mut().zip(&nanos[1..]).for_each(|(series, total)| series.push(total - nanos[0]));
        }
    }
    for (flows, (floor, series)) in FLOWS.into_iter().zip(floors.iter().zip(&results)) {
        let line = |subject, unit, series| Line {
            case: NAME,
            subject,
            flows: (flows > 0).then_some(flows),
            unit,
            series,
            to: None,
            remark: (flows == 0).then(|| "each a new flow, TCP SYN".to_owned()),
        };
        report.add(line("floor: feed and return".to_owned(), "ns", floor));
        for (service, series) in SERVICES.iter().zip(series) {
            report.add(line(format!("rvs XDP {}", service.name()), "ns more", series));
        }
    }
    Ok(())
}

/// The floor, then each service: nanoseconds of one run.
fn round(
    rig: &Rig,
    plane: &DataPlane,
    cpu: &Cpu,
    feeder: &mut Feeder,
    flows: u32,
    quick: bool,
) -> Result<Vec<f64>> {
    let (runs, kind) = match (flows, quick) {
        (0, _) => (RUNS_NEW, Kind::Syn),
        (_, true) => (RUNS_QUICK, Kind::Udp),
        (_, false) => (RUNS, Kind::Udp),
    };
    let traffic = |service: Service| Traffic {
        end: End::Client,
        kind,
        fixed: SocketAddrV4::new(rig.cluster.vip(), service.port()),
        flows,
        first: 0,
    };
    rig.cluster.director().netns().enter(|| -> Result<Vec<f64>> {
        let mut nanos = vec![feeder.run(cpu, &traffic(Service::Nat), true, runs)?];
        for service in SERVICES {
            plane.flush();
            let before = plane.counted(service.outcome());
            nanos.push(feeder.run(cpu, &traffic(service), false, runs)?);
            let done = plane.counted(service.outcome()) - before;
            if done * 100 < u64::from(runs) * 99 {
                bail!("{}: only {done} of {runs} frames and more were forwarded", service.name());
            }
        }
        Ok(nanos)
    })?
}
