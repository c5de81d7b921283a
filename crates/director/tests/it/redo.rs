//! Lists of commands that a crash cuts off and the next director finishes: killed at every action, and in finishing at
//! every action again.

use rvs_config::*;
use rvs_director::{Change, Director, Plan};
use rvs_model::Heap;

use crate::crash::{
    Configured, all_configured, assert_nothing_leaks, assert_records_agree, half_execute, start, written_down,
};
use crate::packet;
use crate::properties::keys;
use crate::support::*;

const NOW: u64 = 310 * SECOND;

fn timeouts(tcp_s: u32, tcp_fin_s: u32, udp_s: u32) -> Command {
    Command::SetTimeouts(TimeoutsUpdate { tcp_s, tcp_fin_s, udp_s })
}

fn zero(service: Option<ServiceKey>) -> Command {
    Command::Zero { service }
}

/// What a director leaves that is killed after so many actions of a plan, and if `half` in the middle of the next.
fn killed(before: &Heap, plan: &Plan, actions: usize, half: bool) -> Heap {
    let memory = copy(before, &SMALL, &keys());
    plan.actions()[..actions].iter().for_each(|action| action.execute(&memory).unwrap());
    if half && let Some(action) = plan.actions().get(actions) {
        half_execute(action, &memory);
    }
    memory
}

/// Every moment of a plan.
fn moments(plan: &Plan) -> impl Iterator<Item = (usize, bool)> + use<> {
    (0..=plan.actions().len()).flat_map(|actions| [(actions, false), (actions, true)])
}

fn assert_finished(director: &Director<Heap>, after: &Configured, when: &str) {
    assert_eq!(&all_configured(director), after, "{when}");
    for key in keys() {
        let is_live = director.service_listing(&key).is_some();
        assert_eq!(packet::find(director.memory(), &key).is_some(), is_live, "{key} {when}");
    }
    packet::check(director.memory(), &keys());
    assert_records_agree(director);
}

/// Kills a director in a list, and the next in finishing it: exactly the list in the end.
fn assert_whole(director: &Director<Heap>, commands: &[Command]) {
    let plan = director.plan(commands, NOW).unwrap();
    let change = written_down(plan.change().unwrap());
    let mut done = Director::adopt(copy(director.memory(), &SMALL, &keys())).unwrap();
    done.apply(commands, NOW).unwrap();
    let after = all_configured(&done);
    let mut parts = 0;
    for (actions, half) in moments(&plan) {
        let when = format!("{actions} actions, half {half}");
        let left = || killed(director.memory(), &plan, actions, half);
        let mut adopted = Director::adopt(left()).unwrap();
        parts += u32::from(all_configured(&adopted) != after);
        let rest = adopted.remaining(&change);
        let redo = adopted.plan(&rest, NOW).unwrap();
        for (redone, half) in moments(&redo) {
            let memory = killed(adopted.memory(), &redo, redone, half);
            packet::check(&memory, &keys());
            let mut third = Director::adopt(memory).unwrap();
            third.apply(&third.remaining(&change), NOW).unwrap();
            assert_finished(&third, &after, &format!("{when}, then {redone} and {half}"));
        }
        adopted.apply(&rest, NOW).unwrap();
        assert_finished(&adopted, &after, &when);
        let zeroed = rvs_director::Zeroed::Services(Vec::new());
        let configuration = Change { zeroed, ..change.clone() };
        assert_eq!(adopted.remaining(&configuration), [], "{when}");
        assert_nothing_leaks(adopted);
    }
    assert!(parts > 0, "nothing was cut off");
}

#[test]
fn additions_and_deletions_are_finished() {
    let empty = director(&SMALL);
    let adds: Vec<_> = (1..=3).map(|n| add_service(vip(n), Scheduler::Rr)).collect();
    assert_whole(&empty, &adds);
    let with_dests = |n| [add_service(vip(n), Scheduler::Wrr), add(vip(n), rs(1), 2), add(vip(n), rs(n), 3)];
    let list: Vec<_> = [2, 3].into_iter().flat_map(with_dests).collect();
    assert_whole(&empty, &list);
    let mut full = start();
    full.apply(&[add_service(vip(3), Scheduler::Sh), add(vip(3), rs(1), 1)], NOW).unwrap();
    assert_whole(&full, &[Command::Clear]);
    assert_whole(&full, &[delete_service(vip(3)), delete_service(vip(1))]);
}

#[test]
fn edits_and_mixtures_are_finished() {
    let mut director = start();
    assert_whole(&director, &[edit(vip(1), rs(3), 9), edit(vip(2), rs(3), 0)]);
    assert_whole(
        &director,
        &[
            edit_service(vip(1), Scheduler::Sh),
            add(vip(1), rs(5), 1),
            add(vip(1), rs(2), 4),
            delete_service(vip(2)),
            add_service(vip(3), Scheduler::Lc),
            add(vip(3), rs(3), 1),
            timeouts(60, 0, 10),
        ],
    );
    // The order of destinations changes.
    let order = [delete(vip(1), rs(3)), add(vip(1), rs(4), 1), add(vip(1), rs(3), 7), edit(vip(2), rs(3), 2)];
    assert_whole(&director, &order);
    assert_whole(&director, &[timeouts(60, 30, 10)]);
    let rule = MarkRule {
        mark: 7,
        source: None,
        destination: Some("203.0.113.0/24".parse().unwrap()),
        protocol: None,
        source_ports: None,
        ports: Some("80".parse().unwrap()),
    };
    let marks =
        [7, 8, 9].map(|mark| Command::AddMarkRule { number: Some(1), rule: MarkRule { mark, ..rule } });
    director.apply(&marks, NOW).unwrap();
    assert_whole(
        &director,
        &[
            Command::DeleteMarkRule { number: 2 },
            marks[0].clone(),
            delete_service(vip(1)),
            timeouts(61, 0, 0),
        ],
    );
    assert_whole(&director, &[Command::ClearMarkRules, timeouts(62, 0, 0)]);
}

