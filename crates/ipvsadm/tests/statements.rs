//! The statements of ipvs.md §13.1 and §13.9 that arguments and texts alone decide, one test each. What a director
//! answers stands in them as the error it would give.
#![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

mod support;

use rvs_config::{Command, CommandError, DestKey, Destination, ForwardingMethod, Scheduler, ServiceKey};
use rvs_ipvsadm::{
    Failure, Format, Invocation, ListRequest, Names, Numeric, Rules, ServiceTable, UnknownScheduler, parse,
    restore, save,
};
use support::{dest, listing, run, service};

const MASQ: ForwardingMethod = ForwardingMethod::Masq;

fn key() -> ServiceKey {
    "10.0.0.1:80/tcp".parse().unwrap()
}

fn dest_key() -> DestKey {
    "192.168.9.2:80".parse().unwrap()
}

fn invocation(line: &str) -> Invocation {
    parse(&line.split(' ').collect::<Vec<_>>(), &Numeric).unwrap()
}

fn change(line: &str) -> Command {
    let Invocation::Change(command) = invocation(line) else { panic!("{line}") };
    command
}

fn failure(message: &str, status: u8) -> Failure {
    Failure { message: message.to_owned(), status }
}

#[track_caller]
fn fails(line: &str, message: &str, status: u8) {
    let error = parse(&line.split(' ').collect::<Vec<_>>(), &Numeric).expect_err(line);
    assert_eq!(Failure::from(&error), failure(message, status), "{line}");
}

#[track_caller]
fn refused(error: &CommandError, message: &str) {
    assert_eq!(Failure::refused(error), failure(message, 255));
}

fn unknown_scheduler(line: &str) -> UnknownScheduler {
    let Invocation::UnknownScheduler(unknown) = invocation(line) else { panic!("{line}") };
    unknown
}

fn listed(services: ServiceTable, listing: &rvs_config::Listing) -> String {
    services.render(listing, &Numeric).unwrap()
}

#[test]
fn s1_service_exists() {
    refused(&CommandError::ServiceExists { service: key() }, "Service already exists");
}

#[test]
fn s2_service_exists_before_scheduler_is_unknown() {
    let error = unknown_scheduler("-A -t 10.0.0.1:80 -s nosuch").error(true);
    refused(&error, "Service already exists");
}

#[test]
fn s3_unknown_scheduler() {
    let error = unknown_scheduler("-A -t 10.0.0.1:80 -s nosuch").error(false);
    refused(&error, "Scheduler or persistence engine not found");
    let error = unknown_scheduler("-E -t 10.0.0.1:80 -s nosuch").error(true);
    refused(&error, "Scheduler or persistence engine not found");
}

#[test]
fn s4_no_such_service() {
    refused(&CommandError::NoSuchService { service: key() }, "No such service");
    refused(&unknown_scheduler("-E -t 10.0.0.1:80 -s nosuch").error(false), "No such service");
}

#[test]
fn s5_listing_a_missing_service_exits_1() {
    let Invocation::List(ListRequest::Services(table)) = invocation("-L -t 10.0.0.1:80") else { panic!() };
    let error = table.render(&listing(vec![]), &Numeric).unwrap_err();
    assert_eq!(Failure::not_listed(&error), failure("No such service", 1));
}

#[test]
fn s6_service_not_defined() {
    refused(&CommandError::ServiceNotDefined { service: key() }, "Service not defined");
}

#[test]
fn s7_destination_exists() {
    let error = CommandError::DestinationExists { service: key(), destination: dest_key() };
    refused(&error, "Destination already exists");
}

#[test]
fn s8_no_such_destination() {
    let error = CommandError::NoSuchDestination { service: key(), destination: dest_key() };
    refused(&error, "No such destination");
}

/// `-x 5 -y 9` itself is refused before, as thresholds are not supported yet.
#[test]
fn s9_out_of_range() {
    refused(&CommandError::OutOfRange { what: String::new() }, "Numerical result out of range");
}

#[test]
fn s10_destination_not_unicast() {
    assert!(matches!(change("-a -t 10.0.0.1:80 -r 224.0.0.1"), Command::AddDestination { .. }));
    let text = "Invalid operation.  Possibly wrong module version, address not unicast, ...";
    refused(&CommandError::Invalid { what: String::new() }, text);
}

