//! The acceptance test: a hundred thousand requests by each method and at each hook, while the daemon is killed and
//! started again. Nobody may notice.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use rvs_testkit::wait_until;

use crate::method::{Attach, Method};
use crate::stage::{LIMIT, Stage, WEIGHTS};
use crate::turn::await_turn;

const REQUESTS: u64 = 100_000;
const CONNECTIONS: usize = 64;
/// New connections come up all the time, with and without a daemon.
const REQUESTS_PER_CONNECTION: u64 = 200;
const KILLS: u64 = 5;
/// Requests answered between two kills, and while there is no daemon.
const PAUSE: u64 = 2_000;
/// How long all of it may take.
const LOAD_LIMIT: Duration = Duration::from_secs(120);

fn survives_kills(method: Method, attach: Attach) {
    let _turn = await_turn();
    let mut stage = Stage::new(method, attach);
    let client = stage.client().connections(CONNECTIONS).requests(u64::MAX);
    let client = client.requests_per_connection(REQUESTS_PER_CONNECTION);
    let run = client.start(stage.cluster.client().netns()).unwrap();
    let await_more = |count: u64| {
        let enough = run.answered() + count;
        wait_until("answers", LIMIT, || run.answered() >= enough).unwrap();
    };
    for _ in 0..KILLS {
        await_more(PAUSE);
        stage.daemon.kill();
        await_more(PAUSE);
        stage.daemon.restart();
    }
    wait_until("all answers", LOAD_LIMIT, || run.answered() >= REQUESTS).unwrap();
    let report = run.stop();

    assert_eq!(report.failed(), 0, "{report:?}");
    assert!(report.answered() >= REQUESTS);
    assert_eq!(report.reply_sources, BTreeSet::from([stage.service()]));
    assert_eq!(report.client_addresses, BTreeSet::from([IpAddr::from(stage.cluster.client().address())]));
    let accepted = stage.accepted();
    assert_eq!(accepted.iter().sum::<u64>(), report.connections);
    assert_shares(&accepted);
    // The counters go on over all restarts.
    let statistics = stage.ipvsadm("-Ln --stats --exact");
    assert_eq!(connections_counted(&statistics), report.connections, "{statistics}");
}

/// Within one turn of the scheduler, shares are exact (ipvs.md §6, wrr).
fn assert_shares(accepted: &[u64]) {
    let turns = accepted.iter().sum::<u64>() / u64::from(WEIGHTS.iter().sum::<u32>());
    for (count, weight) in accepted.iter().zip(WEIGHTS.map(u64::from)) {
        let fair = turns * weight..=(turns + 1) * weight;
        assert!(fair.contains(count), "{accepted:?} by weights {WEIGHTS:?}");
    }
}

/// The column `Conns` of the only service.
fn connections_counted(statistics: &str) -> u64 {
    let line = statistics.lines().find(|line| line.starts_with("TCP")).unwrap();
    line.split_ascii_whitespace().nth(2).unwrap().parse().unwrap()
}

#[test]
fn nat_under_tc() {
    survives_kills(Method::Nat, Attach::Tc);
}

#[test]
fn nat_under_xdp() {
    survives_kills(Method::Nat, Attach::Xdp);
}

#[test]
fn dr_under_tc() {
    survives_kills(Method::Dr, Attach::Tc);
}

#[test]
fn dr_under_xdp() {
    survives_kills(Method::Dr, Attach::Xdp);
}

#[test]
fn tun_under_tc() {
    survives_kills(Method::Tun, Attach::Tc);
}

#[test]
fn tun_under_xdp() {
    survives_kills(Method::Tun, Attach::Xdp);
}
