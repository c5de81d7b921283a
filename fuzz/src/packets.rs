//! Packets against the pipeline: a history of frames, each one of the templates with some bytes changed.
//!
//! Promised for any bytes: a frame ends in one named outcome; what is passed on is passed on as it came; what is sent on is
//! whole, with right checksums if it came with right ones; and in the end the table holds nothing that is half done or counted
//! wrongly.

use std::cell::OnceCell;

use rvs_abi::sched::id;
use rvs_abi::{
    Addr, Class, Config, Method, Outcome, STEPS, ServiceFlags, Settings, TunnelFlags, TunnelType, proto,
};
use rvs_core::{Flow, Frame, Link, NextHop};
use rvs_model::testing::{DestSetup, ServiceSetup, assert_all_end, assert_nothing_half_done, install};
use rvs_model::{Capacity, Heap, Model, records};
use rvs_wire::builder::malformed::set_checksums;
use rvs_wire::builder::{Fault, checksums_ok};

use crate::Input;
use crate::templates::{
    DIRECTOR, DIRECTOR6, DNS, DNS_FULL, DNS_ONE, FTP, FTP_FULL, GUE, IKE, MAPPED, OTHER, SCTP, SERVER,
    SERVER6, TCP_PORTS, VIP, VIP6, frames,
};

/// Most frames of one history.
const FRAMES_MAX: usize = 64;
/// Room for a frame with an outer header.
const ROOM: usize = 1024;
const CAPACITY: Capacity = Capacity { services: 32, dests: 2048, conns: 100, cpus: 1 };
/// Destinations that are set up.
const DESTS: u32 = 28;

type Routes = fn(&Flow) -> Result<NextHop, Outcome>;

/// Small enough for a packet to be too big.
#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { link: Link { ifindex: 7, resolved: 1, macs: [1, 2, 3], gateway: flow.to }, mtu: 300 })
}

fn services() -> Vec<ServiceSetup> {
    let mut services = Vec::new();
    let ends: [[Addr; 3]; 2] =
        [[VIP, SERVER, DIRECTOR].map(Addr::v4), [VIP6, SERVER6, DIRECTOR6].map(|a| Addr::from_bytes(&a))];
    let other_ends = [ends[1], ends[0]];
    for ([vip, server, source], [_, other, other_source]) in ends.into_iter().zip(other_ends) {
        let mut service = |port, protocol, method, tunnel, tunnel_flags| {
            let dest = DestSetup {
                source,
                tunnel,
                tunnel_flags,
                tunnel_port: GUE,
                ..DestSetup::new(server, MAPPED, method)
            };
            let scheduler = id::RR;
            services.push(ServiceSetup { vip, port, protocol, scheduler, sched_flags: 0, dests: vec![dest] });
        };
        let ways = [
            (Method::MASQ, TunnelType::IPIP, 0),
            (Method::DR, TunnelType::IPIP, 0),
            (Method::TUNNEL, TunnelType::IPIP, 0),
            (Method::TUNNEL, TunnelType::GRE, TunnelFlags::CSUM),
            (Method::TUNNEL, TunnelType::GUE, TunnelFlags::CSUM),
            (Method::FULL_NAT, TunnelType::IPIP, 0),
        ];
        for (port, (method, tunnel, flags)) in TCP_PORTS.into_iter().zip(ways) {
            service(port, proto::TCP, method, tunnel, flags);
        }
        for (port, method) in
            [(DNS, Method::MASQ), (DNS_FULL, Method::FULL_NAT), (DNS_ONE, Method::DR), (IKE, Method::TUNNEL)]
        {
            service(port, proto::UDP, method, TunnelType::IPIP, 0);
        }
        service(SCTP, proto::SCTP, Method::MASQ, TunnelType::IPIP, 0);
        service(FTP, proto::TCP, Method::MASQ, TunnelType::IPIP, 0);
        service(FTP_FULL, proto::TCP, Method::FULL_NAT, TunnelType::IPIP, 0);
        // Between the families.
        let dest = DestSetup { source: other_source, ..DestSetup::new(other, MAPPED, Method::FULL_NAT) };
        services.push(ServiceSetup {
            vip,
            port: OTHER,
            protocol: proto::TCP,
            scheduler: id::RR,
            sched_flags: 0,
            dests: vec![dest],
        });
    }
    services
}

