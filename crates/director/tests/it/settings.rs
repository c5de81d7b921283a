//! Settings, and what follows from them in memory.

use rvs_abi::{Addr, Settings as Bits, TunnelType};
use rvs_config::*;
use rvs_director::Director;
use rvs_model::{Heap, Memory, records};

use crate::support::*;

const NOW: u64 = 310 * SECOND;

fn word(director: &Director<Heap>) -> u32 {
    records::config(director.memory()).settings
}

fn refusal(director: &mut Director<Heap>, commands: &[Command]) -> (usize, String) {
    let refusal = director.apply(commands, NOW).unwrap_err();
    (refusal.index, refusal.error.to_string())
}

#[test]
fn settings_begin_with_the_defaults_and_survive_the_director() {
    let mut director = director(&SMALL);
    assert_eq!((director.settings(), word(&director)), (Settings::default(), Bits::DEFAULT));
    director.apply(&[set(&[("sloppy_tcp", 1), ("conn_reuse_mode", 2), ("snat_reroute", 0)])], NOW).unwrap();
    assert_eq!(word(&director), Bits::SLOPPY_TCP | Bits::REUSE_FIN_WAIT | Bits::PMTU_DISC);
    let settings = director.settings();
    let director = Director::adopt(director.into_memory()).unwrap();
    assert_eq!(director.settings(), settings);
    let mut config = records::config(director.memory());
    config.settings |= 1 << 31;
    records::write_config(director.memory(), &config);
    let error = Director::adopt(director.into_memory()).unwrap_err().to_string();
    assert!(error.contains("CONFIG: unknown settings 0x80000241"), "{error}");
}

#[test]
fn what_is_wrong_changes_nothing() {
    let mut director = director(&SMALL);
    let before = word(&director);
    for (wrong, line) in [
        (("sloppy_tcp", 2), "setting sloppy_tcp: value 2, expected 0 to 1"),
        (("conn_reuse_mode", 4), "setting conn_reuse_mode: value 4, expected 0 to 3"),
        (("drop_packet", 1), "setting drop_packet: not supported by this version of rvs"),
        (("ignore_tunneled", 1), "setting ignore_tunneled: not supported by this version of rvs"),
    ] {
        let list = [set(&[("schedule_icmp", 1)]), set(&[("expire_nodest_conn", 1), wrong])];
        assert_eq!(refusal(&mut director, &list), (1, line.to_owned()));
        assert_eq!(word(&director), before);
    }
}

#[test]
fn one_word_needs_no_journal_and_two_changes_do() {
    let director = director(&SMALL);
    let change = |commands: &[Command]| director.plan(commands, NOW).unwrap().change();
    let both = set(&[("sloppy_tcp", 1), ("sloppy_sctp", 1)]);
    assert_eq!(change(std::slice::from_ref(&both)), None);
    let list = [both, add_service(vip(1), Scheduler::Rr)];
    assert_eq!(change(&list).unwrap().settings.unwrap().get(Setting::SloppySctp), 1);
    let plan = director.plan(&list[..1], NOW).unwrap().to_string();
    assert_eq!(plan, "settings: sloppy_sctp 0 -> 1 sloppy_tcp 0 -> 1\n");
}

/// What a packet of that real server's port 80 finds.
fn real_server(director: &Director<Heap>, n: u8) -> Option<u32> {
    let DestKey { address, port } = rs(n);
    director.memory().service_key(&rvs_abi::ServiceKey {
        vip: Addr::from_ip(address),
        vport: port.to_be(),
        protocol: 6,
        family: rvs_abi::family::V4,
        zero: rvs_abi::ServiceKey::REAL_SERVER,
    })
}

#[test]
fn nat_destinations_have_keys_while_nat_icmp_send_is_on() {
    let mut director = director(&SMALL);
    let direct = Destination { method: ForwardingMethod::Dr, ..dest(rs(2), 1) };
    let direct = Command::AddDestination { service: vip(1), destination: direct };
    let list = [add_service(vip(1), Scheduler::Rr), add(vip(1), rs(1), 1), direct];
    director.apply(&list, NOW).unwrap();
    assert_eq!(real_server(&director, 1), None);
    director.apply(&[set(&[("nat_icmp_send", 1)])], NOW).unwrap();
    let first = real_server(&director, 1);
    assert!(first.is_some() && real_server(&director, 2).is_none());
    // In two services: it stays until the last is gone.
    let again = [add_service(vip(2), Scheduler::Rr), add(vip(2), rs(1), 1), add(vip(2), rs(3), 1)];
    director.apply(&again, NOW).unwrap();
    assert_eq!(real_server(&director, 1), first);
    assert!(real_server(&director, 3).is_some());
    director.apply(&[delete(vip(1), rs(1))], NOW).unwrap();
    assert!(real_server(&director, 1).is_some_and(|id| Some(id) != first));
    director.apply(&[delete_service(vip(2))], NOW).unwrap();
    assert_eq!((real_server(&director, 1), real_server(&director, 3)), (None, None));
    director.apply(&[add(vip(1), rs(1), 1)], NOW).unwrap();
    // A director that is killed before it wrote them, or took one away.
    let memory = director.into_memory();
    let copied = copy(&memory, &SMALL, &[vip(1)]);
    let adopted = Director::adopt(copied).unwrap();
    assert_eq!(real_server(&adopted, 1), first);
    let mut director = Director::adopt(memory).unwrap();
    director.apply(&[set(&[("nat_icmp_send", 0)])], NOW).unwrap();
    assert_eq!(real_server(&director, 1), None);
}

