//! The command line: what `ipvsadm` 1.31 was seen to say, and what arguments mean.
#![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

mod support;

use std::collections::BTreeSet;

use rvs_config::{
    ClientAddress, Command, CommandError, Destination, ForwardingMethod, Scheduler, SchedulerFlags,
    TimeoutsUpdate, Tunnel, TunnelChecksum, VirtualService,
};
use rvs_ipvsadm::{
    COMMANDS, ConnTable, FLAGS, Failure, Format, Invocation, ListRequest, Numeric, OptionName, ServiceTable,
    UsageError, Value, Verb, help, parse, version,
};
use support::Few;

/// Splits at blanks; double quotes keep blanks and make empty words.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn parsed(line: &str) -> Result<Invocation, UsageError> {
    parse(&words(line), &Few)
}

fn change(line: &str) -> Command {
    match parsed(line) {
        Ok(Invocation::Change(command)) => command,
        other => panic!("{line}: {other:?}"),
    }
}

/// The message and the status that a command line ends with.
fn failure(line: &str) -> (String, u8) {
    let error = parsed(line).expect_err(line);
    let Failure { message, status } = Failure::from(&error);
    (message, status)
}

#[test]
fn everything_observed() {
    let mut tried = 0;
    for line in include_str!("observed/usage.txt").lines().filter(|line| !line.starts_with('#')) {
        let (arguments, expected) = line.split_once(" => ").unwrap();
        tried += 1;
        let result = parsed(arguments);
        if expected == "accepted" {
            let accepted =
                matches!(result, Ok(_) | Err(UsageError::Refused(CommandError::NotSupported { .. })));
            assert!(accepted, "{arguments}: {result:?}");
            continue;
        }
        let (status, message) = expected.split_once(' ').unwrap();
        let failure = failure(arguments);
        assert_eq!((failure.0.trim_end(), failure.1), (message, status.parse().unwrap()), "{arguments}");
    }
    assert!(tried > 400, "{tried}");
}

#[test]
fn services() {
    let service = |scheduler, flags| VirtualService {
        key: "10.0.0.1:80/tcp".parse().unwrap(),
        scheduler,
        flags: SchedulerFlags(flags),
        one_packet: false,
        mss: 0,
        client_address: ClientAddress::default(),
    };
    let cases = [
        ("-A -t 10.0.0.1:80", Command::AddService(service(Scheduler::Wlc, 0))),
        ("-A -t www:http -s rr", Command::AddService(service(Scheduler::Rr, 0))),
        ("-At10.0.0.1:80 -srr", Command::AddService(service(Scheduler::Rr, 0))),
        (
            "--add-service --scheduler=sh --tcp-service 10.1:80",
            Command::AddService(service(Scheduler::Sh, 0)),
        ),
        ("-A -t 10.0.0.1:80 -b sh-port,flag-3 -s sh", Command::AddService(service(Scheduler::Sh, 6))),
        ("-E -t 10.0.0.1:80", Command::EditService(service(Scheduler::Wlc, 0))),
        ("-E -t 10.0.0.1:80 -s lc --sort", Command::EditService(service(Scheduler::Lc, 0))),
    ];
    for (line, command) in cases {
        assert_eq!(change(line), command, "{line}");
    }
    let key = "10.0.0.1:53/udp".parse().unwrap();
    let one_packet = VirtualService { key, one_packet: true, ..service(Scheduler::Rr, 0) };
    assert_eq!(change("-A -u 10.0.0.1:53 -s rr -o"), Command::AddService(one_packet.clone()));
    assert_eq!(change("-E -u 10.0.0.1:53 --ops -s rr"), Command::EditService(one_packet));
}

