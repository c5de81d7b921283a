//! Every table, whole. Trailing blanks are part of it: `|` marks each line's end.
#![allow(clippy::unwrap_used, reason = "what these tests are made of is right")]

mod support;

use rvs_config::{ConnListing, Counters, ForwardingMethod, Listing, Protocol, Rates, Scheduler};
use rvs_ipvsadm::{ConnTable, Format, Names, Numeric, Rules, ServiceTable, restore, save};
use support::{Few, LONG_NAME, dest, listing, run, service};

fn example() -> Listing {
    let mut busy = dest("192.168.9.2:8080", ForwardingMethod::Masq, 1);
    (busy.active_conns, busy.inactive_conns, busy.persistent_conns) = (7, 1_234_567, 3);
    (busy.destination.upper_threshold, busy.destination.lower_threshold) = (1000, 800);
    busy.counters = Counters {
        conns: 1,
        in_packets: 99_999_999,
        out_packets: 1_234_567_890,
        in_bytes: 123_456_789_012,
        out_bytes: 123_456_789_012_345,
    };
    busy.rates = Rates { cps: 1, in_pps: 2, out_pps: 123_456_789, in_bps: 4, out_bps: 123_456_789 };
    let routed = dest("10.200.200.200:80", ForwardingMethod::Dr, 2_147_483_647);
    let tunnelled = dest("10.0.0.3:80", ForwardingMethod::Tunnel, 0);
    let mut web = service("10.0.0.1:80/tcp", Scheduler::Wlc, 0, vec![tunnelled, routed, busy]);
    web.counters = Counters { conns: 5, ..Counters::default() };
    web.rates = Rates { cps: 6, in_pps: 123_456_789, ..Rates::default() };
    listing(vec![
        service("10.0.0.1:53/udp", Scheduler::Rr, 5, vec![]),
        web,
        service(
            "111.111.111.111:65535/tcp",
            Scheduler::Sh,
            3,
            vec![dest("10.9.9.9:65535", ForwardingMethod::Masq, 1)],
        ),
    ])
}

#[track_caller]
fn check(table: &ServiceTable, names: &dyn Names, expected: &str) {
    let text = table.render(&example(), names).unwrap();
    assert_eq!(text.replace('\n', "|\n").trim_end(), expected.trim(), "\n{text}");
}

fn numeric(format: Format) -> ServiceTable {
    ServiceTable { format, numeric: true, ..ServiceTable::default() }
}

#[test]
fn plain() {
    let expected = "
IP Virtual Server version 1.2.1 (size=4096)|
Prot LocalAddress:Port Scheduler Flags|
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn|
TCP  10.0.0.1:80 wlc|
  -> 192.168.9.2:8080             Masq    1      7          1234567   |
  -> 10.0.0.3:80                  Tunnel  0      0          0         |
  -> 10.200.200.200:80            Route   2147483647 0          0         |
TCP  111.111.111.111:65535 sh (sh-fallback,sh-port)|
  -> 10.9.9.9:65535               Masq    1      0          0         |
UDP  10.0.0.1:53 rr (flag-1,flag-3)|";
    check(&numeric(Format::Plain), &Few, expected);
    check(&ServiceTable { numeric: false, ..numeric(Format::Plain) }, &Numeric, expected);
}

/// ipvs.md §10.5, §10.6.
#[test]
fn one_packet_scheduling_is_listed_and_saved() {
    let mut listed = service("10.0.0.1:53/udp", Scheduler::Sh, 2, vec![]);
    listed.service.one_packet = true;
    let text = numeric(Format::Plain).render(&listing(vec![listed.clone()]), &Few).unwrap();
    assert!(text.ends_with("\nUDP  10.0.0.1:53 sh (sh-port) ops\n"), "{text}");
    let saved = rvs_ipvsadm::save(&listing(vec![listed]), true, &Few);
    assert_eq!(saved, "-A -u 10.0.0.1:53 -s sh -o -b sh-port\n");
}

