//! The statements of ipvs.md §13 about objects, errors and schedulers, as far as the director decides them. Each test is
//! named after its statement's number.

use rvs_abi::map::Region;
use rvs_config::*;
use rvs_director::Director;
use rvs_model::Memory;

use crate::packet;
use crate::support::*;

fn with_three(scheduler: Scheduler, weights: [u32; 3]) -> Director<rvs_model::Heap> {
    let mut director = director(&SMALL);
    director.apply(&three(scheduler, weights), 0).unwrap();
    director
}

/// As `with_three`, but each destination added by a list of its own.
fn one_by_one(scheduler: Scheduler, weights: [u32; 3]) -> Director<rvs_model::Heap> {
    let mut director = director(&SMALL);
    for command in three(scheduler, weights) {
        director.apply(&[command], 0).unwrap();
    }
    director
}

#[test]
fn statement_1_adding_an_existing_service() {
    let mut director = with_three(Scheduler::Rr, [1, 1, 1]);
    let error = refused(&mut director, add_service(vip(1), Scheduler::Rr));
    assert_eq!(error, CommandError::ServiceExists { service: vip(1) });
}

#[test]
fn statement_4_editing_deleting_zeroing_a_missing_service() {
    let mut director = director(&SMALL);
    let zero = Command::Zero { service: Some(vip(1)) };
    for command in [edit_service(vip(1), Scheduler::Rr), delete_service(vip(1)), zero] {
        assert_eq!(refused(&mut director, command), CommandError::NoSuchService { service: vip(1) });
    }
}

#[test]
fn statement_5_listing_a_missing_service() {
    assert_eq!(with_three(Scheduler::Rr, [1, 1, 1]).service_listing(&vip(2)), None);
}

#[test]
fn statement_6_destinations_of_a_missing_service() {
    let mut director = director(&SMALL);
    for command in [add(vip(1), rs(2), 1), edit(vip(1), rs(2), 1), delete(vip(1), rs(2))] {
        assert_eq!(refused(&mut director, command), CommandError::ServiceNotDefined { service: vip(1) });
    }
}

#[test]
fn statement_7_adding_an_existing_destination() {
    let mut director = with_three(Scheduler::Rr, [1, 1, 1]);
    let error = refused(&mut director, add(vip(1), rs(2), 9));
    assert_eq!(error, CommandError::DestinationExists { service: vip(1), destination: rs(2) });
    assert_eq!(order(&director, &vip(1))[2], (2, 1), "weight unchanged");
}

#[test]
fn statement_8_editing_and_deleting_a_missing_destination() {
    let mut director = with_three(Scheduler::Rr, [1, 1, 1]);
    let missing = CommandError::NoSuchDestination { service: vip(1), destination: rs(9) };
    assert_eq!(refused(&mut director, edit(vip(1), rs(9), 1)), missing);
    assert_eq!(refused(&mut director, delete(vip(1), rs(9))), missing);
    let other_port = DestKey { port: 81, ..rs(2) };
    assert!(matches!(
        refused(&mut director, delete(vip(1), other_port)),
        CommandError::NoSuchDestination { .. }
    ));
}

#[test]
fn statement_9_lower_threshold_above_the_upper() {
    let mut director = with_three(Scheduler::Rr, [1, 1, 1]);
    let with = |n, upper_threshold, lower_threshold| {
        let destination = Destination { upper_threshold, lower_threshold, ..dest(rs(n), 1) };
        [
            Command::AddDestination { service: vip(1), destination },
            Command::EditDestination { service: vip(1), destination },
        ]
    };
    // Range comes before existence; both before what is not supported.
    for command in with(2, 5, 9).into_iter().chain(with(9, 0, 1)) {
        assert!(matches!(refused(&mut director, command), CommandError::OutOfRange { .. }));
    }
    for command in with(9, 1 << 31, 0) {
        assert!(matches!(refused(&mut director, command), CommandError::Invalid { .. }));
    }
    let [add, edit] = with(9, 9, 5);
    assert!(matches!(refused(&mut director, add), CommandError::NotSupported { .. }));
    assert!(matches!(refused(&mut director, edit), CommandError::NoSuchDestination { .. }));
    let [add, edit] = with(2, 9, 5);
    assert!(matches!(refused(&mut director, add), CommandError::DestinationExists { .. }));
    assert!(matches!(refused(&mut director, edit), CommandError::NotSupported { .. }));
}

