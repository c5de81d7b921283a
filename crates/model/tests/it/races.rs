//! Two CPUs at the same moment, made to meet: what the other one does happens before a chosen access of the first.

use std::cell::Cell;

use rvs_abi::sched::id;
use rvs_abi::{Class, ConnFlags, Method, Outcome, SLOTS, proto};
use rvs_core::conn::word::{CLAIMED, Word};
use rvs_core::conn::{Birth, Bucket, How, Key};
use rvs_core::state::tcp;
use rvs_core::{Flow, Frame, Link, NextHop, Tables, conn, pipeline};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Heap, HostTables, NoPackets, World, flush, for_each_conn, records};
use rvs_wire::builder::{Ipv4, Payload, Tcp};

use crate::hooked::{Event, Hooked};
use crate::support::{START, check, entry, event, insert, is_found, packet, place};

const CAPACITY: Capacity = Capacity { services: 2, dests: 128, conns: 100, cpus: 1 };
const BIRTH: Birth = Birth { state: tcp::SYN_RECV, now: START, timeout: 1000 };

/// Calls `act` once, before the event number `at` of that kind.
fn before<'a>(kind: Event, at: u32, act: impl Fn() + 'a) -> impl Fn(Event) + 'a {
    let seen = Cell::new(0);
    move |event| {
        if event == kind {
            seen.set(seen.get() + 1);
            if seen.get() == at {
                act();
            }
        }
    }
}

/// The slot that connection `n` lies in.
fn slot_of<'a>(tables: &HostTables<'a, NoPackets>, n: u32) -> (rvs_model::HostBucket<'a>, usize) {
    let place = place(tables, &entry(n));
    let buckets = [place.first, place.second].map(|index| tables.bucket(index).unwrap());
    let places = buckets.into_iter().flat_map(|bucket| (0..SLOTS).map(move |slot| (bucket, slot)));
    let mut mine = places.filter(|(bucket, slot)| bucket.word(*slot).is_live());
    mine.find(|(bucket, slot)| conn::entry(*bucket, *slot) == entry(n)).expect("it is there")
}

/// A slot that another CPU claims between the choice and the claim stays the other's, however late that is: the other is
/// writing its entry.
#[test]
fn a_slot_that_another_cpu_has_claimed_is_not_taken() {
    for at in 1..60 {
        let heap = Heap::new(&CAPACITY);
        let plain = HostTables::without_packets(&heap);
        // Where the insert would go if it were alone.
        assert_eq!(insert(&plain, 1, BIRTH), How::New);
        let (bucket, slot) = slot_of(&plain, 1);
        flush(&heap, |_| true);
        let claimed = Cell::new(None);
        let claim = || {
            let old = bucket.word(slot);
            let mine = old.next_generation().owned(7, CLAIMED, 0, START + 30);
            if !old.is_busy() && bucket.swap(slot, old, mine) {
                claimed.set(Some(mine));
            }
        };
        let hook = before(Event::Word, at, claim);
        let how = insert(&Hooked { tables: HostTables::without_packets(&heap), hook: &hook }, 1, BIRTH);
        let Some(word): Option<Word> = claimed.get() else { continue };
        assert_eq!(bucket.word(slot), word, "taken from its owner at access {at}");
        assert_eq!(how, How::New, "another slot is free; access {at}");
        assert!(is_found(&plain, 1, START));
    }
}

/// A free slot that becomes a connection between the choice and the claim is not free any more.
#[test]
fn a_connection_made_meanwhile_is_not_evicted_while_there_is_room() {
    let mut met = 0;
    for at in 1..60 {
        let heap = Heap::new(&CAPACITY);
        let plain = HostTables::without_packets(&heap);
        let hook = before(Event::Word, at, || {
            // The same connection, made by another CPU from start to end.
            packet(&plain, 1, wire::SYN, START);
        });
        let how = insert(&Hooked { tables: HostTables::without_packets(&heap), hook: &hook }, 1, BIRTH);
        drop(hook);
        met += u32::from(how == How::Existing);
        assert!(matches!(how, How::Existing | How::New), "{how:?} at access {at}");
        assert_eq!(check(&heap, START), 1, "access {at}");
        let created = records::dest_conns(&heap, entry(1).dest).total;
        assert_eq!(created, 1, "access {at}");
    }
    assert!(met > 5, "the two never met");
}

