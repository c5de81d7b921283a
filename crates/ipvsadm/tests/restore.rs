//! Reading rules back: which lines are rules, what a bad one does, and that nothing is lost between -S and -R.
#![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use proptest::prelude::*;
use rvs_config::{
    ClientAddress, Command, CommandError, DestKey, Destination, ForwardingMethod, Listing, Protocol,
    Scheduler, SchedulerFlags, ServiceKey, Tunnel, TunnelChecksum, VirtualService,
};
use rvs_ipvsadm::{Failure, Numeric, Rules, ServiceTable, restore, save};
use support::{Few, run};

fn lines(text: &str, rules: Rules) -> Vec<usize> {
    restore(text, rules, &Few).unwrap().into_iter().map(|(line, _)| line).collect()
}

fn failure(text: &str, rules: Rules) -> (String, u8) {
    let Failure { message, status } = Failure::from(&restore(text, rules, &Few).unwrap_err());
    (message, status)
}

#[test]
fn words_are_separated_by_blanks() {
    let text = "-A -t 10.0.0.1:80\n\n  \n\t-A   -t\t10.0.0.1:81  \nipvsadm -A ipvsadm -t 10.0.0.1:82\r\nipvsadm\n--set 1 2 3";
    assert_eq!(lines(text, Rules::Add), [1, 4, 5, 7]);
    // No other space separates, and there is no quoting.
    let message = "line 1: -A\u{b}-t: unknown option".to_owned();
    assert_eq!(failure("-A\u{b}-t", Rules::Add), (message, 255));
    let message = "line 1: illegal virtual server address[:port] specified".to_owned();
    assert_eq!(failure("-A -t \"10.0.0.1:80\"", Rules::Add), (message, 2));
}

#[test]
fn replacing_clears_first_and_takes_comments() {
    let text = "# saved\n-A -t 10.0.0.1:80\n#-A\n";
    let commands = restore(text, Rules::Replace, &Few).unwrap();
    assert_eq!(commands[0], (0, Command::Clear));
    assert_eq!(lines(text, Rules::Replace), [0, 2]);
    // Only at the beginning of a line.
    assert_eq!(failure(" # x", Rules::Replace).1, 255);
    assert_eq!(lines("", Rules::Replace), [0]);
    assert_eq!(lines("", Rules::Add), [0_usize; 0]);
}

#[test]
fn the_first_bad_line_is_named_and_nothing_is_given() {
    let good = "-A -t 10.0.0.1:80\n";
    let cases = [
        ("-A -t 10.0.0.1\n", "Zero port specified for non-persistent service", 2),
        ("bogus\n", "Try `ipvsadm -h' or 'ipvsadm --help' for more information.", 255),
        ("-R\n", "Try `ipvsadm -h' or 'ipvsadm --help' for more information.", 255),
        ("-A -t 10.0.0.1:80 -Q\n", "-Q: unknown option", 255),
        ("-A -t 10.0.0.1:80 -s nosuch\n", "Scheduler or persistence engine not found", 255),
        ("-A -t 10.0.0.1:80 -p\n", "persistence (-p): not supported by this version of rvs", 255),
        ("-Ln\n", "-Ln among rules: not supported by this version of rvs", 255),
        ("-S\n", "-S among rules: not supported by this version of rvs", 255),
        ("ipvsadm -v\n", "-v among rules: not supported by this version of rvs", 255),
        ("-h\n", "-h among rules: not supported by this version of rvs", 255),
    ];
    for (bad, message, status) in cases {
        let text = format!("{good}{bad}{good}bogus\n");
        assert_eq!(failure(&text, Rules::Add), (format!("line 2: {message}"), status), "{bad}");
    }
}

#[test]
fn a_refused_line_keeps_its_number() {
    let commands = restore("\n-D -t 10.0.0.1:80\n", Rules::Add, &Few).unwrap();
    let service = "10.0.0.1:80/tcp".parse().unwrap();
    assert_eq!(commands, [(2, Command::DeleteService { service })]);
    let failure = Failure::refused(&CommandError::NoSuchService { service }).at_line(2);
    assert_eq!(failure, Failure { message: "line 2: No such service".to_owned(), status: 255 });
}

