//! Restarts under traffic: no packet is lost, and none goes by without a program.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rvs_dataplane::{AttachMode, Kernel, Options};

use crate::stage::{DIRECTOR, Stage, counted};

/// Starts in the course of one test.
const RESTARTS: u32 = 8;
/// A datagram that takes this long is lost.
const LOST: Duration = Duration::from_secs(5);

/// Ends the traffic also when the restarts panic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends datagram after datagram, each when the one before has arrived; returns how many.
fn traffic(stage: &Stage, stop: &AtomicBool) -> u64 {
    let receiver = stage.director.enter(|| UdpSocket::bind((DIRECTOR, 9)).unwrap()).unwrap();
    let sender = stage.client.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
    receiver.set_read_timeout(Some(LOST)).unwrap();
    sender.connect((DIRECTOR, 9)).unwrap();
    let mut sent = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        sender.send(&sent.to_ne_bytes()).unwrap();
        let mut bytes = [0; 8];
        receiver.recv(&mut bytes).unwrap();
        assert_eq!(u64::from_ne_bytes(bytes), sent);
        sent += 1;
    }
    sent
}

fn restart_under_traffic(options: impl Fn(&Stage) -> Options, modes: &[AttachMode]) {
    let stage = Stage::new();
    let options = options(&stage);
    let start = |mode| {
        let started = stage.director.enter(|| {
            let mut kernel = Kernel::open(&options).unwrap();
            kernel.attach(stage.d0, mode).unwrap();
            kernel.maps()
        });
        started.unwrap()
    };
    let maps = start(modes[0]);
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| traffic(&stage, &stop));
        let stopper = Stop(&stop);
        for mode in modes.iter().cycle().take(RESTARTS as usize) {
            start(*mode);
        }
        drop(stopper);
        sender.join().unwrap()
    });
    assert!(sent > u64::from(RESTARTS), "no traffic: {sent} datagrams");
    // Fewer: some were handled by no program. More: some by two, which only a change of mode may do.
    let counted = counted(&*maps);
    if modes.len() == 1 {
        assert_eq!(counted, sent);
    } else {
        assert!(counted >= sent, "{counted} of {sent}");
    }
}

#[test]
fn tc_is_replaced_between_two_packets() {
    restart_under_traffic(Stage::options, &[AttachMode::Tc]);
}

#[test]
fn a_filter_is_replaced_between_two_packets() {
    restart_under_traffic(Stage::clsact, &[AttachMode::Tc]);
}

#[test]
fn xdp_is_replaced_between_two_packets() {
    restart_under_traffic(Stage::options, &[AttachMode::Xdp]);
}

#[test]
fn generic_xdp_is_replaced_between_two_packets() {
    restart_under_traffic(Stage::clsact, &[AttachMode::XdpGeneric]);
}

#[test]
fn the_mode_changes_without_a_gap() {
    restart_under_traffic(Stage::options, &[AttachMode::Tc, AttachMode::XdpGeneric]);
}
