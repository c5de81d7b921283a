//! What an error of one family is in the other (RFC 7915 §4.2, §5.2): a pure function.

use rvs_wire::icmp::{v4, v6};

use crate::translate::size::{DIFFERENCE, told_in_v6};

/// An error's type and code, and the word behind the checksum: an MTU, a pointer, or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    /// Type.
    pub(super) kind: u8,
    /// Code.
    pub(super) code: u8,
    /// Host order.
    pub(super) word: u32,
}

impl Message {
    #[inline(always)]
    const fn new(kind: u8, code: u8) -> Self {
        Self { kind, code, word: 0 }
    }
}

/// An IPv4 error in IPv6. `quoted_len` is what the quoted packet says of its length, `mtu` that of the way to the receiver.
/// `None`: it has no word for it.
#[inline(always)]
pub(super) const fn to_v6(message: Message, quoted_len: u32, mtu: u32) -> Option<Message> {
    let Message { kind, code, word } = message;
    match (kind, code) {
        (v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED) => {
            let told = match word & 0xffff {
                0 => plateau(quoted_len),
                told => told,
            };
            let told = told_in_v6(told);
            let told = if mtu != 0 && mtu < told { told_in_v6(mtu.saturating_sub(DIFFERENCE)) } else { told };
            Some(Message { kind: v6::PACKET_TOO_BIG, code: 0, word: told })
        }
        (v4::UNREACHABLE, v4::PROTOCOL_UNREACHABLE) => {
            Some(Message { kind: v6::PARAMETER_PROBLEM, code: v6::UNKNOWN_NEXT_HEADER, word: NEXT_HEADER })
        }
        (v4::UNREACHABLE, v4::PORT) => Some(Message::new(v6::UNREACHABLE, v6::PORT)),
        (
            v4::UNREACHABLE,
            v4::NETWORK_PROHIBITED | v4::HOST_PROHIBITED | v4::PROHIBITED | v4::PRECEDENCE_CUTOFF,
        ) => Some(Message::new(v6::UNREACHABLE, v6::PROHIBITED)),
        (v4::UNREACHABLE, v4::HOST_PRECEDENCE) => None,
        (v4::UNREACHABLE, 0..=12) => Some(Message::new(v6::UNREACHABLE, v6::NO_ROUTE)),
        (v4::TIME_EXCEEDED, v4::TTL | v4::REASSEMBLY) => Some(Message::new(v6::TIME_EXCEEDED, code)),
        _ => None,
    }
}

/// An IPv6 error in IPv4. `mtu` is that of the way to the receiver.
#[inline(always)]
pub(super) const fn to_v4(message: Message, mtu: u32) -> Option<Message> {
    let Message { kind, code, word } = message;
    match (kind, code) {
        (v6::UNREACHABLE, v6::NO_ROUTE | v6::BEYOND_SCOPE | v6::ADDRESS) => {
            Some(Message::new(v4::UNREACHABLE, v4::HOST))
        }
        (v6::UNREACHABLE, v6::PROHIBITED) => Some(Message::new(v4::UNREACHABLE, v4::HOST_PROHIBITED)),
        (v6::UNREACHABLE, v6::PORT) => Some(Message::new(v4::UNREACHABLE, v4::PORT)),
        (v6::PACKET_TOO_BIG, _) => {
            let told = word.saturating_sub(DIFFERENCE);
            let told = if mtu != 0 && mtu < told { mtu } else { told };
            let told = if told > 0xffff { 0xffff } else { told };
            let told = if told < MTU_MIN_V4 { MTU_MIN_V4 } else { told };
            Some(Message { kind: v4::UNREACHABLE, code: v4::FRAGMENTATION_NEEDED, word: told })
        }
        (v6::TIME_EXCEEDED, v6::HOP_LIMIT | v6::REASSEMBLY) => Some(Message::new(v4::TIME_EXCEEDED, code)),
        (v6::PARAMETER_PROBLEM, v6::UNKNOWN_NEXT_HEADER) => {
            Some(Message::new(v4::UNREACHABLE, v4::PROTOCOL_UNREACHABLE))
        }
        (v6::PARAMETER_PROBLEM, v6::ERRONEOUS_FIELD) => match pointer_to_v4(word) {
            // In the upper byte of its word (RFC 792).
            Some(pointer) => Some(Message { kind: v4::PARAMETER_PROBLEM, code: 0, word: pointer << 24 }),
            None => None,
        },
        _ => None,
    }
}

/// Offset of the next header's number in an IPv6 header.
const NEXT_HEADER: u32 = 6;
/// Smallest MTU of IPv4 (RFC 791 §3.2).
const MTU_MIN_V4: u32 = 68;

/// Where a field of IPv6's header is in IPv4's (RFC 7915 §5.2, figure 6).
#[inline(always)]
const fn pointer_to_v4(pointer: u32) -> Option<u32> {
    match pointer {
        0 => Some(0),
        1 => Some(1),
        4 | 5 => Some(2),
        6 => Some(9),
        7 => Some(8),
        8..=23 => Some(12),
        24..=39 => Some(16),
        _ => None,
    }
}

/// What a way may take that did not say: the next lower of RFC 1191's plateaus (§7.1).
#[inline(always)]
const fn plateau(len: u32) -> u32 {
    match len {
        32001.. => 32000,
        17915.. => 17914,
        8167.. => 8166,
        4353.. => 4352,
        2003.. => 2002,
        1493.. => 1492,
        1007.. => 1006,
        509.. => 508,
        297.. => 296,
        _ => MTU_MIN_V4,
    }
}
