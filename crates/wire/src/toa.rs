//! TCP options that carry a client's address to a server behind a NAT of both addresses, laid out as by the TOA module: kind
//! 254 for IPv4, 253 for IPv6; then the length, the client's port and its address, both in network order. The kinds are
//! those of experiments (RFC 4727 §4.1), so an option of another length is not one of these.

use crate::tcp;
use crate::tcp::option::{self, END, NO_OPERATION};

/// Kind of the option with an IPv4 address.
pub const KIND_V4: u8 = 254;
/// Kind of the option with an IPv6 address.
pub const KIND_V6: u8 = 253;
/// Bytes of the option with an IPv4 address: kind, length, port, address.
pub const LEN_V4: usize = 8;
/// Bytes of the option with an IPv6 address.
pub const LEN_V6: usize = 20;

/// Bytes of kind and length.
const HEAD: usize = 2;
/// Bytes of a port.
const PORT: usize = 2;

/// A TCP header with its options, and nothing behind it.
pub trait Header {
    /// `N` bytes from `offset`, which counts from the header's first byte. `None` if the header ends before.
    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Header for [u8] {
    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

/// What a header says about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// Nothing, but something is wrong: options that don't fit the header, one of our kinds with another length, or an
    /// address or port that no client has.
    Malformed,
    /// Who it is.
    Client,
}

/// A client, as it stands in a header. All zeros if none was found.
///
/// In words and not in bytes, and beside [`Found`], not in it: LLVM takes structures apart, and for the verifier each part
/// that may or may not be there doubles the ways through a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Client {
    /// Address: two words whose bytes in memory are in network order. IPv4 in its mapped form (`::ffff:a.b.c.d`, RFC 4291
    /// §2.5.5.2).
    pub address: [u64; 2],
    /// Port, in network order.
    pub port: u16,
}

/// A walk through a header's options, looking for the client's address; the first that is well formed counts. Apart from
/// [`find`] for programs whose loops are not their own.
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    /// Where the next option begins.
    at: usize,
    /// What there was so far.
    pub found: Found,
    /// Who, if it was found.
    pub client: Client,
}

impl Walk {
    /// At the option that begins at an offset in the header: the first at [`tcp::LEN`].
    #[inline(always)]
    #[must_use]
    pub const fn new(at: usize) -> Self {
        Self { at, found: Found::Nothing, client: Client { address: [0; 2], port: 0 } }
    }

    /// Looks at an option; says whether to go on. There are at most [`option::MAX`].
    #[inline(always)]
    pub fn step<H: Header + ?Sized>(&mut self, header: &H) -> bool {
        let at = self.at;
        let Some([kind]) = header.get(at) else { return false };
        if kind == NO_OPERATION {
            self.at = at + 1;
        }
        if kind == END || kind == NO_OPERATION {
            return kind != END;
        }
        let len = header.get(at + 1).map_or(0, |[len]: [u8; 1]| usize::from(len));
        if !(HEAD..=option::MAX).contains(&len) || header.get::<1>(at + len - 1).is_none() {
            self.found = Found::Malformed;
            return false;
        }
        if kind == KIND_V4 || kind == KIND_V6 {
            if self.take(header, at + HEAD, kind, len).is_some() {
                self.found = Found::Client;
                return false;
            }
            self.found = Found::Malformed;
        }
        self.at = at + len;
        true
    }

    /// The client in an option, behind kind and length. `None` if it has another length than its kind asks for, or names no
    /// client.
    #[inline(always)]
    fn take<H: Header + ?Sized>(&mut self, header: &H, at: usize, kind: u8, len: usize) -> Option<()> {
        let port = u16::from_ne_bytes(header.get(at)?);
        let address = if kind == KIND_V4 {
            let [a, b, c, d] = header.get(at + PORT)?;
            if len != LEN_V4 || u32::from_ne_bytes([a, b, c, d]) == 0 {
                return None;
            }
            [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])]
        } else {
            if len != LEN_V6 {
                return None;
            }
            let halves = [header.get(at + PORT)?, header.get(at + PORT + size_of::<u64>())?];
            let [first, second] = halves.map(u64::from_ne_bytes);
            if first | second == 0 {
                return None;
            }
            [first, second]
        };
        if port == 0 {
            return None;
        }
        self.client = Client { address, port };
        Some(())
    }
}

