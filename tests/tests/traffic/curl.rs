//! Requests by curl, which the servers share.

use crate::method::{Attach, Method};
use crate::stage::Stage;
use crate::turn::await_turn;
use crate::world::output;

/// Twelve requests by curl, each over a connection of its own, and who answered them.
fn curl(stage: &Stage) -> [usize; 3] {
    let url = format!("http://{}/[1-12]", stage.service());
    let args =
        ["--silent", "--show-error", "--fail", "--max-time", "10", "--header", "Connection: close", &url];
    let bodies = output(stage.cluster.client(), "curl", &args);
    ["s1 ", "s2 ", "s3 "].map(|name| bodies.lines().filter(|line| line.starts_with(name)).count())
}

fn shared(method: Method, attach: Attach) {
    let _turn = await_turn();
    let stage = Stage::new(method, attach);
    assert_eq!(curl(&stage), [6, 4, 2]);
}

#[test]
fn nat_under_tc() {
    shared(Method::Nat, Attach::Tc);
}

#[test]
fn nat_under_xdp() {
    shared(Method::Nat, Attach::Xdp);
}

#[test]
fn dr_under_tc() {
    shared(Method::Dr, Attach::Tc);
}

#[test]
fn dr_under_xdp() {
    shared(Method::Dr, Attach::Xdp);
}

#[test]
fn tun_under_tc() {
    shared(Method::Tun, Attach::Tc);
}

#[test]
fn tun_under_xdp() {
    shared(Method::Tun, Attach::Xdp);
}
