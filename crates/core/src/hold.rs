//! Fragments that come before the first of their packet: they are held, and go on behind it (ipvs.md §2.1).
//!
//! Each is kept whole for about a second, in one of the slots that its source shares with a sixteenth of all others of its
//! family: a source, or an IPv6 network, can fill these and no more. Where all are in use, one of them makes room, at random:
//! whoever floods them keeps nobody out, and a fragment whose first comes soon is most likely still there. Who handles the
//! first fragment sends the held ones to the interface that it came in on, where the program meets them again and knows what
//! they belong to. Under TC only: XDP hands over what is to be held, and first fragments while anything may be held for them.
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets and lengths in a frame are below 2^17; ids and flags are cut on purpose"
)]

use rvs_abi::{Event, Outcome, limits, proto};

use crate::fragment::{self, Key};
use crate::parse::Signal;
use crate::pipeline::Way;
use crate::{Link, Packet, Parsed, Step, Tables};

/// A frame that is held.
pub type Bytes = [u8; limits::HOLD_FRAME as usize];

/// A frame that is looked after while its packet is others: twice as long, so that any part of it may be asked for. All that
/// a value of a map of each CPU can have.
pub type Saved = [u8; 1 << 15];
const _: () = assert!(2 * size_of::<Bytes>() <= size_of::<Saved>());

/// How long a fragment waits for the first of its packet, in ticks: 1 s. One that is only late comes within milliseconds.
const LIFE_TICKS: u32 = 15;

/// The number of a group has so many bits.
const GROUP_BITS: u32 = limits::HOLD_GROUPS.trailing_zeros();
const _: () = assert!(limits::HOLD_GROUPS == 1 << GROUP_BITS);

/// Slots that are asked to make room where none is free: others may be at work on one.
const EVICTIONS: u32 = 4;
const _: () = assert!(limits::HOLD_SHARE.is_power_of_two());

/// States of a slot: its word's lower bits. Above are the frame's length, and since when it is held, in ticks.
const FREE: u64 = 0;
/// Somebody is at work on it.
const CLAIMED: u64 = 1;
/// It holds a frame.
const READY: u64 = 2;
const STATE: u64 = 3;

const fn word(state: u64, len: u32, now: u32) -> u64 {
    state | ((len & 0xffff) as u64) << 8 | (now as u64) << 32
}

const fn len(word: u64) -> u32 {
    (word >> 8) as u32 & 0xffff
}

/// Whether that was so many ticks ago at most. What another CPU wrote may be a tick ahead.
#[inline(always)]
pub(crate) const fn is_recent(since: u32, now: u32, life: u32) -> bool {
    now.wrapping_sub(since).wrapping_add(1) <= life + 1
}

/// Whether a slot that is in use has been so for too long.
const fn is_over(word: u64, now: u32) -> bool {
    !is_recent((word >> 32) as u32, now, LIFE_TICKS)
}

/// Whether the fragment of a slot with that word was given up: user space may free it, by a swap for 0. `now` in ticks.
#[must_use]
pub const fn is_overdue(word: u64, now: u64) -> bool {
    // The clock of who is at work on it may be a tick behind.
    let before = (now as u32).wrapping_sub(1);
    word & STATE != FREE && is_over(word, now as u32) && is_over(word, before)
}

/// Whether fragments of a protocol are held: of all that are balanced, but for what stands behind one more header of IPv6,
/// AH among them: fragments behind the first name that header, and not whether their packet is balanced.
pub(crate) const fn is_for(parsed: &Parsed) -> bool {
    matches!(parsed.protocol, proto::TCP | proto::UDP | proto::SCTP | proto::ESP)
        || parsed.protocol == proto::AH && parsed.is_v4()
}

/// The group of slots that fragments of a source go into: half of them are for each family. Of an IPv6 address the network
/// counts, since a host has as many addresses of that as it likes.
#[inline(always)]
fn group<T: Tables>(tables: &T, parsed: &Parsed) -> u32 {
    let words = &parsed.source.0;
    let network = if parsed.is_v4() { words[1] } else { words[0] };
    let secret = tables.geometry().map_or(0, |geometry| geometry.seed[2]);
    let mixed = network ^ secret;
    // The upper bits of the product depend on all of it.
    let group = ((mixed ^ mixed >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (65 - GROUP_BITS)) as u32;
    group << 1 | u32::from(parsed.is_v4())
}

/// Whether anything may be held of a source in that group; `now` in ticks.
#[inline(always)]
fn is_any<T: Tables>(tables: &T, group: u32, now: u64) -> bool {
    // Never written to: the clock may be near zero too.
    let at = tables.held_at(group);
    at != 0 && is_recent(at, now as u32, LIFE_TICKS)
}

/// Whether a first fragment is to be handed over, as others wait for it, perhaps, and XDP can't send them.
#[inline(always)]
pub(crate) fn is_handed_over<T: Tables>(tables: &T, parsed: &Parsed, now: u64) -> bool {
    !tables.holds() && parsed.is(Signal::FRAGMENT) && is_any(tables, group(tables, parsed), now)
}

/// Looks for a slot. Numbers are words, as rounds of a loop hand them on.
struct Claim {
    first: u64,
    now: u64,
    /// The slot that was found, plus one.
    found: u64,
}

impl<T: Tables> Step<T> for Claim {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let is_full = round >= limits::HOLD_SHARE;
        let place = if is_full { tables.random() & (limits::HOLD_SHARE - 1) } else { round };
        let slot = tables.veiled(self.first) as u32 + place;
        let now = tables.veiled(self.now) as u32;
        let old = tables.held_word(slot);
        let is_free = old & STATE == FREE;
        let is_over = !is_free && is_over(old, now);
        let makes_room = is_full && old & STATE == READY;
        if !(is_free || is_over || makes_room) || !tables.swap_held_word(slot, old, word(CLAIMED, 0, now)) {
            return false;
        }
        if !is_free {
            tables.note(if is_over { Event::HeldExpired } else { Event::HeldEvicted });
        }
        self.found = u64::from(slot) + 1;
        true
    }
}

