//! Which programs are loaded when.

use std::cell::RefCell;
use std::sync::atomic::AtomicU64;

use rvs_abi::map::Region;
use rvs_abi::{Program, ProgramSet};
use rvs_config::*;
use rvs_director::Director;
use rvs_model::{Heap, Memory, MemoryError, records};

use crate::support::*;

const FTP: ProgramSet = ProgramSet::of(&[Program::Ftp, Program::Heard]);
const TRANSLATE: ProgramSet = ProgramSet::of(&[Program::Translate]);
const BYPASS: ProgramSet = ProgramSet::of(&[Program::Bypass]);
const CLAMP: ProgramSet = ProgramSet::of(&[Program::Clamp]);
const HEAD: ProgramSet = ProgramSet::of(&[Program::Head]);

/// Memory that notes what is to be loaded, and refuses some of it.
struct Loading {
    heap: Heap,
    asked: RefCell<Vec<ProgramSet>>,
    refused: Option<Program>,
}

impl Memory for Loading {
    fn region(&self, region: Region) -> &[AtomicU64] {
        self.heap.region(region)
    }

    fn set_service_key(&self, key: &rvs_abi::ServiceKey, id: Option<u32>) -> Result<(), MemoryError> {
        self.heap.set_service_key(key, id)
    }

    fn service_keys(&self) -> Result<Vec<rvs_abi::ServiceKey>, MemoryError> {
        self.heap.service_keys()
    }

    fn load(&self, programs: ProgramSet) -> Result<(), MemoryError> {
        if self.refused.is_some_and(|refused| programs.has(refused)) {
            return Err(MemoryError::Program("program rvs_tc_listen: refused".into()));
        }
        self.asked.borrow_mut().push(programs);
        Ok(())
    }
}

fn loading(refused: Option<Program>) -> Director<Loading> {
    let memory = Loading { heap: Heap::new(&SMALL), asked: RefCell::default(), refused };
    let mut director = Director::create(memory).unwrap();
    director.set_ftp_ports(&[21, 2121]);
    director
}

/// What was asked for since the last time.
fn asked(director: &Director<Loading>) -> Vec<ProgramSet> {
    director.memory().asked.take()
}

fn at_port(port: u16) -> ServiceKey {
    ServiceKey { port, ..vip(1) }
}

fn with(change: impl FnOnce(&mut VirtualService)) -> Command {
    let mut service = service(vip(1), Scheduler::Rr);
    change(&mut service);
    Command::AddService(service)
}

fn by_full_nat(service: ServiceKey, key: DestKey) -> Command {
    let destination = Destination { method: ForwardingMethod::FullNat, ..dest(key, 1) };
    Command::AddDestination { service, destination }
}

fn bypass(on: u32) -> Command {
    Command::SetSettings { settings: [("cache_bypass".to_owned(), on)].into() }
}

#[test]
fn what_most_directors_do_needs_none() {
    let mut director = loading(Some(Program::Ftp));
    director.load_programs().unwrap();
    assert_eq!(asked(&director), [ProgramSet::NONE]);
    let udp = ServiceKey { protocol: Protocol::Udp, port: 21, ..vip(2) };
    director.apply(&three(Scheduler::Sh, [1, 1, 1]), 0).unwrap();
    director.apply(&[by_full_nat(vip(1), rs(9)), add_service(udp, Scheduler::Rr)], 0).unwrap();
    assert_eq!(asked(&director), []);
}

