//! Hosts whose packets were balanced before: their keys and their bits in the filter.

use core::net::IpAddr;
use core::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::Region;
use rvs_abi::peer;
use rvs_config::*;
use rvs_director::Director;
use rvs_model::{Heap, Memory};

use crate::support::*;

const NOW: u64 = 310 * SECOND;

/// The Ethernet address of a real server.
fn mac(address: IpAddr) -> [u8; 6] {
    let IpAddr::V4(address) = address else { panic!("{address}") };
    let [_, b, c, d] = address.octets();
    [2, 0, 0, b, c, d]
}

/// All that are known, as (service, Ethernet address), in order.
fn peers(director: &Director<Heap>) -> Vec<(u32, [u8; 6])> {
    let keys = director.memory().service_keys().unwrap();
    let mut peers: Vec<_> = keys.iter().filter_map(peer::parse).collect();
    for (service, mac) in &peers {
        let (word, bit) = rvs_core::filter::bit(peer::address(*mac));
        let filter = director.memory().region(Region::Filter)[word as usize].load(Relaxed);
        assert_eq!(filter >> bit & 1, 1, "the filter lacks {mac:?} of {service}");
    }
    peers.sort_unstable();
    peers
}

fn bits(director: &Director<Heap>) -> u32 {
    director.memory().region(Region::Filter).iter().map(|word| word.load(Relaxed).count_ones()).sum()
}

fn add_by(service: ServiceKey, n: u8, method: ForwardingMethod) -> Command {
    Command::AddDestination { service, destination: Destination { method, ..dest(rs(n), 1) } }
}

fn known(director: &mut Director<Heap>, numbers: &[u8]) {
    let known: Vec<IpAddr> = numbers.iter().map(|n| rs(*n).address).collect();
    director.set_peers(|address| known.contains(&address).then(|| mac(address)));
}

/// Services 0 and 1, and which real servers have which method there.
fn two_services() -> Director<Heap> {
    let mut director = director(&SMALL);
    let list = [
        add_service(vip(1), Scheduler::Rr),
        add_by(vip(1), 1, ForwardingMethod::Dr),
        add_by(vip(1), 2, ForwardingMethod::Tunnel),
        add_by(vip(1), 3, ForwardingMethod::Masq),
        add_service(vip(2), Scheduler::Rr),
        add_by(vip(2), 1, ForwardingMethod::Dr),
        add_by(vip(2), 4, ForwardingMethod::FullNat),
    ];
    director.apply(&list, NOW).unwrap();
    director
}

fn of(list: &[(u32, u8)]) -> Vec<(u32, [u8; 6])> {
    list.iter().map(|(service, n)| (*service, mac(rs(*n).address))).collect()
}

#[test]
fn destinations_by_direct_routing_and_tunnels_are_peers_of_their_services() {
    let mut director = two_services();
    let before = bits(&director);
    assert_eq!(peers(&director), []);
    known(&mut director, &[1, 3, 4]);
    assert_eq!(peers(&director), of(&[(0, 1), (1, 1)]));
    known(&mut director, &[1, 2, 3, 4]);
    assert_eq!(peers(&director), of(&[(0, 1), (0, 2), (1, 1)]));
    assert_eq!(bits(&director), before + 2);
    // Still one of the other service.
    director.apply(&[delete(vip(1), rs(1))], NOW).unwrap();
    known(&mut director, &[1, 2]);
    assert_eq!(peers(&director), of(&[(0, 2), (1, 1)]));
    assert_eq!(bits(&director), before + 2);
    director.apply(&[delete_service(vip(2))], NOW).unwrap();
    known(&mut director, &[]);
    assert_eq!(peers(&director), []);
    assert_eq!(bit_of(&director, 1), 0, "its bit is left");
}

/// The filter's bit of a real server's Ethernet address.
fn bit_of(director: &Director<Heap>, n: u8) -> u64 {
    let (word, bit) = rvs_core::filter::bit(peer::address(mac(rs(n).address)));
    director.memory().region(Region::Filter)[word as usize].load(Relaxed) >> bit & 1
}

#[test]
fn an_address_that_changes_replaces_the_old_one() {
    let mut director = two_services();
    let new = [6, 5, 4, 3, 2, 1];
    known(&mut director, &[2]);
    director.set_peers(|address| (address == rs(2).address).then_some(new));
    assert_eq!(peers(&director), [(0, new)]);
    assert_eq!(bit_of(&director, 2), 0);
}

#[test]
fn they_survive_the_director_until_another_knows_better() {
    let mut first = two_services();
    known(&mut first, &[1, 2]);
    let bits_before = bits(&first);
    let mut second = Director::adopt(first.into_memory()).unwrap();
    assert_eq!(peers(&second), of(&[(0, 1), (0, 2), (1, 1)]));
    assert_eq!(bits(&second), bits_before);
    known(&mut second, &[2]);
    assert_eq!(peers(&second), of(&[(0, 2)]));
    // A key without its bit, as a director leaves it that is killed between the two.
    let (word, bit) = rvs_core::filter::bit(peer::address(mac(rs(2).address)));
    second.memory().region(Region::Filter)[word as usize].fetch_and(!(1 << bit), Relaxed);
    let third = Director::adopt(second.into_memory()).unwrap();
    assert_eq!(peers(&third), of(&[(0, 2)]));
}