/// Holds a fragment whose first is not known. [`Outcome::LaterFragment`]: it has just become so.
#[inline(always)]
pub(crate) fn hold<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    way: &mut Way,
    now: u64,
) -> Outcome {
    way.hop.link = Link::default();
    let frame_len = packet.frame_len();
    if frame_len > limits::HOLD_FRAME {
        return Outcome::HoldTooLong;
    }
    let group = group(tables, parsed);
    let mut claim = Claim { first: u64::from(group * limits::HOLD_SHARE), now, found: 0 };
    tables.repeat(limits::HOLD_SHARE + EVICTIONS, &mut claim);
    let slot = match tables.veiled(claim.found) as u32 {
        0 => return Outcome::HoldFull,
        found => found - 1,
    };
    let claimed = word(CLAIMED, 0, now as u32);
    packet.reach(frame_len);
    let is_copied = tables.with_held(slot, |frame| packet.copy_to(frame, frame_len).is_some());
    if is_copied != Some(true) {
        tables.swap_held_word(slot, claimed, FREE);
        return Outcome::RewriteFailed;
    }
    way.keep.set_key(parsed);
    tables.set_held_key(slot, way.keep.key());
    // Before the swap, behind which it is seen by all.
    tables.set_held_at(group, now as u32);
    let ready = word(READY, frame_len, now as u32);
    tables.swap_held_word(slot, claimed, ready);
    // Whoever handles the first fragment writes down where it goes and then looks for held ones; here it is the other way
    // round, so that one of both sees the other.
    if fragment::is_known(tables, way.keep.key(), now) && tables.swap_held_word(slot, ready, FREE) {
        return Outcome::LaterFragment;
    }
    Outcome::FragmentHeld
}

/// Sends what is held of a packet behind its first fragment.
struct Release<'a, P> {
    packet: &'a mut P,
    key: &'a Key,
    macs: [u8; 12],
    first: u64,
    now: u64,
}

impl<P: Packet, T: Tables> Step<T> for Release<'_, P> {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let slot = tables.veiled(self.first) as u32 + round;
        let now = tables.veiled(self.now) as u32;
        let old = tables.held_word(slot);
        if old & STATE != READY || is_over(old, now) || !tables.held_is(slot, self.key) {
            return false;
        }
        let claimed = word(CLAIMED, 0, now);
        if !tables.swap_held_word(slot, old, claimed) {
            return false;
        }
        let len = tables.veiled(u64::from(len(old))) as u32;
        let is_there = tables.with_held(slot, |frame| self.packet.replace(frame, len).is_some());
        // It may have come in by another interface.
        if is_there == Some(true)
            && self.packet.set(0, &self.macs).is_some()
            && self.packet.resend().is_some()
        {
            tables.note(Event::HeldSent);
        }
        tables.swap_held_word(slot, claimed, FREE);
        false
    }
}

/// Sends what is held of the packet of this first fragment, which is ready to leave or to be passed on and is so
/// afterwards. `false`: it is lost.
#[inline(always)]
pub(crate) fn release<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    key: &Key,
    now: u64,
) -> bool {
    let group = group(tables, parsed);
    if !is_any(tables, group, now) {
        return true;
    }
    let frame_len = packet.frame_len();
    let Some(macs) = packet.get::<12>(0) else { return true };
    if frame_len > limits::HOLD_FRAME {
        return true;
    }
    packet.reach(frame_len);
    if tables.with_saved(|frame| packet.copy_to(frame, frame_len).is_some()) != Some(true) {
        return true;
    }
    let first = u64::from(group * limits::HOLD_SHARE);
    tables.repeat(limits::HOLD_SHARE, &mut Release { packet, key, macs, first, now });
    tables.with_saved(|frame| packet.replace(frame, frame_len).is_some()) == Some(true)
}