#[test]
fn s11_edit_without_options_resets_a_destination() {
    let Command::EditDestination { destination, .. } = change("-e -t 10.0.0.1:80 -r 192.168.9.2") else {
        panic!()
    };
    let expected = Destination {
        key: dest_key(),
        method: ForwardingMethod::Dr,
        weight: 1,
        upper_threshold: 0,
        lower_threshold: 0,
        tunnel: rvs_config::Tunnel::Ipip,
    };
    assert_eq!(destination, expected);
}

#[test]
fn s12_edit_without_options_resets_a_service() {
    let Command::EditService(service) = change("-E -t 10.0.0.1:80") else { panic!() };
    assert!(service.scheduler == Scheduler::Wlc && service.flags.is_empty(), "{service:?}");
}

#[test]
fn s14_nosort_shows_the_newest_first() {
    let dests = ["192.168.9.4:80", "192.168.9.3:80", "192.168.9.2:80"];
    let dests = dests.map(|key| dest(key, MASQ, 1)).to_vec();
    let table = ServiceTable { numeric: true, sorted: false, ..ServiceTable::default() };
    let expected = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.0.0.1:80 rr
  -> 192.168.9.4:80               Masq    1      0          0         \n  \
  -> 192.168.9.3:80               Masq    1      0          0         \n  \
  -> 192.168.9.2:80               Masq    1      0          0         \n";
    assert_eq!(listed(table, &listing(vec![service("10.0.0.1:80/tcp", Scheduler::Rr, 0, dests)])), expected);
}

#[test]
fn s15_listings_are_sorted_by_signed_difference() {
    let dests = ["192.168.9.4:80", "10.0.0.2:80", "192.168.9.3:80", "192.168.9.2:80"];
    let dests = dests.map(|key| dest(key, MASQ, 1)).to_vec();
    let listing = listing(vec![service("10.0.0.1:80/tcp", Scheduler::Rr, 0, dests)]);
    let text = listed(ServiceTable { numeric: true, ..ServiceTable::default() }, &listing);
    let order: Vec<&str> = text.lines().skip(4).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(order, ["192.168.9.2:80", "192.168.9.3:80", "192.168.9.4:80", "10.0.0.2:80"]);
}

#[test]
fn s19_ipv6_netmask() {
    for mask in ["0", "129", "x"] {
        fails(&format!("-A -t [2001:db8::1]:80 -p -M {mask}"), "illegal ipv6 netmask specified", 2);
    }
}

#[test]
fn s145_big_numbers() {
    let mut one = service("10.0.0.1:80/tcp", Scheduler::Rr, 0, vec![dest("192.168.9.2:80", MASQ, 1)]);
    one.counters.in_packets = 123_456_789;
    one.destinations[0].counters.in_packets = 123_456_789;
    let listing = listing(vec![one]);
    let stats = ServiceTable { format: Format::Stats, numeric: true, ..ServiceTable::default() };
    let expected = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  10.0.0.1:80                         0  123456K        0        0        0
  -> 192.168.9.2:80                      0  123456K        0        0        0
";
    assert_eq!(listed(stats.clone(), &listing), expected);
    let exact = ServiceTable { exact: true, ..stats };
    assert_eq!(listed(exact, &listing), expected.replace("  123456K", " 123456789"));
}

#[test]
fn s146_save_restore_save() {
    let rules = "\
-A -t 10.0.0.1:80 -s wrr
-a -t 10.0.0.1:80 -r 192.168.9.2:80 -m -w 1
-a -t 10.0.0.1:80 -r 192.168.9.3:8080 -m -w 0
-A -t 10.0.0.1:443 -s sh -b sh-fallback,sh-port
-a -t 10.0.0.1:443 -r 192.168.9.2:443 -g -w 5
-A -u 10.0.0.1:53 -s wlc
-a -u 10.0.0.1:53 -r 192.168.9.2:53 -i -w 1 --tun-type ipip
-a -u 10.0.0.1:53 -r 192.168.9.3:53 -i -w 1 --tun-type gue --tun-port 5555 --tun-nocsum
-a -u 10.0.0.1:53 -r 192.168.9.4:53 -i -w 2 --tun-type gue --tun-port 6080 --tun-remcsum
-a -u 10.0.0.1:53 -r 192.168.9.5:53 -i -w 1 --tun-type gre --tun-csum
-a -u 10.0.0.1:53 -r [2001:db8:9::2]:53 -i -w 1 --tun-type gre --tun-nocsum
-A --sctp-service 10.0.0.1:3868 -s rr
-a --sctp-service 10.0.0.1:3868 -r 192.168.9.2:3868 -m -w 1
-A -t [2001:db8::1]:80 -s wlc
-a -t [2001:db8::1]:80 -r 192.168.9.2:80 -i -w 1 --tun-type ipip
-a -t [2001:db8::1]:80 -r [2001:db8:9::2]:8080 -m -w 1
-a -t [2001:db8::1]:80 -r [2001:db8:9::3]:80 -g -w 1
";
    let commands = restore(rules, Rules::Add, &Numeric).unwrap();
    let saved = save(&run(commands.into_iter().map(|(_, command)| command)), true, &Numeric);
    assert_eq!(saved, rules);
}