/// What a packet does to a state goes on from the state that another CPU's packet has just brought about.
#[test]
fn a_transition_goes_on_from_the_other_cpus_transition() {
    let (model_time, ports) = (START << rvs_abi::TICK_SHIFT, (4000, 80));
    let heap = balanced(Method::MASQ);
    let world = Site { heap: &heap, now: Cell::new(model_time) };
    let plain = HostTables::new(&heap, &world);
    run(&plain, &request(ports, wire::SYN));
    run(&plain, &request(ports, wire::ACK));
    assert_eq!(states(&heap, START), [tcp::ESTABLISHED]);
    world.now.set(model_time + 5_000_000_000);
    // The real server's FIN is handled while the client's ACK is: FIN_WAIT, whichever comes first (ipvs.md §5.4).
    let fin = || {
        run(&HostTables::new(&heap, &world), &reply(ports, wire::FIN | wire::ACK));
    };
    let hook = before(Event::Swap, 1, fin);
    run(&Hooked { tables: HostTables::new(&heap, &world), hook: &hook }, &request(ports, wire::ACK));
    const FIN_WAIT: u8 = 4;
    assert_eq!(states(&heap, START), [FIN_WAIT], "the FIN was forgotten");
    assert_eq!(records::dest_conns(&heap, 0).active, 0);
}

/// The number of a SYN stands in the word in which packets are counted, which another CPU may do at the same moment.
#[test]
fn a_number_that_is_noted_and_a_packet_that_is_counted_do_not_undo_each_other() {
    let heap = Heap::new(&CAPACITY);
    let plain = HostTables::without_packets(&heap);
    assert_eq!(insert(&plain, 1, BIRTH), How::New);
    let (place, key) = (place(&plain, &entry(1)), Key::of(&entry(1)));
    let other = conn::find(&plain, &place, START, &key).unwrap();
    let syn = Cell::new(0);
    for is_counting in [true, false] {
        let act = || {
            if is_counting {
                syn.set(0x1234_5678);
                other.set_syn(syn.get());
            } else {
                other.count_packet();
            }
        };
        let hook = before(Event::SetEntry, 1, act);
        let tables = Hooked { tables: HostTables::without_packets(&heap), hook: &hook };
        let found = conn::find(&tables, &place, START, &key).unwrap();
        let before = found.packets();
        if is_counting {
            found.count_packet();
        } else {
            syn.set(0x8765_4321);
            found.set_syn(syn.get());
        }
        assert_eq!((found.control(), found.packets()), (syn.get(), before + 1), "counting: {is_counting}");
    }
}

/// A packet whose connection is gone the moment after it was made ends as a drop with a name, not between two steps.
#[test]
fn a_connection_that_is_gone_at_once_is_a_named_drop() {
    let heap = balanced(Method::MASQ);
    let world = Site { heap: &heap, now: Cell::new(START << rvs_abi::TICK_SHIFT) };
    let hook = before(Event::Count, 1, || {
        assert_eq!(flush(&heap, |_| true), 1);
    });
    let outcome =
        run(&Hooked { tables: HostTables::new(&heap, &world), hook: &hook }, &request((4000, 80), wire::SYN));
    assert_eq!(outcome.class(), Class::Drop, "{outcome:?}");
    assert_ne!(outcome, Outcome::Inconsistent);
}

/// A reply whose connection just gave its slot to another changes nothing of the other.
#[test]
fn a_reply_to_a_connection_that_is_gone_leaves_the_slots_new_owner_alone() {
    let heap = balanced(Method::DR);
    let time = START << rvs_abi::TICK_SHIFT;
    let world = Site { heap: &heap, now: Cell::new(time) };
    let plain = HostTables::new(&heap, &world);
    run(&plain, &request((4000, 80), wire::SYN));
    let other = || {
        flush(&heap, |_| true);
        run(&HostTables::new(&heap, &world), &request((4000, 80), wire::SYN));
    };
    // The same client begins anew, so the new owner is in the same slot: its preferred one.
    let hook = before(Event::Swap, 1, other);
    world.now.set(time + 5_000_000_000);
    run(
        &Hooked { tables: HostTables::new(&heap, &world), hook: &hook },
        &direct_reply((4000, 80), wire::SYN),
    );
    let mut seen = Vec::new();
    for_each_conn(&heap, START, |conn| seen.push(conn.entry.flags));
    assert_eq!(seen, [u16::from(Method::DR) | ConnFlags::NO_OUTPUT], "of a connection without a reply");
}

