//! Pages of the connection table.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

use rvs_abi::{Addr, ConnFlags, Dest, Method, NO_DEST, SLOTS, TICK_SHIFT};
use rvs_config::{ConnListing, ForwardingMethod, Protocol};
use rvs_control::api::{ConnPage, ConnQuery};
use rvs_core::{conn, state};
use rvs_model::{Conn, Memory, records};

use super::limits::PAGE_SLOTS_MAX;

/// The connections from a cursor on. The cursor is the number of a slot: a connection stays in its slot until it ends, so
/// one that lives from the first page to the last is on exactly one. A page also ends after a number of slots, however
/// empty they are, so that it takes a few milliseconds at most.
pub(super) fn page<M: Memory>(memory: &M, query: ConnQuery, now_ns: u64) -> ConnPage {
    let slots = u64::from(rvs_model::buckets(memory)) * SLOTS as u64;
    let end = query.cursor.saturating_add(PAGE_SLOTS_MAX).min(slots);
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let mut reader = Reader { memory, dests: BTreeMap::new() };
    let mut connections = Vec::new();
    for (slot, conn) in rvs_model::conns(memory, query.cursor..end, conn::ticks(now_ns)) {
        if connections.len() == limit {
            return ConnPage { connections, next: Some(slot) };
        }
        connections.extend(reader.listing(&conn));
    }
    ConnPage { connections, next: (end < slots).then_some(end) }
}

/// Reads what a connection refers to.
struct Reader<'m, M> {
    memory: &'m M,
    dests: BTreeMap<u32, Option<Dest>>,
}

impl<M: Memory> Reader<'_, M> {
    /// `None` for what no listing has a word for, which no program of this version makes.
    fn listing(&mut self, conn: &Conn) -> Option<ConnListing> {
        let Conn { entry, state, remaining, .. } = conn;
        let destination =
            if entry.dest == NO_DEST { nobody(entry.vip.to_ip()) } else { self.dest_address(entry.dest)? };
        Some(ConnListing {
            protocol: Protocol::from_number(entry.protocol)?,
            client: entry.client.to_ip(),
            client_port: u16::from_be(entry.cport),
            vip: entry.vip.to_ip(),
            vport: u16::from_be(entry.vport),
            destination,
            dport: u16::from_be(entry.dport),
            method: method(entry.flags)?,
            state: state::name(*state).to_owned(),
            expires_s: seconds(*remaining),
            packets: entry.packets,
        })
    }

    fn dest_address(&mut self, id: u32) -> Option<IpAddr> {
        let dest = *self.dests.entry(id).or_insert_with(|| records::dest(self.memory, id));
        dest.map(|dest| dest.addr).filter(|address| *address != Addr::default()).map(Addr::to_ip)
    }
}

/// In place of a destination, as IPVS lists it (ipvs.md §2.6).
const fn nobody(vip: IpAddr) -> IpAddr {
    match vip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

fn method(flags: u16) -> Option<ForwardingMethod> {
    match u8::try_from(flags & ConnFlags::METHOD).ok()? {
        Method::MASQ => Some(ForwardingMethod::Masq),
        Method::TUNNEL => Some(ForwardingMethod::Tunnel),
        // Those without a destination go on as they are, too.
        Method::DR | Method::BYPASS => Some(ForwardingMethod::Dr),
        Method::FULL_NAT => Some(ForwardingMethod::FullNat),
        _ => None,
    }
}

fn seconds(ticks: u32) -> u32 {
    u32::try_from((u64::from(ticks) << TICK_SHIFT) / 1_000_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use rvs_abi::{ConnEntry, family, ticks_from_secs};
    use rvs_model::{Capacity, Heap};

    use super::*;

    /// A connection over an IPv6 service to an IPv4 server, and what is listed of it.
    fn listed(protocol: Protocol, state: u8) -> ConnListing {
        let heap = Heap::new(&Capacity { services: 1, dests: 1, conns: 64, cpus: 1 });
        let addr = |text: &str| Addr::from_ip(text.parse().unwrap());
        records::write_dest(
            &heap,
            0,
            &Dest { addr: addr("10.0.0.2"), family: family::V4, ..Dest::default() },
        );
        let entry = ConnEntry {
            client: addr("2001:db8:2::2"),
            vip: addr("2001:db8::1"),
            cport: 40_000_u16.to_be(),
            vport: 3868_u16.to_be(),
            protocol: protocol.number(),
            family: family::V6,
            flags: ConnFlags::NO_OUTPUT | u16::from(Method::TUNNEL),
            dport: 3868_u16.to_be(),
            packets: 7,
            ..ConnEntry::default()
        };
        let remaining = u32::try_from(ticks_from_secs(60)).unwrap() + 1;
        let conn = Conn { entry, state, proven: true, remaining };
        Reader { memory: &heap, dests: BTreeMap::new() }.listing(&conn).unwrap()
    }

    #[test]
    fn addresses_of_both_families_are_listed() {
        let conn = listed(Protocol::Tcp, 1);
        assert_eq!((conn.client.to_string(), conn.client_port), ("2001:db8:2::2".to_owned(), 40_000));
        assert_eq!((conn.vip.to_string(), conn.vport), ("2001:db8::1".to_owned(), 3868));
        assert_eq!((conn.destination.to_string(), conn.dport), ("10.0.0.2".to_owned(), 3868));
        assert_eq!((conn.method, conn.state.as_str()), (ForwardingMethod::Tunnel, "ESTABLISHED"));
        assert_eq!((conn.expires_s, conn.packets), (60, 7));
    }

    #[test]
    fn sctp_has_the_state_names_of_the_core() {
        let conn = listed(Protocol::Sctp, state::sctp::ESTABLISHED);
        assert_eq!((conn.protocol, conn.state.as_str()), (Protocol::Sctp, "ESTABLISHED"));
        assert_eq!(listed(Protocol::Sctp, state::sctp::CLOSED).state, "CLOSED");
    }
}
