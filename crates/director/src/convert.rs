//! Between what an operator says and what stands in the data plane's records.

use core::net::IpAddr;

use rvs_abi::sched::Forwarding;
use rvs_abi::{Addr, ClientTold, Dest, DestFlags, Method, Service, ServiceFlags, TunnelFlags, TunnelType};
use rvs_config::{
    ClientAddress, DestKey, ForwardingMethod, Protocol, Scheduler, ServiceKey, Tunnel, TunnelChecksum,
};

use crate::members::Member;
use crate::state::{Family, ServiceId, ServiceState};

/// The key of the map of services.
pub(crate) fn key_record(key: &ServiceKey) -> rvs_abi::ServiceKey {
    rvs_abi::ServiceKey {
        vip: Addr::from_ip(key.address),
        vport: key.port.to_be(),
        protocol: key.protocol.number(),
        family: Family::of(key.address).number(),
        zero: 0,
    }
}

/// A service's identity; `None` if the record's protocol or family is none that this version writes.
pub(crate) fn service_key(record: &Service) -> Option<ServiceKey> {
    let address = address(record.vip, record.family)?;
    if record.protocol == rvs_abi::mark::PROTOCOL {
        let by_mark = ServiceKey { protocol: Protocol::Mark, address, port: u16::from_be(record.vport) };
        return ServiceKey::marked(by_mark.mark()?, address.is_ipv6()).filter(|key| *key == by_mark);
    }
    Some(ServiceKey {
        protocol: Protocol::from_number(record.protocol)?,
        address,
        port: u16::from_be(record.vport),
    })
}

/// A service's record.
pub(crate) fn service_record(service: &ServiceState) -> Service {
    let key = key_record(&service.key);
    let mut record = Service {
        vip: key.vip,
        vport: key.vport,
        protocol: key.protocol,
        family: key.family,
        flags: ServiceFlags::USED,
        ..Service::default()
    };
    if let Some(live) = &service.live {
        record.scheduler = live.scheduler as u8;
        record.sched_flags = live.flags.0;
        record.table = live.table.at;
        record.table_words = live.table.words;
        record.mss = live.mss;
        record.client_address = client_address(live.client_address);
        record.flags |= if live.one_packet { ServiceFlags::ONE_PACKET } else { 0 };
    } else {
        record.flags |= ServiceFlags::REMOVED;
    }
    record
}

/// The number of a way in which full NAT tells servers who the client is.
pub(crate) const fn client_address(way: ClientAddress) -> u8 {
    match way {
        ClientAddress::Option => ClientTold::OPTION,
        ClientAddress::None => ClientTold::NONE,
        ClientAddress::Proxy => ClientTold::PROXY,
    }
}

/// The way of that number.
pub(crate) fn client_address_from(number: u8) -> Option<ClientAddress> {
    ClientAddress::ALL.iter().copied().find(|way| client_address(*way) == number)
}

/// A destination's record, without the route.
pub(crate) fn dest_record(
    (service, key): (ServiceId, &ServiceKey),
    member: &Member,
    available: bool,
) -> Dest {
    let Forwarding { method, tunnel, tunnel_flags, tunnel_port } = forwarding(member);
    let crosses = method == Method::FULL_NAT && member.key.address.is_ipv4() != key.address.is_ipv4();
    let translated = if crosses { DestFlags::TRANSLATED } else { 0 };
    Dest {
        addr: Addr::from_ip(member.key.address),
        port: member.key.port.to_be(),
        family: Family::of(member.key.address).number(),
        method,
        tunnel,
        tunnel_flags,
        tunnel_port: tunnel_port.to_be(),
        flags: DestFlags::USED | translated | if available { DestFlags::AVAILABLE } else { 0 },
        service: service.0,
        weight: member.weight,
        ..Dest::default()
    }
}

/// A destination's identity within its service; `None` if the record's family is none that this version writes.
pub(crate) fn dest_key(record: &Dest) -> Option<DestKey> {
    Some(DestKey { address: address(record.addr, record.family)?, port: u16::from_be(record.port) })
}

