//! The packet fixtures on the model, under XDP and under TC; and whether the fixtures themselves are complete.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use rvs_abi::{Class, OUTCOMES, Outcome};
use rvs_tests::fixtures::spec::{self, cells, sctp_cells};
use rvs_tests::fixtures::world::Side;
use rvs_tests::fixtures::{
    Act, Case, Change, Executor, Hook, NOT_REACHED, OnModel, Snapshot, Step, age, all, run,
};
use rvs_wire::builder::malformed::set_checksum;

fn run_all(hook: Hook) {
    let mut executor = OnModel::new(hook);
    let failures: Vec<String> = all()
        .iter()
        .filter_map(|case| run(&mut executor, case).err())
        .map(|failure| failure.to_string())
        .collect();
    assert!(failures.is_empty(), "{} fixtures under {hook:?}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn fixtures_hold_on_the_model_under_xdp() {
    run_all(Hook::Xdp);
}

#[test]
fn fixtures_hold_on_the_model_under_tc() {
    run_all(Hook::Tc);
}

/// Each outcome is reached by a fixture, or there is a reason why not; and not both.
#[test]
fn every_outcome_has_a_fixture_or_a_reason() {
    let reached: BTreeSet<Outcome> =
        all().iter().flat_map(|case| &case.steps).map(|step| step.outcome).collect();
    let excused: BTreeMap<Outcome, &str> = NOT_REACHED.iter().copied().collect();
    for outcome in OUTCOMES {
        match (reached.contains(outcome), excused.get(outcome)) {
            (true, None) => {}
            (false, Some(reason)) => assert!(reason.len() > 10, "{outcome:?}: {reason}"),
            (true, Some(reason)) => panic!("{outcome:?} is reached, in spite of: {reason}"),
            (false, None) => panic!("no fixture ends as {outcome:?}, and no reason is given"),
        }
    }
}

#[test]
fn names_of_fixtures_are_unique() {
    let mut names = BTreeSet::new();
    for case in all() {
        assert!(!case.steps.is_empty(), "{}: no frame", case.name);
        assert!(names.insert(case.name.clone()), "{}: twice", case.name);
    }
}

/// Three directions, four events, eleven states, and a fixture for each.
#[test]
fn the_table_of_tcp_states_is_whole() {
    let cells = cells();
    assert_eq!(cells.len(), 3 * 4 * 11);
    let places: BTreeSet<_> = cells.iter().map(|cell| (cell.direction, cell.event, cell.from)).collect();
    assert_eq!(places.len(), cells.len());
    let names: BTreeSet<String> = all().into_iter().map(|case| case.name).collect();
    for cell in cells {
        let name = format!("{} {} in state {}", cell.direction, cell.event, cell.from);
        assert!(names.contains(&name), "{name}");
    }
    assert_eq!(spec::state("SA"), 10);
}

/// Three directions, ten events, fourteen states; a fixture for each direction and event has all states.
#[test]
fn the_tables_of_sctp_states_are_whole() {
    let cells = sctp_cells();
    assert_eq!(cells.len(), 3 * 10 * 14);
    let places: BTreeSet<_> = cells.iter().map(|cell| (cell.direction, cell.event, cell.from)).collect();
    assert_eq!(places.len(), cells.len());
    let cases = all();
    for cell in cells {
        let name = format!("SCTP {} {}", cell.direction, cell.event);
        let case = cases.iter().find(|case| case.name == name).unwrap();
        assert_eq!(case.steps.len(), 14, "{name}");
    }
    assert_eq!(spec::sctp("CL"), 13);
}

/// Linux's `icmp_msgs_per_sec`: fifty errors at once to all addresses together, then one each millisecond.
#[test]
fn errors_to_all_addresses_together_are_limited() {
    let case = all().into_iter().find(|case| case.name == "no destination takes new connections").unwrap();
    let mut executor = OnModel::new(Hook::Tc);
    run(&mut executor, &Case { steps: Vec::new(), ..case.clone() }).unwrap();
    let mut sent = Vec::new();
    for client in 0..60 {
        let mut frame = case.steps[0].frame.clone();
        // Of the source address, of which no two share a budget.
        frame[28] = client;
        set_checksum(&mut frame);
        sent.push(executor.run(Side::Clients, &frame).class == Class::Forward);
    }
    assert_eq!(sent.iter().position(|sent| !sent), Some(50));
    assert!(!sent[50..].contains(&true));
    executor.wait(1);
    assert_eq!(executor.run(Side::Clients, &case.steps[0].frame).class, Class::Forward);
}

/// Linux charges an address for no error that all together may not have.
#[test]
fn an_address_is_not_charged_for_an_error_that_is_not_sent() {
    let case = all().into_iter().find(|case| case.name == "no destination takes new connections").unwrap();
    let mut executor = OnModel::new(Hook::Tc);
    run(&mut executor, &Case { steps: Vec::new(), ..case.clone() }).unwrap();
    let is_told = |executor: &mut OnModel, client: u8| {
        let mut frame = case.steps[0].frame.clone();
        frame[28] = client;
        set_checksum(&mut frame);
        executor.run(Side::Clients, &frame).class == Class::Forward
    };
    // All of them are spent by others.
    assert!((0..50).all(|client| is_told(&mut executor, client)));
    assert!((0..50).all(|_| !is_told(&mut executor, 200)));
    executor.wait(1);
    let told = (0..10).take_while(|_| is_told(&mut executor, 200)).count();
    assert_eq!(told, 6, "as many at once as an address may have that was told nothing");
}

/// ipvs.md §3.6: the source port of a tunnel's datagrams is the flow's, and flows have different ones.
#[test]
fn the_source_port_of_a_tunnel_is_the_flows() {
    let name = "gue: IPv6 in IPv4, TCP";
    let case = all().into_iter().find(|case| case.name == name).unwrap();
    let mut executor = OnModel::new(Hook::Tc);
    run(&mut executor, &Case { steps: Vec::new(), ..case.clone() }).unwrap();
    let mut ports = BTreeSet::new();
    for cport in 1000_u16..1100 {
        let of = |step: &Step| {
            let mut frame = step.frame.clone();
            frame[54..56].copy_from_slice(&cport.to_be_bytes());
            frame
        };
        let mut port = |step: &Step| {
            let ran = executor.run(Side::Clients, &of(step));
            assert_eq!(ran.class, Class::Forward);
            [ran.frame[34], ran.frame[35]]
        };
        let first = port(&case.steps[0]);
        assert_eq!(port(&case.steps[1]), first);
        ports.insert(first);
    }
    assert!(ports.len() > 90, "{} ports of 100 flows", ports.len());
}

/// A case that fails at its first frame in what `damage` changes.
fn must_fail(name: &str, damage: impl Fn(&mut Step), says: &str) {
    let mut case = all().into_iter().find(|case| case.name == name).unwrap();
    damage(&mut case.steps[0]);
    let failure = run(&mut OnModel::new(Hook::Xdp), &case).expect_err(says);
    assert!(failure.to_string().contains(says), "{failure}");
}

/// Fixtures can fail: each kind of expectation is looked at.
#[test]
fn a_wrong_expectation_is_a_failure() {
    let name = "NAT: a SYN, port mapped";
    must_fail(name, |step| step.outcome = Outcome::ForwardDr, "outcome forward_masq +1, expected +0");
    must_fail(name, |step| step.outcome = Outcome::NoService, "verdict Forward");
    must_fail(name, |step| step.changes.push(Change::Created(0)), "total Conns +1, expected +2");
    must_fail(
        name,
        |step| step.changes.retain(|change| !matches!(change, Change::Created(_))),
        "service 0 Conns +1, expected +0",
    );
    must_fail(name, |step| step.changes.truncate(2), "destination 0 active connections +1, expected +0");
    must_fail(name, |step| step.conns.clear(), "before None");
    must_fail(name, |step| step.acts.push(Act::RemoveDest(0)), "frame");
    let other_byte = |step: &mut Step| {
        if let rvs_tests::fixtures::Output::Sent { packet, .. } = &mut step.output {
            packet[1] ^= 1;
        }
    };
    must_fail(name, other_byte, "first difference at byte 15");
}

/// Ageing the table is the same as letting the clock go on.
#[test]
fn an_older_table_is_a_later_clock() {
    let case: Case = all().into_iter().find(|case| case.name.contains("from its SYN")).unwrap();
    let mut aged = OnModel::new(Hook::Xdp);
    run(&mut aged, &Case { steps: case.steps[..3].to_vec(), ..case }).unwrap();
    let remaining = |executor: &OnModel, now| {
        let mut all = Vec::new();
        rvs_model::for_each_conn(executor.memory(), now, |conn| all.push(conn.remaining));
        all
    };
    let now = aged.now_ticks();
    let before = remaining(&aged, now);
    age(aged.memory(), 100);
    assert_eq!(before.len(), 1);
    assert_eq!(remaining(&aged, now), [before[0] - 100]);
    assert_eq!(remaining(&aged, now - 100), before);
    let snapshot = Snapshot::of(aged.memory(), now);
    assert!(snapshot.changes_to(&snapshot).is_empty());
}
