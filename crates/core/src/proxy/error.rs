//! ICMP errors about a client's segments: what they quote has the client's own number again, by which its stack tells those that
//! are about its connection from those that somebody made up (RFC 5927 §4.1).

use rvs_abi::proto;
use rvs_wire::checksum::Delta;
use rvs_wire::{eth, icmp, tcp};

use crate::pipeline::Scratch;
use crate::proxy::{is_on, rewrite};
use crate::{Packet, Parsed, Tables};

/// The stage behind 2c, for an error that goes to a client. Where the connection has no header, nothing is done.
#[inline(always)]
pub fn quoted<P: Packet, T: Tables>(packet: &mut P, tables: &T) {
    let _done = tables.with_scratch(|scratch| {
        let Scratch { parsed, quoted, found, .. } = scratch;
        let found = found.get(tables).filter(is_on)?;
        if quoted.protocol != proto::TCP {
            return None;
        }
        let at = quoted.transport() + tcp::SEQUENCE;
        let old = packet.get::<4>(at)?;
        let (new, _) = rewrite::numbers::<T>(&found).acknowledged(u32::from_be_bytes(old));
        let new = new.to_be_bytes();
        packet.set(at, &new)?;
        sum(packet, parsed, quoted, Delta::new().words(old, new))
    });
}

/// The sum that covers it: the segment's own, if it is quoted so far, which makes up for it in the message's; else that.
#[inline(always)]
fn sum<P: Packet>(packet: &mut P, outer: &Parsed, quoted: &Parsed, delta: Delta) -> Option<()> {
    let own = quoted.transport() + tcp::CHECKSUM;
    let is_there = own + 2 <= eth::LEN + outer.len as usize;
    let at = if is_there { own } else { outer.transport() + icmp::CHECKSUM };
    let field = packet.get::<2>(at)?;
    packet.set(at, &delta.apply(field))
}
