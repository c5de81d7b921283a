//! `rvs status`: how a running director is.

use anyhow::Result;
use rvs_abi::STEPS;
use rvs_control::api::{
    Attach, CounterClass, CounterListing, CounterTable, EventListing, Fill, LimitReached, Status,
};

use crate::table::{Align, Table};
use crate::{output, socket};

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    socket: socket::Which,
    /// Show how many packets were dropped, passed on to the network stack, or handed over from XDP to TC, and why
    #[arg(long)]
    drops: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks the director and prints what it says.
///
/// # Errors
/// When there is no director, or it does not answer.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut client = args.socket.connect()?;
    if args.drops {
        let reasons = reasons(client.counters()?);
        return if args.json {
            output::print_json(&reasons)
        } else {
            output::print(&reason_tables(&reasons))
        };
    }
    let status = client.status()?;
    if args.json { output::print_json(&status) } else { output::print(&text(&status)) }
}

/// What `--drops` shows, and under which titles. What was sent on has no reason: `rvs services` counts it.
const REASONS: [(CounterClass, &str); 3] = [
    (CounterClass::Drop, "Dropped"),
    (CounterClass::Pass, "Passed on to the network stack as they came"),
    (
        CounterClass::HandOver,
        "Handed over from XDP to TC on the same interface, which counts what becomes of them",
    ),
];

/// The counters of packets that were not sent on, in the order of [`REASONS`].
fn reasons(table: CounterTable) -> CounterTable {
    let place = |counter: &CounterListing| REASONS.iter().position(|(class, _)| *class == counter.class);
    let is_step = |counter: &CounterListing| STEPS.iter().any(|step| step.name() == counter.name);
    let mut counters = table.counters;
    counters.retain(|counter| place(counter).is_some() && !is_step(counter));
    // Stable: within a class, the order of the programs.
    counters.sort_by_key(place);
    CounterTable { counters }
}

fn reason_tables(reasons: &CounterTable) -> String {
    let tables = REASONS.map(|(class, title)| {
        let mut table =
            Table::new([("Packets", Align::Right), ("Reason", Align::Left), ("Explanation", Align::Left)]);
        for counter in reasons.counters.iter().filter(|counter| counter.class == class) {
            let CounterListing { name, count, text, .. } = counter;
            table.row([count.to_string(), name.clone(), text.clone()]);
        }
        format!("{title}:\n{}", table.render())
    });
    tables.join("\n")
}

fn text(status: &Status) -> String {
    let Status { instance, pid, version, kernel, .. } = status;
    let uptime = output::duration(status.uptime_s);
    let head =
        format!("director {instance}: version {version}, process {pid}, up {uptime}, kernel {kernel}\n");
    let mut parts = vec![head, interfaces(status), capacity(status)];
    parts.push(events(status));
    parts.extend(list("Limits reached since the start", status.limits_reached.iter().map(limit_reached)));
    parts.extend(list("Warnings", status.warnings.iter().cloned()));
    parts.join("\n")
}

fn interfaces(status: &Status) -> String {
    let mut table =
        Table::new([("Interface", Align::Left), ("Attached", Align::Left), ("Because", Align::Left)]);
    for interface in &status.interfaces {
        let attach = match interface.attach {
            Attach::Xdp => "xdp",
            Attach::XdpGeneric => "xdp-generic",
            Attach::Tc => "tc",
            Attach::None => "no",
        };
        table.row([interface.name.clone(), attach.to_owned(), interface.reason.clone()]);
    }
    if table.is_empty() { "no interface: no packet is balanced\n".to_owned() } else { table.render() }
}

fn capacity(status: &Status) -> String {
    let mut table = Table::new([
        ("Table", Align::Left),
        ("Used", Align::Right),
        ("Maximum", Align::Right),
        ("Fill", Align::Right),
    ]);
    let capacity = &status.capacity;
    let rows = [
        ("services", capacity.services),
        ("destinations", capacity.destinations),
        ("connections", capacity.connections),
    ];
    for (name, fill) in rows {
        let Fill { used, maximum } = fill;
        table.row([name.to_owned(), used.to_string(), maximum.to_string(), percent(fill)]);
    }
    table.render()
}

fn events(status: &Status) -> String {
    let mut table =
        Table::new([("Times", Align::Right), ("Event", Align::Left), ("Explanation", Align::Left)]);
    for EventListing { name, count, text } in &status.events {
        table.row([count.to_string(), name.clone(), text.clone()]);
    }
    table.render()
}

