//! IPv6, mixed families, SCTP and the kinds of tunnels: what is accepted, what stands in the records, what is listed.

use rvs_abi::{Addr, DestFlags, FullNatUse, family, proto};
use rvs_config::*;
use rvs_director::{DestId, Director, RouteInfo};
use rvs_model::{Heap, records};

use crate::crash::{assert_nothing_leaks, assert_records_agree};
use crate::packet;
use crate::support::*;

const CSUM: TunnelChecksum = TunnelChecksum::Csum;
const NONE: TunnelChecksum = TunnelChecksum::None;

/// How many IPv4 and IPv6 services packets are looked at for.
fn counts(director: &Director<Heap>) -> (u32, u32) {
    let config = records::config(director.memory());
    (config.services_v4, config.services_v6)
}

fn tunnel(key: DestKey, tunnel: Tunnel) -> Destination {
    Destination { method: ForwardingMethod::Tunnel, tunnel, ..dest(key, 1) }
}

fn add_dest(service: ServiceKey, destination: Destination) -> Command {
    Command::AddDestination { service, destination }
}

fn edit_dest(service: ServiceKey, destination: Destination) -> Command {
    Command::EditDestination { service, destination }
}

fn listed(director: &Director<Heap>, key: &ServiceKey) -> Vec<Destination> {
    let listing = director.service_listing(key).unwrap();
    listing.destinations.iter().map(|dest| dest.destination).collect()
}

/// ipvs.md §1.1: packets of a family are looked at only while it has a service.
#[test]
fn services_are_counted_by_family() {
    let mut director = director(&SMALL);
    let steps = [
        (add_service(vip6(1), Scheduler::Rr), (0, 1)),
        (add_service(vip(1), Scheduler::Rr), (1, 1)),
        (add_service(vip6(2), Scheduler::Rr), (1, 2)),
        (delete_service(vip(1)), (0, 2)),
        (delete_service(vip6(1)), (0, 1)),
        (Command::Clear, (0, 0)),
    ];
    for (command, expected) in steps {
        let plan = director.plan(std::slice::from_ref(&command), 0).unwrap().to_string();
        assert_eq!(plan.matches("services:").count(), 1, "{plan}");
        director.apply(&[command], 0).unwrap();
        assert_eq!(counts(&director), expected);
        assert_eq!(director.status().services, expected.0 + expected.1);
        director = Director::adopt(director.into_memory()).unwrap();
        assert_eq!(counts(&director), expected, "adopted");
    }
    let both = [add_service(vip(1), Scheduler::Rr), add_service(vip6(1), Scheduler::Rr)];
    let plan = director.plan(&both, 0).unwrap().to_string();
    for line in ["number of IPv4 services: 0 -> 1\n", "number of IPv6 services: 0 -> 1\n"] {
        assert!(plan.contains(line), "{plan}");
    }
}

#[test]
fn a_wrong_count_is_repaired() {
    let mut director = director(&SMALL);
    director.apply(&[add_service(vip6(1), Scheduler::Rr)], 0).unwrap();
    let config = records::config(director.memory());
    let wrong = rvs_abi::Config { services_v4: 3, services_v6: 0, ..config };
    records::write_config(director.memory(), &wrong);
    let director = Director::adopt(director.into_memory()).unwrap();
    assert_eq!(counts(&director), (0, 1));
}

#[test]
fn an_ipv6_service_stands_in_the_records_with_all_methods() {
    let mut director = director(&SMALL);
    let dr = Destination { method: ForwardingMethod::Dr, ..dest(rs6(3), 2) };
    let dests = [dest(rs6(2), 1), dr, tunnel(rs6(4), Tunnel::Ipip)];
    director.apply(&[add_service(vip6(1), Scheduler::Wrr)], 0).unwrap();
    for dest in dests {
        director.apply(&[add_dest(vip6(1), dest)], 0).unwrap();
    }
    packet::check(director.memory(), &[vip6(1)]);
    let (_, service) = packet::find(director.memory(), &vip6(1)).unwrap();
    assert_eq!((service.vip, service.family), (Addr::from_ip(vip6(1).address), family::V6));
    let record = records::dest(director.memory(), dest_id(director.memory(), &rs6(3))).unwrap();
    assert_eq!((record.family, record.method), (family::V6, rvs_abi::Method::DR));
    assert_eq!((record.addr, record.port), (Addr::from_ip(rs6(3).address), 80_u16.to_be()));
    let newest_first: Vec<Destination> = dests.into_iter().rev().collect();
    assert_eq!(listed(&director, &vip6(1)), newest_first);
    let adopted = Director::adopt(director.into_memory()).unwrap();
    assert_eq!(listed(&adopted, &vip6(1)), newest_first);
    assert_nothing_leaks(adopted);
}

