//! Next hops whose Ethernet address is not known, or changes.

use rvs_netlink::MacAddr;
use rvs_testkit::wait_until;

use crate::method::{Attach, Method};
use crate::stage::{LIMIT, Stage};
use crate::turn::await_turn;

/// The addresses that the director can send frames to.
fn known(stage: &mut Stage) -> usize {
    let neighbours = stage.cluster.director_mut().netlink().neighbours().unwrap();
    neighbours.iter().filter(|neighbour| neighbour.usable_mac().is_some()).count()
}

fn forget(stage: &mut Stage) {
    let indices: Vec<u32> = stage.cluster.director().interfaces().iter().map(|i| i.index).collect();
    for index in indices {
        stage.cluster.director_mut().netlink().flush_neighbours(index).unwrap();
    }
}

/// Nobody but the packets themselves makes the kernel ask: the daemon is dead.
fn unresolved_ones_are_resolved(method: Method, attach: Attach) {
    let mut stage = Stage::new(method, attach);
    stage.daemon.kill();
    forget(&mut stage);
    assert_eq!(known(&mut stage), 0);
    assert_eq!(stage.request(6).answers_of("s1"), 3);
    assert!(known(&mut stage) >= 3, "three servers at least");
}

/// Connections in use don't break when what was known is lost, again and again.
fn lost_ones_are_found_again(method: Method, attach: Attach) {
    let _turn = await_turn();
    let mut stage = Stage::new(method, attach);
    let run = stage.client().connections(8).requests(u64::MAX).start(stage.cluster.client().netns()).unwrap();
    for _ in 0..20 {
        let enough = run.answered() + 200;
        wait_until("answers", LIMIT, || run.answered() >= enough).unwrap();
        forget(&mut stage);
    }
    assert_eq!(run.stop().failed(), 0);
}

#[test]
fn unresolved_under_tc() {
    unresolved_ones_are_resolved(Method::Nat, Attach::Tc);
    unresolved_ones_are_resolved(Method::Tun, Attach::Tc);
}

#[test]
fn unresolved_under_xdp() {
    unresolved_ones_are_resolved(Method::Nat, Attach::Xdp);
    unresolved_ones_are_resolved(Method::Dr, Attach::Xdp);
}

#[test]
fn lost_under_load_under_tc() {
    lost_ones_are_found_again(Method::Dr, Attach::Tc);
}

#[test]
fn lost_under_load_under_xdp() {
    lost_ones_are_found_again(Method::Nat, Attach::Xdp);
}

/// A server's interface is replaced. The new one says so by ARP, and frames go there at once.
fn a_new_address_is_followed(attach: Attach) {
    let stage = Stage::new(Method::Nat, attach);
    // Without it, the kernel ignores what comes within a second after the last change.
    stage.cluster.director().netns().sysctl("net/ipv4/neigh/to-servers/locktime", "0").unwrap();
    let server = &stage.cluster.servers()[0];
    server.netns().sysctl("net/ipv4/conf/eth0/arp_notify", "1").unwrap();
    let run = stage.client().connections(6).requests(u64::MAX).start(stage.cluster.client().netns()).unwrap();
    let answers_again = |what: &str| {
        let enough = stage.servers[0].requests() + 200;
        wait_until(what, LIMIT, || stage.servers[0].requests() >= enough).unwrap();
    };
    answers_again("answers of s1");
    let index = server.interface("eth0").index;
    server.netns().netlink().unwrap().set_mac(index, MacAddr([2, 0, 0, 0, 0x11, 1])).unwrap();
    answers_again("answers of s1 at its new address");
    assert_eq!(run.stop().failed(), 0);
}

#[test]
fn a_new_address_is_followed_under_tc() {
    a_new_address_is_followed(Attach::Tc);
}

#[test]
fn a_new_address_is_followed_under_xdp() {
    a_new_address_is_followed(Attach::Xdp);
}