/// What an ICMP error about a tunnel's packet to that real server finds.
fn tunnel(director: &Director<Heap>, n: u8, kind: u8, port: u16) -> Option<u32> {
    let address = Addr::from_ip(rs(n).address);
    director.memory().service_key(&rvs_abi::ServiceKey::tunnel(address, kind, port.to_be()))
}

#[test]
fn destinations_by_tunnels_have_keys() {
    let mut director = director(&SMALL);
    let by = |n, tunnel| Destination { method: ForwardingMethod::Tunnel, tunnel, ..dest(rs(n), 1) };
    let add_by = |service, n, tunnel| Command::AddDestination { service, destination: by(n, tunnel) };
    let gre = Tunnel::Gre { checksum: TunnelChecksum::Csum };
    let gue = Tunnel::Gue { port: 6080, checksum: TunnelChecksum::None };
    let list = [
        add_service(vip(1), Scheduler::Rr),
        add_by(vip(1), 1, gue),
        add_by(vip(1), 2, Tunnel::Ipip),
        add(vip(1), rs(3), 1),
        add_service(vip(2), Scheduler::Rr),
        add_by(vip(2), 1, gue),
    ];
    director.apply(&list, NOW).unwrap();
    let first = tunnel(&director, 1, TunnelType::GUE, 6080);
    assert!(first.is_some() && tunnel(&director, 2, TunnelType::IPIP, 0).is_some());
    assert_eq!(tunnel(&director, 1, TunnelType::GUE, 6081), None);
    assert_eq!((1..4).find_map(|n| tunnel(&director, n, TunnelType::GRE, 0)), None);
    assert_eq!(tunnel(&director, 3, TunnelType::IPIP, 0), None);
    // In two services: it stays until the last is gone, or is reached another way.
    let edit = Command::EditDestination { service: vip(1), destination: by(1, gre) };
    director.apply(&[edit], NOW).unwrap();
    assert!(tunnel(&director, 1, TunnelType::GUE, 6080).is_some_and(|id| Some(id) != first));
    assert_eq!(tunnel(&director, 1, TunnelType::GRE, 0), first);
    director.apply(&[delete_service(vip(2)), delete(vip(1), rs(2))], NOW).unwrap();
    assert_eq!(tunnel(&director, 1, TunnelType::GUE, 6080), None);
    assert_eq!(tunnel(&director, 2, TunnelType::IPIP, 0), None);
    // A director that was killed before it wrote one, or took one away.
    let memory = director.into_memory();
    let stale = rvs_abi::ServiceKey::tunnel(Addr::from_ip(rs(2).address), TunnelType::IPIP, 0);
    memory.set_service_key(&stale, Some(1)).unwrap();
    let missing = rvs_abi::ServiceKey::tunnel(Addr::from_ip(rs(1).address), TunnelType::GRE, 0);
    memory.set_service_key(&missing, None).unwrap();
    let adopted = Director::adopt(memory).unwrap();
    assert_eq!(tunnel(&adopted, 2, TunnelType::IPIP, 0), None);
    assert_eq!(tunnel(&adopted, 1, TunnelType::GRE, 0), first);
}

#[test]
fn removed_destinations_are_told_once_under_expire_nodest_conn() {
    let mut director = director(&SMALL);
    director.apply(&[add_service(vip(1), Scheduler::Rr), add(vip(1), rs(1), 1)], NOW).unwrap();
    director.apply(&[delete(vip(1), rs(1))], NOW).unwrap();
    assert!(!director.take_purge());
    director.apply(&[set(&[("expire_nodest_conn", 1)]), add(vip(1), rs(1), 1)], NOW).unwrap();
    assert!(!director.take_purge());
    director.apply(&[delete_service(vip(1))], NOW).unwrap();
    assert!(director.take_purge() && !director.take_purge());
}

