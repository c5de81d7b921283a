//! `rvs marks`: the rules that give packets a firewall mark.

use anyhow::Result;
use clap::ArgGroup;
use rvs_config::{Command, MarkRule, MarkRules, PortRange, Prefix, Protocol};

use crate::table::{Align, Table};
use crate::{output, socket};

/// What to show, or to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    socket: socket::Which,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    change: Option<Change>,
}

#[derive(Debug, clap::Subcommand)]
enum Change {
    /// Add a rule; what is not given may be anything
    Add(Add),
    /// Remove the rule with that number
    Delete {
        /// Its number, as `rvs marks` shows it
        number: u32,
    },
    /// Remove every rule
    Flush,
}

/// What a rule may ask for. One that asks for nothing takes every packet that comes in: it has to be meant.
const CONDITIONS: [&str; 5] = ["source", "destination", "protocol", "source_ports", "ports"];

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("packets").args(CONDITIONS).arg("all").required(true).multiple(true)))]
struct Add {
    /// The mark, 1 to 4294967295
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    mark: u32,
    /// Where packets come from
    #[arg(long, value_name = "ADDRESS[/BITS]")]
    source: Option<Prefix>,
    /// Where they go
    #[arg(long, value_name = "ADDRESS[/BITS]")]
    destination: Option<Prefix>,
    /// tcp, udp or sctp
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Ports they come from
    #[arg(long, value_name = "FIRST[-LAST]")]
    source_ports: Option<PortRange>,
    /// Ports they go to
    #[arg(long, value_name = "FIRST[-LAST]")]
    ports: Option<PortRange>,
    /// Every packet, whatever its addresses, protocol and ports
    #[arg(long, conflicts_with_all = CONDITIONS)]
    all: bool,
    /// Its number: before the rule that has it now (default: behind all)
    #[arg(long)]
    number: Option<u32>,
}

/// Asks the director, and prints what it says.
///
/// # Errors
/// When there is no director, or it refuses.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut client = args.socket.connect()?;
    let command = match &args.change {
        None => {
            let rules = client.marks()?;
            return if args.json { output::print_json(&rules) } else { output::print(&text(&rules)) };
        }
        Some(Change::Add(add)) => add.command(),
        Some(Change::Delete { number }) => Command::DeleteMarkRule { number: *number },
        Some(Change::Flush) => Command::ClearMarkRules,
    };
    let applied = client.apply(&[command])?;
    if args.json { output::print_json(&applied) } else { Ok(()) }
}

impl Add {
    const fn command(&self) -> Command {
        let Self { mark, source, destination, protocol, source_ports, ports, number, .. } = *self;
        let rule = MarkRule { mark, source, destination, protocol, source_ports, ports };
        Command::AddMarkRule { number, rule }
    }
}

fn text(rules: &MarkRules) -> String {
    fn cell(given: Option<impl ToString>) -> String {
        given.map_or_else(|| "any".to_owned(), |given| given.to_string())
    }
    let mut table = Table::new([
        ("Number", Align::Right),
        ("Mark", Align::Right),
        ("Source", Align::Left),
        ("Destination", Align::Left),
        ("Protocol", Align::Left),
        ("Source ports", Align::Left),
        ("Ports", Align::Left),
    ]);
    for (number, rule) in (1..).zip(&rules.rules) {
        table.row([
            u32::to_string(&number),
            rule.mark.to_string(),
            cell(rule.source),
            cell(rule.destination),
            cell(rule.protocol.map(Protocol::name)),
            cell(rule.source_ports),
            cell(rule.ports),
        ]);
    }
    if table.is_empty() { "no rules\n".to_owned() } else { table.render() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use super::*;

    #[test]
    fn rules_as_a_table() {
        let all = MarkRule {
            mark: 7,
            source: Some("10.0.0.0/8".parse().unwrap()),
            destination: Some("203.0.113.10".parse().unwrap()),
            protocol: Some(Protocol::Tcp),
            source_ports: Some("1024-65535".parse().unwrap()),
            ports: Some("80".parse().unwrap()),
        };
        let none = MarkRule {
            mark: 8,
            source: None,
            destination: None,
            protocol: None,
            source_ports: None,
            ports: None,
        };
        let expected = "\
Number  Mark  Source      Destination      Protocol  Source ports  Ports
     1     7  10.0.0.0/8  203.0.113.10/32  tcp       1024-65535    80
     2     8  any         any              any       any           any
";
        assert_eq!(text(&MarkRules { rules: vec![all, none], rules_max: 256 }), expected);
        assert_eq!(text(&MarkRules { rules: Vec::new(), rules_max: 256 }), "no rules\n");
    }
}
