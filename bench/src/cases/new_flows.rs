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
/// More flows than the table has slots, which is 5/3 of what it is made for.
const MORE_THAN_ALL: u64 = 4 * CONNS as u64;
/// Established connections are made so many at a time: each acknowledgement must find its connection, not yet displaced
/// by a later one.
const PART: u32 = 1 << 14;
/// So many times, and the table is full.
const TRIES_MAX: u32 = 8 * CONNS / PART;
/// The least share of frames that must end as they should, in thousandths.
const EXPECTED_MIN: u64 = 990;
/// The share of frames whose refusal shows that the table is full.
const FULL_MIN: u64 = 998;
/// Each round has flows of its own, as peers remember theirs for a while.
const FLOWS_PER_ROUND: u32 = 1 << 24;
/// So many rounds, and the numbers of flows come again.
const ROUNDS_MAX: u32 = 1 << (31 - 24);
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
    let (subject, _) = entry;
    plane.flush();
    let installed = subject.install(rig, plane)?;
    let measured = fill_table(rig, plane, entry, first).and_then(|()| {
        let (done, nanos) = send(rig, plane, entry, frames)?;
        if !suffices(done, frames, EXPECTED_MIN) {
            bail!("only {done} of {frames} frames ended as they should");
        }
        Ok(nanos)
    });
    installed.remove(rig, plane)?;
    Ok(per(measured?, frames))
}

fn suffices(done: u64, frames: u64, thousandths: u64) -> bool {
    done * 1000 >= frames * thousandths
}

/// Sends frames; tells how many ended as they should, and what that took.
fn send(rig: &Rig, plane: &DataPlane, entry: Entry, frames: u64) -> Result<(u64, u64)> {
    let before = expected(plane, entry);
    let (arrived, nanos) = rig.send(End::Client, frames)?;
    let done = expected(plane, entry).map_or(arrived, |after| after - before.unwrap_or(0));
    Ok((done, nanos))
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
fn fill_table(rig: &mut Rig, plane: &DataPlane, entry: Entry, first: u32) -> Result<()> {
    let (subject, fill) = entry;
    let service = match subject {
        Subject::Rvs(_, service) => service,
        _ => Service::Nat,
    };
    let fixed = SocketAddrV4::new(rig.cluster.vip(), service.port());
    let mut syn = Traffic { end: End::Client, kind: Kind::Syn, fixed, flows: 0, first };
    rig.aim(&syn)?;
    match fill {
        Fill::Empty => Ok(()),
        Fill::Unproven => rig.send(End::Client, MORE_THAN_ALL).map(drop),
        Fill::Established => {
            for _ in 0..TRIES_MAX {
                let (refused, _) = send(rig, plane, entry, PART.into())?;
                if suffices(refused, PART.into(), FULL_MIN) {
                    return Ok(());
                }
                rig.aim(&Traffic { kind: Kind::Ack, ..syn })?;
                rig.send(End::Client, PART.into())?;
                syn.first += PART;
                rig.aim(&syn)?;
            }
            bail!("after {} flows the table is not full", TRIES_MAX * PART)
        }
    }
}
