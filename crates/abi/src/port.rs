//! What the programs know of an interface.

/// The number of the loopback interface, in every network namespace.
pub const LOOPBACK: u32 = 1;

/// One word of `PORTS`, by number of the interface.
///
/// The lower six bytes in memory are the interface's Ethernet address, the bits above are flags. 0: nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Port(u64);

impl Port {
    /// The bits of the address.
    const ADDRESS: u64 = (1 << 48) - 1;
    /// The address is known.
    const HAS_ADDRESS: u64 = 1 << 48;
    /// The driver takes redirected XDP frames. Those that don't lose them in silence.
    const TAKES_XDP: u64 = 1 << 49;

    /// Of an interface with this address, which takes redirected XDP frames or does not.
    #[must_use]
    pub const fn new(address: Option<[u8; 6]>, takes_xdp: bool) -> Self {
        let address = match address {
            Some([a, b, c, d, e, f]) => u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) | Self::HAS_ADDRESS,
            None => 0,
        };
        Self(address | if takes_xdp { Self::TAKES_XDP } else { 0 })
    }

    /// From its word in the map.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// Its word in the map.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Whether XDP frames may be redirected to it.
    #[inline(always)]
    #[must_use]
    pub const fn takes_xdp(self) -> bool {
        self.0 & Self::TAKES_XDP != 0
    }

    /// Whether a frame is addressed to another host; `head` is its first eight bytes. Without a known address, no frame is.
    #[inline(always)]
    #[must_use]
    pub const fn is_for_another(self, head: [u8; 8]) -> bool {
        self.0 & Self::HAS_ADDRESS != 0 && (u64::from_le_bytes(head) ^ self.0) & Self::ADDRESS != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_whole() {
        let address = [2, 0, 0, 9, 8, 7];
        let port = Port::new(Some(address), false);
        assert!(!port.is_for_another([2, 0, 0, 9, 8, 7, 0xff, 0xff]));
        for byte in 0..6 {
            let mut head = [2, 0, 0, 9, 8, 7, 0, 0];
            head[byte] ^= 0x80;
            assert!(port.is_for_another(head), "byte {byte}");
        }
        assert!(!Port::new(None, true).is_for_another([2; 8]));
        assert!(!Port::default().is_for_another([2; 8]));
    }

    #[test]
    fn flags_and_address_do_not_mix() {
        let all = Port::new(Some([0xff; 6]), false);
        assert!(!all.takes_xdp());
        assert!(Port::new(Some([0; 6]), true).takes_xdp() && Port::new(None, true).takes_xdp());
        assert_eq!(Port::from_word(all.word()), all);
    }
}
