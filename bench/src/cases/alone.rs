//! The program alone: nanoseconds of one run, over a program that returns at once.
//!
//! `BPF_PROG_TEST_RUN` repeats a run on the same buffer, so a program would see its own output from the second run on,
//! and only one flow. Here it is not run itself: a program is that writes the next flow's frame over the whole buffer,
//! takes away what the last run pushed in front of it, and makes a tail call. The same with a program that returns at
//! once in the place of the one under test is the floor; the difference is what the program takes, with the flows'
//! connections as cold as their number makes them.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, bail};
use aya::maps::ProgramArray;
use aya::programs::{TestRun as _, TestRunOptions};

use super::{CONNS, KI};
use crate::Options;
use crate::interrupt;
use crate::measure::{Cpu, Series, now_ns, per};
use crate::report::{Line, Report};
use crate::rig::{
    DataPlane, DescriptorOf, End, Feeder, Hook, Kind, Programs, Rig, Service, Subject, Traffic,
};

pub(super) const NAME: &str = "alone";
const FLOWS: [u32; 3] = [1, 64 * KI, 512 * KI];
const RUNS: u32 = 1 << 20;
const RUNS_QUICK: u32 = 1 << 18;
const PROGRAM: &str = "rvs_xdp";
