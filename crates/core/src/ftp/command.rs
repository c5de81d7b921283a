//! What clients ask their FTP server for, and what both announce (ipvs.md §12.2, §12.3; RFC 959 §4.1.2, RFC 2428).
//!
//! Readers take a segment byte by byte, as the kernel's loops want it, and hold numbers only. What is not complete in its
//! segment, or not exactly of its form, is nothing.

use rvs_abi::{Addr, family};

/// What a client asked for: an address to connect to, by `PASV` or by `EPSV`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Asked {
    /// `PASV`, whose answer is 227.
    Pasv = 1,
    /// `EPSV`, whose answer is 229.
    Epsv = 2,
}

/// The last bytes of a client's segment, letters in lower case, the latest in the lowest place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Window(pub u64);

/// Bytes as they stand in a [`Window`].
const fn text(bytes: &[u8]) -> u64 {
    let mut word = 0;
    let mut i = 0;
    while i < bytes.len() {
        word = word << 8 | bytes[i] as u64;
        i += 1;
    }
    word
}

/// The lowest bytes.
const fn lowest(count: u32) -> u64 {
    (1 << (8 * count)) - 1
}

impl Window {
    /// With one more byte.
    #[inline(always)]
    #[must_use]
    pub const fn then(self, byte: u8) -> Self {
        Self(self.0 << 8 | lower(byte) as u64)
    }

    /// What ends here, as the number of an [`Asked`]; 0: nothing.
    #[inline(always)]
    #[must_use]
    pub const fn asked(self, is_v4: bool) -> u64 {
        const PASV: u64 = text(b"pasv\r\n");
        const EPSV: u64 = text(b"epsv\r");
        const EPSV_4: u64 = text(b"epsv 1\r");
        const EPSV_6: u64 = text(b"epsv 2\r");
        if is_v4 && self.0 & lowest(6) == PASV {
            return Asked::Pasv as u64;
        }
        let of_family = if is_v4 { EPSV_4 } else { EPSV_6 };
        if self.0 & lowest(5) == EPSV || self.0 & lowest(7) == of_family { Asked::Epsv as u64 } else { 0 }
    }
}

/// Letters only: the same bit changes other bytes too.
#[inline(always)]
const fn lower(byte: u8) -> u8 {
    if byte.wrapping_sub(b'A') < 26 { byte | 0x20 } else { byte }
}

/// Forms in which an address is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Form {
    /// A server's `227 … (a,b,c,d,p,q)`; the parenthesis may be missing.
    Pasv = 1,
    /// A server's `229 … (|||port|)`.
    Epsv = 2,
    /// A client's `PORT a,b,c,d,p,q`.
    Port = 3,
    /// A client's `EPRT |1|address|port|`.
    Eprt = 4,
}

impl Form {
    /// Bytes before that which is read.
    pub const REPLY: u32 = 4;
    /// The same of a client's.
    pub const COMMAND: u32 = 5;

    /// Of a server's segment that begins so.
    #[inline(always)]
    #[must_use]
    pub const fn of_reply(head: [u8; 4], is_v4: bool) -> Option<Self> {
        match &head {
            b"227 " if is_v4 => Some(Self::Pasv),
            b"229 " => Some(Self::Epsv),
            _ => None,
        }
    }

    /// Of a client's.
    #[inline(always)]
    #[must_use]
    pub const fn of_command(head: [u8; 5], is_v4: bool) -> Option<Self> {
        let [a, b, c, d, e] = head;
        match &[lower(a), lower(b), lower(c), lower(d), e] {
            b"port " if is_v4 => Some(Self::Port),
            b"eprt " => Some(Self::Eprt),
            _ => None,
        }
    }
}

/// Where a [`Reader`] is.
mod phase {
    /// Not what it should be.
    pub(super) const FAILED: u64 = 0;
    /// All of it is read.
    pub(super) const DONE: u64 = 1;
    /// Before the first digit or parenthesis.
    pub(super) const SEEK_NUMBER: u64 = 2;
    /// Right behind a parenthesis.
    pub(super) const OPEN: u64 = 3;
    /// In six numbers.
    pub(super) const NUMBERS: u64 = 4;
    /// Before the parenthesis.
    pub(super) const SEEK_OPEN: u64 = 5;
    /// At the first delimiter.
    pub(super) const DELIMITER: u64 = 6;
    /// At the second, which follows at once.
    pub(super) const SECOND: u64 = 7;
    /// At the third, likewise.
    pub(super) const THIRD: u64 = 8;
    /// At the family.
    pub(super) const FAMILY: u64 = 9;
    /// At the delimiter behind it.
    pub(super) const BEHIND_FAMILY: u64 = 10;
    /// In the address.
    pub(super) const ADDRESS: u64 = 11;
    /// In the port.
    pub(super) const PORT: u64 = 12;
}