/// Which `ipvsadm` itself lacks.
#[test]
fn options_of_services_that_ipvs_lacks() {
    let service = |key: &str, mss, client_address| VirtualService {
        key: key.parse().unwrap(),
        scheduler: Scheduler::Wlc,
        flags: SchedulerFlags::default(),
        one_packet: false,
        mss,
        client_address,
    };
    let (option, none) = (ClientAddress::Option, ClientAddress::None);
    let cases = [
        ("-A -t 10.0.0.1:80 --mss 1360", service("10.0.0.1:80/tcp", 1360, option)),
        ("-A -t 10.0.0.1:80 --mss=0", service("10.0.0.1:80/tcp", 0, option)),
        ("-A -f 7 --mss 536 --client-address none", service("mark 7/ipv4", 536, none)),
        ("-A -t 10.0.0.1:80 --client-address option", service("10.0.0.1:80/tcp", 0, option)),
        ("-A -u 10.0.0.1:80 --mss 0 --client-address=none", service("10.0.0.1:80/udp", 0, none)),
    ];
    for (line, service) in cases {
        assert_eq!(change(line), Command::AddService(service), "{line}");
    }
    let expected = "specified: expected 536 to 65495, or 0";
    for value in ["1", "535", "65496", "-1", "x", "70000"] {
        let line = format!("-A -t 10.0.0.1:80 --mss {value}");
        assert_eq!(failure(&line), (format!("invalid mss value `{value}' {expected}"), 2), "{line}");
    }
    let failures = [
        (
            "-A -t 10.0.0.1:80 --client-address toa",
            "invalid client-address value `toa' specified: expected option, none or proxy",
        ),
        ("-A -u 10.0.0.1:80 --mss 1360", "A maximum segment size is only for TCP virtual services"),
        ("-A -u 10.0.0.1:80 --client-address proxy", "The PROXY protocol is only for TCP virtual services"),
        ("-D -t 10.0.0.1:80 --mss 1360", "Illegal 'mss' option with the 'delete-service' command"),
        (
            "-a -t 10.0.0.1:80 -r 10.0.0.2 --client-address none",
            "Illegal 'client-address' option with the 'add-server' command",
        ),
        ("-A -t 10.0.0.1:80 --mss 600 --mss 600", "multiple 'mss' options specified"),
    ];
    for (line, message) in failures {
        assert_eq!(failure(line), (message.to_owned(), 2), "{line}");
    }
}

#[test]
fn destinations() {
    let dest = |key: &str, method, weight| Destination {
        key: key.parse().unwrap(),
        method,
        weight,
        upper_threshold: 0,
        lower_threshold: 0,
        tunnel: Tunnel::Ipip,
    };
    let service = "10.0.0.1:80/tcp".parse().unwrap();
    let (masq, dr, tunnel) = (ForwardingMethod::Masq, ForwardingMethod::Dr, ForwardingMethod::Tunnel);
    let cases = [
        ("-r 10.0.0.2", dest("10.0.0.2:80", dr, 1)),
        ("-r 10.0.0.2 -g -w 0", dest("10.0.0.2:80", dr, 0)),
        // Direct routing and tunnels keep the service's port.
        ("-r 10.0.0.2:99", dest("10.0.0.2:80", dr, 1)),
        ("-r 10.0.0.2:99 -i --tun-type ipip", dest("10.0.0.2:80", tunnel, 1)),
        ("-r 10.0.0.2:99 -m -w 2147483647", dest("10.0.0.2:99", masq, i32::MAX as u32)),
        ("-r 10.0.0.2:domain -m -x 0 -y 0", dest("10.0.0.2:53", masq, 1)),
        ("-r www -m", dest("10.0.0.1:80", masq, 1)),
    ];
    for (options, destination) in cases {
        let add = Command::AddDestination { service, destination };
        assert_eq!(change(&format!("-a -t 10.0.0.1:80 {options}")), add, "{options}");
        let edit = Command::EditDestination { service, destination };
        assert_eq!(change(&format!("-e -t 10.0.0.1:80 {options}")), edit, "{options}");
    }
    // The service's port is the default only after the service; without it nothing repairs NAT's.
    let early = dest("10.0.0.2:0", masq, 1);
    let command = Command::AddDestination { service, destination: early };
    assert_eq!(change("-a -r 10.0.0.2 -t 10.0.0.1:80 -m"), command);
}

