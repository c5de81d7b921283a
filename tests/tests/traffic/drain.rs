//! Taking a server out of service while it works.

use rvs_testkit::wait_until;

use crate::method::{Attach, Method};
use crate::stage::{LIMIT, Stage};

/// Weight 0 keeps new connections away and old ones alive (ipvs.md §1.2).
fn drains(method: Method, attach: Attach) {
    let stage = Stage::new(method, attach);
    let run = stage.client().connections(6).requests(u64::MAX).start(stage.cluster.client().netns()).unwrap();
    wait_until("six connections", LIMIT, || stage.accepted() == [3, 2, 1]).unwrap();
    stage.ipvsadm(&stage.destination("-e", 0, 0));
    let answers = stage.servers[0].requests();
    let report = stage.request(30);
    assert_eq!([report.answers_of("s1"), report.answers_of("s2"), report.answers_of("s3")], [0, 20, 10]);
    wait_until("old connections", LIMIT, || stage.servers[0].requests() > answers + 100).unwrap();

    // Back in service, it is given connections again.
    stage.ipvsadm(&stage.destination("-e", 0, 3));
    assert_eq!(stage.request(60).answers_of("s1"), 30);
    assert_eq!(run.stop().failed(), 0);
}

#[test]
fn nat_under_tc() {
    drains(Method::Nat, Attach::Tc);
}

#[test]
fn dr_under_xdp() {
    drains(Method::Dr, Attach::Xdp);
}

#[test]
fn tun_under_tc() {
    drains(Method::Tun, Attach::Tc);
}