/// Reads an announced address. It has its place in scratch memory, of which a verifier knows nothing: else it would follow
/// each of the ways that a text may go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reader {
    /// [`Form`].
    form: u64,
    /// [`family`] of the connection.
    family: u64,
    phase: u64,
    delimiter: u64,
    /// Numbers or groups that are complete.
    count: u64,
    /// The number at hand, and its digits so far.
    value: u64,
    digits: u64,
    /// What is complete: numbers, or groups behind the gap.
    high: u64,
    low: u64,
    /// Groups before the gap; and how many, plus one; 0: no gap.
    head_high: u64,
    head_low: u64,
    gap: u64,
    /// Colons in a row.
    colons: u64,
    port: u64,
    /// Where it begins, and ends.
    start: u64,
    end: u64,
}

/// What was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The address; of 229, which has none, zero.
    pub address: Addr,
    /// The port, host order; not 0.
    pub port: u16,
    /// Where the text begins that says so, from the first byte that was read.
    pub start: u32,
    /// Where it ends.
    pub end: u32,
}

impl Reader {
    /// Begins with what is behind the head of a segment of that form. Field by field: a whole reader on the stack would be one
    /// too many.
    #[inline(always)]
    pub const fn begin(&mut self, form: Form, is_v4: bool) {
        self.form = form as u64;
        self.family = if is_v4 { family::V4 } else { family::V6 } as u64;
        self.phase = match form {
            Form::Pasv => phase::SEEK_NUMBER,
            Form::Epsv => phase::SEEK_OPEN,
            Form::Port => phase::NUMBERS,
            Form::Eprt => phase::DELIMITER,
        };
        self.delimiter = 0;
        self.count = 0;
        self.value = 0;
        self.digits = 0;
        self.high = 0;
        self.low = 0;
        self.head_high = 0;
        self.head_low = 0;
        self.gap = 0;
        self.colons = 0;
        self.port = 0;
        self.start = 0;
        self.end = 0;
    }

    /// Takes the byte at that place. `true`: no more is to be read.
    #[inline(always)]
    pub fn take(&mut self, byte: u8, at: u64) -> bool {
        let digit = u64::from(byte.wrapping_sub(b'0'));
        self.phase = match self.phase {
            phase::SEEK_NUMBER | phase::OPEN | phase::NUMBERS => self.number(byte, digit, at),
            phase::ADDRESS => self.address(byte, digit),
            phase::PORT => self.port(byte, digit, at),
            _ => self.frame(byte, at),
        };
        self.phase <= phase::DONE
    }

    /// What was read; `None` if it was not all there.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "numbers of the sizes that were checked")]
    pub const fn announced(&self) -> Option<Announced> {
        if self.phase != phase::DONE {
            return None;
        }
        let address = if self.form == Form::Epsv as u64 {
            Addr([0; 2])
        } else if self.family == family::V4 as u64 {
            Addr::v4((self.low as u32).to_be_bytes())
        } else {
            Addr([self.high.to_be(), self.low.to_be()])
        };
        Some(Announced { address, port: self.port as u16, start: self.start as u32, end: self.end as u32 })
    }

    /// Up to six decimal numbers, a byte each, with commas between.
    #[inline(always)]
    const fn number(&mut self, byte: u8, digit: u64, at: u64) -> u64 {
        if digit < 10 {
            if self.digits == 0 && self.count == 0 {
                self.start = at;
            }
            return self.digit(digit, 10, 0xff, phase::NUMBERS);
        }
        if self.phase != phase::NUMBERS {
            return match (byte, self.phase) {
                (b'(', _) => phase::OPEN,
                (_, phase::SEEK_NUMBER) => phase::SEEK_NUMBER,
                _ => phase::FAILED,
            };
        }
        if self.digits == 0 {
            return phase::FAILED;
        }
        let all = self.low << 8 | self.value;
        self.low = all;
        self.value = 0;
        self.digits = 0;
        self.count += 1;
        if byte == b',' && self.count < 6 {
            return phase::NUMBERS;
        }
        if self.count != 6 || all & 0xffff == 0 {
            return phase::FAILED;
        }
        self.port = all & 0xffff;
        self.low = all >> 16;
        self.end = at;
        phase::DONE
    }

