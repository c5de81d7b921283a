//! Established flows: nanoseconds of CPU per packet, generator included, with few and with many flows.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use anyhow::Result;

use super::{CONNS, KI};
use crate::Options;
use crate::measure::{Cpu, Series, per};
use crate::report::{Line, Report};
use crate::rig::{BIND_PORT, DataPlane, End, Hook, Kind, Rig, Service, Subject, Traffic, dest};

pub(super) const NAME: &str = "packets";
/// Flows that take turns.
const FLOWS: [u32; 3] = [1, 64 * KI, 512 * KI];
/// Frames of one measurement.
const FRAMES: u64 = 1 << 20;
const FRAMES_QUICK: u64 = 1 << 18;
/// Least frames before a measurement.
const WARM_UP_MIN: u64 = 1 << 14;
/// The target: so many times the floor.
const TARGET: f64 = 3.0;
const FLOOR: &str = "floor";

/// What goes where: one line of the table, for each number of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    subject: Subject,
    kind: Kind,
    end: End,
}

impl Entry {
    fn name(self) -> String {
        let what = match (self.end, self.kind) {
            (End::Client, Kind::Udp) => "",
            (End::Client, Kind::Syn | Kind::Ack) => ", TCP",
            (End::Server, _) => ", replies",
        };
        self.subject.name() + what
    }

    fn traffic(self, rig: &Rig, flows: u32) -> Traffic {
        let vip = rig.cluster.vip();
        let fixed = match (self.subject, self.end) {
            (Subject::Kernel, _) | (_, End::Server) => SocketAddrV4::new(dest(0), BIND_PORT),
            (Subject::Rvs(_, service), End::Client) => SocketAddrV4::new(vip, service.port()),
            (Subject::Return | Subject::Redirect | Subject::Nft, End::Client) => {
                SocketAddrV4::new(vip, Service::Nat.port())
            }
        };
        Traffic { end: self.end, kind: self.kind, fixed, flows, first: 0 }
    }
}

fn entries() -> Vec<Entry> {
    let udp = |subject| Entry { subject, kind: Kind::Udp, end: End::Client };
    let mut entries: Vec<_> =
        [Subject::Return, Subject::Redirect, Subject::Kernel, Subject::Nft].map(udp).to_vec();
    for hook in [Hook::Xdp, Hook::Tc] {
        entries.extend([Service::Dr, Service::Tunnel, Service::Nat].map(|s| udp(Subject::Rvs(hook, s))));
        entries.push(Entry { kind: Kind::Ack, ..udp(Subject::Rvs(hook, Service::Nat)) });
        entries.push(Entry { end: End::Server, ..udp(Subject::Rvs(hook, Service::OneNat)) });
    }
    entries
}

pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let mut rig = Rig::new(Cpu::new(options.cpu)?)?;
    let mut plane = DataPlane::new(&rig, CONNS)?;
    let frames = if options.quick { FRAMES_QUICK } else { FRAMES };
    let entries: Vec<_> = entries()
        .into_iter()
        .filter(|entry| entry.subject == Subject::Return || options.wants(&entry.name()))
        .collect();
    let mut results: BTreeMap<(u32, usize), Series> = BTreeMap::new();
    let mut failed: BTreeMap<(u32, usize), String> = BTreeMap::new();
    for _ in 0..options.rounds() {
        for flows in FLOWS {
            for (index, entry) in entries.iter().enumerate() {
                match measure(&mut rig, &mut plane, *entry, flows, frames) {
                    Ok(nanos) => results.entry((flows, index)).or_default().push(nanos),
                    Err(error) => {
                        crate::interrupt::check()?;
                        failed.insert((flows, index), format!("{error:#}"));
                    }
                }
            }
        }
    }
    for flows in FLOWS {
        let floor = results.get(&(flows, 0)).cloned().unwrap_or_default();
        for (index, entry) in entries.iter().enumerate() {
            let series = results.remove(&(flows, index)).unwrap_or_default();
            add(report, *entry, flows, &series, &floor, failed.remove(&(flows, index)));
        }
    }
    Ok(())
}

fn add(
    report: &mut Report,
    entry: Entry,
    flows: u32,
    series: &Series,
    floor: &Series,
    remark: Option<String>,
) {
    let to = (entry.subject != Subject::Return).then_some((FLOOR, floor));
    report.add(Line {
        case: NAME,
        subject: entry.name(),
        flows: Some(flows),
        unit: "ns",
        series,
        to,
        remark,
    });
    if let (Subject::Rvs(Hook::Xdp, _), true, End::Client) = (entry.subject, flows > 1, entry.end) {
        let what = format!("{}, {flows} flows: times the floor", entry.name());
        report.at_most(what, series.ratio(floor).median(), TARGET);
    }
}

/// Nanoseconds of one packet.
fn measure(rig: &mut Rig, plane: &mut DataPlane, entry: Entry, flows: u32, frames: u64) -> Result<f64> {
    plane.flush();
    let installed = entry.subject.install(rig, plane)?;
    let measured = establish(rig, entry, flows).and_then(|()| rig.send_all(entry.end, frames));
    installed.remove(rig, plane)?;
    Ok(per(measured?, frames))
}

/// Has every flow send its first packets; afterwards the generator makes the packets to be measured.
fn establish(rig: &mut Rig, entry: Entry, flows: u32) -> Result<()> {
    let traffic = entry.traffic(rig, flows);
    let first = match (entry.end, entry.subject) {
        // Replies belong to connections that clients began.
        (End::Server, Subject::Rvs(_, service)) => {
            let fixed = SocketAddrV4::new(rig.cluster.vip(), service.port());
            Traffic { end: End::Client, fixed, ..traffic }
        }
        _ if entry.kind == Kind::Ack => Traffic { kind: Kind::Syn, ..traffic },
        _ => traffic,
    };
    rig.aim(&first)?;
    rig.send(End::Client, u64::from(flows))?;
    rig.aim(&traffic)?;
    rig.send(entry.end, u64::from(flows).max(WARM_UP_MIN))?;
    Ok(())
}
