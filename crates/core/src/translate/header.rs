//! IP headers in the other family (RFC 7915 §4.1, §5.1): pure functions from fields to headers.

use rvs_wire::checksum::Delta;
use rvs_wire::{ipv4, ipv6};

use crate::Tables;

/// Largest IPv4 packet that goes without "don't fragment": what it came from was of IPv6's smallest MTU (RFC 7915 §5.1).
const FRAGMENTABLE_V4: u32 = ipv6::MTU_MIN as u32 - (ipv6::LEN - ipv4::LEN) as u32;
/// More fragments follow, in the upper byte of IPv4's field.
const MORE_V4: u16 = 0x2000;
const OFFSET_V4: u16 = 0x1fff;

/// What a header says, of whatever family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fields {
    /// Type of service, or traffic class.
    pub(super) tos: u8,
    /// Time to live, or hop limit, as it leaves.
    pub(super) ttl: u8,
    /// Transport protocol.
    pub(super) protocol: u8,
    /// 1: it is a fragment.
    pub(super) is_fragment: u8,
    /// Of a fragment: its offset in bytes, and in bit 0 whether others follow, as in IPv6's fragment header.
    pub(super) place: u16,
    /// Of a fragment: its identification, host order.
    pub(super) id: u32,
    /// Bytes behind the IP headers.
    pub(super) payload: u32,
    /// Bytes behind them of the packets that go on the wire: fewer than these, if it is a bundle of them.
    pub(super) on_wire: u32,
}

impl Fields {
    /// The same, of which the verifier knows nothing: what follows is verified once for all packets.
    #[inline(always)]
    pub(super) fn veiled<T: Tables>(self, tables: &T) -> Self {
        Self {
            is_fragment: tables.veiled(u64::from(self.is_fragment)) as u8,
            place: tables.veiled(u64::from(self.place)) as u16,
            id: tables.veiled(u64::from(self.id)) as u32,
            payload: tables.veiled(u64::from(self.payload)) as u32,
            on_wire: tables.veiled(u64::from(self.on_wire)) as u32,
            ..self
        }
    }

    /// Those of an IPv4 header that say which fragment it is.
    #[inline(always)]
    pub(super) const fn fragment_of_v4(self, ip: &ipv4::Header) -> Self {
        let [a, b, c, d] = ip.0[1].to_ne_bytes();
        let field = u16::from_be_bytes([c, d]);
        let more = (field & MORE_V4 != 0) as u16;
        let place = (field & OFFSET_V4) << 3 | more;
        let is_fragment = ip.is_fragment() as u8;
        Self { is_fragment, place, id: u16::from_be_bytes([a, b]) as u32, ..self }
    }

    /// Those of a fragment header of IPv6.
    #[inline(always)]
    pub(super) const fn fragment_of_v6(self, header: &[u8; ipv6::fragment::LEN]) -> Self {
        let place = ipv6::fragment::offset(header) | ipv6::fragment::more(header) as u16;
        Self { is_fragment: 1, place, id: ipv6::fragment::id(header), ..self }
    }

    /// Bytes of the headers in IPv6.
    #[inline(always)]
    pub(super) const fn len_v6(&self) -> u32 {
        (ipv6::LEN + ipv6::fragment::LEN * self.is_fragment as usize) as u32
    }

    /// The fixed header in IPv6; addresses in words that stand as in memory.
    #[inline(always)]
    pub(super) const fn v6(&self, source: [u32; 4], destination: [u32; 4]) -> ipv6::Header {
        let payload = self.payload + self.len_v6() - ipv6::LEN as u32;
        let next_header = if self.is_fragment != 0 { ipv6::next::FRAGMENT } else { self.protocol };
        ipv6::Outer {
            traffic_class: self.tos,
            payload_len: payload as u16,
            next_header,
            hop_limit: self.ttl,
            source,
            destination,
        }
        .emit()
    }

    /// The fragment header behind it.
    #[inline(always)]
    pub(super) const fn fragment_v6(&self) -> [u8; ipv6::fragment::LEN] {
        let ([p, q], [a, b, c, d]) = (self.place.to_be_bytes(), self.id.to_be_bytes());
        [self.protocol, 0, p, q, a, b, c, d]
    }

