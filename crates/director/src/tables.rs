//! Scheduler tables: built and read back. Their layout is [`rvs_abi::sched`]'s.

use rvs_abi::sched::{
    Forwarding, HEADER_WORDS, NO_INDEX, ONE_PACKET, SH_BUCKETS, high, kind, kind_parts, low, options,
    options_parts, word,
};
use rvs_config::{ClientAddress, ForwardingMethod, Scheduler, SchedulerFlags, Tunnel};

use crate::convert;
use crate::limits::{BLOCK_WORDS, DESTS_PER_SERVICE_MAX};
use crate::members::Members;
use crate::state::DestId;

/// Words that the buckets of a scheduler take.
const fn bucket_words(scheduler: Scheduler) -> usize {
    match scheduler {
        Scheduler::Sh => SH_BUCKETS as usize / 2,
        Scheduler::Rr | Scheduler::Wrr | Scheduler::Lc | Scheduler::Wlc => 0,
    }
}

/// Words of a table for so many destinations.
pub(crate) const fn table_words(scheduler: Scheduler, dests: usize) -> usize {
    HEADER_WORDS as usize + 2 * dests + bucket_words(scheduler)
}

/// Words of the block that a table of so many words occupies.
pub(crate) const fn block_words(words: u32) -> u32 {
    // Saturates for what no table can have; that is found out where it is used.
    words.div_ceil(BLOCK_WORDS).saturating_mul(BLOCK_WORDS)
}

/// Builds a table with state word 0.
pub(crate) fn build(
    scheduler: Scheduler,
    flags: SchedulerFlags,
    one_packet: bool,
    (mss, client_address): (u16, ClientAddress),
    members: &Members,
) -> Vec<u64> {
    let mut words = Vec::with_capacity(table_words(scheduler, members.len()));
    let (di, mw) = match scheduler {
        Scheduler::Wrr => (members.wrr().di, members.wrr().mw),
        Scheduler::Rr | Scheduler::Lc | Scheduler::Wlc | Scheduler::Sh => (0, 0),
    };
    let kind_flags = flags.0 | if one_packet { ONE_PACKET } else { 0 };
    let what = kind(scheduler as u8, kind_flags) | options(mss, convert::client_address(client_address));
    words.extend([0, word(count(members.len()), mw), word(di, 0), what]);
    words.extend(members.newest_first().map(|member| word(member.id.0, member.weight)));
    if scheduler == Scheduler::Sh {
        words.extend(sh_buckets(members));
    }
    words.extend(members.newest_first().map(|member| convert::forwarding(member).word()));
    words
}

#[allow(clippy::cast_possible_truncation, reason = "a list has at most DESTS_PER_SERVICE_MAX elements")]
const fn count(len: usize) -> u32 {
    debug_assert!(len <= DESTS_PER_SERVICE_MAX);
    len as u32
}

/// Buckets of `sh`: round the list, to each element as many buckets in a row as its weight says, at least one.
fn sh_buckets(members: &Members) -> Vec<u64> {
    let shares: Vec<u32> = members.newest_first().map(|member| member.weight.max(1)).collect();
    let mut buckets =
        (0..).zip(&shares).cycle().flat_map(|(index, share)| core::iter::repeat_n(index, *share as usize));
    let mut next = || buckets.next().unwrap_or(NO_INDEX);
    (0..SH_BUCKETS / 2)
        .map(|_| {
            let first = next();
            word(first, next())
        })
        .collect()
}

/// A table, read back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) scheduler: Scheduler,
    pub(crate) flags: SchedulerFlags,
    pub(crate) one_packet: bool,
    pub(crate) mss: u16,
    pub(crate) client_address: ClientAddress,
    /// Newest first: id, weight, how packets reach it.
    pub(crate) list: Vec<(DestId, u32, (ForwardingMethod, Tunnel))>,
}

