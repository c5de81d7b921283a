//! New flows: nanoseconds of CPU for a SYN that makes a connection, generator included.

use std::net::SocketAddrV4;

use anyhow::{Result, bail};
use rvs_abi::Outcome;

use super::CONNS;
use crate::Options;
use crate::measure::{Cpu, Series, per};
use crate::report::{Line, Report};
use crate::rig::{DataPlane, End, Hook, Kind, Rig, Service, Subject, Traffic};

pub(super) const NAME: &str = "new";
/// Frames of one measurement: a quarter of what the table is made for.
const FRAMES: u64 = 1 << 18;
const FRAMES_QUICK: u64 = 1 << 16;
/// More flows than the table has slots (5/3 of what it is made for).
const MORE_THAN_ALL: u64 = 2 * CONNS as u64;
/// Flows that a round may use up; each round has others.
const FLOWS_PER_ROUND: u32 = 1 << 24;
/// Rounds before the numbers of flows come again.
const ROUNDS_MAX: u32 = 1 << (32 - 24);
const FLOOR: &str = "floor";

/// How full the table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    Empty,
    /// Of connections that have seen one packet: the oldest give way.
    Unproven,
    /// Of established connections: new ones are refused.
    Established,
}

impl Fill {
    const fn name(self) -> &'static str {
        match self {
            Self::Empty => "",
            Self::Unproven => ", full of unproven",
            Self::Established => ", full of established",
        }
    }
}

type Entry = (Subject, Fill);

fn entries() -> Vec<Entry> {
    let rvs = |hook, service| (Subject::Rvs(hook, service), Fill::Empty);
    let nat = Subject::Rvs(Hook::Xdp, Service::Nat);
    vec![
        (Subject::Return, Fill::Empty),
        (Subject::Nft, Fill::Empty),
        rvs(Hook::Xdp, Service::Dr),
        rvs(Hook::Xdp, Service::Tunnel),
        rvs(Hook::Xdp, Service::Nat),
        rvs(Hook::Tc, Service::Nat),
        (nat, Fill::Unproven),
        (nat, Fill::Established),
    ]
}

pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let mut rig = Rig::new(Cpu::new(options.cpu)?)?;
    let mut plane = DataPlane::new(&rig, CONNS)?;
    let frames = if options.quick { FRAMES_QUICK } else { FRAMES };
    let entries: Vec<_> = entries()
        .into_iter()
        .filter(|(subject, fill)| {
            *subject == Subject::Return || options.wants(&(subject.name() + fill.name()))
        })
        .collect();
    let mut results = vec![(Series::default(), None); entries.len()];
    for round in 0..options.rounds() {
        let first = round % ROUNDS_MAX * FLOWS_PER_ROUND;
        for (entry, (series, failed)) in entries.iter().zip(&mut results) {
            match measure(&mut rig, &mut plane, *entry, first, frames) {
                Ok(nanos) => series.push(nanos),
                Err(error) => {
                    crate::interrupt::check()?;
                    *failed = Some(format!("{error:#}"));
                }
            }
        }
    }
    let floor = results[0].0.clone();
    for ((subject, fill), (series, remark)) in entries.iter().zip(results) {
        let to = (*subject != Subject::Return).then_some((FLOOR, &floor));
        let subject = subject.name() + fill.name();
        report.add(Line { case: NAME, subject, flows: None, unit: "ns", series: &series, to, remark });
    }
    Ok(())
}

/// Nanoseconds of one SYN.
fn measure(rig: &mut Rig, plane: &mut DataPlane, entry: Entry, first: u32, frames: u64) -> Result<f64> {
    let (subject, fill) = entry;
    plane.flush();
    let installed = subject.install(rig, plane)?;
    let measured = fill_table(rig, subject, fill, first).and_then(|()| {
        let before = expected(plane, entry);
        let (arrived, cost) = rig.send(End::Client, frames)?;
        let done = expected(plane, entry).map_or(arrived, |after| after - before.unwrap_or(0));
        if done * 100 < frames * 99 {
            bail!("only {done} of {frames} frames ended as they should");
        }
        Ok(cost)
    });
    installed.remove(rig, plane)?;
    Ok(per(measured?.cpu, frames))
}

/// Packets of the director's that ended as they should; `None` where arrivals are counted instead.
fn expected(plane: &DataPlane, (subject, fill): Entry) -> Option<u64> {
    match (subject, fill) {
        (Subject::Rvs(..), Fill::Established) => Some(plane.counted(Outcome::ConnTableFull)),
        (Subject::Rvs(_, service), _) => Some(plane.counted(service.outcome())),
        _ => None,
    }
}

/// Fills the table, if it is to be full; then the generator makes new flows.
fn fill_table(rig: &mut Rig, subject: Subject, fill: Fill, first: u32) -> Result<()> {
    let service = match subject {
        Subject::Rvs(_, service) => service,
        _ => Service::Nat,
    };
    let fixed = SocketAddrV4::new(rig.cluster.vip(), service.port());
    let syn = Traffic { end: End::Client, kind: Kind::Syn, fixed, flows: 0, first };
    let mut next = first;
    if fill != Fill::Empty {
        // In parts: an acknowledgement must find its connection not yet displaced by a later one.
        let part = 1 << 14;
        for _ in 0..MORE_THAN_ALL / part {
            rig.aim(&Traffic { first: next, ..syn })?;
            rig.send(End::Client, part)?;
            if fill == Fill::Established {
                rig.aim(&Traffic { first: next, kind: Kind::Ack, ..syn })?;
                rig.send(End::Client, part)?;
            }
            next = next.wrapping_add(u32::try_from(part)?);
        }
    }
    rig.aim(&Traffic { first: next, ..syn })
}