/// ipvs.md §10.2: the kinds of tunnels and what each takes.
#[test]
fn tunnels() {
    let (none, csum, remcsum) = (TunnelChecksum::None, TunnelChecksum::Csum, TunnelChecksum::Remcsum);
    let gue = |port, checksum| Tunnel::Gue { port, checksum };
    let cases = [
        ("-i", Tunnel::Ipip),
        ("-i --tun-type ipip", Tunnel::Ipip),
        ("-i --tun-type gue --tun-port 5555", gue(5555, none)),
        ("--tun-port 1 --tun-nocsum --tun-type gue -i", gue(1, none)),
        ("-i --tun-type gue --tun-port 65535 --tun-csum", gue(65_535, csum)),
        ("-i --tun-type=gue --tun-port=6080 --tun-remcsum", gue(6080, remcsum)),
        ("-i --tun-type gre", Tunnel::Gre { checksum: none }),
        ("-i --tun-type gre --tun-nocsum", Tunnel::Gre { checksum: none }),
        ("-i --tun-type gre --tun-csum", Tunnel::Gre { checksum: csum }),
    ];
    for (options, tunnel) in cases {
        let line = format!("10.0.0.1:80 -r 10.0.0.2 {options}");
        let Command::AddDestination { destination, .. } = change(&format!("-a -t {line}")) else { panic!() };
        assert_eq!((destination.method, destination.tunnel), (ForwardingMethod::Tunnel, tunnel), "{options}");
        let Command::EditDestination { destination, .. } = change(&format!("-e -t {line}")) else { panic!() };
        assert_eq!(destination.tunnel, tunnel, "{options}");
    }
    let refused = [
        ("-m --tun-type gre", "Tunnel options conflict with forward method"),
        ("--tun-type gre", "Tunnel options conflict with forward method"),
        ("-i --tun-type gre --tun-port 5", "Illegal 'tun-port' option with the 'gre' tunnel type"),
        ("-i --tun-type gre --tun-remcsum", "Illegal 'tun-remcsum' option with the 'gre' tunnel type"),
        ("-i --tun-csum", "Illegal 'tun-csum' option with the 'ipip' tunnel type"),
        ("-i --tun-type gue --tun-port 0", "illegal tunnel port specified"),
        ("-i --tun-type vxlan", "illegal tunnel type specified"),
        (
            "-i --tun-type gue --tun-port 5 --tun-csum --tun-remcsum",
            "The option 'tun-remcsum' conflicts with the 'tun-csum' option in the 'gue' tunnel type",
        ),
    ];
    for (options, message) in refused {
        assert_eq!(failure(&format!("-a -t 10.0.0.1:80 -r 10.0.0.2 {options}")), (message.to_owned(), 2));
    }
}

