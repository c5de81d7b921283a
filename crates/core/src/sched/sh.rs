//! Source hashing (ipvs.md §6.13): 256 buckets filled by weight; the client's address, and with `sh-port` its port,
//! chooses the bucket. With `sh-fallback`, buckets of destinations that take nothing are stepped over.

use rvs_abi::sched::{HEADER_WORDS, NO_INDEX, SH_BUCKETS, high, low};

use crate::sched::{Request, Table};
use crate::{Step, Tables};

/// Scheduler flag 1.
const FALLBACK: u8 = 1;
/// Scheduler flag 2.
const PORT: u8 = 2;

/// The bucket of a key: `(offset + ((port + address) * 0x61C88647 >> 24)) mod 256`.
#[inline(always)]
fn bucket(key: u32, offset: u32) -> u32 {
    offset.wrapping_add(key.wrapping_mul(0x61C8_8647) >> 24) % SH_BUCKETS
}

/// The destination in a bucket, if it takes new connections.
#[inline(always)]
fn usable<T: Tables>(tables: &T, table: &Table, bucket: u32) -> Option<u32> {
    let word = tables.sched_word(table.start + HEADER_WORDS + table.len + bucket / 2)?;
    let index = if bucket.is_multiple_of(2) { low(word) } else { high(word) };
    if index == NO_INDEX {
        return None;
    }
    let item = table.item(tables, index)?;
    (item.weight != 0).then_some(item.dest)
}

struct Fallback<'a> {
    table: &'a Table,
    key: u32,
    first: u32,
    found: Option<u32>,
}

impl<T: Tables> Step<T> for Fallback<'_> {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let offset = (round + self.first) % SH_BUCKETS;
        let Some(dest) = usable(tables, self.table, bucket(self.key, offset)) else { return false };
        self.found = Some(dest);
        true
    }
}

#[inline(always)]
pub(super) fn pick<T: Tables>(tables: &T, table: &Table, request: &Request) -> Option<u32> {
    let port = if table.flags & PORT != 0 { u32::from(u16::from_be_bytes(request.cport)) } else { 0 };
    let key = request.client.folded().wrapping_add(port);
    let first = bucket(key, 0);
    if table.flags & FALLBACK == 0 {
        return usable(tables, table, first);
    }
    if let Some(dest) = usable(tables, table, first) {
        return Some(dest);
    }
    let mut search = Fallback { table, key, first, found: None };
    tables.repeat(SH_BUCKETS, &mut search);
    search.found
}
