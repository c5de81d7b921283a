//! What the tests share: names for objects, and what packets and connections do to the memory.

use std::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::Region;
use rvs_abi::{Addr, DestConns};
use rvs_config::*;
use rvs_director::Director;
use rvs_model::{Capacity, Heap, Memory};

use crate::packet;

pub(crate) const SECOND: u64 = 1_000_000_000;

pub(crate) const SMALL: Capacity = Capacity { services: 8, dests: 1024, conns: 64, cpus: 2 };

pub(crate) fn director(capacity: &Capacity) -> Director<Heap> {
    Director::create(Heap::new(capacity)).unwrap()
}

/// 10.0.0.`n`, TCP port 80.
pub(crate) fn vip(n: u8) -> ServiceKey {
    ServiceKey { protocol: Protocol::Tcp, address: [10, 0, 0, n].into(), port: 80 }
}

/// 192.168.9.`n`, port 80.
pub(crate) fn rs(n: u8) -> DestKey {
    DestKey { address: [192, 168, 9, n].into(), port: 80 }
}

/// 2001:db8::`n`, TCP port 80.
pub(crate) fn vip6(n: u16) -> ServiceKey {
    ServiceKey { address: [0x2001, 0xdb8, 0, 0, 0, 0, 0, n].into(), ..vip(1) }
}

/// 2001:db8:9::`n`, port 80.
pub(crate) fn rs6(n: u16) -> DestKey {
    DestKey { address: [0x2001, 0xdb8, 9, 0, 0, 0, 0, n].into(), port: 80 }
}

pub(crate) fn service(key: ServiceKey, scheduler: Scheduler) -> VirtualService {
    VirtualService {
        key,
        scheduler,
        flags: SchedulerFlags::default(),
        one_packet: false,
        mss: 0,
        client_address: rvs_config::ClientAddress::default(),
    }
}

pub(crate) fn dest(key: DestKey, weight: u32) -> Destination {
    let (method, tunnel) = (ForwardingMethod::Masq, Tunnel::Ipip);
    Destination { key, method, weight, upper_threshold: 0, lower_threshold: 0, tunnel }
}

pub(crate) fn add_service(key: ServiceKey, scheduler: Scheduler) -> Command {
    Command::AddService(service(key, scheduler))
}

pub(crate) fn edit_service(key: ServiceKey, scheduler: Scheduler) -> Command {
    Command::EditService(service(key, scheduler))
}

pub(crate) fn delete_service(service: ServiceKey) -> Command {
    Command::DeleteService { service }
}

pub(crate) fn add(service: ServiceKey, key: DestKey, weight: u32) -> Command {
    Command::AddDestination { service, destination: dest(key, weight) }
}

pub(crate) fn edit(service: ServiceKey, key: DestKey, weight: u32) -> Command {
    Command::EditDestination { service, destination: dest(key, weight) }
}

pub(crate) fn delete(service: ServiceKey, destination: DestKey) -> Command {
    Command::DeleteDestination { service, destination }
}

/// A service with .2, .3 and .4 of those weights, added in that order in one list.
pub(crate) fn three(scheduler: Scheduler, weights: [u32; 3]) -> Vec<Command> {
    let mut commands = vec![add_service(vip(1), scheduler)];
    commands.extend((2..).zip(weights).map(|(n, weight)| add(vip(1), rs(n), weight)));
    commands
}

/// What a refused list of one command says.
pub(crate) fn refused(director: &mut Director<Heap>, command: Command) -> CommandError {
    let before = director.listing();
    let refusal = director.apply(&[command], 0).unwrap_err();
    assert_eq!(refusal.index, 0);
    assert_eq!(director.listing(), before, "a refused command changed something");
    refusal.error
}

/// The destinations of a service in list order: last byte of the address and weight.
pub(crate) fn order(director: &Director<Heap>, key: &ServiceKey) -> Vec<(u8, u32)> {
    let listing = director.service_listing(key).unwrap();
    let dests = listing.destinations.iter();
    dests.map(|dest| (last_byte(&dest.destination.key), dest.destination.weight)).collect()
}

pub(crate) fn last_byte(key: &DestKey) -> u8 {
    match key.address {
        std::net::IpAddr::V4(v4) => v4.octets()[3],
        std::net::IpAddr::V6(v6) => v6.octets()[15],
    }
}

/// Who gets the next `n` connections, by the last byte of the address; 0: nobody.
pub(crate) fn picks(director: &Director<Heap>, key: &ServiceKey, n: usize) -> Vec<u8> {
    let pick = || packet::pick(director.memory(), key, [192, 0, 2, 2]);
    (0..n).map(|_| pick().map_or(0, |dest| last_byte(&packet::dest_key(director.memory(), dest)))).collect()
}

/// Adds connections to a destination that a packet finds; negative numbers take away.
pub(crate) fn open_conns(heap: &Heap, dest: u32, count: i64) {
    let word = &heap.region(Region::DestConns)[dest as usize];
    word.fetch_add(DestConns::TOTAL.wrapping_mul(count.cast_unsigned()), Relaxed);
}

/// Id of the record of a destination, in its list or removed.
pub(crate) fn dest_id(heap: &Heap, key: &DestKey) -> u32 {
    let mut records = (0..).map_while(|id| Some((id, rvs_model::records::dest(heap, id)?)));
    let is_it = |record: &rvs_abi::Dest| record.flags != 0 && record.addr == Addr::from_ip(key.address);
    records.find(|(_, record)| is_it(record)).unwrap().0
}

/// Counts a packet of a service and a destination on a CPU, as the programs do.
pub(crate) fn count(heap: &Heap, cpu: u32, service: u32, dest: u32, bytes: u64) {
    let config = rvs_model::records::config(heap);
    let services = heap.region(Region::Services).len() as u32 / 8;
    for row in [0, 1 + service, 1 + services + dest] {
        let at = (config.stats_rows * cpu + row) as usize * 8;
        let words = &heap.region(Region::Stats)[at..at + 8];
        words[0].fetch_add(1, Relaxed);
        words[1].fetch_add(1, Relaxed);
        words[3].fetch_add(bytes, Relaxed);
    }
}

/// A copy of the memory: what a new process finds when the old one is killed now.
pub(crate) fn copy(heap: &Heap, capacity: &Capacity, keys: &[ServiceKey]) -> Heap {
    let copy = Heap::new(capacity);
    for region in Region::ALL {
        for (to, from) in copy.region(region).iter().zip(heap.region(region)) {
            to.store(from.load(Relaxed), Relaxed);
        }
    }
    for key in keys {
        let key = packet::key_record(key);
        copy.set_service_key(&key, heap.service_key(&key)).unwrap();
    }
    copy
}

/// `rvs sysctl NAME=VALUE ...`
pub(crate) fn set(settings: &[(&str, u32)]) -> Command {
    Command::SetSettings {
        settings: settings.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
    }
}
