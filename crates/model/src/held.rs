//! Slots for fragments that come before the first of their packet: the host's twin of the maps for them.

use core::cell::RefCell;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::collections::BTreeMap;

use rvs_abi::{HELD_ENDED, limits};
use rvs_core::{fragment, hold};

/// Frees the slots whose fragments have been given up, and counts these: the programs notice when they need a slot, which may
/// be never. `held` are the words of all slots; `now` in ticks.
pub fn end_held(held: &[AtomicU64], counters: &[AtomicU64], now: u64) {
    let slots = (limits::HOLD_GROUPS * limits::HOLD_SHARE) as usize;
    for slot in held.chunks_exact((held.len() / slots).max(1)) {
        let word = slot[0].load(Acquire);
        if hold::is_overdue(word, now) && slot[0].compare_exchange(word, 0, AcqRel, Relaxed).is_ok() {
            counters[HELD_ENDED as usize].fetch_add(1, Relaxed);
        }
    }
}

/// A slot.
#[derive(Debug)]
struct Slot {
    word: u64,
    key: fragment::Key,
    frame: Box<hold::Bytes>,
}

impl Default for Slot {
    fn default() -> Self {
        Self { word: 0, key: fragment::Key::default(), frame: Box::new([0; _]) }
    }
}

/// The slots that were used, by number, and what is beside them.
#[derive(Debug)]
pub struct Held {
    slots: RefCell<BTreeMap<u32, Slot>>,
    saved: RefCell<Box<hold::Saved>>,
    at: RefCell<BTreeMap<u32, u32>>,
}

impl Default for Held {
    fn default() -> Self {
        Self { slots: RefCell::default(), saved: RefCell::new(Box::new([0; _])), at: RefCell::default() }
    }
}

impl Held {
    pub(crate) fn word(&self, slot: u32) -> u64 {
        self.slots.borrow().get(&slot).map_or(0, |slot| slot.word)
    }

    pub(crate) fn swap_word(&self, slot: u32, old: u64, new: u64) -> bool {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(slot).or_default();
        let is_old = slot.word == old;
        if is_old {
            slot.word = new;
        }
        is_old
    }

    pub(crate) fn is(&self, slot: u32, key: &fragment::Key) -> bool {
        self.slots.borrow().get(&slot).is_some_and(|slot| slot.key == *key)
    }

    pub(crate) fn set_key(&self, slot: u32, key: &fragment::Key) {
        self.slots.borrow_mut().entry(slot).or_default().key = *key;
    }

    pub(crate) fn with<R>(&self, slot: u32, use_it: impl FnOnce(&mut hold::Bytes) -> R) -> R {
        use_it(&mut self.slots.borrow_mut().entry(slot).or_default().frame)
    }

    pub(crate) fn with_saved<R>(&self, use_it: impl FnOnce(&mut hold::Saved) -> R) -> R {
        use_it(&mut self.saved.borrow_mut())
    }

    pub(crate) fn at(&self, group: u32) -> u32 {
        self.at.borrow().get(&group).copied().unwrap_or(0)
    }

    pub(crate) fn set_at(&self, group: u32, now: u32) {
        self.at.borrow_mut().insert(group, now);
    }
}
