//! The programs on single frames, and what the kernel says about them.

use std::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::Region;
use rvs_abi::{Outcome, Program, ProgramSet};
use rvs_dataplane::Kernel;
use rvs_model::Memory;

use crate::stage::{Stage, counted};

/// `XDP_PASS` of `linux/bpf.h`.
const XDP_PASS: u32 = 2;
/// `TC_ACT_SHOT` and `TC_ACT_REDIRECT` of `linux/pkt_cls.h`.
const TC_TAKEN: [u32; 2] = [2, 7];

/// Ethernet, IPv4, UDP, four bytes.
fn frame() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0x26, 0xcb, 10, 0, 0, 2, 10, 0, 0, 1]);
    frame.extend([0x30, 0x39, 0, 9, 0, 12, 0, 0, b'd', b'a', b't', b'a']);
    frame
}

fn no_services(kernel: &Kernel) -> u64 {
    let counters = kernel.region(Region::Counters).iter().skip(Outcome::NoServices as usize);
    counters.step_by(rvs_abi::limits::COUNTERS as usize).map(|counter| counter.load(Relaxed)).sum()
}

#[test]
fn a_frame_passes_xdp_and_is_counted_each_time() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| {
        for ifindex in [0, stage.d0] {
            let before = no_services(kernel);
            let run = kernel.run_xdp(&frame(), ifindex, 10).unwrap();
            assert_eq!((run.action, run.packet), (XDP_PASS, frame()));
            assert_eq!(no_services(kernel) - before, 10);
        }
        assert_eq!(counted(kernel), 20);
    });
}

#[test]
fn a_frame_passes_tc_and_is_counted_each_time() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| {
        for ifindex in [0, stage.d0] {
            let before = no_services(kernel);
            let run = kernel.run_tc(&frame(), ifindex, 10).unwrap();
            assert!(!TC_TAKEN.contains(&run.action), "{}", run.action);
            assert_eq!(run.packet, frame());
            assert_eq!(no_services(kernel) - before, 10);
        }
        assert_eq!(counted(kernel), 20);
    });
}

#[test]
fn a_run_needs_a_frame_and_an_interface() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| {
        assert!(kernel.run_xdp(&[0; 13], 0, 1).is_err());
        assert!(kernel.run_tc(&[0; 13], 0, 1).is_err());
        assert!(kernel.run_xdp(&frame(), 9999, 1).is_err());
        assert!(kernel.run_tc(&frame(), 9999, 1).is_err());
    });
}

#[test]
fn the_kernel_tells_about_each_program() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| {
        assert!(kernel.programs().is_empty());
        kernel.run_tc(&frame(), 0, 1).unwrap();
        let names =
            |kernel: &Kernel| kernel.programs().iter().map(|program| program.name).collect::<Vec<_>>();
        let needed_always = ["begin", "error", "follow", "tell", "gather", "cut_up", "here"];
        assert_eq!(names(kernel)[0], "rvs_tc");
        assert_eq!(names(kernel)[1..], needed_always.map(|program| format!("rvs_tc_{program}")));
        kernel.load(ProgramSet::of(&[Program::Bypass])).unwrap();
        assert_eq!(names(kernel)[8..], ["rvs_tc_past"]);
        // With those that are needed under the one hook already.
        kernel.run_xdp(&frame(), 0, 1).unwrap();
        assert!(names(kernel).contains(&"rvs_xdp_past"));
        kernel.load(ProgramSet::ON_DEMAND).unwrap();
        kernel.run_tc_after_xdp(&frame(), 0, 1).unwrap();
        kernel.run_local(&frame(), 0, 1).unwrap();
        let names = names(kernel);
        assert_eq!(names[..4], ["rvs_xdp", "rvs_tc", "rvs_tc_after_xdp", "rvs_local"]);
        let behind = |hook: &str, programs: &[&str]| {
            programs.iter().map(|program| format!("rvs_{hook}_{program}")).collect::<Vec<_>>()
        };
        let under_xdp = [
            "begin", "error", "follow", "tell", "gather", "cut", "xlate", "listen", "heard", "past", "mss",
            "head",
        ];
        let under_tc = [
            "begin", "error", "follow", "tell", "gather", "cut_up", "here", "xlate", "listen", "heard",
            "past", "mss", "head",
        ];
        assert_eq!(names[4..], [behind("xdp", &under_xdp), behind("tc", &under_tc)].concat());
        for program in kernel.programs() {
            assert!(program.verified_instructions > 10 && program.verified_instructions < 1_000_000);
            assert!(program.id != 0 && program.translated_bytes > 0 && !program.load_time.is_zero());
        }
    });
}
