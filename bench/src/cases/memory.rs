//! Memory: bytes of the connection table for each connection that it holds, with four slots in five in use.
//!
//! The table is filled by packets: SYNs, each with the acknowledgement that keeps its connection from giving way.

use std::net::SocketAddrV4;

use anyhow::{Result, bail};
use rvs_abi::{Outcome, SLOTS};
use rvs_model::Memory as _;

use crate::Options;
use crate::measure::{Cpu, Series, per};
use crate::report::{Line, Report};
use crate::rig::{DataPlane, End, Hook, Kind, Rig, Service, Subject, Traffic, conns_of};

pub(super) const NAME: &str = "memory";
/// Connections that the table is made for.
const CONNS: u32 = 1 << 18;
const CONNS_QUICK: u32 = 1 << 14;
/// Share of the slots that is to be in use, in percent.
const FILL_PERCENT: u64 = 80;
/// The target, in bytes.
const TARGET: f64 = 96.0;
/// Flows that are tried at a time.
const PART: u32 = 1 << 13;
/// More flows than this, in parts of the slots, and the table does not fill.
const TRIES_MAX: u64 = 4;

pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let mut rig = Rig::new(Cpu::new(options.cpu)?)?;
    let mut plane = DataPlane::new(&rig, if options.quick { CONNS_QUICK } else { CONNS })?;
    let subject = Subject::Rvs(Hook::Xdp, Service::Nat);
    let installed = subject.install(&rig, &mut plane)?;
    let filled = fill(&mut rig, &plane);
    installed.remove(&rig, &mut plane)?;
    let (conns, refused) = filled?;
    let mut series = Series::default();
    series.push(per(bytes(&plane), conns));
    let remark = format!("{conns} connections in {} slots, {refused} refused on the way", slots(&plane));
    report.add(Line {
        case: NAME,
        subject: "IPv4 NAT connection, 80 % full".to_owned(),
        flows: None,
        unit: "bytes",
        series: &series,
        to: None,
        remark: Some(remark),
    });
    report.at_most("bytes per IPv4 NAT connection at 80 % fill", series.median(), TARGET);
    Ok(())
}

/// Bytes of the maps that hold connections.
fn bytes(plane: &DataPlane) -> u64 {
    use rvs_abi::map::Region::{ConnOverflow, Conns};
    [Conns, ConnOverflow].map(|region| size_of_val(plane.memory().region(region)) as u64).iter().sum()
}

fn slots(plane: &DataPlane) -> u64 {
    u64::from(rvs_model::buckets(plane.memory())) * SLOTS as u64
}

/// Fills the table; tells how many connections it holds then, and how many were refused.
fn fill(rig: &mut Rig, plane: &DataPlane) -> Result<(u64, u64)> {
    let slots = slots(plane);
    let wanted = slots * FILL_PERCENT / 100;
    let refused = plane.counted(Outcome::ConnTableFull);
    let fixed = SocketAddrV4::new(rig.cluster.vip(), Service::Nat.port());
    let mut first = 0_u32;
    while u64::from(first) < slots * TRIES_MAX {
        let conns = conns_of(plane.memory())?;
        if conns >= wanted {
            return Ok((conns, plane.counted(Outcome::ConnTableFull) - refused));
        }
        let part = u32::try_from(wanted - conns)?.min(PART);
        for kind in [Kind::Syn, Kind::Ack] {
            rig.aim(&Traffic { end: End::Client, kind, fixed, flows: 0, first })?;
            rig.send(End::Client, u64::from(part))?;
        }
        first += part;
    }
    bail!("after {first} flows the table holds {} of {slots}", conns_of(plane.memory())?);
}
