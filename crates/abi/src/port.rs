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
    const TAKES_XDP: u64 = 1 << Self::XDP_SHIFT;
    /// It loses those that a program sends back where they came in (`XDP_TX`); redirected there they leave. Only with the bit
    /// before.
    const LOSES_TURNED: u64 = 2 << Self::XDP_SHIFT;
    const XDP_SHIFT: u32 = 49;

    /// Of an interface with this address, which takes redirected XDP frames or does not.
    #[must_use]
    pub const fn new(address: Option<[u8; 6]>, takes_xdp: bool) -> Self {
        let address = match address {
            Some([a, b, c, d, e, f]) => u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) | Self::HAS_ADDRESS,
            None => 0,
        };
        Self(address | if takes_xdp { Self::TAKES_XDP } else { 0 })
    }

    /// The same interface, of a driver that loses XDP frames sent back where they came in, if it takes redirected ones.
    #[must_use]
    pub const fn losing_turned(self) -> Self {
        Self(self.0 | if self.takes_xdp() { Self::LOSES_TURNED } else { 0 })
    }

    /// The same interface with another address.
    #[must_use]
    pub const fn with_address(self, address: [u8; 6]) -> Self {
        let flags = self.0 & !(Self::ADDRESS | Self::HAS_ADDRESS);
        Self(Self::new(Some(address), false).0 | flags)
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

    /// What [`xdp`](Self::xdp) answers for one by which frames leave by redirection alone.
    pub const BY_REDIRECTION: u32 = 3;

    /// How XDP frames leave by it. 0: by TC; 1: by redirection, or sent back if they came in by it; 3: by redirection alone.
    #[inline(always)]
    #[must_use]
    pub const fn xdp(self) -> u32 {
        (self.0 >> Self::XDP_SHIFT) as u32 & 3
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
        assert_eq!((all.xdp(), all.losing_turned().xdp()), (0, 0));
        let one = Port::new(Some([0xff; 6]), true);
        assert_eq!((one.xdp(), one.losing_turned().xdp()), (1, 3));
        let other = one.losing_turned().with_address([0; 6]);
        assert_eq!(other.xdp(), 3);
        assert!(!other.is_for_another([0; 8]) && other.is_for_another([1; 8]));
        assert_eq!(Port::new(None, true).with_address([0; 6]), Port::new(Some([0; 6]), true));
        assert_eq!(Port::from_word(all.word()), all);
    }
}
