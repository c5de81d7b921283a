//! `abi.txt` is the layout of this version: whoever changes a record sees here that it needs a new version.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::mem::{offset_of, size_of};

use rvs_abi::map::Region;
use rvs_abi::{
    ABI_VERSION, Bucket, ClientAddress, Config, ConnEntry, Dest, DestConns, DirectorPrefix, Event, OUTCOMES,
    Rule, Service, ServiceKey, Stats,
};

/// Writes down a record. All fields must be named: the pattern has no rest.
macro_rules! record {
    ($text:ident, $record:ident { $($field:ident),* $(,)? }) => {
        let named = |$record { $($field: _),* }: $record| ();
        _ = named;
        writeln!($text, "\n{} {}", stringify!($record), size_of::<$record>())?;
        $(writeln!($text, "  {:>4} {}", offset_of!($record, $field), stringify!($field))?;)*
    };
}

fn layout() -> Result<String, std::fmt::Error> {
    let mut text = format!("version {ABI_VERSION}\n");
    config(&mut text)?;
    record!(text, ServiceKey { vip, vport, protocol, family, zero });
    record!(
        text,
        Service {
            vip,
            vport,
            protocol,
            family,
            flags,
            scheduler,
            sched_flags,
            table,
            table_words,
            mss,
            client_address,
            zero,
            spare
        }
    );
    record!(
        text,
        Dest {
            addr,
            port,
            family,
            method,
            flags,
            tunnel,
            tunnel_flags,
            service,
            weight,
            upper,
            lower,
            tunnel_port,
            spare,
            gateway,
            source,
            ifindex,
            mtu,
            spare_route,
        }
    );
    record!(text, DestConns { active, total });
    record!(text, Bucket { words, overflow, entries });
    record!(
        text,
        ConnEntry {
            client,
            vip,
            cport,
            vport,
            protocol,
            family,
            flags,
            dest,
            service,
            dport,
            lport,
            local,
            own,
            packets,
            control,
        }
    );
    rule(&mut text)?;
    record!(text, ClientAddress { addr, port, zero });
    record!(text, DirectorPrefix { bits, family, addr });
    record!(text, Stats { conns, in_packets, out_packets, in_bytes, out_bytes, spare });
    maps_and_counters(&mut text)?;
    Ok(text)
}

fn config(text: &mut String) -> std::fmt::Result {
    record!(
        text,
        Config {
            abi_version,
            services_v4,
            services_v6,
            settings,
            buckets,
            overflow_buckets,
            stats_rows,
            cpus,
            services_max,
            zero,
            full_nat,
            local_ports_mask,
            hash_seed,
            timeouts,
            set_timeouts_s,
            programs,
            marks_v4,
            marks_v6,
            ftp_services,
            any_port_services,
            rules,
            ftp_ports,
            tunnel_sources_v4,
            tunnel_sources_v6,
            tunnel_source_masks,
            full_nat_sources,
        }
    );
    Ok(())
}

fn rule(text: &mut String) -> std::fmt::Result {
    record!(
        text,
        Rule {
            source,
            source_mask,
            destination,
            destination_mask,
            source_ports,
            destination_ports,
            protocol,
            family,
            given,
            mark,
            spare,
        }
    );
    Ok(())
}

fn maps_and_counters(text: &mut String) -> std::fmt::Result {
    writeln!(text, "\nmaps, words of a value")?;
    for region in Region::ALL {
        writeln!(text, "  {:>4} {}", region.value_words(), region.name())?;
    }
    writeln!(text, "\ncounters")?;
    for outcome in OUTCOMES {
        writeln!(text, "  {:>4} {}", *outcome as u32, outcome.name())?;
    }
    for event in Event::ALL {
        writeln!(text, "  {:>4} {event:?}", event as u32)?;
    }
    Ok(())
}

#[test]
fn the_layout_is_that_of_its_version() {
    let (now, written) = (layout().unwrap_or_default(), include_str!("../abi.txt"));
    assert_eq!(
        now, written,
        "a change of the layout needs a new ABI_VERSION and this text in abi.txt:\n{now}"
    );
}