#[test]
fn statement_10_address_not_unicast() {
    let mut director = with_three(Scheduler::Rr, [1, 1, 1]);
    for address in [[224, 0, 0, 1], [239, 255, 255, 255], [255, 255, 255, 255], [0, 0, 0, 0], [0, 1, 2, 3]] {
        let key = DestKey { address: address.into(), port: 80 };
        assert!(matches!(refused(&mut director, add(vip(1), key, 1)), CommandError::Invalid { .. }), "{key}");
    }
    // Weight is checked first.
    let multicast = DestKey { address: [224, 0, 0, 1].into(), port: 80 };
    let error = refused(&mut director, add(vip(1), multicast, u32::MAX));
    assert!(matches!(error, CommandError::OutOfRange { .. }));
}

#[test]
fn statement_11_edit_replaces_all_attributes() {
    let mut director = director(&SMALL);
    let tunnel = Destination { method: ForwardingMethod::Tunnel, ..dest(rs(2), 3) };
    let route = Destination { method: ForwardingMethod::Dr, ..dest(rs(2), 1) };
    let service = vip(1);
    let commands = [
        add_service(service, Scheduler::Wlc),
        Command::AddDestination { service, destination: tunnel },
        Command::EditDestination { service, destination: route },
    ];
    director.apply(&commands[..2], 0).unwrap();
    director.apply(&commands[2..], 0).unwrap();
    assert_eq!(director.service_listing(&service).unwrap().destinations[0].destination, route);
    let record = rvs_model::records::dest(director.memory(), 0).unwrap();
    assert_eq!((record.method, record.weight), (rvs_abi::Method::DR, 1));
}

#[test]
fn statement_12_edit_replaces_scheduler_and_flags_together() {
    let mut director = director(&SMALL);
    let flags = SchedulerFlags(SchedulerFlags::FLAG_1);
    let sh = VirtualService { flags, ..service(vip(1), Scheduler::Sh) };
    director.apply(&[Command::AddService(sh.clone()), add(vip(1), rs(2), 1)], 0).unwrap();
    assert_eq!(director.service_listing(&vip(1)).unwrap().service, sh);
    director.apply(&[edit_service(vip(1), Scheduler::Wlc)], 0).unwrap();
    assert_eq!(director.service_listing(&vip(1)).unwrap().service, service(vip(1), Scheduler::Wlc));
    let (_, record) = packet::find(director.memory(), &vip(1)).unwrap();
    assert_eq!((record.scheduler, record.sched_flags), (rvs_abi::sched::id::WLC, 0));
}

#[test]
fn statement_13_edit_with_the_same_scheduler_continues_the_rotation() {
    let mut director = with_three(Scheduler::Rr, [1, 1, 1]);
    assert_eq!(picks(&director, &vip(1), 1), [4]);
    director.apply(&[edit_service(vip(1), Scheduler::Rr)], 0).unwrap();
    assert_eq!(picks(&director, &vip(1), 1), [3]);
    let flagged = VirtualService { flags: SchedulerFlags(4), ..service(vip(1), Scheduler::Rr) };
    director.apply(&[Command::EditService(flagged)], 0).unwrap();
    assert_eq!(picks(&director, &vip(1), 1), [2], "with other flags too");
    // Another scheduler starts from scratch, and so does this one when it comes back.
    director.apply(&[edit_service(vip(1), Scheduler::Wrr)], 0).unwrap();
    assert_eq!(picks(&director, &vip(1), 2), [4, 3]);
    director.apply(&[edit_service(vip(1), Scheduler::Rr)], 0).unwrap();
    assert_eq!(picks(&director, &vip(1), 1), [4]);
}

