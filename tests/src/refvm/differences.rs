//! What rvs does differently from IPVS, and why. Tests that meet one check that rvs does exactly this; a full run fails
//! if one was not met, so that the list stays true.
//!
//! [`normal`] is what is taken out of frames before they are compared.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use rvs_abi::proto;
use rvs_wire::builder::{checksums_ok, malformed, quoted_checksum_ok};
use rvs_wire::{eth, ipv4, udp};

use super::fragments;
use super::frames::{self, server_mac};
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

    /// rvs sees packets before they are routed, and does not ask whether the virtual address is one of the director's
    /// (ipvs.md §2.1): a packet to a service is balanced wherever it passes, also where the addresses are only routed.
    VIP_NEED_NOT_BE_LOCAL: Seen = |reference| {
        let mut seen = reference.clone();
        for frame in &mut seen.to_servers {
            frame[..6].copy_from_slice(&server_mac(4));
        }
        seen
    };

    /// Not yet: ICMP errors that are too big for their way and may be fragmented, which rvs drops.
    NOT_FRAGMENTED: Seen = |_| Seen::default();

    /// "Fragmentation needed" about a tunnel's packet: rvs tells the client what the error says, less what the tunnel adds.
    /// IPVS tells what it knew of its route before that error, which is more, and the next error tells the rest (ipvs.md
    /// §2.8).
    TUNNEL_MTU_AS_TOLD: Seen = Seen::clone;

    /// IPVS counts its own errors about packets for DR and TUN destinations as packets of theirs to the client: they pass
    /// its hook for replies (ipvs.md §2.1). rvs counts what servers send.
    OWN_ERRORS_NOT_COUNTED: Vec<Vec<u64>> = |reference| {
        // Connections, packets in and out, bytes in and out.
        reference.iter().map(|line| line.iter().enumerate().map(|(at, n)| if matches!(at, 2 | 4) { 0 } else { *n }).collect()).collect()
    };

    /// IPVS knows errors about tunnels' packets only where all is IPv4 (ipvs.md §2.8), and leaves the others to the stack,
    /// which has no use for them. rvs tells the client in IPv6 as well: else it learns nothing of a way that is too narrow.
    TUNNEL_ERRORS_OF_IPV6: Seen = Seen::clone;

    /// A packet of a service by mark need not be for the director. An error about one comes from the address that the packet
    /// was for, as with any service: a client that is not told never learns how large its packets may be. IPVS tells nobody in
    /// IPv4, where it may not send from such an address, and in IPv6 it tells from one of the director's.
    ERRORS_FROM_OTHERS_ADDRESSES: Seen = Seen::clone;

    /// `cache_bypass`: a packet to an address of the director's own has nowhere to go on to, and its sender is told so, as by
    /// IPVS in IPv4. In IPv6 that makes a connection, all packets of which it drops (ipvs.md §2.6, §3.7).
    OWN_ADDRESSES_ARE_NOT_PASSED: Seen = Seen::clone;

    /// A reply to a client in the servers' network leaves where it came in: the director's stack, by which IPVS sends it,
    /// tells the server of a shorter way (ICMP redirect), on which the reply would reach the client with a wrong source.
    NO_REDIRECTS: Seen = |reference| {
        let mut seen = reference.clone();
        seen.to_servers.retain(|frame| !is_redirect(frames::packet(frame)));
        seen
    };

    /// Not yet: persistence masks without persistence. IPVS takes the mask and never uses it.
    NO_PERSISTENCE_MASKS: Ran = |_| refused("persistence masks (-M)");
    /// Not yet.
    NO_PERSISTENCE: Ran = |_| refused("persistence (-p)");
    /// Not yet.
    NO_THRESHOLDS: Ran = |_| refused("connection thresholds (-x, -y)");

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

/// Whether a packet tells of a shorter way (RFC 792): ICMPv4's type 5.
fn is_redirect(packet: &[u8]) -> bool {
    frames::protocol(packet) == Some(proto::ICMP) && frames::payload(packet).first() == Some(&5)
}

/// How rvs refuses what it does not have yet.
fn refused(what: &str) -> Ran {
    let stderr = format!("{what}: not supported by this version of rvs\n");
    Ran { status: Some(255), stdout: String::new(), stderr }
}