#[test]
fn names_are_cut_to_their_columns() {
    let expected = "
IP Virtual Server version 1.2.1 (size=4096)|
Prot LocalAddress:Port Scheduler Flags|
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn|
TCP  www:http wlc|
  -> 192.168.9.2:8080             Masq    1      7          1234567   |
  -> 10.0.0.3:http                Tunnel  0      0          0         |
  -> 10.200.200.200:http          Route   2147483647 0          0         |
TCP  111.111.111.111:65535 sh (sh-fallback,sh-port)|
  -> longlonglonglonglonglongname Masq    1      0          0         |
UDP  www:domain rr (flag-1,flag-3)|";
    check(&ServiceTable::default(), &Few, expected);
    let sctp = listing(vec![service("10.0.0.1:3868/sctp", Scheduler::Rr, 0, vec![])]);
    let text = ServiceTable::default().render(&sctp, &Few).unwrap();
    assert!(text.ends_with("\nSCTP www:diameter rr\n"), "{text}");
    let long = listing(vec![service("10.9.9.9:80/tcp", Scheduler::Rr, 0, vec![])]);
    let text = ServiceTable::default().render(&long, &Few).unwrap();
    assert!(text.ends_with(&format!("\nTCP  {LONG_NAME} rr\n")), "{text}");
    assert_eq!(save(&long, false, &Few), format!("-A -t {LONG_NAME}:http -s rr\n"));
}

#[test]
fn stats() {
    check(
        &numeric(Format::Stats),
        &Few,
        "
IP Virtual Server version 1.2.1 (size=4096)|
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes|
  -> RemoteAddress:Port|
TCP  10.0.0.1:80                         5        0        0        0        0|
  -> 192.168.9.2:8080                    1 99999999    1234M     123G     123T|
  -> 10.0.0.3:80                         0        0        0        0        0|
  -> 10.200.200.200:80                   0        0        0        0        0|
TCP  111.111.111.111:65535               0        0        0        0        0|
  -> 10.9.9.9:65535                      0        0        0        0        0|
UDP  10.0.0.1:53                         0        0        0        0        0|",
    );
}

#[test]
fn stats_exact() {
    let table = ServiceTable {
        exact: true,
        service: Some("10.0.0.1:80/tcp".parse().unwrap()),
        ..numeric(Format::Stats)
    };
    check(
        &table,
        &Few,
        "
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes|
  -> RemoteAddress:Port|
TCP  10.0.0.1:80                         5        0        0        0        0|
  -> 192.168.9.2:8080                    1 99999999 1234567890 123456789012 123456789012345|
  -> 10.0.0.3:80                         0        0        0        0        0|
  -> 10.200.200.200:80                   0        0        0        0        0|",
    );
}

/// The first three rates of a destination are never shortened.
#[test]
fn rates() {
    let table = ServiceTable { service: Some("10.0.0.1:80/tcp".parse().unwrap()), ..numeric(Format::Rate) };
    check(
        &table,
        &Few,
        "
Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS|
  -> RemoteAddress:Port|
TCP  10.0.0.1:80                         6  123456K        0        0        0|
  -> 192.168.9.2:8080                    1        2 123456789        4  123456K|
  -> 10.0.0.3:80                         0        0        0        0        0|
  -> 10.200.200.200:80                   0        0        0        0        0|",
    );
}

#[test]
fn thresholds() {
    check(
        &numeric(Format::Thresholds),
        &Few,
        "
IP Virtual Server version 1.2.1 (size=4096)|
Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn |
  -> RemoteAddress:Port|
TCP  10.0.0.1:80 wlc|
  -> 192.168.9.2:8080             1000       800        7          1234567   |
  -> 10.0.0.3:80                  0          0          0          0         |
  -> 10.200.200.200:80            0          0          0          0         |
TCP  111.111.111.111:65535 sh (sh-fallback,sh-port)|
  -> 10.9.9.9:65535               0          0          0          0         |
UDP  10.0.0.1:53 rr (flag-1,flag-3)|",
    );
}

#[test]
fn persistent_connections() {
    check(
        &numeric(Format::PersistentConn),
        &Few,
        "
IP Virtual Server version 1.2.1 (size=4096)|
Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn |
  -> RemoteAddress:Port|
TCP  10.0.0.1:80 wlc|
  -> 192.168.9.2:8080             1         3           7          1234567   |
  -> 10.0.0.3:80                  0         0           0          0         |
  -> 10.200.200.200:80            2147483647 0           0          0         |
TCP  111.111.111.111:65535 sh (sh-fallback,sh-port)|
  -> 10.9.9.9:65535               1         0           0          0         |
UDP  10.0.0.1:53 rr (flag-1,flag-3)|",
    );
}