#[test]
fn limits_say_which() {
    let what = "service 10.0.0.1:80/tcp: 4097 destinations, maximum 4096".to_owned();
    let failure = Failure::refused(&CommandError::LimitReached { what: what.clone() });
    assert_eq!(failure.message, format!("Memory allocation problem: {what}"));
}

fn configured(services: &Services) -> Listing {
    let mut commands = Vec::new();
    for (key, (service, dests)) in services {
        commands.push(Command::AddService(service.clone()));
        let add = |dest: &Destination| Command::AddDestination { service: *key, destination: *dest };
        commands.extend(dests.values().map(add));
    }
    run(commands)
}

fn apply(text: &str) -> Listing {
    run(restore(text, Rules::Replace, &Numeric).unwrap().into_iter().map(|(_, command)| command))
}

/// Some addresses often, so that keys meet; of the others, those within one half (`mask`) have a simple order.
fn address(mask: u32) -> impl Strategy<Value = IpAddr> {
    let bits = || prop_oneof![any::<u32>(), Just(0x0a00_0001), Just(0x0a00_0002)];
    let v4 = bits().prop_map(move |bits| Ipv4Addr::from_bits(bits & mask).into());
    let v6 = (bits(), bits()).prop_map(move |(high, low)| {
        let bits = u128::from(high & mask | 0x2000_0000) << 96 | u128::from(low & mask);
        Ipv6Addr::from_bits(bits).into()
    });
    prop_oneof![2 => v4, 1 => v6]
}

type Services = BTreeMap<ServiceKey, (VirtualService, BTreeMap<DestKey, Destination>)>;

fn services(mask: u32) -> impl Strategy<Value = Services> {
    let protocol = prop::sample::select(Protocol::ALL);
    let key = (protocol, address(mask), 1..=u16::MAX).prop_map(|(protocol, address, port)| ServiceKey {
        protocol,
        address,
        port,
    });
    let own = (prop::sample::select(vec![0, 536, 1360]), prop::sample::select(ClientAddress::ALL));
    let attributes = (prop::sample::select(Scheduler::ALL), 0..=SchedulerFlags::ALL, any::<bool>(), own);
    let service = (attributes, prop::collection::vec(dest(mask), 0..8));
    prop::collection::btree_map(key, service, 0..12).prop_map(|services| {
        services
            .into_iter()
            .map(|(key, (attributes, dests))| {
                let (scheduler, flags, ops, (mss, client_address)): (_, _, _, (u16, ClientAddress)) =
                    attributes;
                let one_packet = ops && key.protocol == Protocol::Udp;
                let mss = if key.protocol == Protocol::Tcp { mss } else { 0 };
                let client_address = match client_address {
                    ClientAddress::Proxy if key.protocol != Protocol::Tcp => ClientAddress::Option,
                    any => any,
                };
                let flags = SchedulerFlags(flags);
                let service = VirtualService { key, scheduler, flags, one_packet, mss, client_address };
                let dests: Vec<Destination> = dests;
                let dests = dests.into_iter().map(|dest| in_service(dest, &key)).map(|dest| (dest.key, dest));
                (key, (service, dests.collect()))
            })
            .collect()
    })
}

fn dest(mask: u32) -> impl Strategy<Value = Destination> {
    let weight = 0..=i32::MAX.cast_unsigned();
    (address(mask), any::<u16>(), prop::sample::select(ForwardingMethod::ALL), weight, tunnel()).prop_map(
        |(address, port, method, weight, tunnel)| {
            let key = DestKey { address, port };
            Destination { key, method, weight, upper_threshold: 0, lower_threshold: 0, tunnel }
        },
    )
}

fn tunnel() -> impl Strategy<Value = Tunnel> {
    let any_checksum = prop::sample::select(TunnelChecksum::ALL);
    let gre_checksum = prop_oneof![Just(TunnelChecksum::None), Just(TunnelChecksum::Csum)];
    prop_oneof![
        Just(Tunnel::Ipip),
        (1..=u16::MAX, any_checksum).prop_map(|(port, checksum)| Tunnel::Gue { port, checksum }),
        gre_checksum.prop_map(|checksum| Tunnel::Gre { checksum }),
    ]
}