/// Full NAT leads to the other family by translation: from then on packets of both families are looked at.
#[test]
fn full_nat_leads_to_the_other_family() {
    let full = |key| Destination { method: ForwardingMethod::FullNat, ..dest(key, 1) };
    for (service, own, other) in [(vip(1), rs(2), rs6(2)), (vip6(1), rs6(2), rs(2))] {
        let mut director = director(&SMALL);
        let uses = |director: &Director<Heap>| records::config(director.memory()).full_nat;
        director.apply(&[add_service(service, Scheduler::Rr), add_dest(service, full(own))], 0).unwrap();
        assert_eq!(uses(&director), FullNatUse::ANY);
        director.apply(&[add_dest(service, full(other))], 0).unwrap();
        assert_eq!(uses(&director), FullNatUse::ANY | FullNatUse::TRANSLATES);
        let record = |director: &Director<Heap>, key| {
            records::dest(director.memory(), dest_id(director.memory(), &key)).unwrap()
        };
        let known = DestFlags::USED | DestFlags::AVAILABLE;
        assert_eq!(record(&director, own).flags, known);
        assert_eq!(record(&director, other).flags, known | DestFlags::TRANSLATED);
        assert_eq!(listed(&director, &service), [full(other), full(own)]);
        let mut adopted = Director::adopt(director.into_memory()).unwrap();
        assert_eq!(listed(&adopted, &service), [full(other), full(own)]);
        // Connections outlive destinations.
        adopted.apply(&[Command::Clear], 0).unwrap();
        assert_eq!(uses(&adopted), FullNatUse::ANY | FullNatUse::TRANSLATES);
    }
}

/// What comes from another host and would go there is dropped (`loopback_address`).
#[test]
fn full_nat_does_not_lead_to_a_loopback_address() {
    let mut director = director(&SMALL);
    director.apply(&[add_service(vip(1), Scheduler::Rr), add_service(vip6(1), Scheduler::Rr)], 0).unwrap();
    for (service, address) in [(vip(1), "127.0.0.1"), (vip(1), "127.255.0.1"), (vip6(1), "::1")] {
        let key = DestKey { address: address.parse().unwrap(), port: 80 };
        let full = Destination { method: ForwardingMethod::FullNat, ..dest(key, 1) };
        let what = format!(
            "destination {key} of service {service}: full NAT leads to other hosts, not to a loopback address"
        );
        let error = CommandError::Invalid { what };
        assert_eq!(refused(&mut director, add_dest(service, full)), error);
        // As in IPVS, for clients on this host.
        director.apply(&[add(service, key, 1)], 0).unwrap();
        assert_eq!(refused(&mut director, edit_dest(service, full)), error);
    }
}

/// ipvs.md §1.2, §3.8; beyond it, full NAT does.
#[test]
fn only_a_tunnel_leads_to_the_other_family() {
    let mut director = director(&SMALL);
    let services = [add_service(vip(1), Scheduler::Rr), add_service(vip6(1), Scheduler::Rr)];
    director.apply(&services, 0).unwrap();
    for (service, key, number) in [(vip(1), rs6(2), family::V6), (vip6(1), rs(2), family::V4)] {
        for method in [ForwardingMethod::Masq, ForwardingMethod::Dr] {
            // Before the weight, ipvs.md §1.6.
            let wrong = Destination { method, ..dest(key, u32::MAX) };
            for command in [add_dest(service, wrong), edit_dest(service, wrong)] {
                assert!(matches!(refused(&mut director, command), CommandError::Invalid { .. }), "{service}");
            }
        }
        let good = tunnel(key, Tunnel::Gre { checksum: CSUM });
        director.apply(&[add_dest(service, good)], 0).unwrap();
        let record = records::dest(director.memory(), dest_id(director.memory(), &key)).unwrap();
        assert_eq!(record.family, number, "the destination's own");
        let masq = edit_dest(service, dest(key, 1));
        assert!(matches!(refused(&mut director, masq), CommandError::Invalid { .. }));
    }
    packet::check(director.memory(), &[vip(1), vip6(1)]);
    let adopted = Director::adopt(director.into_memory()).unwrap();
    assert_eq!(listed(&adopted, &vip6(1)), [tunnel(rs(2), Tunnel::Gre { checksum: CSUM })]);
    assert_nothing_leaks(adopted);
}