fn address(addr: Addr, family: u8) -> Option<IpAddr> {
    let ip = addr.to_ip();
    (family == Family::of(ip).number()).then_some(ip)
}

/// How packets reach a destination.
pub(crate) const fn forwarding(member: &Member) -> Forwarding {
    let method = match member.method {
        ForwardingMethod::Masq => Method::MASQ,
        ForwardingMethod::Tunnel => Method::TUNNEL,
        ForwardingMethod::Dr => Method::DR,
        ForwardingMethod::FullNat => Method::FULL_NAT,
    };
    let tunnel = match member.tunnel {
        Tunnel::Ipip => TunnelType::IPIP,
        Tunnel::Gue { .. } => TunnelType::GUE,
        Tunnel::Gre { .. } => TunnelType::GRE,
    };
    let tunnel_flags = match member.tunnel.checksum() {
        TunnelChecksum::None => 0,
        TunnelChecksum::Csum => TunnelFlags::CSUM,
        TunnelChecksum::Remcsum => TunnelFlags::REMCSUM,
    };
    Forwarding { method, tunnel, tunnel_flags, tunnel_port: member.tunnel.port() }
}

/// The same in the other direction; `None` for what this version does not write.
pub(crate) fn forwarding_parts(forwarding: Forwarding) -> Option<(ForwardingMethod, Tunnel)> {
    let Forwarding { method, tunnel, tunnel_flags, tunnel_port: port } = forwarding;
    let method = method_from_number(method)?;
    let checksum = match tunnel_flags {
        0 => TunnelChecksum::None,
        TunnelFlags::CSUM => TunnelChecksum::Csum,
        TunnelFlags::REMCSUM => TunnelChecksum::Remcsum,
        _ => return None,
    };
    let tunnel = match (tunnel, port) {
        (TunnelType::IPIP, 0) if checksum == TunnelChecksum::None => Tunnel::Ipip,
        (TunnelType::GUE, 1..) => Tunnel::Gue { port, checksum },
        (TunnelType::GRE, 0) if checksum != TunnelChecksum::Remcsum => Tunnel::Gre { checksum },
        _ => return None,
    };
    (method == ForwardingMethod::Tunnel || tunnel.is_ipip()).then_some((method, tunnel))
}

/// How packets reached a destination that was removed, from its record; `None` if the method is unknown.
///
/// A tunnel's port stands in another word than its type. If they contradict each other, a director was killed while the
/// destination came back; packets don't find it, and whoever adds it says the tunnel anew.
pub(crate) fn removed_forwarding(record: &Dest) -> Option<(ForwardingMethod, Tunnel)> {
    let Dest { method, tunnel, tunnel_flags, tunnel_port, .. } = *record;
    let forwarding = Forwarding { method, tunnel, tunnel_flags, tunnel_port: u16::from_be(tunnel_port) };
    forwarding_parts(forwarding).or_else(|| Some((method_from_number(method)?, Tunnel::Ipip)))
}

const fn method_from_number(number: u8) -> Option<ForwardingMethod> {
    match number {
        Method::MASQ => Some(ForwardingMethod::Masq),
        Method::TUNNEL => Some(ForwardingMethod::Tunnel),
        Method::DR => Some(ForwardingMethod::Dr),
        Method::FULL_NAT => Some(ForwardingMethod::FullNat),
        _ => None,
    }
}

pub(crate) fn scheduler_from_number(number: u8) -> Option<Scheduler> {
    Scheduler::ALL.iter().copied().find(|scheduler| *scheduler as u8 == number)
}

const _: () = {
    use rvs_abi::sched::id;
    assert!(Scheduler::Rr as u8 == id::RR && Scheduler::Wrr as u8 == id::WRR);
    assert!(Scheduler::Lc as u8 == id::LC && Scheduler::Wlc as u8 == id::WLC);
    assert!(Scheduler::Sh as u8 == id::SH);
};