/// Reads a table; the error says what is wrong with it.
pub(crate) fn read(words: &[u64]) -> Result<Contents, String> {
    let [_, counts, _, kind, ..] = *words else { return Err(format!("table of {} words", words.len())) };
    let (number, flags) = kind_parts(kind);
    let scheduler = convert::scheduler_from_number(number)
        .ok_or_else(|| format!("scheduler number {number} in its table"))?;
    let (mss, client_address) = options_parts(kind)
        .and_then(|(mss, number)| Some((mss, convert::client_address_from(number)?)))
        .ok_or_else(|| "unknown options in its table".to_owned())?;
    let len = low(counts) as usize;
    if len > DESTS_PER_SERVICE_MAX || words.len() != table_words(scheduler, len) {
        return Err(format!("table of {} words for {len} destinations", words.len()));
    }
    let ids = &words[HEADER_WORDS as usize..][..len];
    let ways = &words[words.len() - len..];
    let list = ids.iter().zip(ways).map(|(item, way)| {
        let way = Forwarding::from_word(*way).and_then(convert::forwarding_parts);
        let way = way.ok_or_else(|| "unknown forwarding method or tunnel in its table".to_owned())?;
        Ok((DestId(low(*item)), high(*item), way))
    });
    Ok(Contents {
        scheduler,
        flags: SchedulerFlags(flags & !ONE_PACKET),
        one_packet: flags & ONE_PACKET != 0,
        mss,
        client_address,
        list: list.collect::<Result<_, String>>()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]
    use rvs_config::{DestKey, TunnelChecksum};

    use super::*;
    use crate::members::Member;

    /// Ids count up in the order of the list, newest first.
    fn members(weights: &[u32]) -> Members {
        let mut members = Members::default();
        for (id, weight) in (0..).zip(weights).collect::<Vec<_>>().into_iter().rev() {
            let key = DestKey { address: [192, 168, 9, 2].into(), port: 1000 + u16::try_from(id).unwrap() };
            let (method, tunnel) = WAYS[id as usize % WAYS.len()];
            members.push(Member { id: DestId(id), key, method, tunnel, weight: *weight });
        }
        members
    }

    /// By id.
    const WAYS: [(ForwardingMethod, Tunnel); 6] = [
        (ForwardingMethod::Dr, Tunnel::Ipip),
        (ForwardingMethod::Tunnel, Tunnel::Gue { port: 0x1234, checksum: TunnelChecksum::Remcsum }),
        (ForwardingMethod::Tunnel, Tunnel::Gre { checksum: TunnelChecksum::Csum }),
        (ForwardingMethod::Masq, Tunnel::Ipip),
        (ForwardingMethod::Tunnel, Tunnel::Ipip),
        (ForwardingMethod::Tunnel, Tunnel::Gue { port: 65_535, checksum: TunnelChecksum::None }),
    ];

    const NO_OPTIONS: (u16, ClientAddress) = (0, ClientAddress::Option);
    const OPTIONS: (u16, ClientAddress) = (1360, ClientAddress::None);

    fn buckets(weights: &[u32]) -> Vec<u32> {
        let words = build(Scheduler::Sh, SchedulerFlags::default(), false, NO_OPTIONS, &members(weights));
        words[4 + weights.len()..][..128].iter().flat_map(|word| [low(*word), high(*word)]).collect()
    }

    #[test]
    fn sh_gives_as_many_buckets_in_a_row_as_the_weight() {
        assert_eq!(buckets(&[1, 3, 2])[..12], [0, 1, 1, 1, 2, 2, 0, 1, 1, 1, 2, 2]);
    }

    #[test]
    fn sh_gives_weight_0_and_1_one_bucket_each() {
        assert_eq!(buckets(&[0, 1])[..4], [0, 1, 0, 1]);
    }

    #[test]
    fn sh_ends_at_256_buckets_with_huge_weights() {
        assert_eq!(buckets(&[2_147_483_647, 1]), [0; 256]);
    }

    #[test]
    fn sh_without_destinations_has_empty_buckets() {
        assert_eq!(buckets(&[]), [NO_INDEX; 256]);
    }

    #[test]
    fn every_scheduler_reads_back_what_was_built() {
        for &scheduler in Scheduler::ALL {
            let words = build(scheduler, SchedulerFlags(2), true, OPTIONS, &members(&[3, 0, 1, 2, 4, 5]));
            assert_eq!(words.len(), table_words(scheduler, 6));
            let contents = read(&words).unwrap();
            assert_eq!((contents.scheduler, contents.flags.0, contents.one_packet), (scheduler, 2, true));
            assert_eq!((contents.mss, contents.client_address), OPTIONS);
            let expected = [3, 0, 1, 2, 4, 5].into_iter().zip(WAYS).zip(0..);
            let expected: Vec<_> = expected.map(|((weight, way), id)| (DestId(id), weight, way)).collect();
            assert_eq!(contents.list, expected);
        }
    }

    #[test]
    fn damaged_tables_are_refused() {
        let good = build(Scheduler::Rr, SchedulerFlags::default(), false, NO_OPTIONS, &members(&[1, 1]));
        assert!(read(&good).is_ok());
        assert!(read(&good[..3]).is_err(), "cut in its head");
        assert!(read(&good[..good.len() - 1]).is_err(), "cut in its list");
        let change = |at: usize, to: u64| {
            let mut words = good.clone();
            words[at] = to;
            read(&words)
        };
        assert!(change(1, u64::from(u32::MAX)).is_err(), "length");
        assert!(change(3, 99).is_err(), "scheduler");
        let kind = good[3];
        assert!(change(3, kind | 3 << 32).is_err() && change(3, kind | 1 << 40).is_err(), "options");
        let way = good[7];
        assert!(change(7, way & !0xff | 0x11).is_err(), "method");
        assert!(change(7, way & !0xff00 | 0x300).is_err(), "tunnel");
        assert!(change(7, way | 3 << 16).is_err(), "two checksums");
        assert!(change(7, way & 0xffff).is_err(), "GUE without a port");
        assert!(change(7, way & !0xff).is_err(), "a tunnel of another method");
        assert!(
            change(7, way | 1 << 24).is_err() && change(7, way | 1 << 48).is_err(),
            "bits without meaning"
        );
    }
}
