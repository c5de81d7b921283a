//! `rvs services`: virtual services and their destinations.

use anyhow::Result;
use rvs_config::{ClientAddress, Counters, DestListing, Listing, Rates, ServiceListing, VirtualService};

use crate::table::{Align, Table};
use crate::{output, socket};

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    socket: socket::Which,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks the director and prints what it says.
///
/// # Errors
/// When there is no director, or it does not answer.
pub(crate) fn run(args: &Args) -> Result<()> {
    let listing = args.socket.connect()?.services()?;
    if args.json { output::print_json(&listing) } else { output::print(&text(&listing)) }
}

fn text(listing: &Listing) -> String {
    let mut table = Table::new([
        ("Service", Align::Left),
        ("How", Align::Left),
        ("Weight", Align::Right),
        ("Active", Align::Right),
        ("Inactive", Align::Right),
        ("Conns", Align::Right),
        ("Conns/s", Align::Right),
        ("In packets/s", Align::Right),
        ("Out packets/s", Align::Right),
    ]);
    for service in &listing.services {
        table.row(service_row(service));
        service.destinations.iter().for_each(|dest| table.row(dest_row(dest)));
    }
    if table.is_empty() { "no services\n".to_owned() } else { table.render() }
}

fn service_row(listed: &ServiceListing) -> [String; 9] {
    let sum = |count: fn(&DestListing) -> u32| -> u64 {
        listed.destinations.iter().map(|dest| u64::from(count(dest))).sum()
    };
    let head = [listed.service.key.to_string(), how(&listed.service), String::new()];
    let conns = [sum(|dest| dest.active_conns), sum(|dest| dest.inactive_conns)];
    join(head, conns, &listed.counters, &listed.rates)
}

/// Its scheduler, and the options that IPVS lacks.
fn how(service: &VirtualService) -> String {
    let mut how = service.scheduler.to_string();
    if service.mss != 0 {
        how.push_str(&format!(", mss {}", service.mss));
    }
    if service.client_address != ClientAddress::default() {
        how.push_str(&format!(", client address {}", service.client_address));
    }
    how
}

fn dest_row(listed: &DestListing) -> [String; 9] {
    let dest = &listed.destination;
    let how = if dest.tunnel.is_ipip() { dest.method.to_string() } else { dest.tunnel.to_string() };
    let head = [format!("  {}", dest.key), how, dest.weight.to_string()];
    let conns = [listed.active_conns, listed.inactive_conns].map(u64::from);
    join(head, conns, &listed.counters, &listed.rates)
}

fn join(head: [String; 3], conns: [u64; 2], counters: &Counters, rates: &Rates) -> [String; 9] {
    let [name, how, weight] = head;
    let [active, inactive] = conns.map(|count| count.to_string());
    let Rates { cps, in_pps, out_pps, .. } = rates;
    let [conns, cps, in_pps, out_pps] =
        [counters.conns, *cps, *in_pps, *out_pps].map(|number| number.to_string());
    [name, how, weight, active, inactive, conns, cps, in_pps, out_pps]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use rvs_config::{
        Destination, ForwardingMethod, Scheduler, SchedulerFlags, Timeouts, Tunnel, TunnelChecksum,
    };

    use super::*;

    fn dest(key: &str, weight: u32, active_conns: u32) -> DestListing {
        DestListing {
            destination: Destination {
                key: key.parse().unwrap(),
                method: ForwardingMethod::Masq,
                weight,
                upper_threshold: 0,
                lower_threshold: 0,
                tunnel: Tunnel::Ipip,
            },
            active_conns,
            inactive_conns: 1,
            persistent_conns: 0,
            counters: Counters { conns: 10, ..Counters::default() },
            rates: Rates { cps: 2, in_pps: 30, ..Rates::default() },
        }
    }

    #[test]
    fn services_with_their_destinations() {
        let key = "203.0.113.10:80/tcp".parse().unwrap();
        let service = ServiceListing {
            service: VirtualService {
                key,
                scheduler: Scheduler::Wlc,
                flags: SchedulerFlags::default(),
                one_packet: false,
                mss: 0,
                client_address: rvs_config::ClientAddress::default(),
            },
            destinations: vec![dest("10.0.0.3:80", 2, 5), dest("10.0.0.2:80", 0, 0)],
            counters: Counters { conns: 20, ..Counters::default() },
            rates: Rates { cps: 4, in_pps: 60, ..Rates::default() },
        };
        let listing = |services| Listing { services, conn_table_size: 8, timeouts: Timeouts::default() };
        let expected = "\
Service              How   Weight  Active  Inactive  Conns  Conns/s  In packets/s  Out packets/s
203.0.113.10:80/tcp  wlc                5         2     20        4            60              0
  10.0.0.3:80        masq       2       5         1     10        2            30              0
  10.0.0.2:80        masq       0       0         1     10        2            30              0
";
        assert_eq!(text(&listing(vec![service])), expected);
        assert_eq!(text(&listing(Vec::new())), "no services\n");
    }

    #[test]
    fn services_show_the_options_that_ipvs_lacks() {
        let service = VirtualService {
            key: "mark 7/ipv4".parse().unwrap(),
            scheduler: Scheduler::Rr,
            flags: SchedulerFlags::default(),
            one_packet: false,
            mss: 1360,
            client_address: ClientAddress::Option,
        };
        assert_eq!(how(&service), "rr, mss 1360");
        let both = VirtualService { client_address: ClientAddress::None, ..service };
        assert_eq!(how(&both), "rr, mss 1360, client address none");
        assert_eq!(how(&VirtualService { mss: 0, ..both }), "rr, client address none");
    }

    #[test]
    fn tunnels_say_of_which_kind_they_are() {
        let tunnelled = |tunnel| {
            let mut listed = dest("[2001:db8:9::2]:80", 1, 0);
            (listed.destination.method, listed.destination.tunnel) = (ForwardingMethod::Tunnel, tunnel);
            dest_row(&listed)
        };
        let gue = Tunnel::Gue { port: 5555, checksum: TunnelChecksum::Csum };
        assert_eq!(tunnelled(gue)[..2], ["  [2001:db8:9::2]:80", "gue 5555 csum"]);
        assert_eq!(tunnelled(Tunnel::Gre { checksum: TunnelChecksum::None })[1], "gre");
        assert_eq!(tunnelled(Tunnel::Ipip)[1], "tunnel");
    }
}