    /// The header in IPv4. `random` becomes the identification of a packet that somebody may fragment.
    #[inline(always)]
    pub(super) const fn v4(&self, source: [u8; 4], destination: [u8; 4], random: u16) -> ipv4::Header {
        let is_fragment = self.is_fragment != 0;
        let dont_fragment = !is_fragment && self.on_wire + ipv4::LEN as u32 > FRAGMENTABLE_V4;
        let id = match (is_fragment, dont_fragment) {
            (true, _) => self.id as u16,
            (false, true) => 0,
            (false, false) => ipv4::identification(random),
        };
        let outer = ipv4::Outer {
            tos: self.tos,
            total_len: (self.payload + ipv4::LEN as u32) as u16,
            id,
            dont_fragment,
            ttl: self.ttl,
            protocol: self.protocol,
            source,
            destination,
        };
        let mut header = outer.emit();
        if is_fragment {
            let [a, b, c, d] = header.0[1].to_ne_bytes();
            let more = if self.place & 1 != 0 { MORE_V4 } else { 0 };
            let [p, q] = (self.place >> 3 | more).to_be_bytes();
            header.0[1] = u32::from_ne_bytes([a, b, p, q]);
            header = header.update_checksum(Delta::new().word([c, d], [p, q]));
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Fields = Fields {
        tos: 0xb8,
        ttl: 63,
        protocol: 17,
        is_fragment: 0,
        place: 0,
        id: 0,
        payload: 100,
        on_wire: 100,
    };

    /// RFC 7915 §5.1: so small a packet came over a way that takes 1280 bytes and no more, and may be fragmented.
    #[test]
    fn what_is_larger_than_1260_bytes_is_not_to_be_fragmented() {
        let of = |on_wire| Fields { payload: on_wire, on_wire, ..PLAIN }.v4([10, 0, 0, 1], [10, 0, 0, 2], 6);
        let (small, large) = (of(1240), of(1241));
        assert_eq!((small.dont_fragment(), small.id(), small.total_len()), (false, id(6), 1260));
        assert_eq!((large.dont_fragment(), large.id(), large.total_len()), (true, 0, 1261));
        // Of a bundle the segments count.
        let bundle = Fields { payload: 30_000, ..PLAIN }.v4([10, 0, 0, 1], [10, 0, 0, 2], 6);
        assert_eq!((bundle.dont_fragment(), bundle.total_len()), (false, 30_020));
        for header in [small, large, bundle] {
            assert_eq!(rvs_wire::checksum::fold(header.sum()), 0xffff);
            assert_eq!((header.tos(), header.ttl(), header.protocol()), (0xb8, 63, 17));
        }
    }

    /// As it stands in a header.
    fn id(number: u16) -> u32 {
        u32::from(u16::from_ne_bytes(number.to_be_bytes()))
    }

    /// Offset, identification and "more fragments" go through both families.
    #[test]
    fn fragments_stay_where_they_are() {
        for (more, offset) in [(true, 0), (true, 1480), (false, 65_528)] {
            let came = Fields { is_fragment: 1, place: offset | u16::from(more), id: 0x1234_abcd, ..PLAIN };
            let header = came.v4([10, 0, 0, 1], [10, 0, 0, 2], 6);
            assert_eq!(rvs_wire::checksum::fold(header.sum()), 0xffff);
            assert!(!header.dont_fragment());
            let [.., c, d] = header.0[1].to_ne_bytes();
            assert_eq!(u16::from_be_bytes([c, d]), (offset / 8) | if more { 0x2000 } else { 0 });
            let back = PLAIN.fragment_of_v4(&header);
            assert_eq!(back, Fields { id: 0xabcd, ..came });
            assert_eq!(PLAIN.fragment_of_v6(&back.fragment_v6()), back);
            let fixed = back.v6([0; 4], [0; 4]);
            assert_eq!((fixed.next_header(), fixed.payload_len()), (ipv6::next::FRAGMENT, 108));
        }
        let whole = PLAIN.v6([0; 4], [0; 4]);
        assert_eq!((whole.next_header(), whole.payload_len()), (17, 100));
        assert_eq!((whole.traffic_class(), whole.hop_limit(), whole.flow_label()), (0xb8, 63, 0));
        assert!(PLAIN.fragment_of_v4(&PLAIN.v4([0; 4], [0; 4], 0)).is_fragment == 0);
    }
}
