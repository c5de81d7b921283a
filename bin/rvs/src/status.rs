//! `rvs status`: how a running director is.

use anyhow::Result;
use rvs_control::api::{Attach, CounterClass, CounterListing, CounterTable, Fill, LimitReached, Status};

use crate::table::{Align, Table};
use crate::{output, socket};

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    socket: socket::Which,
    /// Show how many packets were dropped, and why
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
        let drops = drops(client.counters()?);
        return if args.json { output::print_json(&drops) } else { output::print(&drops_table(&drops)) };
    }
    let status = client.status()?;
    if args.json { output::print_json(&status) } else { output::print(&text(&status)) }
}

/// The counters of discarded packets.
fn drops(table: CounterTable) -> CounterTable {
    let counters = table.counters.into_iter().filter(|counter| counter.class == CounterClass::Drop);
    CounterTable { counters: counters.collect() }
}

fn drops_table(drops: &CounterTable) -> String {
    let mut table =
        Table::new([("Packets", Align::Right), ("Reason", Align::Left), ("Explanation", Align::Left)]);
    for CounterListing { name, count, text, .. } in &drops.counters {
        table.row([count.to_string(), name.clone(), text.clone()]);
    }
    table.render()
}

fn text(status: &Status) -> String {
    let Status { instance, pid, version, kernel, .. } = status;
    let uptime = output::duration(status.uptime_s);
    let head =
        format!("director {instance}: version {version}, process {pid}, up {uptime}, kernel {kernel}\n");
    let mut parts = vec![head, interfaces(status), capacity(status)];
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
    fn drops_are_named_and_explained() {
        let counters = [Outcome::NotIp, Outcome::NoDestination, Outcome::ForwardDr, Outcome::TtlExceeded];
        let counters = (7..).zip(counters).map(|(count, outcome)| CounterListing::new(outcome, count));
        let expected = "\
Packets  Reason          Explanation
      8  no_destination  the service has no destination that takes new connections
     10  ttl_exceeded    time to live used up
";
        assert_eq!(drops_table(&drops(CounterTable { counters: counters.collect() })), expected);
    }
}
