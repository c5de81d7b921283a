//! What IPVS accepts (ipvs.md §1.2), in its order of checks (§1.6).

use core::net::{IpAddr, Ipv4Addr};

use rvs_config::limits::{MSS_MAX, MSS_MIN, THRESHOLD_MAX, TIMEOUT_S_MAX, WEIGHT_MAX};
use rvs_config::{
    ClientAddress, CommandError, Destination, ForwardingMethod, Protocol, ServiceKey, TimeoutsUpdate, Tunnel,
    TunnelChecksum, VirtualService,
};

/// A new service, after it is known not to exist.
pub(crate) fn service(service: &VirtualService) -> Result<(), CommandError> {
    let key = &service.key;
    if key.mark().is_some() {
        flags(service)?;
        return tcp_options(service);
    }
    if is_mapped(key.address) {
        let what =
            format!("service {key}: an IPv4-mapped address is in no packet, expected the IPv4 address");
        return Err(CommandError::Invalid { what });
    }
    if key.port == 0 {
        let what = format!("service {key}: port 0 (any port) needs persistence, which is not supported yet");
        return Err(CommandError::NotSupported { what });
    }
    flags(service)?;
    one_packet(service)?;
    tcp_options(service)
}

/// `ipvsadm` refuses it for others (ipvs.md §10.2); it would have no effect (§4.6). A service by mark may get datagrams.
pub(crate) fn one_packet(service: &VirtualService) -> Result<(), CommandError> {
    let may_be = service.key.mark().is_some() || service.key.protocol == Protocol::Udp;
    if service.one_packet && !may_be {
        let what = format!("service {}: one-packet scheduling is for UDP only", service.key);
        return Err(CommandError::Invalid { what });
    }
    Ok(())
}

/// IPVS has no such options. A size below what an end takes that announces nothing would not hold (RFC 9293 §3.7.1).
pub(crate) fn tcp_options(service: &VirtualService) -> Result<(), CommandError> {
    let VirtualService { key, mss, client_address, .. } = service;
    let may_be = key.mark().is_some() || key.protocol == Protocol::Tcp;
    if *client_address == ClientAddress::Proxy && !may_be {
        let what = format!("service {key}: the PROXY protocol is for TCP only");
        return Err(CommandError::Invalid { what });
    }
    if *mss == 0 {
        return Ok(());
    }
    if !may_be {
        let what = format!("service {key}: a maximum segment size is for TCP only");
        return Err(CommandError::Invalid { what });
    }
    if !(MSS_MIN..=MSS_MAX).contains(mss) {
        let what =
            format!("service {key}: maximum segment size {mss}, expected {MSS_MIN} to {MSS_MAX}, or 0");
        return Err(CommandError::OutOfRange { what });
    }
    Ok(())
}

/// The scheduler's options: three bits.
pub(crate) fn flags(service: &VirtualService) -> Result<(), CommandError> {
    if service.flags.0 > 7 {
        let what = format!("service {}: scheduler flags {}, expected 0 to 7", service.key, service.flags.0);
        return Err(CommandError::Invalid { what });
    }
    Ok(())
}

/// `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2). The data plane's records have IPv4 addresses in that form.
const fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// What is checked before the destination is looked for: family, weight, thresholds, tunnel.
pub(crate) fn attributes(service: &ServiceKey, dest: &Destination) -> Result<(), CommandError> {
    let name = format_args!("destination {} of service {service}", dest.key);
    let crosses = matches!(dest.method, ForwardingMethod::Tunnel | ForwardingMethod::FullNat);
    if dest.key.address.is_ipv4() != service.address.is_ipv4() && !crosses {
        let what = format!("{name}: another address family than its service's needs a tunnel or full NAT");
        return Err(CommandError::Invalid { what });
    }
    if dest.method == ForwardingMethod::FullNat && dest.key.address.is_loopback() {
        let what = format!("{name}: full NAT leads to other hosts, not to a loopback address");
        return Err(CommandError::Invalid { what });
    }
    if dest.weight > WEIGHT_MAX {
        let what = format!("{name}: weight {}, expected 0 to {WEIGHT_MAX}", dest.weight);
        return Err(CommandError::OutOfRange { what });
    }
    let (upper, lower) = (dest.upper_threshold, dest.lower_threshold);
    if lower > upper {
        let what = format!("{name}: lower threshold {lower} is above the upper threshold {upper}");
        return Err(CommandError::OutOfRange { what });
    }
    if upper > THRESHOLD_MAX {
        let what = format!("{name}: upper threshold {upper}, expected 0 to {THRESHOLD_MAX}");
        return Err(CommandError::Invalid { what });
    }
    match wrong_tunnel(dest) {
        Some(wrong) => Err(CommandError::Invalid { what: format!("{name}: {wrong}") }),
        None => Ok(()),
    }
}

/// IPVS itself checks only GUE's port. The others can't come from `ipvsadm`, which refuses them (ipvs.md §10.2).
fn wrong_tunnel(dest: &Destination) -> Option<String> {
    let Destination { method, tunnel, .. } = dest;
    match tunnel {
        Tunnel::Gue { port: 0, .. } => Some("tunnel port 0, expected 1 to 65535".to_owned()),
        Tunnel::Gre { checksum: TunnelChecksum::Remcsum } => {
            Some("tunnel checksum remcsum with gre, expected none or csum".to_owned())
        }
        _ if *method != ForwardingMethod::Tunnel && !tunnel.is_ipip() => {
            Some(format!("tunnel {tunnel} with method {method}, expected method tunnel"))
        }
        _ => None,
    }
}

/// What is checked of a new destination after that: its address.
///
/// IPVS asks the routing table, and so refuses broadcast addresses of the director's own networks too. They are not
/// known here, and such a destination is harmless: nothing answers. Of link-local IPv6 addresses it takes those that are
/// the director's own, which can't be real servers here.
pub(crate) fn address(service: &ServiceKey, dest: &Destination) -> Result<(), CommandError> {
    let unicast = match dest.key.address {
        IpAddr::V4(v4) => v4.octets()[0] != 0 && !v4.is_multicast() && v4 != Ipv4Addr::BROADCAST,
        IpAddr::V6(v6) => {
            !v6.is_unspecified()
                && !v6.is_multicast()
                && !v6.is_unicast_link_local()
                && !is_mapped(dest.key.address)
        }
    };
    if !unicast {
        let what = format!("destination {} of service {service}: address is not unicast", dest.key);
        return Err(CommandError::Invalid { what });
    }
    Ok(())
}

/// What IPVS would accept and this version does not.
pub(crate) fn supported(service: &ServiceKey, dest: &Destination) -> Result<(), CommandError> {
    if dest.upper_threshold == 0 {
        return Ok(());
    }
    let what =
        format!("destination {} of service {service}: connection thresholds are not supported yet", dest.key);
    Err(CommandError::NotSupported { what })
}

/// The time-outs of `--set`: at most 31 days (ipvs.md §10.2).
pub(crate) fn timeouts(update: &TimeoutsUpdate) -> Result<(), CommandError> {
    for (name, secs) in [("tcp", update.tcp_s), ("tcpfin", update.tcp_fin_s), ("udp", update.udp_s)] {
        if secs > TIMEOUT_S_MAX {
            let what = format!("time-out {name}: {secs} s, expected 0 to {TIMEOUT_S_MAX}");
            return Err(CommandError::Invalid { what });
        }
    }
    Ok(())
}