    /// One more digit of a number that is at most `most`.
    #[inline(always)]
    const fn digit(&mut self, digit: u64, base: u64, most: u64, next: u64) -> u64 {
        self.value = self.value * base + digit;
        self.digits += 1;
        self.colons = 0;
        if self.value > most { phase::FAILED } else { next }
    }

    /// What is around the address and the port of the extended forms.
    #[inline(always)]
    const fn frame(&mut self, byte: u8, at: u64) -> u64 {
        let is_delimiter = byte as u64 == self.delimiter;
        match self.phase {
            phase::SEEK_OPEN if byte == b'(' => phase::DELIMITER,
            phase::SEEK_OPEN => phase::SEEK_OPEN,
            phase::DELIMITER if byte.wrapping_sub(33) > 126 - 33 => phase::FAILED,
            phase::DELIMITER => {
                self.delimiter = byte as u64;
                self.start = at;
                if self.form == Form::Epsv as u64 { phase::SECOND } else { phase::FAMILY }
            }
            phase::SECOND if is_delimiter => phase::THIRD,
            phase::THIRD if is_delimiter => phase::PORT,
            phase::FAMILY => {
                let family = if self.family == family::V4 as u64 { b'1' } else { b'2' };
                if byte == family { phase::BEHIND_FAMILY } else { phase::FAILED }
            }
            phase::BEHIND_FAMILY if is_delimiter => phase::ADDRESS,
            _ => phase::FAILED,
        }
    }

    #[inline(always)]
    const fn port(&mut self, byte: u8, digit: u64, at: u64) -> u64 {
        if byte as u64 == self.delimiter {
            if self.value == 0 {
                return phase::FAILED;
            }
            self.port = self.value;
            self.end = at + 1;
            return phase::DONE;
        }
        if digit < 10 { self.digit(digit, 10, 0xffff, phase::PORT) } else { phase::FAILED }
    }

    /// An address of the connection's family.
    #[inline(always)]
    const fn address(&mut self, byte: u8, digit: u64) -> u64 {
        if byte as u64 == self.delimiter {
            let is_whole = if self.family == family::V4 as u64 { self.end_of_v4() } else { self.end_of_v6() };
            self.value = 0;
            self.digits = 0;
            return if is_whole { phase::PORT } else { phase::FAILED };
        }
        if self.family == family::V4 as u64 {
            if digit < 10 {
                return self.digit(digit, 10, 0xff, phase::ADDRESS);
            }
            let goes_on = byte == b'.' && self.digits != 0 && self.count < 3;
            self.push_byte();
            return if goes_on { phase::ADDRESS } else { phase::FAILED };
        }
        let hex = if digit < 10 { digit } else { (lower(byte).wrapping_sub(b'a') as u64).wrapping_add(10) };
        if hex < 16 {
            // A single colon at the beginning is none of "::".
            let is_alone = self.colons == 1 && self.count == 0;
            return if is_alone { phase::FAILED } else { self.digit(hex, 16, 0xffff, phase::ADDRESS) };
        }
        if byte == b':' && self.colon() { phase::ADDRESS } else { phase::FAILED }
    }

    /// The number at hand is a byte of an IPv4 address.
    #[inline(always)]
    const fn push_byte(&mut self) {
        self.low = self.low << 8 | self.value;
        self.count += 1;
        self.value = 0;
        self.digits = 0;
    }

    #[inline(always)]
    const fn end_of_v4(&mut self) -> bool {
        let is_whole = self.count == 3 && self.digits != 0;
        self.push_byte();
        is_whole
    }

    /// The number at hand is a group of an IPv6 address.
    #[inline(always)]
    const fn push_group(&mut self) {
        self.high = self.high << 16 | self.low >> 48;
        self.low = self.low << 16 | self.value;
        self.count += 1;
        self.value = 0;
        self.digits = 0;
    }

    /// A colon: behind a group, or one of the two of the gap.
    #[inline(always)]
    const fn colon(&mut self) -> bool {
        if self.digits != 0 {
            self.push_group();
            self.colons = 1;
            return self.count < 8;
        }
        if self.colons == 0 && self.count == 0 && self.gap == 0 {
            self.colons = 1;
            return true;
        }
        if self.colons != 1 || self.gap != 0 {
            return false;
        }
        self.gap = self.count + 1;
        self.head_high = self.high;
        self.head_low = self.low;
        self.high = 0;
        self.low = 0;
        self.colons = 2;
        true
    }

