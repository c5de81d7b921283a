//! Between what an operator says and what stands in the data plane's records.

use core::net::IpAddr;

use rvs_abi::{Addr, Dest, DestFlags, Method, Service, ServiceFlags, family};
use rvs_config::{DestKey, ForwardingMethod, Protocol, Scheduler, ServiceKey};

use crate::members::Member;
use crate::state::{ServiceId, ServiceState};

/// The key of the map of services.
pub(crate) fn key_record(key: &ServiceKey) -> rvs_abi::ServiceKey {
    rvs_abi::ServiceKey {
        vip: Addr::from_ip(key.address),
        vport: key.port.to_be(),
        protocol: key.protocol.number(),
        family: family_of(key.address),
        zero: 0,
    }
}

/// A service's identity; `None` if the record's protocol or family is none that this version writes.
pub(crate) fn service_key(record: &Service) -> Option<ServiceKey> {
    let address = address(record.vip, record.family)?;
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
    } else {
        record.flags |= ServiceFlags::REMOVED;
    }
    record
}

/// A destination's record, without the route.
pub(crate) fn dest_record(service: ServiceId, member: &Member, available: bool) -> Dest {
    Dest {
        addr: Addr::from_ip(member.key.address),
        port: member.key.port.to_be(),
        family: family_of(member.key.address),
        method: method_number(member.method),
        flags: DestFlags::USED | if available { DestFlags::AVAILABLE } else { 0 },
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
    (family == family_of(ip) && family == family::V4).then_some(ip)
}

const fn family_of(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => family::V4,
        IpAddr::V6(_) => family::V6,
    }
}

pub(crate) const fn method_number(method: ForwardingMethod) -> u8 {
    match method {
        ForwardingMethod::Masq => Method::MASQ,
        ForwardingMethod::Tunnel => Method::TUNNEL,
        ForwardingMethod::Dr => Method::DR,
    }
}

pub(crate) const fn method_from_number(number: u8) -> Option<ForwardingMethod> {
    match number {
        Method::MASQ => Some(ForwardingMethod::Masq),
        Method::TUNNEL => Some(ForwardingMethod::Tunnel),
        Method::DR => Some(ForwardingMethod::Dr),
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
