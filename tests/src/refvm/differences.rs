//! What rvs does differently from IPVS, and why. Tests that meet one check that rvs does exactly this; a full run fails
//! if one was not met, so that the list stays true.
//!
//! [`normal`] is what is taken out of frames before they are compared.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use rvs_wire::builder::{checksums_ok, malformed};
use rvs_wire::{eth, ipv4};

use super::frames::{self, mac, server};
use super::lab::Seen;
use super::tool::Ran;

/// One difference.
pub(crate) struct Difference<T: 'static> {
    name: &'static str,
    /// What rvs does, from what IPVS did.
    expected: fn(&T) -> T,
    seen: &'static AtomicBool,
}

impl<T> Difference<T> {
    pub(crate) fn apply(&self, reference: &T) -> T {
        (self.expected)(reference)
    }

    /// Notes that it was met.
    pub(crate) fn seen(&self, is_different: bool) -> Result<()> {
        ensure!(is_different, "{}: there is no difference here any more: strike it off the list", self.name);
        self.seen.store(true, Ordering::Relaxed);
        Ok(())
    }
}

macro_rules! differences {
    ($($(#[doc = $reason:literal])* $name:ident: $of:ty = $expected:expr;)*) => {
        $(
            $(#[doc = $reason])*
            pub(crate) const $name: Difference<$of> = {
                static SEEN: AtomicBool = AtomicBool::new(false);
                Difference { name: stringify!($name), expected: $expected, seen: &SEEN }
            };
        )*

        /// Whether a run met all.
        pub(crate) fn check_all_seen() -> Result<()> {
            $(ensure!($name.seen.load(Ordering::Relaxed), "no test met the difference {}", $name.name);)*
            Ok(())
        }
    };
}

differences! {
    /// rvs makes no ICMP errors yet (ipvs.md §2.6, §3.2): who sent a packet that is dropped is not told.
    NO_ICMP_ERRORS: Seen = |reference| {
        let mut seen = reference.clone();
        seen.to_clients.retain(|frame| !is_icmp_error(frame));
        seen.to_servers.retain(|frame| !is_icmp_error(frame));
        seen
    };

    /// rvs leaves the checksum of a datagram 0 that came without one (ipvs.md §3.3): computing it means reading the whole
    /// datagram, for a client that did not ask for it. RFC 768 allows both.
    UDP_WITHOUT_CHECKSUM: Seen = |reference| {
        let mut seen = reference.clone();
        for frame in &mut seen.to_servers {
            if let Some(checksum) = frame.get_mut(eth::LEN + ipv4::LEN + 6..).and_then(|rest| rest.get_mut(..2)) {
                checksum.fill(0);
            }
        }
        seen
    };

    /// rvs has no `conn_reuse_mode` (ipvs.md §8.1): it does what the default does, a new choice.
    NO_CONN_REUSE_MODE: Seen = |reference| {
        let mut seen = reference.clone();
        for frame in &mut seen.to_servers {
            frame[..6].copy_from_slice(&mac(server(3)));
        }
        seen
    };

    /// rvs sees packets before they are routed, and does not ask whether the virtual address is one of the director's
    /// (ipvs.md §2.1): a packet to a service is balanced wherever it passes, also where the addresses are only routed.
    VIP_NEED_NOT_BE_LOCAL: Seen = |reference| {
        let mut seen = reference.clone();
        for frame in &mut seen.to_servers {
            frame[..6].copy_from_slice(&mac(server(4)));
        }
        seen
    };

    /// Not yet: persistence masks without persistence. IPVS takes the mask and never uses it.
    NO_PERSISTENCE_MASKS: Ran = |_| refused("persistence masks (-M)");
    /// Not yet.
    NO_PERSISTENCE: Ran = |_| refused("persistence (-p)");
    /// Not yet.
    NO_ONE_PACKET: Ran = |_| refused("one-packet scheduling (-o)");
    /// Not yet.
    NO_THRESHOLDS: Ran = |_| refused("connection thresholds (-x, -y)");
    /// Not yet.
    NO_MARKS: Ran = |_| refused("firewall marks (-f)");

    /// `rvs ipvsadm -R` says in which line something is wrong.
    RESTORE_NAMES_THE_LINE: Ran = |reference| {
        Ran { stderr: format!("line 1: {}", reference.stderr), ..reference.clone() }
    };

    /// `rvs ipvsadm -R` takes all lines or none, and says which line is wrong; ipvsadm says what is wrong and goes on.
    RESTORE_ALL_OR_NOTHING: Ran = |reference| {
        let stderr = format!("line 2: {}", reference.stderr);
        Ran { status: Some(255), stderr, ..reference.clone() }
    };
}

/// How rvs refuses what it does not have yet.
fn refused(what: &str) -> Ran {
    let stderr = format!("{what}: not supported by this version of rvs\n");
    Ran { status: Some(255), stdout: String::new(), stderr }
}

fn is_icmp_error(frame: &[u8]) -> bool {
    let packet = frames::packet(frame);
    packet.get(9) == Some(&1) && matches!(frames::payload(packet).first(), Some(3 | 11))
}

/// What is compared of what came out: all, but for the identification of packets where it means nothing, and the order of
/// packets of different flows, which no network keeps (under XDP, some go by way of the stack).
///
/// The kernel numbers by a secret of its own the packets that it makes, and rvs the tunnel packets whose inner one may be
/// fragmented (ipvs.md §3.5: "a kernel-chosen value"). It only matters whether the number is 0. Checksums are checked
/// before, all of them.
pub(crate) fn normal(seen: &Seen) -> Result<Seen> {
    let frames = |frames: &[Vec<u8>]| -> Result<Vec<Vec<u8>>> {
        let mut frames = frames.iter().map(|frame| normal_frame(frame)).collect::<Result<Vec<_>>>()?;
        // Stable: the packets of one flow stay in order.
        frames.sort_by_key(|frame| frames::flow(frame));
        Ok(frames)
    };
    Ok(Seen { to_clients: frames(&seen.to_clients)?, to_servers: frames(&seen.to_servers)? })
}

fn normal_frame(frame: &[u8]) -> Result<Vec<u8>> {
    checksums_ok(frame).with_context(|| frames::describe(frame))?;
    let mut frame = frame.to_vec();
    let is_ipv4 = frame.get(12..14) == Some(&eth::TYPE_IPV4[..]);
    let packet = frame.get_mut(eth::LEN..).unwrap_or_default();
    if let (true, Some(1 | 4), Some(id)) = (is_ipv4, packet.get(9).copied(), packet.get_mut(4..6)) {
        if id != [0, 0] {
            id.copy_from_slice(b"ID");
        }
        malformed::set_checksum(&mut frame);
    }
    Ok(frame)
}

/// What is compared of a listing: all but the size of the connection table, which each has of its own.
pub(crate) fn normal_listing(text: &str) -> String {
    match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("IP Virtual Server version 1.2.1 (size=") => {
            format!("IP Virtual Server version 1.2.1 (size=N)\n{rest}")
        }
        _ => text.to_owned(),
    }
}