/// A director with those settings.
fn model(settings: u32) -> Model<Routes> {
    let heap = Heap::new(&CAPACITY);
    let services = services();
    install(&heap, &services);
    for (id, service) in (0..).zip(&services) {
        if service.port == DNS_ONE {
            let record = records::service(&heap, id).unwrap();
            let flags = record.flags | ServiceFlags::ONE_PACKET;
            records::write_service(&heap, id, &rvs_abi::Service { flags, ..record });
        }
    }
    let ftp_ports = [FTP, FTP_FULL].map(u16::to_be);
    let config = Config { settings: settings & Settings::ALL, ftp_ports, ..records::config(&heap) };
    records::write_config(&heap, &config);
    let mut model = Model::new(heap, route as Routes);
    model.set_now_ns(1 << 50);
    model
}

thread_local! {
    static TEMPLATES: OnceCell<Vec<Vec<u8>>> = const { OnceCell::new() };
}

/// The next frame, and whether it comes by way of XDP to TC.
fn frame(input: &mut Input<'_>) -> (Vec<u8>, bool) {
    let mut frame = TEMPLATES.with(|templates| {
        let templates = templates.get_or_init(frames);
        templates[usize::from(input.byte()) % templates.len()].clone()
    });
    let how = input.byte();
    for _ in 0..how & 7 {
        let (at, value) = (usize::from(input.word()) % frame.len(), input.byte());
        frame[at] = value;
    }
    if how & 8 != 0 {
        frame.truncate(usize::from(input.word()) % (frame.len() + 1));
    }
    // Otherwise only what is right as it stands would come far.
    if how & 16 != 0 && frame.len() > 60 {
        set_checksums(&mut frame);
    }
    (frame, how & 32 != 0)
}

/// Runs an input.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let mut model = model(u32::from(input.word()));
    for _ in 0..FRAMES_MAX {
        if input.is_empty() {
            break;
        }
        let (before, is_second_look) = frame(&mut input);
        let mut after = Frame::<ROOM>::new(&before).unwrap();
        let verdict = if is_second_look {
            model.ingress_after_xdp(&mut after, 11)
        } else {
            model.ingress(&mut after, 11)
        };
        let outcome = verdict.outcome;
        assert!(!STEPS.contains(&outcome) && outcome != Outcome::Inconsistent, "{outcome:?}: {before:02x?}");
        check(outcome, verdict.link.ifindex, &before, after.bytes());
        let wait = u64::from(input.byte());
        // At most five hours, for all frames two weeks: the table's clock begins anew after a hundred days.
        model.set_now_ns(model.now_ns() + wait.pow(3) * 1_000_000);
    }
    let now = model.now_ns() >> rvs_abi::TICK_SHIFT;
    assert_nothing_half_done(model.heap(), now);
    assert_all_end(model.heap(), now, DESTS);
}

fn check(outcome: Outcome, ifindex: u32, before: &[u8], after: &[u8]) {
    match outcome.class() {
        Class::Pass | Class::HandOver => assert_eq!((ifindex, before), (0, after), "{outcome:?}"),
        // It stays here for a while, or left in parts.
        Class::Forward if matches!(outcome, Outcome::FragmentHeld | Outcome::ForwardCut) => {
            assert_eq!(ifindex, 0, "{outcome:?}");
        }
        Class::Forward => {
            assert_eq!(ifindex, 7, "{outcome:?}");
            let seen = checksums_ok(after);
            let is_ok = match checksums_ok(before) {
                Ok(()) => seen.is_ok(),
                Err(_) => !matches!(seen, Err(Fault::Lengths | Fault::Ipv4)),
            };
            assert!(is_ok, "{outcome:?}: {before:02x?} became {after:02x?}: {seen:?}");
        }
        // What is dropped may leave as the error about it.
        Class::Drop if ifindex != 0 => {
            assert_eq!(checksums_ok(after), Ok(()), "{before:02x?} became {after:02x?}")
        }
        Class::Drop => {}
    }
}
