//! An address as it stands in FTP's commands and replies, written as canonical as IPVS writes it (ipvs.md §12.2).
#![allow(clippy::cast_possible_truncation, reason = "digits, and places in a frame")]

use rvs_abi::Addr;

use crate::ftp::command::Form;
use crate::{Tables, hold};

/// Where it is put in a frame's room, behind the frame.
pub(crate) const AT: u32 = rvs_abi::limits::HOLD_FRAME - ROOM;
/// Room for it: the longest has 59 bytes.
pub(super) const ROOM: u32 = 64;

/// Text that is being written.
struct Text<'a, T> {
    tables: &'a T,
    frame: &'a mut hold::Saved,
    len: u64,
}

/// Writes an address and a port (network order) in the words of that form; how many bytes that took. `PORT`, which knows no
/// address of IPv6, becomes `EPRT`, with the command's name.
#[inline(always)]
pub(crate) fn write<T: Tables>(
    tables: &T,
    frame: &mut hold::Saved,
    form: u64,
    address: &Addr,
    port: [u8; 2],
) -> u32 {
    let mut text = Text { tables, frame, len: tables.veiled(0) };
    if form == Form::Pasv as u64 || form == Form::Port as u64 && address.is_v4() {
        text.v4(address, b',');
        text.push(b',');
        text.decimal(u32::from(port[0]));
        text.push(b',');
        text.decimal(u32::from(port[1]));
        return text.len as u32;
    }
    if form == Form::Port as u64 {
        for byte in *b"EPRT " {
            text.push(byte);
        }
    }
    text.push(b'|');
    if form == Form::Eprt as u64 || form == Form::Port as u64 {
        if address.is_v4() {
            text.push(b'1');
            text.push(b'|');
            text.v4(address, b'.');
        } else {
            text.push(b'2');
            text.push(b'|');
            text.v6(address);
        }
    } else {
        text.push(b'|');
    }
    text.push(b'|');
    text.decimal(u32::from(u16::from_be_bytes(port)));
    text.push(b'|');
    text.len as u32
}

impl<T: Tables> Text<'_, T> {
    #[inline(always)]
    fn push(&mut self, byte: u8) {
        let place = AT as usize + (self.len & u64::from(ROOM - 1)) as usize;
        self.frame[place] = byte;
        // Behind a veil: else what follows is verified for each length anew.
        self.len = self.tables.veiled(self.len + 1);
    }

    #[inline(always)]
    fn v4(&mut self, address: &Addr, separator: u8) {
        let [a, b, c, d] = address.v4_bytes();
        self.decimal(u32::from(a));
        self.push(separator);
        self.decimal(u32::from(b));
        self.push(separator);
        self.decimal(u32::from(c));
        self.push(separator);
        self.decimal(u32::from(d));
    }

    /// All eight groups: nothing is left out, which is an address all the same (RFC 4291 §2.2).
    #[inline(always)]
    fn v6(&mut self, address: &Addr) {
        for (i, word) in address.0.into_iter().enumerate() {
            let word = u64::from_be(word);
            for j in 0..4 {
                if i + j != 0 {
                    self.push(b':');
                }
                self.hex((word >> (48 - 16 * j)) as u32 & 0xffff);
            }
        }
    }

    /// A number below 2^16.
    #[inline(always)]
    fn decimal(&mut self, number: u32) {
        for unit in [10_000, 1000, 100, 10] {
            if number >= unit {
                self.push(b'0' + (number / unit % 10) as u8);
            }
        }
        self.push(b'0' + (number % 10) as u8);
    }

    /// Likewise, in lower case.
    #[inline(always)]
    fn hex(&mut self, number: u32) {
        for shift in [12, 8, 4, 0] {
            if shift == 0 || number >> shift != 0 {
                let digit = (number >> shift & 15) as u8;
                self.push(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit });
            }
        }
    }
}