/// ipvs.md §1.2.
#[test]
fn ipv6_destinations_are_unicast_and_not_link_local() {
    let mut director = director(&SMALL);
    director.apply(&[add_service(vip6(1), Scheduler::Rr)], 0).unwrap();
    for address in ["::", "ff02::1", "ff0e::1:2", "fe80::1", "febf::1", "::ffff:10.0.0.1"] {
        let key = DestKey { address: address.parse().unwrap(), port: 80 };
        let error = refused(&mut director, add(vip6(1), key, 1));
        assert!(matches!(error, CommandError::Invalid { .. }), "{address}");
    }
    for address in ["2001:db8::9", "fd00::1", "fec0::1", "64:ff9b::a00:1"] {
        let key = DestKey { address: address.parse().unwrap(), port: 80 };
        director.apply(&[add(vip6(1), key, 1)], 0).unwrap();
    }
}

/// It would stand in the records as the IPv4 address.
#[test]
fn an_ipv4_mapped_address_is_no_service() {
    let mut director = director(&SMALL);
    let mapped = ServiceKey { address: "::ffff:10.0.0.1".parse().unwrap(), ..vip(1) };
    let error = refused(&mut director, add_service(mapped, Scheduler::Rr));
    let expected =
        "service [::ffff:10.0.0.1]:80/tcp: an IPv4-mapped address is in no packet, expected the IPv4 address";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn sctp_services() {
    let mut director = director(&SMALL);
    let sctp = ServiceKey { protocol: Protocol::Sctp, ..vip(1) };
    let commands =
        [add_service(vip(1), Scheduler::Rr), add_service(sctp, Scheduler::Wlc), add(sctp, rs(2), 1)];
    director.apply(&commands, 0).unwrap();
    let key = packet::key_record(&sctp);
    assert_eq!(key.protocol, proto::SCTP);
    let (_, service) = packet::find(director.memory(), &sctp).unwrap();
    assert_eq!(service.protocol, proto::SCTP);
    assert_eq!(counts(&director), (2, 0));
    let adopted = Director::adopt(director.into_memory()).unwrap();
    assert_eq!(listed(&adopted, &sctp), [dest(rs(2), 1)]);
}

/// ipvs.md §1.2: a change of the tunnel is for existing connections too, so it stands in the record; the route stays.
#[test]
fn a_tunnel_is_edited_in_its_record() {
    let mut director = director(&SMALL);
    let (gue, other) =
        (Tunnel::Gue { port: 5555, checksum: NONE }, Tunnel::Gue { port: 6080, checksum: CSUM });
    director.apply(&[add_service(vip(1), Scheduler::Rr), add_dest(vip(1), tunnel(rs(2), gue))], 0).unwrap();
    let id = dest_id(director.memory(), &rs(2));
    let route = RouteInfo { ifindex: 3, mtu: 1400, ..RouteInfo::default() };
    director.set_route(DestId(id), &route);
    let ways =
        [gue, other, Tunnel::Gre { checksum: CSUM }, Tunnel::Gre { checksum: NONE }, Tunnel::Ipip, gue];
    for way in ways {
        director.apply(&[edit_dest(vip(1), tunnel(rs(2), way))], 0).unwrap();
        assert_records_agree(&director);
        assert_eq!(listed(&director, &vip(1)), [tunnel(rs(2), way)]);
        let record = records::dest(director.memory(), id).unwrap();
        assert_eq!((record.ifindex, record.mtu), (3, 1400), "the route stays");
        director = Director::adopt(director.into_memory()).unwrap();
        assert_eq!(listed(&director, &vip(1)), [tunnel(rs(2), way)], "adopted");
    }
    // Without options it is reset, like everything else.
    director.apply(&[edit_dest(vip(1), dest(rs(2), 1))], 0).unwrap();
    assert_records_agree(&director);
    // In the trash it keeps its tunnel, and takes a new one when it comes back.
    director.apply(&[edit_dest(vip(1), tunnel(rs(2), other)), delete(vip(1), rs(2))], 0).unwrap();
    let mut director = Director::adopt(director.into_memory()).unwrap();
    assert_eq!(records::dest(director.memory(), id).unwrap().tunnel_port, 6080_u16.to_be());
    director.apply(&[add_dest(vip(1), tunnel(rs(2), Tunnel::Gre { checksum: NONE }))], 0).unwrap();
    assert_eq!(dest_id(director.memory(), &rs(2)), id);
    assert_records_agree(&director);
    assert_nothing_leaks(director);
}

/// A tunnel's port is written before its type: a director that is killed in between leaves both in contradiction.
#[test]
fn a_destination_that_was_coming_back_is_adopted() {
    let mut director = director(&SMALL);
    let gue = tunnel(rs(2), Tunnel::Gue { port: 5555, checksum: NONE });
    director.apply(&[add_service(vip(1), Scheduler::Rr), add_dest(vip(1), gue)], 0).unwrap();
    director.apply(&[edit_dest(vip(1), dest(rs(2), 1)), delete(vip(1), rs(2))], 0).unwrap();
    let id = dest_id(director.memory(), &rs(2));
    open_conns(director.memory(), id, 1);
    let half =
        rvs_abi::Dest { tunnel_port: 5555_u16.to_be(), ..records::dest(director.memory(), id).unwrap() };
    records::write_dest(director.memory(), id, &half);
    let mut adopted = Director::adopt(director.into_memory()).unwrap();
    assert_eq!(adopted.status().trash, 1);
    assert_eq!(records::dest(adopted.memory(), id).unwrap().tunnel_port, 0, "repaired");
    adopted.apply(&[add_dest(vip(1), gue)], 0).unwrap();
    assert_eq!(dest_id(adopted.memory(), &rs(2)), id);
    assert_records_agree(&adopted);
}

/// ipvs.md §1.6: GUE's port after weight and thresholds, before the destination is looked for.
#[test]
fn wrong_tunnels_are_refused_in_the_order_of_ipvs() {
    let mut director = director(&SMALL);
    director.apply(&[add_service(vip(1), Scheduler::Rr), add(vip(1), rs(2), 1)], 0).unwrap();
    let no_port = tunnel(rs(2), Tunnel::Gue { port: 0, checksum: NONE });
    let heavy = Destination { weight: u32::MAX, ..no_port };
    let thresholds = Destination { upper_threshold: 1, lower_threshold: 2, ..no_port };
    let missing = Destination { key: rs(9), ..no_port };
    for destination in [heavy, thresholds] {
        let error = refused(&mut director, add_dest(vip(1), destination));
        assert!(matches!(error, CommandError::OutOfRange { .. }), "{error}");
    }
    let error = refused(&mut director, add_dest(vip(1), no_port));
    let expected =
        "destination 192.168.9.2:80 of service 10.0.0.1:80/tcp: tunnel port 0, expected 1 to 65535";
    assert_eq!(error, CommandError::Invalid { what: expected.into() }, "before it is found to exist");
    let error = refused(&mut director, edit_dest(vip(1), missing));
    assert!(matches!(error, CommandError::Invalid { .. }), "before it is found missing");
    let remcsum = tunnel(rs(2), Tunnel::Gre { checksum: TunnelChecksum::Remcsum });
    let masq = Destination { tunnel: Tunnel::Gre { checksum: NONE }, ..dest(rs(2), 1) };
    for destination in [remcsum, masq] {
        let error = refused(&mut director, edit_dest(vip(1), destination));
        assert!(matches!(error, CommandError::Invalid { .. }), "{error}");
    }
}