#[test]
fn s147_thresholds_are_not_saved() {
    let mut limited = dest("192.168.9.2:80", MASQ, 1);
    (limited.destination.upper_threshold, limited.destination.lower_threshold) = (9, 5);
    let saved =
        save(&listing(vec![service("10.0.0.1:80/tcp", Scheduler::Rr, 0, vec![limited])]), true, &Numeric);
    assert_eq!(saved, "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 192.168.9.2:80 -m -w 1\n");
}

/// On purpose different: the lines before are not run either, and the message names the line.
#[test]
fn s148_restore_ends_at_a_comment() {
    let error = restore("-A -t 10.0.0.1:80\n# x\n-A -t 10.0.0.1:81\n", Rules::Add, &Numeric).unwrap_err();
    let text = "line 2: Try `ipvsadm -h' or 'ipvsadm --help' for more information.";
    assert_eq!(Failure::from(&error), failure(text, 255));
}

/// On purpose different: the director refuses the transaction, and the line it refuses is named.
#[test]
fn s149_restore_names_a_duplicate() {
    let commands = restore("-A -t 10.0.0.1:80\n\n-A -t 10.0.0.1:80\n", Rules::Add, &Numeric).unwrap();
    let (line, Command::AddService(again)) = &commands[1] else { panic!("{commands:?}") };
    let error = CommandError::ServiceExists { service: again.key };
    assert_eq!(Failure::refused(&error).at_line(*line), failure("line 3: Service already exists", 255));
}

#[test]
fn s150_connections_of_one_service() {
    let text = "The option 'service-address' conflicts with the 'connection' option in the 'list' command";
    fails("-L -c -t 10.0.0.1:80", text, 2);
}

#[test]
fn s151_second_command_and_illegal_option() {
    fails("-A -E", "invalid option `-E'", 2);
    fails("-C -n", "Illegal 'numeric' option with the 'flush' command", 2);
}

#[test]
fn s152_zero_port() {
    fails("-A -t 10.0.0.1", "Zero port specified for non-persistent service", 2);
}

#[test]
fn s153_deleting_keeps_the_port_given() {
    let Command::DeleteDestination { destination, .. } = change("-d -t 10.0.0.1:80 -r 192.168.9.2:99") else {
        panic!()
    };
    assert_eq!(destination.port, 99);
    let Command::DeleteDestination { destination, .. } = change("-d -t 10.0.0.1:80 -r 192.168.9.2") else {
        panic!()
    };
    assert_eq!(destination.port, 80);
}

#[test]
fn s154_gue_needs_a_port() {
    let text = "You need to supply the 'tun-port' option for the 'gue' tunnel type";
    fails("-a -t 10.0.0.1:80 -r 192.168.9.2 -i --tun-type gue", text, 2);
}

/// The trait is what the binary implements; a name that is not known ends like an address that is none.
#[test]
fn names_are_asked_for_by_protocol() {
    struct Asked;
    impl Names for Asked {
        fn host(&self, _: &str) -> Option<std::net::Ipv4Addr> {
            None
        }
        fn port(&self, name: &str, protocol: rvs_config::Protocol) -> Option<u16> {
            (name == "x" && protocol == rvs_config::Protocol::Udp).then_some(7)
        }
        fn host_of(&self, _: std::net::IpAddr) -> Option<String> {
            None
        }
        fn port_name(&self, _: u16, _: rvs_config::Protocol) -> Option<String> {
            None
        }
    }
    assert!(parse(&["-D", "-u", "10.0.0.1:x"], &Asked).is_ok());
    assert!(parse(&["-D", "-t", "10.0.0.1:x"], &Asked).is_err());
}