#[test]
fn one_packet_scheduling_is_an_attribute_of_udp_services() {
    let mut director = director(&SMALL);
    let key = ServiceKey { protocol: Protocol::Udp, ..vip(1) };
    let attributes = |one_packet| VirtualService { one_packet, ..service(key, Scheduler::Rr) };
    director.apply(&[Command::AddService(attributes(true))], NOW).unwrap();
    let flags = |director: &Director<Heap>| records::service(director.memory(), 0).unwrap().flags;
    assert_eq!(flags(&director), 5);
    assert!(director.service_listing(&key).unwrap().service.one_packet);
    // An edit says all attributes anew (ipvs.md §1.1).
    director.apply(&[Command::EditService(attributes(false))], NOW).unwrap();
    assert_eq!(flags(&director), 1);
    director.apply(&[Command::EditService(attributes(true))], NOW).unwrap();
    let mut adopted = Director::adopt(director.into_memory()).unwrap();
    assert!(adopted.service_listing(&key).unwrap().service.one_packet);
    let wrong = VirtualService { one_packet: true, ..service(vip(2), Scheduler::Rr) };
    let name = vip(2);
    let line = format!("service {name}: one-packet scheduling is for UDP only");
    assert_eq!(refusal(&mut adopted, &[Command::AddService(wrong)]), (0, line));
}

#[test]
fn a_segment_size_and_what_servers_are_told_are_attributes_of_a_service() {
    let mut director = director(&SMALL);
    let attributes =
        |mss, client_address| VirtualService { mss, client_address, ..service(vip(1), Scheduler::Rr) };
    let record = |director: &Director<Heap>| {
        let record = records::service(director.memory(), 0).unwrap();
        (record.mss, record.client_address)
    };
    director.apply(&[Command::AddService(attributes(1360, ClientAddress::None))], NOW).unwrap();
    assert_eq!(record(&director), (1360, 1));
    // An edit says all of them anew.
    director.apply(&[Command::EditService(attributes(0, ClientAddress::Option))], NOW).unwrap();
    assert_eq!(record(&director), (0, 0));
    director.apply(&[Command::EditService(attributes(536, ClientAddress::None))], NOW).unwrap();
    let adopted = Director::adopt(director.into_memory()).unwrap();
    let listed = adopted.service_listing(&vip(1)).unwrap().service;
    assert_eq!((listed.mss, listed.client_address), (536, ClientAddress::None));
    assert_eq!(record(&adopted), (536, 1));
}

#[test]
fn a_segment_size_that_would_not_hold_is_refused() {
    let mut director = director(&SMALL);
    let attributes = |key, mss| VirtualService { mss, ..service(key, Scheduler::Rr) };
    for (mss, is_taken) in [(1, false), (535, false), (536, true), (65_495, true), (65_496, false)] {
        director.apply(&[Command::Clear], NOW).unwrap();
        let command = Command::AddService(attributes(vip(1), mss));
        if is_taken {
            director.apply(&[command], NOW).unwrap();
            continue;
        }
        let line = format!("service {}: maximum segment size {mss}, expected 536 to 65495, or 0", vip(1));
        assert_eq!(refusal(&mut director, &[command]), (0, line));
        director.apply(&[Command::AddService(attributes(vip(1), 0))], NOW).unwrap();
        let edit = Command::EditService(attributes(vip(1), mss));
        assert!(matches!(director.apply(&[edit], NOW), Err(refused) if refused.index == 0));
    }
    let udp = ServiceKey { protocol: Protocol::Udp, ..vip(2) };
    let line = format!("service {udp}: a maximum segment size is for TCP only");
    assert_eq!(refusal(&mut director, &[Command::AddService(attributes(udp, 1360))]), (0, line));
    let mark = ServiceKey::marked(7, false).unwrap();
    director.apply(&[Command::AddService(attributes(mark, 1360))], NOW).unwrap();
}

/// Which may get datagrams (ipvs.md §4.6).
#[test]
fn a_service_by_mark_may_have_one_packet_scheduling() {
    let mut director = director(&SMALL);
    let key = ServiceKey::marked(7, false).unwrap();
    let attributes = |one_packet| VirtualService { one_packet, ..service(key, Scheduler::Rr) };
    for command in [Command::AddService(attributes(true)), Command::EditService(attributes(false))] {
        director.apply(&[command], NOW).unwrap();
    }
    director.apply(&[Command::EditService(attributes(true))], NOW).unwrap();
    assert!(director.service_listing(&key).unwrap().service.one_packet);
}

/// docs/compatibility.md: connections of a deleted destination are gone "within two seconds from the listings". A director that is
/// killed within these leaves the rest to the next one.
#[test]
fn a_restart_goes_on_with_ending_connections_of_removed_destinations() {
    let mut director = director(&SMALL);
    let commands =
        [set(&[("expire_nodest_conn", 1)]), add_service(vip(1), Scheduler::Rr), add(vip(1), rs(1), 1)];
    director.apply(&commands, NOW).unwrap();
    director.apply(&[delete(vip(1), rs(1))], NOW).unwrap();
    assert_eq!(director.status().trash, 1);
    let mut adopted = Director::adopt(director.into_memory()).unwrap();
    assert_eq!(adopted.status().trash, 1);
    assert!(adopted.take_purge());
}