#[test]
fn a_restore_over_what_was_there_is_finished() {
    let mut list = vec![Command::Clear];
    for (n, scheduler) in [(1, Scheduler::Wlc), (2, Scheduler::Rr), (3, Scheduler::Sh)] {
        list.push(add_service(vip(n), scheduler));
        list.extend([4, 3, 1].map(|server| add(vip(n), rs(server), 1 + u32::from(server + n))));
    }
    assert_whole(&start(), &list);
    assert_whole(&start(), &list[..5]);
}

/// What each of the services and the total have counted.
fn counted(director: &Director<Heap>) -> Vec<u64> {
    let services = director.listing().services;
    let of_dests = services.iter().flat_map(|service| &service.destinations).map(|dest| dest.counters);
    let counters = services.iter().map(|service| service.counters).chain(of_dests);
    counters.chain([director.total().0]).map(|counters| counters.conns + counters.in_bytes).collect()
}

#[test]
fn counters_begin_at_zero_altogether() {
    let director = start();
    for (service, key) in [(0, vip(1)), (1, vip(2))] {
        let listing = director.service_listing(&key).unwrap();
        let dest = dest_id(director.memory(), &listing.destinations[0].destination.key);
        count(director.memory(), 0, service, dest, 40);
    }
    assert!(counted(&director).iter().sum::<u64>() > 0);
    let plan = director.plan(&[zero(None)], NOW).unwrap();
    let change = written_down(plan.change().unwrap());
    for (actions, half) in moments(&plan) {
        let mut adopted = Director::adopt(killed(director.memory(), &plan, actions, half)).unwrap();
        adopted.apply(&adopted.remaining(&change), NOW).unwrap();
        assert_eq!(counted(&adopted).iter().sum::<u64>(), 0, "{actions} actions");
    }
    let one = director.plan(&[zero(Some(vip(2)))], NOW).unwrap();
    let mut adopted = Director::adopt(copy(director.memory(), &SMALL, &keys())).unwrap();
    adopted.apply(&adopted.remaining(&one.change().unwrap()), NOW).unwrap();
    assert_eq!(adopted.service_listing(&vip(2)).unwrap().counters.conns, 0);
    assert_eq!(adopted.service_listing(&vip(1)).unwrap().counters.conns, 1);
    assert_eq!(adopted.total().0.conns, 2);
}

#[test]
fn what_one_step_decides_needs_no_journal() {
    let director = start();
    let needs_journal = |commands: &[Command]| director.plan(commands, NOW).unwrap().change().is_some();
    let by_themselves = [
        vec![],
        vec![add_service(vip(3), Scheduler::Rr)],
        vec![edit_service(vip(1), Scheduler::Sh)],
        vec![delete_service(vip(1))],
        vec![add(vip(1), rs(2), 1)],
        vec![edit(vip(1), rs(3), 9)],
        vec![delete(vip(1), rs(3))],
        vec![timeouts(60, 30, 0)],
        vec![timeouts(0, 0, 10)],
        vec![add_service(vip(3), Scheduler::Rr), add(vip(3), rs(1), 1), add(vip(3), rs(2), 1)],
    ];
    for commands in by_themselves {
        assert!(!needs_journal(&commands), "{commands:?}");
    }
    let several = [
        vec![Command::Clear],
        vec![zero(None)],
        vec![zero(Some(vip(1)))],
        vec![timeouts(60, 0, 10)],
        vec![edit(vip(1), rs(3), 9), edit(vip(2), rs(3), 9)],
        vec![add_service(vip(3), Scheduler::Rr), timeouts(60, 0, 0)],
        vec![delete_service(vip(1)), add_service(vip(1), Scheduler::Rr)],
    ];
    for commands in several {
        assert!(needs_journal(&commands), "{commands:?}");
    }
}

/// A service that is made again while its removed destinations are kept: one command, one decision, whatever is zeroed.
#[test]
fn a_service_that_comes_back_needs_no_journal() {
    let mut director = start();
    let id = dest_id(director.memory(), &rs(3));
    open_conns(director.memory(), id, 1);
    director.apply(&[delete_service(vip(1))], NOW).unwrap();
    assert!(director.status().trash > 0);
    assert_eq!(director.plan(&[add_service(vip(1), Scheduler::Rr)], NOW).unwrap().change(), None);
}

#[test]
fn a_change_that_makes_no_sense_is_refused() {
    let mut director = start();
    let plan = director.plan(&[Command::Clear], NOW).unwrap();
    let mut change = plan.change().unwrap();
    change.zeroed = rvs_director::Zeroed::Services(vec![vip(7)]);
    let before = all_configured(&director);
    let error = director.apply(&director.remaining(&change), NOW).unwrap_err().error;
    assert_eq!(error, CommandError::NoSuchService { service: vip(7) });
    assert_eq!(all_configured(&director), before);
}
