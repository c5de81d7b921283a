//! What the tests share: connections of their own making, and what must hold for a table that nobody works on.

use std::collections::BTreeMap;

use rvs_abi::{Addr, ConnEntry, DestConns, Method, OVERFLOW_BUCKET, SLOTS, family, proto};
use rvs_core::Tables;
use rvs_core::conn::{self, Birth, Bucket, Event, How, Key, Place, Request};
use rvs_core::state::{self, Direction, tcp};
use rvs_model::{Heap, HostTables, NoPackets, records};
use rvs_wire::tcp::{ACK, SYN};

/// A clock that is far from 0, and whose low 28 bits wrap soon.
pub(crate) const START: u64 = (1 << 28) * 5 - 1000;
/// Destinations over which connections are spread.
pub(crate) const DESTS: u32 = 8;

/// SplitMix64: repeatable, and no dependency.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// The connection number `n`: all that is in its entry follows from `n`, so a mixed-up entry is told from a good one.
pub(crate) fn entry(n: u32) -> ConnEntry {
    let b = n.to_be_bytes();
    let port = |add: u16| ((n % 40_000) as u16 + add).to_be();
    ConnEntry {
        client: Addr::v4([10, b[1], b[2], b[3]]),
        vip: Addr::v4([172, 16, b[2], b[3]]),
        cport: port(1024),
        vport: port(2048),
        protocol: proto::TCP,
        family: family::V4,
        flags: u16::from(Method::MASQ),
        dest: n % DESTS,
        service: n % 5,
        dport: port(4096),
        lport: 0,
        local: 0,
        own: 0,
        packets: 0,
        control: 0,
    }
}

/// The number of a connection, if its entry is whole.
pub(crate) fn number(found: &ConnEntry) -> Option<u32> {
    let b = found.client.v4_bytes();
    let n = u32::from_be_bytes([0, b[1], b[2], b[3]]);
    (ConnEntry { packets: 0, ..*found } == entry(n)).then_some(n)
}

pub(crate) fn place<T: Tables>(tables: &T, entry: &ConnEntry) -> Place {
    Place::of(&tables.geometry().unwrap(), &entry.client, entry.cport.to_ne_bytes(), entry.protocol)
}

/// Inserts connection `n`, which a look-up did not find, with as many tries as a packet has.
pub(crate) fn insert<T: Tables>(tables: &T, n: u32, birth: Birth) -> How {
    let entry = entry(n);
    let request = Request { place: place(tables, &entry), entry, birth };
    let mut tries = (0..conn::ATTEMPTS).map(|_| conn::insert(tables, &request));
    tries.find(|how| *how != How::Contended).unwrap_or(How::Contended)
}

/// How a connection begins with a packet from the client with those TCP flags.
pub(crate) fn birth<T: Tables>(tables: &T, flags: u8, now: u64) -> Birth {
    let next = state::Event::new(tcp::row(flags), Direction::Input).next(0);
    Birth { state: next.state(), now, timeout: tables.timeout(next.timeout()) }
}

/// A further packet of a connection, with those flags.
pub(crate) fn event(flags: u8) -> Event {
    Event::new(state::Event::new(tcp::row(flags), Direction::Input), true)
}

/// What a packet from the client with those TCP flags does: it is found and moves its connection along, or makes it.
pub(crate) fn packet<T: Tables>(tables: &T, n: u32, flags: u8, now: u64) -> Option<How> {
    let entry = entry(n);
    if let Some(mut found) = conn::find(tables, &place(tables, &entry), now, &Key::of(&entry))
        && found.touch(tables, event(flags), now)
    {
        return None;
    }
    Some(insert(tables, n, birth(tables, flags, now)))
}

/// Makes connection `n` established, by its first two packets; says how making it went.
pub(crate) fn establish<T: Tables>(tables: &T, n: u32, now: u64) -> Option<How> {
    let how = packet(tables, n, SYN, now);
    if how == Some(How::New) {
        assert_eq!(packet(tables, n, ACK, now), None, "connection {n} is gone at once");
    }
    how
}

/// Sets the time-outs of all TCP states, in ticks.
pub(crate) fn set_timeouts(heap: &Heap, ticks: &[u32; 11]) {
    let mut config = records::config(heap);
    config.timeouts[..11].copy_from_slice(ticks);
    records::write_config(heap, &config);
}