#[test]
fn each_is_loaded_before_the_first_that_needs_it_can_be_found() {
    let mark = ServiceKey::marked(7, false).unwrap();
    let full_nat6 = [add_service(vip(1), Scheduler::Rr), by_full_nat(vip(1), rs6(1))];
    let cases: [(&[Command], ProgramSet); 8] = [
        (&[add_service(at_port(21), Scheduler::Rr)], FTP),
        (&[add_service(at_port(2121), Scheduler::Rr)], FTP),
        (&[add_service(mark, Scheduler::Rr)], FTP),
        (&full_nat6, TRANSLATE),
        (&[with(|service| service.mss = 1400)], CLAMP),
        (&[with(|service| service.client_address = ClientAddress::Proxy)], HEAD),
        (&[bypass(1)], BYPASS),
        (&[bypass(1), with(|service| service.mss = 1400)], BYPASS.with(CLAMP)),
    ];
    for (commands, expected) in cases {
        let mut director = loading(None);
        let plan = director.prepare(commands, 0).unwrap();
        let actions: Vec<String> = plan.actions().iter().map(ToString::to_string).collect();
        let position = |start: &str| actions.iter().position(|action| action.starts_with(start));
        let loads = actions.iter().rposition(|action| action.starts_with("load programs")).unwrap();
        assert!(position("packets to").is_none_or(|key| loads < key), "{actions:#?}");
        assert!(position("settings:").is_none_or(|settings| loads < settings), "{actions:#?}");
        director.execute(plan, 0).unwrap();
        assert_eq!(asked(&director).last(), Some(&expected), "{commands:?}");
        assert_eq!(records::config(&director.memory().heap).programs, expected.0);
    }
}

#[test]
fn what_was_loaded_once_is_loaded_by_the_next_director_too() {
    let mut director = loading(None);
    director.apply(&[with(|service| service.mss = 1400), bypass(1)], 0).unwrap();
    director.apply(&[add_service(at_port(2121), Scheduler::Rr)], 0).unwrap();
    // Connections of it may still be there.
    director.apply(&[Command::Clear, bypass(0)], 0).unwrap();
    let all = FTP.with(CLAMP).with(BYPASS);
    assert_eq!(asked(&director).last(), Some(&all));
    let mut director = Director::adopt(director.into_memory()).unwrap();
    director.load_programs().unwrap();
    assert_eq!(asked(&director), [all]);
}

#[test]
fn other_ports_of_ftp_count_from_the_next_start_on() {
    let mut director = loading(None);
    director.set_ftp_ports(&[]);
    let services = [add_service(at_port(21), Scheduler::Rr), add_service(at_port(2121), Scheduler::Rr)];
    director.apply(&services, 0).unwrap();
    assert_eq!(asked(&director), []);
    let mut director = Director::adopt(director.into_memory()).unwrap();
    director.set_ftp_ports(&[2121]);
    director.load_programs().unwrap();
    assert_eq!(asked(&director), [FTP]);
}

#[test]
fn ftp_is_listened_to_once_there_is_a_service_for_it() {
    let mut director = loading(None);
    director.load_programs().unwrap();
    // As they stand in a packet.
    let ports = |director: &Director<Loading>| {
        records::config(&director.memory().heap).ftp_ports.map(u16::to_ne_bytes)
    };
    assert_eq!(ports(&director), [[0; 2]; 2]);
    director.apply(&three(Scheduler::Rr, [1, 1, 1]), 0).unwrap();
    assert_eq!(ports(&director), [[0; 2]; 2]);
    director.apply(&[add_service(at_port(21), Scheduler::Rr)], 0).unwrap();
    assert_eq!(ports(&director), [[0, 21], [8, 73]]);
    director.apply(&[Command::Clear], 0).unwrap();
    let mut director = Director::adopt(director.into_memory()).unwrap();
    director.set_ftp_ports(&[2121]);
    director.load_programs().unwrap();
    assert_eq!(ports(&director), [[8, 73], [0; 2]]);
}

#[test]
fn a_command_whose_programs_are_refused_changes_nothing() {
    let mut director = loading(Some(Program::Heard));
    director.apply(&three(Scheduler::Rr, [1, 1, 1]), 0).unwrap();
    let listing = director.listing();
    let commands = [add(vip(1), rs(9), 1), add_service(at_port(21), Scheduler::Rr)];
    let refusal = director.apply(&commands, SECOND).unwrap_err();
    assert_eq!(refusal.index, 1);
    assert_eq!(refusal.error, CommandError::Invalid { what: "program rvs_tc_listen: refused".into() });
    assert_eq!(director.listing(), listing);
    assert_eq!(director.status().limits_reached, 0);
    director.apply(&commands[..1], 2 * SECOND).unwrap();
}
