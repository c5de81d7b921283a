//! Every limit: named when reached, counted, and nothing changed by the list that met it.

use rvs_config::*;
use rvs_director::Director;
use rvs_model::{Capacity, Heap};

use crate::packet;
use crate::support::*;

fn limit(director: &mut Director<Heap>, commands: &[Command], now: u64) -> (usize, String) {
    // Quarantine ends first.
    director.tick(now);
    let before = (director.listing(), director.status());
    let refusal = director.apply(commands, now).unwrap_err();
    assert_eq!(director.listing(), before.0);
    assert_eq!(director.status().limits_reached, before.1.limits_reached + 1);
    assert_eq!(director.status().sched_words, before.1.sched_words);
    assert_eq!(director.status().dests, before.1.dests);
    let CommandError::LimitReached { what } = refusal.error else { panic!("{}", refusal.error) };
    (refusal.index, what)
}

#[test]
fn services() {
    let mut director = director(&SMALL);
    let commands: Vec<Command> = (1..=9).map(|n| add_service(vip(n), Scheduler::Rr)).collect();
    let (index, what) = limit(&mut director, &commands, 0);
    assert_eq!((index, what.contains("10.0.0.9:80/tcp: all 8 services")), (8, true), "{what}");
    director.apply(&commands[..8], 0).unwrap();
    director.apply(&[delete_service(vip(1))], SECOND).unwrap();
    limit(&mut director, &commands[8..], 2 * SECOND);
    director.apply(&commands[8..], 3 * SECOND).unwrap();
}

#[test]
fn destinations_and_ids_of_removed_ones_taken_back_early() {
    let capacity = Capacity { dests: 8, ..SMALL };
    let mut director = director(&capacity);
    let mut commands = vec![add_service(vip(1), Scheduler::Rr)];
    commands.extend((1..=9).map(|n| add(vip(1), rs(n), 1)));
    let (index, what) = limit(&mut director, &commands, 0);
    assert_eq!(
        (index, what.contains("192.168.9.9:80 of service 10.0.0.1:80/tcp: all 8")),
        (9, true),
        "{what}"
    );
    director.apply(&commands[..9], 0).unwrap();
    let busy = dest_id(director.memory(), &rs(1));
    open_conns(director.memory(), busy, 1);
    director.apply(&[delete(vip(1), rs(1)), delete(vip(1), rs(2))], 10 * SECOND).unwrap();
    // Packets in flight may still have chosen .2; it is idle after that; .1 has a connection.
    limit(&mut director, &[add(vip(1), rs(9), 1)], 11 * SECOND);
    director.apply(&[add(vip(1), rs(9), 1)], 12 * SECOND).unwrap();
    limit(&mut director, &[add(vip(1), rs(10), 1)], 60 * SECOND);
    director.apply(&[add(vip(1), rs(1), 1)], 61 * SECOND).unwrap();
    assert_eq!(dest_id(director.memory(), &rs(1)), busy);
    packet::check(director.memory(), &[vip(1)]);
}

#[test]
fn destinations_of_one_service() {
    let mut director = director(&Capacity { dests: 5000, ..SMALL });
    let key = |n: u16| DestKey { address: [10, 1, (n >> 8) as u8, n as u8].into(), port: 80 };
    let mut commands = vec![add_service(vip(1), Scheduler::Wlc)];
    commands.extend((1..=4097).map(|n| add(vip(1), key(n), 1)));
    let (index, what) = limit(&mut director, &commands, 0);
    assert_eq!(index, 4097);
    assert_eq!(what, "service 10.0.0.1:80/tcp: 4096 destinations are the maximum");
    director.apply(&commands[..4097], 0).unwrap();
    assert_eq!(director.service_listing(&vip(1)).unwrap().destinations.len(), 4096);
    let adopted = Director::adopt(director.into_memory()).unwrap();
    assert_eq!(adopted.service_listing(&vip(1)).unwrap().destinations.len(), 4096);
}

#[test]
fn words_of_scheduler_tables() {
    // 16 * 16 words: one table of sh (4 + 128 words, 136 with its rest) fits, a second does not.
    let mut director = director(&Capacity { dests: 16, ..SMALL });
    let commands =
        [add_service(vip(1), Scheduler::Sh), add_service(vip(2), Scheduler::Sh), add(vip(2), rs(2), 1)];
    let (index, what) = limit(&mut director, &commands, 0);
    assert_eq!((index, what.contains("10.0.0.2:80/tcp: no 134 words in a row")), (2, true), "{what}");
    director.apply(&commands[..1], 0).unwrap();
    // A change needs both tables at once.
    limit(&mut director, &[add(vip(1), rs(2), 1)], 0);
    director.apply(&[delete_service(vip(1))], SECOND).unwrap();
    limit(&mut director, &[add_service(vip(3), Scheduler::Sh)], 2 * SECOND);
    director.apply(&[add_service(vip(3), Scheduler::Sh)], 3 * SECOND).unwrap();
}

/// `ipvsadm -R` of 10 000 services and 30 000 destinations.
#[test]
fn a_large_list_applies_whole() {
    let capacity = Capacity { services: 10_000, dests: 32_768, conns: 64, cpus: 2 };
    let mut director = director(&capacity);
    let key = |n: u16| ServiceKey { address: [10, 0, (n >> 8) as u8, n as u8].into(), ..vip(1) };
    let mut commands = Vec::new();
    for n in 0..10_000 {
        commands.push(add_service(key(n), Scheduler::ALL[n as usize % 4]));
        commands.extend((1..=3).map(|server| add(key(n), rs(server), 1)));
    }
    director.apply(&commands, 0).unwrap();
    let adopted = Director::adopt(director.into_memory()).unwrap();
    let listing = adopted.listing();
    assert_eq!(listing.services.len(), 10_000);
    assert!(listing.services.iter().all(|service| service.destinations.len() == 3));
    packet::check(adopted.memory(), &(0..10_000).map(key).collect::<Vec<_>>());
}