pub(crate) fn is_found<T: Tables>(tables: &T, n: u32, now: u64) -> bool {
    let entry = entry(n);
    conn::find(tables, &place(tables, &entry), now, &Key::of(&entry)).is_some()
}

/// Every bucket of a table and of its overflow.
fn buckets<'a>(tables: &HostTables<'a, NoPackets>) -> Vec<<HostTables<'a, NoPackets> as Tables>::Bucket> {
    let geometry = tables.geometry().unwrap();
    let main = (0..geometry.buckets).map(|index| tables.bucket(index).unwrap());
    main.chain((0..geometry.overflow_buckets).map(|index| tables.overflow_bucket(index).unwrap())).collect()
}

/// Checks a table that nobody works on, and returns how many slots are live, expired ones included:
/// every slot is free or live; every entry is whole, where its key belongs, and has its tag; no key is there twice among
/// those alive at `now`; the destinations' counts are exact; the overflow counts are exact.
pub(crate) fn check(heap: &Heap, now: u64) -> usize {
    let tables = HostTables::without_packets(heap);
    let geometry = tables.geometry().unwrap();
    let mut places: BTreeMap<u32, u32> = BTreeMap::new();
    let mut conns = [DestConns::default(); DESTS as usize];
    let mut overflow = vec![0; geometry.buckets as usize];
    let mut live = 0;
    for bucket in buckets(&tables) {
        let own = (bucket.spare() >> 32) as u32;
        for slot in 0..SLOTS {
            let word = bucket.word(slot);
            if !word.is_busy() {
                continue;
            }
            assert!(word.is_live(), "bucket {own:#x} slot {slot}: {word:x?} is left unfinished");
            live += 1;
            let found = conn::entry(bucket, slot);
            let n =
                number(&found).unwrap_or_else(|| panic!("bucket {own:#x} slot {slot}: mixed up: {found:?}"));
            let place = place(&tables, &found);
            assert_eq!(word.0 & 0xffff, place.tag, "tag of connection {n}");
            if own & OVERFLOW_BUCKET == 0 {
                assert!([place.first, place.second].contains(&own), "connection {n} in bucket {own}");
            } else {
                let homes = place.overflow(geometry.overflow_buckets);
                assert!(
                    homes.contains(&(own & !OVERFLOW_BUCKET)),
                    "connection {n} in overflow bucket {own:#x}"
                );
                overflow[place.first as usize] += 1;
            }
            conns[found.dest as usize].total += 1;
            conns[found.dest as usize].active += u32::from(state::is_active(word.state()));
            if !word.is_expired(now) {
                let before = places.insert(n, own);
                assert_eq!(
                    before, None,
                    "connection {n} is there twice, in buckets {before:x?} and {own:#x}"
                );
            }
        }
    }
    for (id, expected) in (0..).zip(conns) {
        assert_eq!(records::dest_conns(heap, id), expected, "connections of destination {id}");
    }
    for (index, expected) in (0..).zip(overflow) {
        let count = tables.bucket(index).unwrap().spare() as u32;
        assert_eq!(count, expected, "overflow count of bucket {index}");
    }
    live
}

/// Checks that the destinations' counts agree with the connections in a table that nobody works on.
pub(crate) fn check_sums(heap: &Heap) {
    let mut conns: BTreeMap<u32, DestConns> = BTreeMap::new();
    for bucket in buckets(&HostTables::without_packets(heap)) {
        for slot in (0..SLOTS).filter(|slot| bucket.word(*slot).is_busy()) {
            let word = bucket.word(slot);
            assert!(word.is_live(), "{word:x?} is left unfinished");
            let found = conn::entry(bucket, slot);
            let of_dest = conns.entry(found.dest).or_default();
            of_dest.total += 1;
            of_dest.active += u32::from(state::is_active(word.state()));
        }
    }
    let dests = rvs_model::Memory::region(heap, rvs_abi::map::Region::DestConns).len() as u32;
    for id in 0..dests {
        assert_eq!(records::dest_conns(heap, id), conns.remove(&id).unwrap_or_default(), "destination {id}");
    }
    assert!(conns.is_empty(), "connections of destinations that are not there: {conns:?}");
}