#[test]
fn tunnels() {
    let table =
        ServiceTable { service: Some("10.0.0.1:80/tcp".parse().unwrap()), ..numeric(Format::TunInfo) };
    check(
        &table,
        &Few,
        "
Prot LocalAddress:Port Scheduler Flags|
  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn|
TCP  10.0.0.1:80 wlc|
  -> 192.168.9.2:8080             Masq    n/a           1      7          1234567   |
  -> 10.0.0.3:80                  Tunnel  ipip          0      0          0         |
  -> 10.200.200.200:80            Route   n/a           2147483647 0          0         |",
    );
}

/// What `ipvsadm` 1.31 printed on Linux 6.1 after these commands, which are in the order of its own `-S`.
#[test]
fn families_protocols_and_tunnels_as_ipvsadm_lists_them() {
    let rules = "\
-A -t 10.0.0.1:80 -s rr
-a -t 10.0.0.1:80 -r 192.168.9.2:80 -i -w 1 --tun-type ipip
-a -t 10.0.0.1:80 -r 192.168.9.3:80 -i -w 1 --tun-type gue --tun-port 5555 --tun-nocsum
-a -t 10.0.0.1:80 -r 192.168.9.4:80 -i -w 2 --tun-type gue --tun-port 6080 --tun-remcsum
-a -t 10.0.0.1:80 -r 192.168.9.5:80 -i -w 1 --tun-type gre --tun-csum
-a -t 10.0.0.1:80 -r 192.168.9.6:80 -i -w 1 --tun-type gre --tun-nocsum
-a -t 10.0.0.1:80 -r 192.168.9.7:80 -i -w 1 --tun-type gue --tun-port 65535 --tun-csum
-a -t 10.0.0.1:80 -r [2001:db8:9::2]:80 -i -w 1 --tun-type ipip
-A --sctp-service 10.0.0.1:3868 -s rr
-a --sctp-service 10.0.0.1:3868 -r 192.168.9.2:3868 -m -w 1
-A -t [2001:db8::1]:80 -s wlc
-a -t [2001:db8::1]:80 -r 192.168.9.2:80 -i -w 1 --tun-type gre --tun-csum
-a -t [2001:db8::1]:80 -r [2001:db8:9::2]:8080 -m -w 1
-a -t [2001:db8::1]:80 -r [2001:db8:9::3]:80 -g -w 1
-A -u [2001:db8:1111:2222:3333:4444:5555:6666]:53 -s wrr
-a -u [2001:db8:1111:2222:3333:4444:5555:6666]:53 -r [2001:db8:1111:2222:3333:4444:5555:7777]:5353 -m -w 1
-A --sctp-service [2001:db8::1]:3868 -s rr
";
    let commands = restore(rules, Rules::Add, &Numeric).unwrap();
    let listing = run(commands.into_iter().map(|(_, command)| command));
    assert_eq!(save(&listing, true, &Numeric), rules);
    let expected = "
IP Virtual Server version 1.2.1 (size=4096)|
Prot LocalAddress:Port Scheduler Flags|
  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn|
TCP  10.0.0.1:80 rr|
  -> 192.168.9.2:80               Tunnel  ipip          1      0          0         |
  -> 192.168.9.3:80               Tunnel  gue:5555:-c   1      0          0         |
  -> 192.168.9.4:80               Tunnel  gue:6080:r+c  2      0          0         |
  -> 192.168.9.5:80               Tunnel  gre:+c        1      0          0         |
  -> 192.168.9.6:80               Tunnel  gre:-c        1      0          0         |
  -> 192.168.9.7:80               Tunnel  gue:65535:+c  1      0          0         |
  -> [2001:db8:9::2]:80           Tunnel  ipip          1      0          0         |
SCTP 10.0.0.1:3868 rr|
  -> 192.168.9.2:3868             Masq    n/a           1      0          0         |
TCP  [2001:db8::1]:80 wlc|
  -> 192.168.9.2:80               Tunnel  gre:+c        1      0          0         |
  -> [2001:db8:9::2]:8080         Masq    n/a           1      0          0         |
  -> [2001:db8:9::3]:80           Route   n/a           1      0          0         |
UDP  [2001:db8:1111:2222:3333:4444:5555:6666]:53 wrr|
  -> [2001:db8:1111:2222:3333:4444:5555:7777]:5353 Masq    n/a           1      0          0         |
SCTP [2001:db8::1]:3868 rr|";
    let text = numeric(Format::TunInfo).render(&listing, &Numeric).unwrap();
    assert_eq!(text.replace('\n', "|\n").trim_end(), expected.trim(), "\n{text}");
    let stats = numeric(Format::Stats).render(&listing, &Numeric).unwrap();
    for line in [
        "UDP  [2001:db8:1111:2222:3333:4444:5555:6666]:53        0        0        0        0        0",
        "SCTP [2001:db8::1]:3868                  0        0        0        0        0",
    ] {
        assert!(stats.lines().any(|found| found == line), "{stats}");
    }
}