/// Looks for the client's address among a header's options.
pub fn find<H: Header + ?Sized>(header: &H) -> (Found, Client) {
    let mut walk = Walk::new(tcp::LEN);
    for _ in 0..option::MAX {
        if !walk.step(header) {
            break;
        }
    }
    (walk.found, walk.client)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const ADDRESS: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    const V4: [u8; LEN_V4] = [254, 8, 0x9c, 0x40, 198, 51, 100, 7];
    const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 7];
    const NOBODY: Client = Client { address: [0; 2], port: 0 };

    fn found(address: [u8; 16]) -> (Found, Client) {
        let (first, second) = address.split_at(8);
        let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        (Found::Client, Client { address: [word(first), word(second)], port: 40_000_u16.to_be() })
    }

    fn v6() -> Vec<u8> {
        [&[253, 20, 0x9c, 0x40][..], &ADDRESS].concat()
    }

    /// What a header with these options says.
    fn among(options: &[&[u8]]) -> (Found, Client) {
        let header = [&[0xff; tcp::LEN][..], &options.concat()].concat();
        find(header.as_slice())
    }

    #[test]
    fn the_client_is_found_wherever_the_option_stands() {
        let mss: &[u8] = &[2, 4, 5, 0xb4];
        for before in [&[][..], &[1], &[1, 1, 1], mss, &[4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1]] {
            for after in [&[][..], &[0, 0xff], mss] {
                assert_eq!(among(&[before, &V4, after]), found(MAPPED));
                assert_eq!(among(&[before, &v6(), after]), found(ADDRESS));
            }
        }
        assert_eq!(among(&[&[1; 32], &V4]), found(MAPPED));
        assert_eq!(among(&[&V4, &v6()]), found(MAPPED));
        assert_eq!(among(&[&v6(), &V4]), found(ADDRESS));
    }

    #[test]
    fn other_options_say_nothing() {
        let fast_open: &[u8] = &[34, 8, 0x9c, 0x40, 198, 51, 100, 7];
        for options in [&[][..], &[0], &[1; 40], &[0, 254, 8, 0x9c, 0x40, 198, 51, 100, 7], fast_open] {
            assert_eq!(among(&[options]), (Found::Nothing, NOBODY), "{options:?}");
        }
    }

    #[test]
    fn what_is_malformed_says_nothing_about_the_client() {
        let cases: &[&[u8]] = &[
            &[254, 7, 0x9c, 0x40, 198, 51, 100],
            &[254, 9, 0x9c, 0x40, 198, 51, 100, 7, 7],
            &[254, 2],
            &[253, 8, 0x9c, 0x40, 198, 51, 100, 7],
            &[254, 20, 0x9c, 0x40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
            // Cut by the header's end.
            &V4[..7],
            &[254],
            &v6()[..19],
            // Lengths that lead nowhere.
            &[254, 0, 0x9c, 0x40, 198, 51, 100, 7],
            &[254, 1, 0x9c, 0x40, 198, 51, 100, 7],
            &[2, 0, 254, 8, 0x9c, 0x40, 198, 51, 100, 7],
            &[2, 255, 254, 8, 0x9c, 0x40, 198, 51, 100, 7],
            // No client has these.
            &[254, 8, 0, 0, 198, 51, 100, 7],
            &[254, 8, 0x9c, 0x40, 0, 0, 0, 0],
            &[253, 20, 0x9c, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ];
        for options in cases {
            assert_eq!(among(&[options]), (Found::Malformed, NOBODY), "{options:?}");
        }
    }

    #[test]
    fn one_that_is_well_formed_counts_after_one_of_another_length() {
        assert_eq!(among(&[&[254, 4, 0xf9, 0x89], &V4]), found(MAPPED));
        assert_eq!(among(&[&V4, &[254, 4, 0xf9, 0x89]]), found(MAPPED));
    }

    proptest! {
        /// Any bytes: no panic, and nothing is read behind the header.
        #[test]
        fn what_is_found_stands_in_the_header(header in proptest::collection::vec(any::<u8>(), 0..=60)) {
            let stands = |bytes: &[u8]| header.windows(bytes.len()).any(|window| window == bytes);
            match find(header.as_slice()) {
                (Found::Client, Client { port, address: [first, second] }) => {
                    let address = [first.to_ne_bytes(), second.to_ne_bytes()].concat();
                    let port = port.to_ne_bytes();
                    let v4 = [&[254, 8], &port[..], &address[12..]].concat();
                    prop_assert!(stands(&v4) || stands(&[&[253, 20], &port[..], &address].concat()));
                }
                (_, client) => prop_assert_eq!(client, NOBODY),
            }
        }
    }
}
