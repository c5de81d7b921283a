//! The generator: the kernel runs a program over and over on frames that it then really sends.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result};
use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions};
use rvs_netlink::MacAddr;
use rvs_testkit::Interface;
use rvs_wire::builder::{Ipv4, Payload, Tcp, Udp};
use rvs_wire::{eth, ipv4, tcp, udp};

use super::{CLIENTS, Programs};
use crate::interrupt;
use crate::measure::Cpu;

/// Bytes of a frame.
pub(crate) const FRAME_LEN: usize = 64;
/// Frames of one call, so that it can be interrupted.
const CALL_MAX: u64 = 1 << 16;
/// Frames that are handed on together, as a driver does.
const BATCH: u32 = 64;
/// `crates/ebpf/src/bench/frame.rs`, `Plan`.
const PLAN_WORDS: usize = 8;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Udp,
    Syn,
    Ack,
}

/// Frames to be made: between clients that vary and one end that doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) end: End,
    pub(crate) kind: Kind,
    /// The end that is always the same.
    pub(crate) fixed: SocketAddrV4,
    /// How many flows take turns; 0: each frame is the first of a new one.
    pub(crate) flows: u32,
    /// Number of the first flow.
    pub(crate) first: u32,
}

/// Makes frames at one interface.
#[derive(Debug)]
pub(crate) struct Generator {
    programs: Programs,
    ifindex: u32,
    macs: [MacAddr; 2],
}

impl Generator {
    /// At an interface, for another one at the end of its cable.
    pub(crate) fn new(from: &Interface, to: &Interface) -> Result<Self> {
        let programs = Programs::load("bench_generate", 0)?;
        Ok(Self { programs, ifindex: from.index, macs: [to.mac, from.mac] })
    }

    /// Makes these frames from now on, from the first flow on.
    pub(crate) fn aim(&mut self, traffic: &Traffic) -> Result<()> {
        aim(&mut self.programs, traffic, self.macs)
    }

    /// Sends so many frames; returns nanoseconds of CPU. The calling thread is in the interface's network namespace.
    pub(crate) fn send(&self, cpu: &Cpu, frames: u64) -> Result<u64> {
        cpu.take_thread()?;
        let frame = [0; FRAME_LEN];
        let context = context(self.ifindex);
        let xdp = self.programs.xdp()?;
        let ((), nanos) = cpu.measure(|| {
            let mut left = frames;
            while left > 0 {
                interrupt::check()?;
                let now = left.min(CALL_MAX);
                let options = TestRunOptions {
                    data_in: Some(&frame),
                    ctx_in: Some(&context),
                    repeat: u32::try_from(now)?,
                    attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                    ..TestRunOptions::new()
                };
                xdp.test_run(options).context("send live frames")?;
                left -= now;
            }
            Ok(())
        })?;
        Ok(nanos)
    }
}

/// `struct xdp_md` of a frame that came in on an interface: data, data_end, data_meta, ingress_ifindex, rx_queue_index,
/// egress_ifindex.
pub(crate) fn context(ifindex: u32) -> [u8; 24] {
    let len = FRAME_LEN.to_ne_bytes();
    let mut context = [0; 24];
    context[4..8].copy_from_slice(&len[..4]);
    context[12..16].copy_from_slice(&ifindex.to_ne_bytes());
    context
}

/// Has the programs of an object make these frames from now on, between these interfaces (to, from).
pub(crate) fn aim(programs: &mut Programs, traffic: &Traffic, macs: [MacAddr; 2]) -> Result<()> {
    let (frame, plan) = template(traffic, macs);
    let words: [u64; FRAME_LEN / 8] =
        core::array::from_fn(|i| u64::from_ne_bytes(core::array::from_fn(|byte| frame[i * 8 + byte])));
    let ebpf = &mut programs.ebpf;
    let map = ebpf.map_mut("TEMPLATE").context("the object lacks TEMPLATE")?;
    Array::<_, [u64; FRAME_LEN / 8]>::try_from(map)?.set(0, words, 0)?;
    let map = ebpf.map_mut("PLAN").context("the object lacks PLAN")?;
    Array::<_, [u32; PLAN_WORDS]>::try_from(map)?.set(0, plan, 0)?;
    let map = ebpf.map_mut("MADE").context("the object lacks MADE")?;
    Array::<_, u64>::try_from(map)?.set(0, 0, 0)?;
    Ok(())
}

