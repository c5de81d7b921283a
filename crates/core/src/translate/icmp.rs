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

#[cfg(test)]
mod tests {
    use super::*;

    const fn error(kind: u8, code: u8, word: u32) -> Message {
        Message { kind, code, word }
    }

    /// RFC 7915 §5.2, figure 6.
    #[test]
    fn pointers_point_to_the_same_field() {
        let expected =
            [(0, 0), (1, 1), (4, 2), (5, 2), (6, 9), (7, 8), (8, 12), (23, 12), (24, 16), (39, 16)];
        for (v6, v4) in expected {
            assert_eq!(to_v4(error(4, 0, v6), 1500), Some(error(12, 0, v4 << 24)), "{v6}");
        }
        for nowhere in [2, 3, 40, u32::MAX] {
            assert_eq!(to_v4(error(4, 0, nowhere), 1500), None, "{nowhere}");
        }
    }

    /// RFC 7915 §4.2, §5.2: 20 bytes more or less, what the receiver's own way takes, and never less than 1280 in IPv6.
    #[test]
    fn an_mtu_is_told_in_the_receivers_family() {
        let too_big = |word, mtu| to_v6(error(3, 4, word), 1500, mtu).map(|message| message.word);
        assert_eq!(too_big(1400, 0), Some(1420));
        assert_eq!(too_big(1400, 1410), Some(1410));
        assert_eq!(too_big(68, 1500), Some(1280));
        assert_eq!(too_big(1400, 1000), Some(1280));
        // The upper half is not part of it (RFC 1191 §4), and the length that the quote may have there (RFC 4884).
        assert_eq!(too_big(0x0005_0578, 0), Some(1420));
        let needed = |word, mtu| to_v4(error(2, 0, word), mtu).map(|message| message.word);
        assert_eq!(needed(1400, 0), Some(1380));
        assert_eq!(needed(1400, 1300), Some(1300));
        assert_eq!(needed(0, 1500), Some(68));
        assert_eq!(needed(u32::MAX, 0), Some(65_535));
    }

    /// RFC 1191 §7.1.
    #[test]
    fn a_way_that_does_not_say_takes_the_next_lower_plateau() {
        let expected = [(65_535, 32_000), (9000, 8166), (1500, 1492), (1492, 1006), (576, 508), (296, 68)];
        for (len, mtu) in expected {
            assert_eq!(plateau(len), mtu, "{len}");
        }
        let told = |len| to_v6(error(3, 4, 0), len, 0).map(|message| message.word);
        assert_eq!((told(1500), told(9000)), (Some(1512), Some(8186)));
    }

    #[test]
    fn what_has_no_word_is_not_told() {
        for (kind, code) in [(3, 14), (3, 16), (3, 255), (4, 0), (5, 1), (11, 2), (12, 0), (200, 0)] {
            assert_eq!(to_v6(error(kind, code, 0), 1500, 1500), None, "{kind} {code}");
        }
        for (kind, code) in [(0, 0), (1, 5), (1, 255), (3, 2), (4, 2), (5, 0), (127, 0)] {
            assert_eq!(to_v4(error(kind, code, 0), 1500), None, "{kind} {code}");
        }
    }
}