#[test]
fn statement_14_newest_destination_first() {
    let director = with_three(Scheduler::Rr, [1, 1, 1]);
    assert_eq!(order(&director, &vip(1)), [(4, 1), (3, 1), (2, 1)]);
}

#[test]
fn statement_98_rr_newest_first() {
    assert_eq!(picks(&with_three(Scheduler::Rr, [1, 1, 1]), &vip(1), 7), [4, 3, 2, 4, 3, 2, 4]);
}

#[test]
fn statement_99_rr_skips_weight_0() {
    assert_eq!(picks(&with_three(Scheduler::Rr, [1, 0, 1]), &vip(1), 4), [4, 2, 4, 2]);
}

#[test]
fn statement_100_rr_continues_after_the_deleted_one() {
    let mut director = with_three(Scheduler::Rr, [1, 1, 1]);
    assert_eq!(picks(&director, &vip(1), 2), [4, 3]);
    director.apply(&[delete(vip(1), rs(3))], 0).unwrap();
    assert_eq!(picks(&director, &vip(1), 2), [2, 4]);
}

#[test]
fn rr_pointer_survives_a_list_of_changes() {
    let mut director = with_three(Scheduler::Rr, [1, 1, 1]);
    assert_eq!(picks(&director, &vip(1), 2), [4, 3]);
    // The pointer goes from .3 to .4, with it to the new .5, and from there to the list's head.
    let commands = [
        delete(vip(1), rs(3)),
        add(vip(1), rs(5), 1),
        delete(vip(1), rs(4)),
        add(vip(1), rs(3), 1),
        delete(vip(1), rs(3)),
        delete(vip(1), rs(5)),
        add(vip(1), rs(3), 1),
    ];
    director.apply(&commands, 0).unwrap();
    assert_eq!(order(&director, &vip(1)), [(3, 1), (2, 1)]);
    assert_eq!(picks(&director, &vip(1), 3), [3, 2, 3]);
}

const STATEMENT_101: [u8; 12] = [4, 3, 2, 3, 4, 3, 4, 3, 2, 3, 4, 3];

#[test]
fn statement_101_wrr_added_one_after_the_other() {
    assert_eq!(picks(&one_by_one(Scheduler::Wrr, [1, 3, 2]), &vip(1), 12), STATEMENT_101);
    assert_eq!(picks(&with_three(Scheduler::Wrr, [1, 3, 2]), &vip(1), 12), STATEMENT_101, "in one list");
}

#[test]
fn statement_102_wrr_with_weights_0_only() {
    assert_eq!(picks(&with_three(Scheduler::Wrr, [0, 0, 0]), &vip(1), 2), [0, 0]);
}

/// ipvs.md §6.4: weights 4,2 give 1 1 2, weights 3,2,1 give 1 1 2 1 2 3, in list order, when bound with the list in place.
#[test]
fn wrr_bound_with_its_destinations_in_place() {
    for (weights, expected) in [([2, 4], vec![3, 3, 2, 3, 3, 2]), ([1, 2], vec![3, 3, 2, 3, 3, 2])] {
        let mut director = director(&SMALL);
        let [first, second] = weights;
        let rr = [add_service(vip(1), Scheduler::Rr), add(vip(1), rs(2), first), add(vip(1), rs(3), second)];
        director.apply(&rr, 0).unwrap();
        director.apply(&[edit_service(vip(1), Scheduler::Wrr)], 0).unwrap();
        assert_eq!(picks(&director, &vip(1), 6), expected, "weights {weights:?}");
    }
    let mut director = with_three(Scheduler::Rr, [1, 2, 3]);
    director.apply(&[edit_service(vip(1), Scheduler::Wrr)], 0).unwrap();
    assert_eq!(picks(&director, &vip(1), 12), [4, 4, 3, 4, 3, 2, 4, 4, 3, 4, 3, 2]);
}