/// Only NAT has a port of its own, only tunnels are of a kind, and only they lead to the other family.
fn in_service(mut dest: Destination, service: &ServiceKey) -> Destination {
    if dest.key.address.is_ipv6() != service.address.is_ipv6() {
        dest.method = ForwardingMethod::Tunnel;
    }
    if dest.method != ForwardingMethod::Tunnel {
        dest.tunnel = Tunnel::Ipip;
    }
    if dest.method != ForwardingMethod::Masq {
        dest.key.port = service.port;
    }
    dest
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// -S | -R brings back every service and destination, at whatever addresses.
    #[test]
    fn saved_rules_are_the_configuration(services in services(u32::MAX)) {
        let restored = apply(&save(&configured(&services), true, &Numeric));
        let found: Services = restored.services.iter().map(|listed| {
            let dests = listed.destinations.iter().map(|dest| (dest.destination.key, dest.destination));
            (listed.service.key, (listed.service.clone(), dests.collect()))
        }).collect();
        prop_assert_eq!(found, services);
    }

    /// -S | -R | -S prints the same text. (At addresses more than 2^31 apart the order of listings depends on the order
    /// of creation, in `ipvsadm` as here.)
    #[test]
    fn saved_rules_are_saved_again(services in services(0x7fff_ffff)) {
        let saved = save(&configured(&services), true, &Numeric);
        prop_assert_eq!(save(&apply(&saved), true, &Numeric), saved);
    }

    /// Whatever is on standard input, it is refused by a line of it or understood.
    #[test]
    fn any_input_is_answered(text in "[-AEDCaedLlZSRhv tusr0-9.:\\[\\]\n#]{0,120}", replace in any::<bool>()) {
        let rules = if replace { Rules::Replace } else { Rules::Add };
        if let Err(error) = restore(&text, rules, &Numeric) {
            prop_assert!((1..=text.split('\n').count()).contains(&error.line));
        }
    }

    /// Whatever the arguments are, they are refused with a status of `ipvsadm` or understood.
    #[test]
    fn any_arguments_are_answered(args in prop::collection::vec("-{0,2}[a-zA-Z0-9.:=,é-]{0,12}", 0..6)) {
        if let Err(error) = rvs_ipvsadm::parse(&args, &Numeric) {
            prop_assert!(matches!(error.status(), 2 | 255) && !error.to_string().is_empty());
        }
    }
}

/// The bound is many times what it takes; it is there to find an algorithm that isn't linear.
#[test]
fn ten_thousand_services_take_no_time() {
    let mut rules = String::new();
    for i in 0..10_000_u32 {
        let service = format!("{}:80", Ipv4Addr::from_bits(0x0a00_0000 | i));
        writeln!(rules, "-A -t {service} -s wrr").unwrap();
        for j in 0..4 {
            let real_server = Ipv4Addr::from_bits(0xc0a8_0000 | (i * 4 + j) & 0xffff);
            writeln!(rules, "-a -t {service} -r {real_server}:8080 -m -w 5").unwrap();
        }
    }
    let start = Instant::now();
    let commands = restore(&rules, Rules::Add, &Numeric).unwrap();
    assert_eq!(commands.len(), 50_000);
    let restored = start.elapsed();
    let listing = fast_run(commands);
    let start = Instant::now();
    let saved = save(&listing, true, &Numeric);
    let table = ServiceTable { numeric: true, ..ServiceTable::default() }.render(&listing, &Numeric).unwrap();
    let listed = start.elapsed();
    assert_eq!(saved, rules);
    assert_eq!(table.lines().count(), 3 + 50_000);
    println!("50 000 rules read in {restored:?}, saved and listed in {listed:?}");
    assert!(restored.as_secs() < 5 && listed.as_secs() < 5, "{restored:?}, {listed:?}");
}

/// Like `run`, which searches all services for each rule, for rules in which destinations follow their service.
fn fast_run(commands: Vec<(usize, Command)>) -> Listing {
    let mut services = Vec::new();
    for (_, command) in commands {
        match command {
            Command::AddService(_) => services.extend(run([command]).services),
            Command::AddDestination { service, destination } => {
                let listed: &mut rvs_config::ServiceListing = services.last_mut().unwrap();
                assert_eq!(listed.service.key, service);
                let key = destination.key.to_string();
                listed.destinations.insert(0, support::dest(&key, destination.method, destination.weight));
            }
            other => panic!("{other:?}"),
        }
    }
    support::listing(services)
}