/// What is compared of what came out: all, but for what means nothing, and the order of packets of different flows, which
/// no network keeps (under XDP, some go by way of the stack). Checksums are checked before, all of them.
///
/// Fragments may be in any order among themselves. What means nothing: the identification of packets that the director makes,
/// which the kernel numbers by a secret of its own ("a kernel-chosen value", ipvs.md §3.5), but for being 0 or not; the UDP
/// source port of a tunnel (§3.6), but for its range, and that it is the same for all packets of a flow in one exchange; and
/// how a packet of IPv6 that came in fragments is fragmented ([`fragments`]).
pub(crate) fn normal(seen: &Seen) -> Result<Seen> {
    let frames = |frames: &[Vec<u8>]| -> Result<Vec<Vec<u8>>> {
        let frames = fragments::whole(frames.to_vec());
        let mut frames = frames.iter().map(|frame| normal_frame(frame)).collect::<Result<Vec<_>>>()?;
        // Stable: the packets of one flow stay in order.
        frames.sort_by_key(|frame| (frames::flow(frame), frames::fragment_offset(frames::packet(frame))));
        Ok(frames)
    };
    one_port_per_flow(&seen.to_servers)?;
    Ok(Seen { to_clients: frames(&seen.to_clients)?, to_servers: frames(&seen.to_servers)? })
}

/// What rvs may do as well where IPVS did that with a packet in fragments. It sees them one by one: an error of its own is
/// about the first (docs/compatibility.md).
pub(crate) fn of_fragments(reference: &Seen, sent: &[Vec<u8>]) -> Option<Seen> {
    let first = sent.iter().find(|frame| fragments::is_first(frame))?;
    let mut seen = reference.clone();
    for error in seen.to_clients.iter_mut().chain(&mut seen.to_servers) {
        *error = fragments::about_first(error, first)?;
    }
    normal(&seen).ok()
}

fn normal_frame(frame: &[u8]) -> Result<Vec<u8>> {
    checksums_ok(frame).with_context(|| frames::describe(frame))?;
    if frames::error(frames::packet(frame)).is_some() && frame.get(12..14) == Some(&eth::TYPE_IPV4[..]) {
        quoted_checksum_ok(frame).with_context(|| frames::describe(frame))?;
    }
    let mut normal = frame.to_vec();
    let packet = frames::packet(frame);
    if is_made_here(packet) && frame.get(12..14) == Some(&eth::TYPE_IPV4[..]) {
        if packet.get(4..6) != Some(&[0, 0]) {
            normal[eth::LEN + 4..][..2].copy_from_slice(b"ID");
        }
        malformed::set_checksum(&mut normal);
    }
    if let Some(at) = frames::fragment_id_at(packet) {
        normal[eth::LEN + at..][..4].copy_from_slice(b"IDID");
    }
    if frames::is_gue(packet) {
        hide_source_port(&mut normal)?;
    }
    Ok(normal)
}

fn one_port_per_flow(frames: &[Vec<u8>]) -> Result<()> {
    let mut ports = HashMap::new();
    for frame in frames.iter().filter(|frame| frames::is_gue(frames::packet(frame))) {
        let port = frames::ports(frames::packet(frame));
        let first = *ports.entry(frames::flow(frame)).or_insert(port);
        ensure!(
            port == first,
            "a flow by GUE from ports {first:?} and {port:?}: {}",
            frames::describe(frame)
        );
    }
    Ok(())
}

/// Whether the director made the packet, or its outer header.
fn is_made_here(packet: &[u8]) -> bool {
    // What is only sent on has a lower time to live.
    let is_message = frames::protocol(packet) == Some(proto::ICMP) && frames::ttl(packet) == Some(64);
    let is_own = frames::addresses(packet).is_some_and(|(from, _)| frames::is_directors(from));
    is_message || is_own || frames::tunnelled(packet).is_some()
}

/// The port, and the checksum that covers it and is right, unless there is none.
fn hide_source_port(frame: &mut [u8]) -> Result<()> {
    let packet = frames::packet(frame);
    let (port, _) = frames::ports(packet).context("no ports")?;
    ensure!((32768..60999).contains(&port), "GUE from port {port}: {}", frames::describe(packet));
    let at = frame.len() - frames::payload(packet).len();
    frame[at..at + 2].copy_from_slice(b"SP");
    let checksum = &mut frame[at + udp::CHECKSUM..][..2];
    if checksum != [0, 0] {
        checksum.copy_from_slice(b"OK");
    }
    Ok(())
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