/// ipvs.md §6.4: a change puts `cl` back to the head and `cw` to the next step at or below it.
#[test]
fn wrr_after_a_change_of_the_list() {
    let mut director = with_three(Scheduler::Rr, [4, 4, 4]);
    director.apply(&[edit_service(vip(1), Scheduler::Wrr)], 0).unwrap();
    assert_eq!(picks(&director, &vip(1), 2), [4, 3]);
    director.apply(&[edit(vip(1), rs(2), 2)], 0).unwrap();
    // cw was mw = 4 - 3 = 1; di is 2 now: cw = (1 / 2) * 2 + 1 = 1, cl = head.
    assert_eq!(picks(&director, &vip(1), 4), [4, 3, 2, 4]);
}

/// ipvs.md §6.4: with `di` = 2, `cw` = 2 becomes (2 / 2) * 2 + 1.
#[test]
fn wrr_current_weight_goes_to_the_next_step() {
    let mut director = director(&SMALL);
    director
        .apply(&[add_service(vip(1), Scheduler::Rr), add(vip(1), rs(2), 2), add(vip(1), rs(3), 3)], 0)
        .unwrap();
    director.apply(&[edit_service(vip(1), Scheduler::Wrr)], 0).unwrap();
    assert_eq!(picks(&director, &vip(1), 2), [3, 3], "cw is 2 now");
    director.apply(&[edit(vip(1), rs(3), 4)], 0).unwrap();
    assert_eq!(picks(&director, &vip(1), 6), [3, 3, 2, 3, 3, 2]);
}

#[test]
fn statement_110_sh() {
    let mut director = director(&SMALL);
    let mut commands = vec![add_service(vip(1), Scheduler::Sh)];
    commands.extend((3..=5).map(|n| add(vip(1), rs(n), 1)));
    director.apply(&commands, 0).unwrap();
    let heap = director.memory();
    let chosen = (2..=9).map(|client| packet::pick(heap, &vip(1), [192, 0, 2, client]).unwrap());
    let chosen: Vec<u8> = chosen.map(|dest| last_byte(&packet::dest_key(heap, dest))).collect();
    assert_eq!(chosen, [4, 5, 4, 3, 5, 3, 4, 3]);
}

#[test]
fn statement_115_sh_gives_a_bucket_to_weight_0() {
    let mut director = director(&SMALL);
    let mut commands = vec![add_service(vip(1), Scheduler::Sh)];
    commands.extend((3..=5).map(|n| add(vip(1), rs(n), 1)));
    director.apply(&commands, 0).unwrap();
    director.apply(&[edit(vip(1), rs(4), 0)], 0).unwrap();
    let heap = director.memory();
    assert_eq!(packet::pick(heap, &vip(1), [192, 0, 2, 2]), None, "the client of .4");
    assert!(packet::pick(heap, &vip(1), [192, 0, 2, 3]).is_some(), "others are where they were");
}

#[test]
fn statement_140_141_counters_of_destination_service_and_total() {
    let director = with_three(Scheduler::Rr, [1, 1, 1]);
    let (service, _) = packet::find(director.memory(), &vip(1)).unwrap();
    count(director.memory(), 0, service, dest_id(director.memory(), &rs(3)), 40);
    count(director.memory(), 1, service, dest_id(director.memory(), &rs(3)), 60);
    let expected = Counters { conns: 2, in_packets: 2, in_bytes: 100, ..Counters::default() };
    let listing = director.service_listing(&vip(1)).unwrap();
    assert_eq!(listing.counters, expected);
    assert_eq!(director.total().0, expected);
    let dests: Vec<_> = listing.destinations.iter().map(|dest| dest.counters).collect();
    assert_eq!(dests, [Counters::default(), expected, Counters::default()]);
}