    #[inline(always)]
    const fn end_of_v6(&mut self) -> bool {
        if self.digits != 0 {
            self.push_group();
        } else if self.colons != 2 {
            return false;
        }
        if self.gap == 0 {
            return self.count == 8;
        }
        if self.count > 7 {
            return false;
        }
        // The groups before the gap, moved to the beginning: by 128 bits less 16 for each.
        let by = 8 - (self.gap - 1);
        let (mut high, mut low) = (self.head_high, self.head_low);
        if by >= 4 {
            high = low;
            low = 0;
        }
        let bits = (by & 3) * 16;
        if bits != 0 {
            high = high << bits | low >> (64 - bits);
            low <<= bits;
        }
        if by == 8 {
            high = 0;
        }
        self.high |= high;
        self.low |= low;
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    extern crate std;

    use std::format;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::string::{String, ToString as _};
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn asked(text: &[u8], is_v4: bool) -> u64 {
        let mut window = Window::default();
        for &byte in text {
            window = window.then(byte);
            let asked = window.asked(is_v4);
            if asked != 0 {
                return asked;
            }
        }
        0
    }

    fn read(form: Form, is_v4: bool, text: &[u8]) -> Option<Announced> {
        let mut reader = Reader::default();
        reader.begin(form, is_v4);
        for (at, &byte) in (0..).zip(text) {
            if reader.take(byte, at) {
                break;
            }
        }
        reader.announced()
    }

    fn v4(form: Form, text: &str) -> Option<(String, u16, String)> {
        let read = read(form, true, text.as_bytes())?;
        let part = &text[read.start as usize..read.end as usize];
        Some((Ipv4Addr::from(read.address.v4_bytes()).to_string(), read.port, part.into()))
    }

    fn v6(address: &str) -> Option<String> {
        let text = format!("|2|{address}|6446|");
        let read = read(Form::Eprt, false, text.as_bytes())?;
        assert_eq!((read.port, read.start, read.end as usize), (6446, 0, text.len()));
        Some(Ipv6Addr::from(read.address.to_bytes()).to_string())
    }

    #[test]
    fn a_client_asks_anywhere_in_its_segment() {
        let (pasv, epsv) = (Asked::Pasv as u64, Asked::Epsv as u64);
        for (text, of_v4, of_v6) in [
            ("PASV\r\n", pasv, 0),
            ("pAsV\r\n", pasv, 0),
            ("TYPE I\r\nPASV\r\n", pasv, 0),
            ("PASV\r", 0, 0),
            ("PASV \r\n", 0, 0),
            ("EPSV\r\n", epsv, epsv),
            ("epsv\r", epsv, epsv),
            ("EPSV 1\r\n", epsv, 0),
            ("EPSV 2\r\n", 0, epsv),
            ("EPSV ALL\r\n", 0, 0),
            ("EPSV", 0, 0),
            ("0\u{1}sv\r\n", 0, 0),
        ] {
            assert_eq!(asked(text.as_bytes(), true), of_v4, "{text:?}");
            assert_eq!(asked(text.as_bytes(), false), of_v6, "{text:?}");
        }
        // A hyphen and a star differ from CR and LF by the bit that letters differ by.
        assert_eq!(asked(b"PASV-*", true), 0);
    }

    #[test]
    fn segments_are_told_by_their_heads() {
        assert_eq!(Form::of_reply(*b"227 ", true), Some(Form::Pasv));
        assert_eq!(Form::of_reply(*b"227 ", false), None);
        assert_eq!(Form::of_reply(*b"227-", true), None);
        assert_eq!(Form::of_reply(*b"229 ", false), Some(Form::Epsv));
        assert_eq!(Form::of_command(*b"PORT ", true), Some(Form::Port));
        assert_eq!(Form::of_command(*b"port ", true), Some(Form::Port));
        assert_eq!(Form::of_command(*b"PORT ", false), None);
        assert_eq!(Form::of_command(*b"EPRT ", false), Some(Form::Eprt));
        assert_eq!(Form::of_command(*b"PORT\r", true), None);
    }

    #[test]
    fn six_numbers_are_an_address_and_a_port() {
        let is = |port, part: &str| Some(("192.168.9.2".into(), port, part.into()));
        let text = "Entering Passive Mode (192,168,9,2,200,10).\r\n";
        assert_eq!(v4(Form::Pasv, text), is(51210, "192,168,9,2,200,10"));
        assert_eq!(v4(Form::Pasv, "192,168,9,2,0,21\r\n"), is(21, "192,168,9,2,0,21"));
        assert_eq!(v4(Form::Port, "192,168,9,2,7,9\r\n"), is(1801, "192,168,9,2,7,9"));
        assert_eq!(v4(Form::Port, "192,168,9,2,007,9\r\n"), is(1801, "192,168,9,2,007,9"));
        for wrong in [
            "Mode (192,168,9,2,200,10",
            "Mode (192,168,9,2,200",
            "Mode (192,168,9,2,200).",
            "Mode (192,168,9,2,256,10).",
            "Mode (192,168,9,2,,10).",
            "Mode (192,168,9,2,0,0).",
            "Mode 1 (192,168,9,2,200,10).",
            "Mode (=192,168,9,2,200,10).",
            "Mode",
            "",
        ] {
            assert_eq!(v4(Form::Pasv, wrong), None, "{wrong}");
        }
        for wrong in [" 192,168,9,2,7,9\r\n", "(192,168,9,2,7,9)", "192,168,9,2,7,9", "a,168,9,2,7,9\r\n"] {
            assert_eq!(v4(Form::Port, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn extended_forms_have_any_delimiter() {
        let read = |form, text: &str| {
            let (_, port, part) = v4(form, text)?;
            Some((port, part))
        };
        let text = "Entering Extended Passive Mode (|||51210|)\r\n";
        assert_eq!(read(Form::Epsv, text), Some((51210, "|||51210|".into())));
        assert_eq!(read(Form::Epsv, "(!!!21!)"), Some((21, "!!!21!".into())));
        for wrong in [
            "(||51210|)",
            "(|||51210)",
            "(|||0|)",
            "(||||)",
            "(|||65536|)",
            "(   51210 )",
            "(|||5121",
            "|||5|",
        ] {
            assert_eq!(read(Form::Epsv, wrong), None, "{wrong}");
        }
        let is = Some(("192.0.2.2".into(), 1801, "|1|192.0.2.2|1801|".into()));
        assert_eq!(v4(Form::Eprt, "|1|192.0.2.2|1801|\r\n"), is);
        for wrong in [
            "|2|192.0.2.2|1801|",
            "|1|192.0.2|1801|",
            "|1|192.0.2.|1801|",
            "|1|192.0.2.2.2|1801|",
            "|1|192.0..2|1801|",
            "|1|192.0.2.256|1801|",
            "|1|192.0.2.2|1801",
            "|1|192.0.2.2||",
            "|1|192.0.2.2|1801!",
        ] {
            assert_eq!(v4(Form::Eprt, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ipv6_addresses_are_read_as_the_standard_library_reads_them() {
        for text in [
            "::",
            "::1",
            "1::",
            "2001:db8::1",
            "2001:DB8:0:0:8:800:200C:417A",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
        ] {
            assert_eq!(v6(text), Some(text.parse::<Ipv6Addr>().unwrap().to_string()), "{text}");
        }
        for wrong in [
            "",
            ":",
            ":1",
            "1:",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "1::2::3",
            ":::",
            "1:::2",
            "12345::",
            "g::",
            "1:2:3:4:5:6:7:8::",
        ] {
            assert_eq!(v6(wrong), None, "{wrong}");
        }
    }

    proptest! {
        /// Whatever address: written by the standard library and read here.
        #[test]
        fn any_address_is_read(bytes: [u8; 16], port in 1_u16..) {
            let address = Ipv6Addr::from(bytes);
            if address.to_ipv4_mapped().is_none() && !address.to_string().contains('.') {
                let text = format!("|2|{address}|{port}|");
                let read = read(Form::Eprt, false, text.as_bytes()).unwrap();
                prop_assert_eq!((read.address.to_bytes(), read.port), (bytes, port));
            }
            let address = Ipv4Addr::from([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let text = format!("|1|{address}|{port}|");
            let read = read(Form::Eprt, true, text.as_bytes()).unwrap();
            prop_assert_eq!((IpAddr::from(read.address.v4_bytes()), read.port), (address.into(), port));
        }

        /// Whatever bytes: what is found is within them, and there is an end.
        #[test]
        fn nothing_is_found_outside(text in proptest::collection::vec(prop_oneof![
            Just(b'('), Just(b')'), Just(b','), Just(b'|'), Just(b':'), Just(b'.'), Just(b'\r'), b'0'..=b'9', any::<u8>()
        ], 0..80)) {
            for form in [Form::Pasv, Form::Epsv, Form::Port, Form::Eprt] {
                for is_v4 in [true, false] {
                    if let Some(read) = read(form, is_v4, &text) {
                        prop_assert!(read.start < read.end && read.end as usize <= text.len());
                        prop_assert!(read.port != 0);
                        let part: Vec<u8> = text[read.start as usize..read.end as usize].to_vec();
                        prop_assert!(part.iter().any(u8::is_ascii_digit));
                    }
                }
            }
        }
    }
}
