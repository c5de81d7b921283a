//! The ports of a packet and the checksum behind them.
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets and lengths in a frame are below 2^17; ids and flags are cut on purpose"
)]

use rvs_abi::proto;
use rvs_wire::checksum::Delta;
use rvs_wire::{eth, sctp, tcp, udp};

use crate::{Packet, Parsed};

/// Writes source and destination port (network order) and makes the transport checksum right; `pseudo`: what the addresses
/// add to it. `None`: a part of the packet that was there is not.
#[inline(always)]
pub(crate) fn rewrite_ports<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    (sport, dport): ([u8; 2], [u8; 2]),
    pseudo: Delta,
) -> Option<()> {
    let l4 = parsed.transport();
    let before = pair(parsed.sport, parsed.dport);
    let after = pair(sport, dport);
    let fields = Delta::new().word(parsed.sport, sport).word(parsed.dport, dport);
    match parsed.protocol {
        proto::TCP => {
            packet.set(l4, &after)?;
            packet.update_tcp_checksum(l4 + tcp::CHECKSUM, pseudo, fields)
        }
        proto::UDP => {
            packet.set(l4, &after)?;
            packet.update_udp_checksum(l4 + udp::CHECKSUM, pseudo, fields)
        }
        proto::SCTP if before != after => {
            let field = packet.get::<4>(l4 + sctp::CHECKSUM)?;
            let len = (parsed.len + eth::LEN as u32 - l4 as u32) as u16;
            packet.set(l4 + sctp::CHECKSUM, &sctp::update_checksum(field, before, after, len))?;
            packet.set(l4, &after)
        }
        // AH and ESP have no ports, and SCTP's checksum covers no address.
        _ => Some(()),
    }
}

/// The first four bytes of a transport header.
#[inline(always)]
const fn pair(source: [u8; 2], destination: [u8; 2]) -> [u8; 4] {
    [source[0], source[1], destination[0], destination[1]]
}
