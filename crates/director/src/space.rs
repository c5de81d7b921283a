//! What is free: ids and words of tables, as sorted ranges.

use std::collections::{BTreeMap, BTreeSet};

/// Free numbers below a capacity. Cheap to clone: its size is the number of gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ranges {
    capacity: u32,
    free: u32,
    /// Length by start.
    by_start: BTreeMap<u32, u32>,
    /// (length, start): the smallest that fits is found without a search.
    by_length: BTreeSet<(u32, u32)>,
}

impl Ranges {
    /// All of `0..capacity` is free.
    pub(crate) fn new(capacity: u32) -> Self {
        let mut ranges = Self { capacity, free: 0, by_start: BTreeMap::new(), by_length: BTreeSet::new() };
        if capacity > 0 {
            ranges.put(0, capacity);
        }
        ranges
    }

    pub(crate) const fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(crate) const fn free(&self) -> u32 {
        self.free
    }

    pub(crate) const fn used(&self) -> u32 {
        self.capacity - self.free
    }

    /// Takes `length` numbers in a row, from the smallest gap that has them (the lowest of those), or `None`.
    pub(crate) fn take(&mut self, length: u32) -> Option<u32> {
        let &(gap, start) = self.by_length.range((length, 0)..).next()?;
        self.cut(start, gap);
        if gap > length {
            self.put(start + length, gap - length);
        }
        Some(start)
    }

    /// Takes exactly `start..start + length`; `false` when not all of it is free.
    pub(crate) fn take_at(&mut self, start: u32, length: u32) -> bool {
        let Some((&gap_start, &gap)) = self.by_start.range(..=start).next_back() else { return false };
        let Some(end) = start.checked_add(length) else { return false };
        if end > gap_start + gap {
            return false;
        }
        self.cut(gap_start, gap);
        if start > gap_start {
            self.put(gap_start, start - gap_start);
        }
        if gap_start + gap > end {
            self.put(end, gap_start + gap - end);
        }
        true
    }

    /// Gives back what was taken.
    pub(crate) fn give(&mut self, start: u32, length: u32) {
        let (mut from, mut to) = (start, start + length);
        if let Some((&before, &gap)) = self.by_start.range(..start).next_back() {
            debug_assert!(before + gap <= start, "numbers given back twice");
            if before + gap == start {
                self.cut(before, gap);
                from = before;
            }
        }
        if let Some(&gap) = self.by_start.get(&to) {
            self.cut(to, gap);
            to += gap;
        }
        self.put(from, to - from);
    }

    fn cut(&mut self, start: u32, length: u32) {
        self.by_start.remove(&start);
        self.by_length.remove(&(length, start));
        self.free -= length;
    }

    fn put(&mut self, start: u32, length: u32) {
        self.by_start.insert(start, length);
        self.by_length.insert((length, start));
        self.free += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_smallest_gap_that_fits() {
        let mut ranges = Ranges::new(100);
        assert_eq!(ranges.take(10), Some(0));
        assert_eq!(ranges.take(20), Some(10));
        assert_eq!(ranges.take(10), Some(30));
        ranges.give(10, 20);
        assert_eq!(ranges.take(8), Some(10), "the gap of 20 before the gap of 60");
        assert_eq!(ranges.take(13), Some(40), "12 are left there");
        assert_eq!(ranges.take(60), None);
        assert_eq!(ranges.used(), 10 + 8 + 10 + 13);
    }

    #[test]
    fn joins_neighbours() {
        let mut ranges = Ranges::new(30);
        for expected in [0, 10, 20] {
            assert_eq!(ranges.take(10), Some(expected));
        }
        assert_eq!(ranges.take(1), None);
        ranges.give(0, 10);
        ranges.give(20, 10);
        ranges.give(10, 10);
        assert_eq!(ranges, Ranges::new(30));
    }

    #[test]
    fn takes_a_place_only_when_all_of_it_is_free() {
        let mut ranges = Ranges::new(30);
        assert!(ranges.take_at(10, 5));
        assert!(!ranges.take_at(8, 3));
        assert!(!ranges.take_at(14, 1));
        assert!(!ranges.take_at(28, 3), "beyond the end");
        assert!(!ranges.take_at(u32::MAX, 2));
        assert!(ranges.take_at(15, 15));
        assert!(ranges.take_at(0, 10));
        assert_eq!(ranges.free(), 0);
    }
}