/// ipvs.md §10.3.
#[test]
fn ipv6_and_sctp() {
    let added = |line: &str| match change(line) {
        Command::AddService(service) => service.key.to_string(),
        Command::AddDestination { service, destination } => format!("{service} {}", destination.key),
        other => panic!("{other:?}"),
    };
    let cases = [
        ("-A -t [2001:db8::1]:80", "[2001:db8::1]:80/tcp"),
        ("-A -u [2001:db8::1]:domain", "[2001:db8::1]:53/udp"),
        ("-A --sctp-service 10.0.0.1:diameter -s rr", "10.0.0.1:3868/sctp"),
        ("-A --sctp-service [2001:db8::1]:3868", "[2001:db8::1]:3868/sctp"),
        // Without brackets there is no port.
        ("-a -t [2001:db8::1]:80 -r 2001:db8:9::2 -m", "[2001:db8::1]:80/tcp [2001:db8:9::2]:80"),
        ("-a -t [2001:db8::1]:80 -r [2001:db8:9::2]:81 -m", "[2001:db8::1]:80/tcp [2001:db8:9::2]:81"),
        ("-a -t [2001:db8::1]:80 -r [2001:db8:9::2]:81", "[2001:db8::1]:80/tcp [2001:db8:9::2]:80"),
        ("-a -t [2001:db8::1]:80 -r 10.0.0.2 -i", "[2001:db8::1]:80/tcp 10.0.0.2:80"),
        ("-a -t 10.0.0.1:80 -r [2001:db8:9::2]:80 -i", "10.0.0.1:80/tcp [2001:db8:9::2]:80"),
        ("-a -t [2001:db8::1]:80 -r 10.0.0.2:81 --fullnat", "[2001:db8::1]:80/tcp 10.0.0.2:81"),
        ("-a -t 10.0.0.1:80 -r [2001:db8:9::2]:81 --fullnat", "10.0.0.1:80/tcp [2001:db8:9::2]:81"),
        ("-a --sctp-service 10.0.0.1:3868 -r 10.0.0.2 -m", "10.0.0.1:3868/sctp 10.0.0.2:3868"),
    ];
    for (line, expected) in cases {
        assert_eq!(added(line), expected, "{line}");
    }
    let mixed = "Different address family is allowed only for tunneling servers";
    let refused = [
        ("-A -t 2001:db8::1", "Zero port specified for non-persistent service"),
        ("-A -t [2001:db8::1]", "illegal virtual server address[:port] specified"),
        ("-A --sctp-service 10.0.0.1", "Zero port specified for non-persistent service"),
        ("-A --sctp-service 10.0.0.1:http", "illegal virtual server address[:port] specified"),
        ("-A --sctp-service 10.0.0.1:3868 -o", "One-Packet Scheduling is only for UDP virtual services"),
        ("-a -t [2001:db8::1]:80 -r 10.0.0.2 -m", mixed),
        ("-a -t 10.0.0.1:80 -r [2001:db8:9::2]:80 -g", mixed),
        ("-e -t 10.0.0.1:80 -r [2001:db8:9::2]:80", mixed),
    ];
    for (line, message) in refused {
        assert_eq!(failure(line), (message.to_owned(), 2), "{line}");
    }
    let key = "[2001:db8::1]:80/tcp".parse().unwrap();
    assert_eq!(change("-D -t [2001:db8::1]:80"), Command::DeleteService { service: key });
    assert_eq!(change("-Z -t [2001:db8::1]:80"), Command::Zero { service: Some(key) });
    let one = ServiceTable { service: Some(key), ..ServiceTable::default() };
    assert_eq!(parsed("-L -t [2001:db8::1]:80"), Ok(Invocation::List(ListRequest::Services(one))));
}

#[test]
fn the_other_changes() {
    let service = "10.0.0.1:53/udp".parse().unwrap();
    let destination = "10.0.0.2:5353".parse().unwrap();
    let cases = [
        ("-D -u 10.0.0.1:53", Command::DeleteService { service }),
        ("-C", Command::Clear),
        ("--clear", Command::Clear),
        ("-d -u 10.0.0.1:53 -r 10.0.0.2:5353", Command::DeleteDestination { service, destination }),
        ("-Z", Command::Zero { service: None }),
        ("-Z -u 10.0.0.1:domain", Command::Zero { service: Some(service) }),
        ("--set 1 0 +3", Command::SetTimeouts(TimeoutsUpdate { tcp_s: 1, tcp_fin_s: 0, udp_s: 3 })),
    ];
    for (line, command) in cases {
        assert_eq!(change(line), command, "{line}");
    }
}

#[test]
fn lists() {
    let table = |format| ServiceTable { format, ..ServiceTable::default() };
    let numeric = ServiceTable { numeric: true, ..ServiceTable::default() };
    let one = ServiceTable { service: Some("10.0.0.1:80/tcp".parse().unwrap()), ..numeric.clone() };
    let tables = [
        ("", ServiceTable::default()),
        ("-L", ServiceTable::default()),
        ("-l --sort", ServiceTable::default()),
        ("-Ln", numeric),
        ("-Lnt10.0.0.1:80", one),
        ("-L --nosort", ServiceTable { sorted: false, ..ServiceTable::default() }),
        ("-LX --stats", ServiceTable { exact: true, ..table(Format::Stats) }),
        ("-L --persistent-conn --thresholds --rate", table(Format::Rate)),
        ("-L --tun-info --persistent-conn --thresholds", table(Format::Thresholds)),
        ("-L --tun-info --persistent-conn", table(Format::PersistentConn)),
        ("-L --tun-info", table(Format::TunInfo)),
    ];
    for (line, table) in tables {
        assert_eq!(parsed(line), Ok(Invocation::List(ListRequest::Services(table))), "{line}");
    }
    let conns = |numeric, persistence_data| ListRequest::Connections(ConnTable { numeric, persistence_data });
    let others = [
        ("-lcn", conns(true, false)),
        ("-L --connection --persistent-conn", conns(false, true)),
        ("-L --timeout", ListRequest::Timeouts),
        ("-L --daemon", ListRequest::SyncDaemons),
    ];
    for (line, request) in others {
        assert_eq!(parsed(line), Ok(Invocation::List(request)), "{line}");
    }
}