#[test]
fn unsorted() {
    check(
        &ServiceTable { sorted: false, ..numeric(Format::Plain) },
        &Few,
        "
IP Virtual Server version 1.2.1 (size=4096)|
Prot LocalAddress:Port Scheduler Flags|
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn|
UDP  10.0.0.1:53 rr (flag-1,flag-3)|
TCP  10.0.0.1:80 wlc|
  -> 10.0.0.3:80                  Tunnel  0      0          0         |
  -> 10.200.200.200:80            Route   2147483647 0          0         |
  -> 192.168.9.2:8080             Masq    1      7          1234567   |
TCP  111.111.111.111:65535 sh (sh-fallback,sh-port)|
  -> 10.9.9.9:65535               Masq    1      0          0         |",
    );
}

/// IPv6 names are in brackets and never cut.
#[test]
fn ipv6() {
    let six = listing(vec![service(
        "[2001:db8::1]:80/tcp",
        Scheduler::Wlc,
        0,
        vec![dest("[2001:db8:1111:2222:3333:4444:5555:2]:80", ForwardingMethod::Masq, 1)],
    )]);
    let text = numeric(Format::Plain).render(&six, &Few).unwrap();
    let expected = "\
TCP  [2001:db8::1]:80 wlc
  -> [2001:db8:1111:2222:3333:4444:5555:2]:80 Masq    1      0          0         \n";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn connections_of_ipv6_and_sctp() {
    let conn = |protocol, addresses: [&str; 3], port, state: &str| ConnListing {
        protocol,
        client: addresses[0].parse().unwrap(),
        client_port: 40_000,
        vip: addresses[1].parse().unwrap(),
        vport: port,
        destination: addresses[2].parse().unwrap(),
        dport: port,
        method: ForwardingMethod::Tunnel,
        state: state.to_owned(),
        expires_s: 61,
        packets: 1,
    };
    let conns = [
        conn(Protocol::Tcp, ["2001:db8:2::2", "2001:db8::1", "192.168.9.2"], 80, "SYN_RECV"),
        conn(Protocol::Sctp, ["192.0.2.2", "10.0.0.1", "192.168.9.2"], 3868, "ESTABLISHED"),
    ];
    let table = ConnTable { numeric: true, persistence_data: false };
    let expected = "\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 01:01  SYN_RECV    [2001:db8:2::2]:40000 [2001:db8::1]:80   192.168.9.2:80
SCTP 01:01  ESTABLISHED 192.0.2.2:40000    10.0.0.1:3868      192.168.9.2:3868
";
    assert_eq!(table.render(&conns, &Few), expected);
}

#[test]
fn connections() {
    let conn = |protocol, state: &str, expires_s, dport| ConnListing {
        protocol,
        client: "192.0.2.2".parse().unwrap(),
        client_port: 40_000,
        vip: "10.0.0.1".parse().unwrap(),
        vport: 80,
        destination: "192.168.9.2".parse().unwrap(),
        dport,
        method: ForwardingMethod::Masq,
        state: state.to_owned(),
        expires_s,
        packets: 3,
    };
    let conns = [conn(Protocol::Tcp, "ESTABLISHED", 899, 8080), conn(Protocol::Udp, "UDP", 6001, 53)];
    let table = ConnTable { numeric: true, persistence_data: false };
    let expected = "\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 14:59  ESTABLISHED 192.0.2.2:40000    10.0.0.1:80        192.168.9.2:8080
UDP 100:01 UDP         192.0.2.2:40000    10.0.0.1:80        192.168.9.2:53
";
    assert_eq!(table.render(&conns, &Few), expected);
    let named = ConnTable { numeric: false, persistence_data: true };
    let expected = "\
IPVS connection entries
pro expire state       source             virtual            destination        pe name          pe_data
TCP 14:59  ESTABLISHED 192.0.2.2:40000    www:http           192.168.9.2:8080
UDP 100:01 UDP         192.0.2.2:40000    www:80             192.168.9.2:domain
";
    assert_eq!(named.render(&conns, &Few), expected);
}
