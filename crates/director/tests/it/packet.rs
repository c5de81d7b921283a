//! The data plane's memory as a packet finds it, read by the documentation of the records and nothing else.

use std::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::Region;
use rvs_abi::sched::{high, id, low, word};
use rvs_abi::{Addr, DestConns, DestFlags, Service, ServiceFlags, family};
use rvs_config::{DestKey, ServiceKey};
use rvs_model::{Heap, Memory, records};

pub(crate) fn key_record(key: &ServiceKey) -> rvs_abi::ServiceKey {
    let (vip, vport) = (Addr::from_ip(key.address), key.port.to_be());
    rvs_abi::ServiceKey { vip, vport, protocol: key.protocol.number(), family: family_of(vip), zero: 0 }
}

fn family_of(address: Addr) -> u8 {
    if address.is_v4() { family::V4 } else { family::V6 }
}

pub(crate) fn dest_key(heap: &Heap, dest: u32) -> DestKey {
    let record = records::dest(heap, dest).unwrap();
    DestKey { address: record.addr.to_ip(), port: u16::from_be(record.port) }
}

fn at(heap: &Heap, index: u32) -> u64 {
    heap.region(Region::SchedTables)[index as usize].load(Relaxed)
}

/// The service that a packet finds, checked to be whole.
pub(crate) fn find(heap: &Heap, key: &ServiceKey) -> Option<(u32, Service)> {
    let id = heap.service_key(&key_record(key))?;
    let service = records::service(heap, id).unwrap();
    assert_eq!(service.flags & ServiceFlags::USED, ServiceFlags::USED, "{key}: record not in use");
    Some((id, service))
}

/// Everything that must hold at every moment for the packets to these services.
pub(crate) fn check(heap: &Heap, keys: &[ServiceKey]) {
    for key in keys {
        let Some((id, service)) = find(heap, key) else { continue };
        if service.flags & ServiceFlags::REMOVED != 0 {
            panic!("{key}: packets find a removed service");
        }
        assert_eq!((service.vip.to_ip(), u16::from_be(service.vport)), (key.address, key.port));
        assert!(service.table_words >= 4, "{key}: no table");
        let config = records::config(heap);
        let services = if key.address.is_ipv4() { config.services_v4 } else { config.services_v6 };
        assert!(services > 0, "{key}: packets are passed on");
        assert_eq!(service.family, family_of(service.vip), "{key}");
        assert!(filter_has(heap, key.address), "{key}: filtered");
        for (dest, _) in list(heap, service.table) {
            let record = records::dest(heap, dest).unwrap();
            let name = dest_key(heap, dest);
            assert_eq!(
                record.flags,
                DestFlags::USED | DestFlags::AVAILABLE,
                "{key}: {name} chosen after its removal"
            );
            assert_eq!(record.service, id, "{key}: {name} is another service's");
            assert_eq!(record.family, family_of(record.addr), "{name}");
            assert!(filter_has(heap, record.addr.to_ip()), "{name}: filtered");
        }
    }
}

pub(crate) fn filter_has(heap: &Heap, address: std::net::IpAddr) -> bool {
    let (word, bit) = rvs_core::filter::bit(rvs_abi::Addr::from_ip(address));
    heap.region(Region::Filter)[word as usize].load(Relaxed) >> bit & 1 == 1
}

/// How many bits of the filter are set.
pub(crate) fn filter_bits(heap: &Heap) -> u32 {
    heap.region(Region::Filter).iter().map(|word| word.load(Relaxed).count_ones()).sum()
}

/// Destinations and weights of a table.
pub(crate) fn list(heap: &Heap, table: u32) -> Vec<(u32, u32)> {
    (0..low(at(heap, table + 1)))
        .map(|i| at(heap, table + 4 + i))
        .map(|item| (low(item), high(item)))
        .collect()
}

/// A new connection of a client: the destination it gets.
pub(crate) fn pick(heap: &Heap, key: &ServiceKey, client: [u8; 4]) -> Option<u32> {
    let (_, service) = find(heap, key)?;
    let table = service.table;
    let list = list(heap, table);
    let scheduler = (at(heap, table + 3) & 0xff) as u8;
    assert_eq!(scheduler, service.scheduler, "record and table disagree");
    let state = at(heap, table);
    let (index, new_state) = match scheduler {
        id::RR => rr(&list, state),
        id::WRR => wrr(&list, state, high(at(heap, table + 1)), low(at(heap, table + 2))),
        id::LC | id::WLC => (least(heap, &list, scheduler == id::WLC), state),
        id::SH => (sh(heap, table, &list, client), state),
        other => panic!("scheduler {other}"),
    };
    heap.region(Region::SchedTables)[table as usize].store(new_state, Relaxed);
    Some(list[index?].0)
}

fn rr(list: &[(u32, u32)], state: u64) -> (Option<usize>, u64) {
    let from = low(state) as usize;
    let order = (from..list.len()).chain(0..from);
    let found = order.into_iter().find(|&i| list[i].1 > 0);
    (found, found.map_or(state, |i| i as u64 + 1))
}

/// ipvs.md §6.4, word for word.
fn wrr(list: &[(u32, u32)], state: u64, mw: u32, di: u32) -> (Option<usize>, u64) {
    let (mut cl, mut cw) = (low(state) as usize, high(state));
    if mw == 0 {
        return (None, state);
    }
    let start = cl;
    let (mut last, mut restarted) = (false, false);
    loop {
        while cl < list.len() {
            cl += 1;
            if list[cl - 1].1 >= cw {
                return (Some(cl - 1), word(cl as u32, cw));
            }
            if last && restarted && start != 0 && cl == start {
                return (None, word(cl as u32, cw));
            }
        }
        cl = 0;
        let was_last = last;
        if cw > di {
            cw -= di;
        } else {
            cw = mw;
            if was_last || start == 0 {
                return (None, word(0, cw));
            }
            restarted = true;
        }
        last = cw <= di;
    }
}

fn least(heap: &Heap, list: &[(u32, u32)], weighted: bool) -> Option<usize> {
    let load = |dest: u32| {
        let DestConns { active, total } = records::dest_conns(heap, dest);
        u64::from(active) * 256 + u64::from(total)
    };
    let mut best: Option<usize> = None;
    for (i, &(dest, weight)) in list.iter().enumerate().filter(|(_, (_, weight))| *weight > 0) {
        let better = best.is_none_or(|b| {
            let (mine, other) = if weighted { (weight, list[b].1) } else { (1, 1) };
            load(list[b].0) * u64::from(mine) > load(dest) * u64::from(other)
        });
        if better {
            best = Some(i);
        }
    }
    best
}

fn sh(heap: &Heap, table: u32, list: &[(u32, u32)], client: [u8; 4]) -> Option<usize> {
    let bucket = u32::from_be_bytes(client).wrapping_mul(0x61C8_8647) >> 24;
    let pair = at(heap, table + 4 + list.len() as u32 + bucket / 2);
    let index = if bucket.is_multiple_of(2) { low(pair) } else { high(pair) } as usize;
    (index < list.len() && list[index].1 > 0).then_some(index)
}
