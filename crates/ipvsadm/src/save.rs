//! What `ipvsadm -S` prints (ipvs.md §10.6): the commands that make the present services and destinations. Thresholds,
//! time-outs and statistics are not part of it.

use rvs_config::{
    ClientAddress, DestListing, Destination, ForwardingMethod, Listing, Protocol, ServiceKey, ServiceListing,
    Tunnel, TunnelChecksum, VirtualService,
};

use crate::list::{Endpoints, sorted};
use crate::{Names, sched_flags};

/// The rules, in the order of listings. `numeric` (`-n`) makes them independent of name services.
#[must_use]
pub fn save(listing: &Listing, numeric: bool, names: &dyn Names) -> String {
    let endpoints = Endpoints::new(numeric, names);
    let mut out = String::new();
    let services: Vec<&ServiceListing> = listing.services.iter().collect();
    for listed in sorted(services, |listed| &listed.service.key) {
        let service = &listed.service;
        let name = service_option(&service.key, endpoints);
        out.push_str(&format!("-A {name} -s {}", service.scheduler));
        if service.one_packet {
            out.push_str(" -o");
        }
        let flags = sched_flags::saved(service.flags, service.scheduler);
        if !flags.is_empty() {
            out.push_str(" -b ");
            out.push_str(&flags);
        }
        out.push_str(&own_options(service));
        out.push('\n');
        let dests: Vec<&DestListing> = listed.destinations.iter().collect();
        for dest in sorted(dests, |listed| &listed.destination.key) {
            out.push_str(&dest_rule(&name, &dest.destination, service.key.protocol, endpoints));
        }
    }
    out
}

/// What IPVS lacks, where it is not as without it.
fn own_options(service: &VirtualService) -> String {
    let mss = if service.mss == 0 { String::new() } else { format!(" --mss {}", service.mss) };
    match service.client_address {
        ClientAddress::Option => mss,
        way @ (ClientAddress::None | ClientAddress::Proxy) => format!("{mss} --client-address {way}"),
    }
}

fn service_option(key: &ServiceKey, endpoints: Endpoints<'_>) -> String {
    if let Some(mark) = key.mark() {
        return format!("-f {mark}{}", if key.address.is_ipv6() { " -6" } else { "" });
    }
    let option = match key.protocol {
        Protocol::Tcp => "-t",
        Protocol::Udp => "-u",
        Protocol::Sctp => "--sctp-service",
        Protocol::Mark => "-f",
    };
    format!("{option} {}", endpoints.show(key.address, key.port, key.protocol))
}

fn dest_rule(service: &str, dest: &Destination, protocol: Protocol, endpoints: Endpoints<'_>) -> String {
    let name = endpoints.show(dest.key.address, dest.key.port, protocol);
    let (method, tunnel) = match dest.method {
        ForwardingMethod::Masq => ("-m", String::new()),
        ForwardingMethod::Dr => ("-g", String::new()),
        ForwardingMethod::FullNat => ("--fullnat", String::new()),
        ForwardingMethod::Tunnel => ("-i", tunnel_options(dest.tunnel)),
    };
    format!("-a {service} -r {name} {method} -w {}{tunnel}\n", dest.weight)
}

fn tunnel_options(tunnel: Tunnel) -> String {
    let port = match tunnel {
        Tunnel::Gue { port, .. } => format!(" --tun-port {port}"),
        Tunnel::Ipip | Tunnel::Gre { .. } => String::new(),
    };
    let checksum = match tunnel {
        Tunnel::Ipip => "",
        Tunnel::Gue { checksum, .. } | Tunnel::Gre { checksum } => match checksum {
            TunnelChecksum::None => " --tun-nocsum",
            TunnelChecksum::Csum => " --tun-csum",
            TunnelChecksum::Remcsum => " --tun-remcsum",
        },
    };
    format!(" --tun-type {}{port}{checksum}", tunnel.name())
}