/// A connection's end and another's beginning in its slot, between a packet's look-up and its move: the counts of both
/// destinations stay right.
#[test]
fn a_move_is_accounted_to_the_connection_that_moved() {
    for at in 1..12 {
        for kind in [Event::Swap, Event::Entry, Event::Word] {
            let heap = Heap::new(&CAPACITY);
            let plain = HostTables::without_packets(&heap);
            assert_eq!(insert(&plain, 1, BIRTH), How::New);
            let (bucket, slot) = slot_of(&plain, 1);
            let hook = before(kind, at, || replace(&plain, bucket, slot));
            let hooked = Hooked { tables: HostTables::without_packets(&heap), hook: &hook };
            let key = Key::of(&entry(1));
            if let Some(mut found) = conn::find(&hooked, &place(&hooked, &entry(1)), START, &key) {
                // Whether it still was there or not, what was counted is right.
                let _is_there = found.touch(&hooked, event(wire::FIN), START + 20);
            }
            check(&heap, START + 20);
        }
    }
}

/// Ends what is in a slot and makes a connection of another destination there.
fn replace(tables: &HostTables<'_, NoPackets>, bucket: rvs_model::HostBucket<'_>, slot: usize) {
    let old = bucket.word(slot);
    if !old.is_live() {
        return;
    }
    assert!(conn::end(tables, bucket, slot, old));
    for n in 2..5000 {
        assert_eq!(insert(tables, n, BIRTH), How::New);
        if bucket.word(slot).is_live() {
            return;
        }
        flush_number(tables, n);
    }
    panic!("no key falls into slot {slot}");
}

fn flush_number(tables: &HostTables<'_, NoPackets>, n: u32) {
    let found = conn::find(tables, &place(tables, &entry(n)), START, &Key::of(&entry(n)));
    assert!(found.expect("it was just made").expire(tables));
}

/// Flags of TCP.
mod wire {
    pub(super) use rvs_wire::tcp::{ACK, FIN, SYN};
}

const VIP: [u8; 4] = [10, 0, 0, 1];
const CLIENT: [u8; 4] = [192, 0, 2, 2];
const REAL_SERVER: [u8; 4] = [192, 168, 9, 2];

/// Memory with one service, 10.0.0.1:80, of one destination.
fn balanced(method: u8) -> Heap {
    let heap = Heap::new(&CAPACITY);
    let dest = DestSetup::new(REAL_SERVER, 80, method);
    install(
        &heap,
        &[ServiceSetup {
            vip: VIP.into(),
            port: 80,
            protocol: proto::TCP,
            scheduler: id::RR,
            sched_flags: 0,
            dests: vec![dest],
        }],
    );
    heap
}

struct Site<'a> {
    heap: &'a Heap,
    now: Cell<u64>,
}

impl World for &Site<'_> {
    fn now_ns(&self) -> u64 {
        self.now.get()
    }

    fn cpu(&self) -> u32 {
        0
    }

    fn random(&self) -> u32 {
        4
    }

    fn error_budget(&self, _index: u32) -> Option<&Cell<u64>> {
        None
    }

    fn fragments(
        &self,
    ) -> Option<
        &std::cell::RefCell<std::collections::BTreeMap<rvs_core::fragment::Key, rvs_core::fragment::Known>>,
    > {
        None
    }

    fn ingress(&self) -> u32 {
        7
    }

    fn service_key(&self, key: &rvs_abi::ServiceKey) -> Option<u32> {
        self.heap.service_key(key)
    }

    fn next_hop(&self, flow: &Flow) -> Result<NextHop, Outcome> {
        Ok(NextHop { link: Link { ifindex: 7, resolved: 0, macs: [0; 3], gateway: flow.to }, mtu: 1500 })
    }
}

fn frame(from: [u8; 4], to: [u8; 4], (sport, dport): (u16, u16), flags: u8) -> Vec<u8> {
    let segment = Payload::Tcp(Tcp::new(sport, dport, flags));
    Ipv4::new(from, to).frame([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], &segment)
}

fn request(ports: (u16, u16), flags: u8) -> Vec<u8> {
    frame(CLIENT, VIP, ports, flags)
}

fn reply((cport, vport): (u16, u16), flags: u8) -> Vec<u8> {
    frame(REAL_SERVER, CLIENT, (vport, cport), flags)
}

fn direct_reply((cport, vport): (u16, u16), flags: u8) -> Vec<u8> {
    frame(VIP, CLIENT, (vport, cport), flags)
}

fn run<T: Tables>(tables: &T, bytes: &[u8]) -> Outcome {
    pipeline::ingress(&mut Frame::<128>::new(bytes).unwrap(), tables).outcome
}

fn states(heap: &Heap, now: u64) -> Vec<u8> {
    let mut states = Vec::new();
    for_each_conn(heap, now, |conn| states.push(conn.state));
    states
}
