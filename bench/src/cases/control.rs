//! What the daemon does beside the packets: returning slots, listing, taking over, loading services.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Result, ensure};
use rvs_config::{Command, ForwardingMethod, Protocol, ServiceKey};
use rvs_core::conn::ticks;

use super::CONNS;
use crate::Options;
use crate::measure::{Cpu, Series, now_ns, per};
use crate::report::{Line, Report};
use crate::rig::{
    DataPlane, End, Hook, Kind, Rig, Service, Subject, Traffic, add_destination, add_service, conns_of,
};

pub(super) const NAME: &str = "control";
/// Services that are loaded at once, with two destinations each.
const SERVICES: u16 = 10_000;
/// Connections in the table while it is swept and listed.
const LIVE: u64 = CONNS as u64 / 2;
/// An interface that no packet leaves by.
const NOWHERE: u32 = 1;

pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let cpu = Cpu::new(options.cpu)?;
    table(options, report, &cpu)?;
    services(options, report, &cpu)
}

/// Sweeping and listing a table with live connections.
fn table(options: &Options, report: &mut Report, cpu: &Cpu) -> Result<()> {
    let mut rig = Rig::new(cpu.clone())?;
    let mut plane = DataPlane::new(&rig, CONNS)?;
    let installed = Subject::Rvs(Hook::Xdp, Service::Nat).install(&rig, &mut plane)?;
    let fixed = SocketAddrV4::new(rig.cluster.vip(), Service::Nat.port());
    rig.aim(&Traffic { end: End::Client, kind: Kind::Udp, fixed, flows: 0, first: 0 })?;
    rig.send_all(End::Client, LIVE)?;
    installed.remove(&rig, &mut plane)?;

    let buckets = rvs_model::buckets(plane.memory());
    let (mut sweeps, mut listings) = (Series::default(), Series::default());
    for _ in 0..options.rounds() {
        let (swept, nanos) =
            cpu.measure(|| Ok(rvs_model::sweep(plane.memory(), 0, buckets, ticks(now_ns()?))))?;
        ensure!(swept.ended == 0, "{} connections were over", swept.ended);
        sweeps.push(millis(nanos));
        let (live, nanos) = cpu.measure(|| conns_of(plane.memory()))?;
        ensure!(live * 100 >= LIVE * 99, "{live} of {LIVE} connections are alive");
        listings.push(millis(nanos));
    }
    let remark = format!("{buckets} buckets, {LIVE} connections");
    for (subject, series) in [("sweep of the table", &sweeps), ("snapshot of the table", &listings)] {
        add(report, subject, series, Some(remark.clone()));
    }
    Ok(())
}

/// Loading services, and taking over what an earlier process left.
fn services(options: &Options, report: &mut Report, cpu: &Cpu) -> Result<()> {
    let commands = commands();
    let (mut loads, mut opens, mut adoptions) = (Series::default(), Series::default(), Series::default());
    for _ in 0..options.rounds() {
        let mut plane = DataPlane::empty(CONNS)?;
        let ((), nanos) = cpu.measure(|| plane.apply(&commands, NOWHERE, Ipv4Addr::LOCALHOST))?;
        loads.push(millis(nanos));
        plane.close();
        let (adopted, nanos) = cpu.measure(|| plane.open())?;
        opens.push(millis(nanos));
        let ((), nanos) = cpu.measure(|| plane.adopt())?;
        adoptions.push(millis(nanos));
        let services = plane.director.status().services;
        ensure!(adopted && services == u32::from(SERVICES), "{services} services were adopted");
    }
    let count = commands.len();
    add(report, "10000 services at once", &loads, Some(format!("{count} commands")));
    add(report, "loading the programs", &opens, Some("verifier and compiler of the kernel".to_owned()));
    add(report, "taking over 10000 services", &adoptions, None);
    Ok(())
}

/// What `ipvsadm -R` reads from a file of so many services.
fn commands() -> Vec<Command> {
    let service = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let address = Ipv4Addr::new(203, 0, high, low).into();
        let key = ServiceKey { protocol: Protocol::Tcp, address, port: 80 };
        let dest = |last| {
            let address = SocketAddrV4::new(Ipv4Addr::new(10, high, low, last), 80);
            add_destination(key, address, ForwardingMethod::Masq)
        };
        [add_service(key), dest(1), dest(2)]
    };
    (0..SERVICES).flat_map(service).collect()
}

fn add(report: &mut Report, subject: &str, series: &Series, remark: Option<String>) {
    let subject = subject.to_owned();
    report.add(Line { case: NAME, subject, flows: None, unit: "ms", series, to: None, remark });
}

fn millis(nanos: u64) -> f64 {
    per(nanos, 1_000_000)
}