#[test]
fn statement_143_zero_leaves_connections_and_the_cpus_counters() {
    let mut director = with_three(Scheduler::Rr, [1, 1, 1]);
    director.apply(&[add_service(vip(2), Scheduler::Rr), add(vip(2), rs(9), 1)], 0).unwrap();
    let ids = |director: &Director<_>, n, server| {
        let heap: &rvs_model::Heap = director.memory();
        (packet::find(heap, &vip(n)).unwrap().0, dest_id(heap, &rs(server)))
    };
    for (n, server) in [(1, 2), (2, 9)] {
        let (service, dest) = ids(&director, n, server);
        count(director.memory(), 0, service, dest, 40);
        open_conns(director.memory(), dest, 1);
    }
    let cpus = |director: &Director<rvs_model::Heap>| -> Vec<u64> {
        let rows = rvs_model::records::config(director.memory()).stats_rows as usize;
        let words = &director.memory().region(Region::Stats)[..rows * 2 * 8];
        words.iter().map(|word| word.load(std::sync::atomic::Ordering::Relaxed)).collect()
    };
    let before = cpus(&director);
    director.apply(&[Command::Zero { service: Some(vip(1)) }], 0).unwrap();
    let listing = director.listing();
    assert_eq!(listing.services[0].counters, Counters::default());
    assert_eq!(listing.services[0].destinations[2].counters, Counters::default());
    assert_eq!(listing.services[0].destinations[2].inactive_conns, 1);
    assert_eq!(listing.services[1].counters.in_bytes, 40, "another service's counters");
    assert_eq!(director.total().0.conns, 2, "the total is not the service's");
    director.apply(&[Command::Zero { service: None }], 0).unwrap();
    assert_eq!(director.listing().services[1].counters, Counters::default());
    assert_eq!(director.total().0, Counters::default());
    assert_eq!(cpus(&director), before, "per-CPU counters unchanged");
}

#[test]
fn statement_90_set_keeps_what_is_0() {
    let mut director = director(&SMALL);
    let set = |tcp_s, tcp_fin_s, udp_s| Command::SetTimeouts(TimeoutsUpdate { tcp_s, tcp_fin_s, udp_s });
    director.apply(&[set(100, 0, 0)], 0).unwrap();
    assert_eq!(director.timeouts(), Timeouts { tcp_s: 100, tcp_fin_s: 120, udp_s: 300 });
    director.apply(&[set(0, 60, 0), set(0, 0, 2_678_400)], 0).unwrap();
    assert_eq!(director.timeouts(), Timeouts { tcp_s: 100, tcp_fin_s: 60, udp_s: 2_678_400 });
    let ticks = rvs_model::records::config(director.memory()).timeouts;
    let expected = |secs| rvs_model::ticks_u32(secs);
    assert_eq!(
        (ticks[1], ticks[4], ticks[rvs_abi::Timeout::Udp as usize]),
        (expected(100), expected(60), expected(2_678_400))
    );
    assert_eq!(ticks[2], expected(120), "SYN_SENT is none of the three");
    assert!(matches!(refused(&mut director, set(0, 2_678_401, 0)), CommandError::Invalid { .. }));
}

#[test]
fn what_this_version_does_not_do_is_refused() {
    let mut director = with_three(Scheduler::Rr, [1, 1, 1]);
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        for key in [vip(2), vip6(2)] {
            let key = ServiceKey { protocol, port: 0, ..key };
            let error = refused(&mut director, add_service(key, Scheduler::Rr));
            assert!(matches!(error, CommandError::NotSupported { .. }), "{key}");
        }
    }
    let flags = VirtualService { flags: SchedulerFlags(8), ..service(vip(1), Scheduler::Rr) };
    assert!(matches!(refused(&mut director, Command::EditService(flags)), CommandError::Invalid { .. }));
}

#[test]
fn a_refused_list_names_the_first_bad_command_and_changes_nothing() {
    let mut director = with_three(Scheduler::Rr, [1, 1, 1]);
    let before = director.listing();
    let list = [
        add_service(vip(2), Scheduler::Rr),
        delete(vip(1), rs(2)),
        add(vip(3), rs(2), 1),
        delete_service(vip(9)),
    ];
    let refusal = director.apply(&list, 0).unwrap_err();
    assert_eq!(refusal.index, 2);
    assert_eq!(refusal.error, CommandError::ServiceNotDefined { service: vip(3) });
    assert_eq!(director.listing(), before);
    assert_eq!(packet::find(director.memory(), &vip(2)), None);
}