/// A tenth of a percent is enough to see that something is there.
fn percent(Fill { used, maximum }: Fill) -> String {
    let tenths = used.saturating_mul(1_000).checked_div(maximum).unwrap_or(0);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn limit_reached(reached: &LimitReached) -> String {
    let LimitReached { limit, maximum, times } = reached;
    format!("{limit} (maximum {maximum}): {times} times")
}

/// A title with lines below it; nothing if there are none.
fn list(title: &str, lines: impl Iterator<Item = String>) -> Option<String> {
    let lines: Vec<String> = lines.map(|line| format!("  {line}\n")).collect();
    (!lines.is_empty()).then(|| format!("{title}:\n{}", lines.concat()))
}

#[cfg(test)]
mod tests {
    use rvs_abi::Outcome;
    use rvs_control::api::{Capacity, Interface};

    use super::*;

    fn status() -> Status {
        let interface = |name: &str, index, attach, reason: &str| Interface {
            name: name.to_owned(),
            index,
            attach,
            reason: reason.to_owned(),
        };
        Status {
            version: "0.1.0".to_owned(),
            instance: "director".to_owned(),
            pid: 4711,
            uptime_s: 125,
            kernel: "6.1.0".to_owned(),
            interfaces: vec![
                interface("eth0", 2, Attach::Xdp, "its driver takes XDP"),
                interface("tun0", 9, Attach::None, "its frames have no Ethernet header"),
            ],
            capacity: Capacity {
                services: Fill { used: 1, maximum: 32_768 },
                destinations: Fill { used: 3, maximum: 65_536 },
                connections: Fill { used: 524_288, maximum: 1_048_576 },
            },
            limits_reached: Vec::new(),
            events: (5..)
                .zip(rvs_abi::Event::ALL)
                .map(|(count, event)| EventListing::new(event, count))
                .collect(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_director_that_is_well() {
        let expected = "\
director director: version 0.1.0, process 4711, up 2 min 5 s, kernel 6.1.0

Interface  Attached  Because
eth0       xdp       its driver takes XDP
tun0       no        its frames have no Ethernet header

Table           Used  Maximum    Fill
services           1    32768   0.0 %
destinations       3    65536   0.0 %
connections   524288  1048576  50.0 %

Times  Event            Explanation
    5  evicted          a connection of one packet made room for a new one in the full table
    6  error_sent       a dropped packet was answered with an ICMP error
    7  error_limited    a dropped packet was not answered: too many errors to that address, or at all
    8  client_unsaid    full NAT: a TCP header had no room for the client's address
    9  classified       a rule of the classifier gave a packet its mark
   10  expired          a packet ended its connection, whose destination is removed (expire_nodest_conn)
   11  piece_made       a fragment was made of a packet that was too large for its way
   12  held_sent        a fragment that had come before the first of its packet went on behind it
   13  held_expired     a held fragment was given up: the first of its packet had not come within a second
   14  held_evicted     a held fragment made room for another: too many at once of its source, or those that share with it
   15  ftp_expected     FTP announced a data connection, which is expected now
   16  ftp_rewritten    a segment of FTP's control connection was given another address
   17  proxy_sent       a connection's data were given a PROXY header
   18  proxy_alone      a PROXY header was sent without the data that came with it, which come again: too long for both
   19  tunnel_unsummed  a bundle of segments left for a tunnel without the checksum that it is to have
   20  port_taken       full NAT: all ports that were tried were taken, and a connection of one packet gave way
";
        assert_eq!(text(&status()), expected);
    }

    #[test]
    fn what_an_operator_should_know_comes_last() {
        let reached = LimitReached { limit: "connections".to_owned(), maximum: 64, times: 3 };
        let limits_reached = vec![reached];
        let warnings = vec!["destination 10.0.0.9: unreachable".to_owned()];
        let text = text(&Status { interfaces: Vec::new(), limits_reached, warnings, ..status() });
        let expected = "
Limits reached since the start:
  connections (maximum 64): 3 times

Warnings:
  destination 10.0.0.9: unreachable
";
        assert!(text.ends_with(expected), "{text}");
        assert!(text.contains("\n\nno interface: no packet is balanced\n\n"), "{text}");
    }

    #[test]
    fn reasons_are_named_and_explained_by_class() {
        let outcomes = [
            Outcome::NotIp,
            Outcome::Balanced,
            Outcome::HandOverNeighbour,
            Outcome::ForwardDr,
            Outcome::NoDestination,
            Outcome::TtlExceeded,
        ];
        let counters = (7..).zip(outcomes).map(|(count, outcome)| CounterListing::new(outcome, count));
        let expected = "\
Dropped:
Packets  Reason          Explanation
     11  no_destination  the service has no destination that takes new connections
     12  ttl_exceeded    time to live used up

Passed on to the network stack as they came:
Packets  Reason  Explanation
      7  not_ip  neither IPv4 nor IPv6 (ARP and others)

Handed over from XDP to TC on the same interface, which counts what becomes of them:
Packets  Reason               Explanation
      9  hand_over_neighbour  next hop not resolved, or by an interface that takes no frames from XDP: taken up under TC
";
        assert_eq!(reason_tables(&reasons(CounterTable { counters: counters.collect() })), expected);
    }

    #[test]
    fn steps_are_those_that_say_so() {
        let steps =
            rvs_abi::OUTCOMES.iter().filter(|outcome| outcome.text().contains("never the end of a packet"));
        assert_eq!(steps.copied().collect::<Vec<_>>(), STEPS);
    }
}