/// The frame without the client's address and port, and the plan.
fn template(traffic: &Traffic, [to, from]: [MacAddr; 2]) -> ([u8; FRAME_LEN], [u32; PLAN_WORDS]) {
    let (fixed, port) = (traffic.fixed.ip().octets(), traffic.fixed.port());
    let is_reply = traffic.end == End::Server;
    let (header, sport, dport) = if is_reply {
        (Ipv4::new(fixed, Ipv4Addr::UNSPECIFIED.octets()), port, 0)
    } else {
        (Ipv4::new(Ipv4Addr::UNSPECIFIED.octets(), fixed), 0, port)
    };
    let (payload, checksum_at) = match traffic.kind {
        Kind::Udp => {
            let data = [0; FRAME_LEN - eth::LEN - ipv4::LEN - udp::LEN];
            (Payload::Udp(Udp::new(sport, dport, &data)), udp::CHECKSUM)
        }
        Kind::Syn => (Payload::Tcp(Tcp::new(sport, dport, tcp::SYN)), tcp::CHECKSUM),
        Kind::Ack => (Payload::Tcp(Tcp::new(sport, dport, tcp::ACK)), tcp::CHECKSUM),
    };
    let mut frame = header.frame(to.0, from.0, &payload);
    let ip_sum = take_sum(&mut frame, eth::LEN + 10);
    let transport_sum = take_sum(&mut frame, eth::LEN + ipv4::LEN + checksum_at);
    // A short packet is padded, as on a real wire.
    frame.resize(FRAME_LEN, 0);
    let is_tcp = u32::from(traffic.kind != Kind::Udp);
    let base = u32::from(CLIENTS);
    let plan = [traffic.flows, traffic.first, base, u32::from(is_reply), ip_sum, transport_sum, is_tcp, 0];
    (core::array::from_fn(|i| frame[i]), plan)
}

/// Clears a checksum, and returns the sum that it was of.
fn take_sum(frame: &mut [u8], at: usize) -> u32 {
    let field = u16::from_ne_bytes([frame[at], frame[at + 1]]);
    frame[at..at + 2].fill(0);
    u32::from(!field)
}

#[cfg(test)]
mod tests {
    use rvs_wire::checksum;

    use super::*;

    /// What the program in the kernel adds.
    fn finished(traffic: &Traffic, client: [u8; 4], port: [u8; 2]) -> Vec<u8> {
        let (mut frame, plan) = template(traffic, [MacAddr([2; 6]), MacAddr([4; 6])]);
        let (address_at, port_at) = if plan[3] == 0 { (26, 34) } else { (30, 36) };
        frame[address_at..address_at + 4].copy_from_slice(&client);
        frame[port_at..port_at + 2].copy_from_slice(&port);
        let address: u32 =
            client.chunks(2).map(|half| u32::from(u16::from_ne_bytes([half[0], half[1]]))).sum();
        let sum = |start: u32| (!checksum::fold(start)).to_ne_bytes();
        frame[24..26].copy_from_slice(&sum(plan[4] + address));
        let at = if plan[6] == 0 { 40 } else { 50 };
        let port = u32::from(u16::from_ne_bytes(port));
        frame[at..at + 2].copy_from_slice(&sum(plan[5] + address + port));
        frame.to_vec()
    }

    #[test]
    fn checksums_of_finished_frames_are_right() {
        let fixed = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 80);
        for end in [End::Client, End::Server] {
            for kind in [Kind::Udp, Kind::Syn, Kind::Ack] {
                let traffic = Traffic { end, kind, fixed, flows: 1, first: 0 };
                let frame = finished(&traffic, [198, 18, 77, 200], [0x9c, 0x41]);
                assert_eq!(rvs_wire::builder::checksums_ok(&frame), Ok(()), "{traffic:?}");
            }
        }
    }
}