#[test]
fn what_is_not_supported_is_named_after_every_other_check() {
    let cases = [
        ("-A -f 7 -p", "persistence (-p)"),
        ("-A -t 10.0.0.1:80 -s none", "services without a scheduler (-s none)"),
        ("-A -t 10.0.0.1:80 -p", "persistence (-p)"),
        ("-A -t 10.0.0.1 -p 60", "persistence (-p)"),
        ("-A -t 10.0.0.1:80 -M 255.255.255.0", "persistence masks (-M)"),
        ("-A -t 10.0.0.1:80 --pe sip", "persistence engines (--pe)"),
        ("-a -t 10.0.0.1:80 -r 10.0.0.2 -x 9 -y 5", "connection thresholds (-x, -y)"),
        ("-a -t 10.0.0.1:80 -r 10.0.0.2 -y 5", "connection thresholds (-x, -y)"),
        ("-A --sctp-service 10.0.0.1 -p", "persistence (-p)"),
        ("-A -t [2001:db8::1]:80 -p -M 64", "persistence (-p)"),
        ("-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-type gre -x 9", "connection thresholds (-x, -y)"),
        ("--start-daemon master --syncid 5", "connection synchronisation (--start-daemon)"),
        ("--stop-daemon backup", "connection synchronisation (--stop-daemon)"),
    ];
    for (line, what) in cases {
        assert_eq!(failure(line), (format!("{what}: not supported by this version of rvs"), 255), "{line}");
        let (_, status) = failure(&format!("{line} unexpected"));
        assert_eq!(status, 2, "{line}");
    }
}

/// The help text says what can't be done; this is what it is made from.
#[test]
fn the_table_says_what_is_supported() {
    for flag in FLAGS.iter().filter(|flag| flag.name.is_some()) {
        let verb = *flag.with.first().unwrap();
        let mut line = complete(verb, flag.name.unwrap());
        line.push_str(match flag.long {
            "ops" => " -u 10.0.0.1:80 ",
            "tun-type" => " -i ",
            "tun-port" | "tun-remcsum" => " -i --tun-type gue ",
            "tun-nocsum" | "tun-csum" => " -i --tun-type gre ",
            _ => " ",
        });
        if flag.long == "ops" {
            line = line.replace(" -t 10.0.0.1:80", "");
        }
        if flag.long == "tun-remcsum" {
            line.push_str("--tun-port 5 ");
        }
        let value = with_value(flag.long).replace("gue", "ipip");
        line.push_str(&value);
        let refused = matches!(parsed(&line), Err(UsageError::Refused(CommandError::NotSupported { .. })));
        let command = COMMANDS.iter().find(|spec| spec.verb == verb).unwrap();
        assert_eq!(refused, !flag.supported || !command.supported, "{line}: {:?}", parsed(&line));
    }
}

/// For each command, each option that it doesn't take: the table is what the checks do.
#[test]
fn options_go_with_the_commands_of_the_table() {
    let mut illegal = BTreeSet::new();
    for command in COMMANDS.iter().filter(|command| !matches!(command.verb, Verb::Help | Verb::Version)) {
        for flag in FLAGS {
            let Some(name) = flag.name else { continue };
            let line = format!("{} {}", complete(command.verb, name), with_value(flag.long));
            let message = format!("Illegal '{}' option with the '{}' command", name.text(), command.name);
            let refused = parsed(&line).is_err_and(|error| error.to_string() == message);
            assert_eq!(refused, !flag.with.contains(&command.verb), "{line}");
            illegal.extend(refused.then_some((command.name, name)));
        }
    }
    assert!(illegal.len() > 200, "{}", illegal.len());
}

/// A command with everything it requires but `except`, which the test adds.
fn complete(verb: Verb, except: OptionName) -> String {
    let spec = COMMANDS.iter().find(|spec| spec.verb == verb).unwrap();
    let mut line = format!("--{}", spec.long);
    if let Value::Required(_) = spec.value {
        line.push_str(" master");
    }
    if verb == Verb::Set {
        line.push_str(" 1 2 3");
    }
    for name in spec.requires.iter().filter(|name| **name != except) {
        line.push_str(if *name == OptionName::RealServer { " -r 10.0.0.2:80" } else { " -t 10.0.0.1:80" });
    }
    line
}

/// An option with a value it takes.
fn with_value(long: &str) -> String {
    let value = match long {
        "tcp-service" | "udp-service" | "sctp-service" | "real-server" => "10.0.0.1:80",
        "scheduler" => "rr",
        "sched-flags" => "flag-1",
        "netmask" => "255.255.255.255",
        "tun-type" => "gue",
        "mcast-group" => "224.0.0.81",
        "mss" => "1360",
        "client-address" => "none",
        _ => "5",
    };
    let spec = FLAGS.iter().find(|spec| spec.long == long).unwrap();
    if spec.value == Value::None { format!("--{long}") } else { format!("--{long} {value}") }
}

#[test]
fn options_with_a_name_are_given_once() {
    for flag in FLAGS {
        let option = with_value(flag.long);
        let line = format!("-L {option} {option}");
        match flag.name {
            Some(name) => {
                assert_eq!(failure(&line), (format!("multiple '{}' options specified", name.text()), 2))
            }
            None => assert!(parsed(&format!("-L -f 1 {option} {option}")).is_ok_or_unsupported(), "{line}"),
        }
    }
}

trait IsOkOrUnsupported {
    fn is_ok_or_unsupported(&self) -> bool;
}

impl IsOkOrUnsupported for Result<Invocation, UsageError> {
    fn is_ok_or_unsupported(&self) -> bool {
        matches!(self, Ok(_) | Err(UsageError::Refused(CommandError::NotSupported { .. })))
    }
}

#[test]
fn values_may_be_attached_in_every_form() {
    for flag in FLAGS.iter().filter(|flag| matches!(flag.value, Value::Required(_))) {
        let (option, value) =
            with_value(flag.long).split_once(' ').map(|(o, v)| (o.to_owned(), v.to_owned())).unwrap();
        let expected = parsed(&format!("-L {option} {value}"));
        assert_eq!(parsed(&format!("-L {option}={value}")), expected, "{option}");
        if let Some(short) = flag.short {
            for form in [
                format!("-L -{short} {value}"),
                format!("-L -{short}{value}"),
                format!("-L -{short}={value}"),
            ] {
                assert_eq!(parsed(&form), expected, "{form}");
            }
            assert_eq!(failure(&format!("-L -{short}")), (format!("-{short}: missing argument"), 255));
        }
        assert_eq!(failure(&format!("-L {option}")), (format!("{option}: missing argument"), 255));
    }
    for flag in FLAGS.iter().filter(|flag| flag.value == Value::None) {
        let expected = (format!("--{}=1: option does not take an argument", flag.long), 255);
        assert_eq!(failure(&format!("-L --{}=1", flag.long)), expected);
    }
}

#[test]
fn help_names_every_form_and_version_comes_first() {
    assert_eq!(parsed("-h --bogus"), Ok(Invocation::Help));
    assert_eq!(parsed("--version"), Ok(Invocation::Version));
    let text = help();
    assert!(text.starts_with(&version()) && version().starts_with("ipvsadm v1.31 "), "{text}");
    for spec in COMMANDS {
        assert!(text.contains(&format!("--{}", spec.long)) && text.contains(spec.help), "{}", spec.long);
    }
    for spec in FLAGS {
        let short = spec.short.map(|short| format!("-{short}, ")).unwrap_or_default();
        assert!(
            text.contains(&format!("  {short}--{}", spec.long)) && text.contains(spec.help),
            "{}",
            spec.long
        );
    }
    assert!(text.lines().all(|line| line.len() <= 110), "{text}");
}

#[test]
fn host_names_need_a_resolver() {
    let args = ["-A", "-t", "www:80"];
    assert!(parse(&args, &Few).is_ok());
    let error = parse(&args, &Numeric).unwrap_err();
    assert_eq!(error.to_string(), "illegal virtual server address[:port] specified");
}
