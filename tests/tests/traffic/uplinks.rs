//! How the director hangs on its networks: through a bridge, by several cables of which packets come in by one and leave by
//! another, by links that take large frames. VLANs and bonds are tested in the reference kernel, which has such devices.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;

use rvs_netlink::{MacAddr, Netlink, Netns, Prefix, Route};
use rvs_testkit::{Cluster, Family, Host, HttpClient, HttpRun, HttpServer, wait_until};

use crate::daemon::Daemon;
use crate::method::Attach;
use crate::stage::{LIMIT, start_daemon};
use crate::transfer::{download, upload};
use crate::world::FAMILIES;

/// 10 MiB.
const LEN: u64 = 10 << 20;
const PORT: u16 = 80;
/// Where the server listens.
const MAPPED: u16 = 8080;

/// A cable to a client and one to a server, both families.
fn cluster(attach: Attach) -> Cluster {
    Cluster::routed(1).ipv6(true).offloads(attach.offloads()).build().unwrap()
}

/// What a test stands on, once its links are as they are to be. Taken down in the order of its fields.
struct Site {
    daemon: Daemon,
    _server: HttpServer,
    cluster: Cluster,
}

impl Site {
    /// Services of both families by NAT.
    fn new(cluster: Cluster, attach: Attach) -> Self {
        let server = cluster.start_servers(MAPPED).unwrap().remove(0);
        let daemon = start_daemon(&cluster, &["--attach", attach.name()]);
        let site = Self { daemon, _server: server, cluster };
        for family in FAMILIES {
            let server = SocketAddr::new(site.cluster.servers()[0].address_in(family), MAPPED);
            site.daemon.ipvsadm(&format!("-A -t {} -s rr", site.service(family)));
            site.daemon.ipvsadm(&format!("-a -t {} -r {server} -m", site.service(family)));
        }
        site
    }

    fn service(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.cluster.vip_in(family), PORT)
    }

    /// Bytes both ways, over connections of both families.
    fn transfer(&self) {
        for family in FAMILIES {
            upload(self.cluster.client(), self.service(family), LEN);
            download(self.cluster.client(), self.service(family), LEN);
        }
    }

    /// How an interface is attached.
    fn attached(&self, name: &str) -> String {
        let status = self.daemon.status();
        let interfaces = status["interfaces"].as_array().unwrap();
        let interface = interfaces.iter().find(|interface| interface["name"] == name).unwrap();
        interface["attach"].as_str().unwrap().to_owned()
    }
}

/// The addresses of an interface in both families, with their networks.
fn networks(host: &Host, interface: &str) -> [Prefix; 2] {
    let interface = host.interface(interface);
    let v4 = Prefix::new(interface.address.unwrap(), 24).unwrap();
    [v4, Prefix::new(interface.address_v6.unwrap(), 64).unwrap()]
}

/// Puts the director's interface towards the client behind a bridge, which gets its addresses: with the Ethernet address of its
/// port, or one of its own.
fn bridge(cluster: &mut Cluster, own_address: bool) {
    let port = cluster.director().interface("to-client").clone();
    let addresses = networks(cluster.director(), "to-client");
    let vips = FAMILIES.map(|family| Prefix::host(cluster.vip_in(family)));
    let netlink = cluster.director_mut().netlink();
    netlink.create_bridge("bridge").unwrap();
    let index = netlink.link("bridge").unwrap().index;
    let mac = if own_address { MacAddr([2, 0, 0, 0, 0xb, 1]) } else { port.mac };
    netlink.set_mac(index, mac).unwrap();
    for address in addresses.into_iter().chain(vips) {
        netlink.delete_address(port.index, address).unwrap();
    }
    netlink.set_master(port.index, Some(index)).unwrap();
    netlink.set_up(index).unwrap();
    for address in addresses.into_iter().chain(vips) {
        netlink.add_address(index, address).unwrap();
    }
    await_answer(cluster.client_mut().netlink(), addresses);
}

/// Waits until neighbours answer: a bridge opens its port a while after that is up.
fn await_answer(netlink: &mut Netlink, neighbours: [Prefix; 2]) {
    let index = netlink.link("eth0").unwrap().index;
    netlink.flush_neighbours(index).unwrap();
    for neighbour in neighbours.map(|prefix| prefix.addr()) {
        let mut answers = || {
            netlink.probe_neighbour(index, neighbour).unwrap();
            let table = netlink.neighbours().unwrap();
            table.iter().any(|entry| entry.address == neighbour && entry.usable_mac().is_some())
        };
        wait_until("the bridge's answer", LIMIT, &mut answers).unwrap();
    }
}

fn through_a_bridge(attach: Attach, own_address: bool) {
    let mut cluster = cluster(attach);
    bridge(&mut cluster, own_address);
    let site = Site::new(cluster, attach);
    assert_eq!(
        (site.attached("to-client").as_str(), site.attached("bridge").as_str()),
        (attach.name(), "tc")
    );
    site.transfer();
}

#[test]
fn through_a_bridge_under_tc() {
    through_a_bridge(Attach::Tc, false);
}

#[test]
fn through_a_bridge_under_xdp() {
    through_a_bridge(Attach::Xdp, false);
}

#[test]
fn through_a_bridge_with_an_address_of_its_own_under_tc() {
    through_a_bridge(Attach::Tc, true);
}

#[test]
fn through_a_bridge_with_an_address_of_its_own_under_xdp() {
    through_a_bridge(Attach::Xdp, true);
}

/// A second cable between director and client, ready for XDP at the client; the two addresses of each end.
fn second_cable(cluster: &mut Cluster, attach: Attach) -> [[IpAddr; 2]; 2] {
    let ends: [[IpAddr; 2]; 2] = [
        ["192.0.3.2".parse().unwrap(), "2001:db8:3::2".parse().unwrap()],
        ["192.0.3.10".parse().unwrap(), "2001:db8:3::10".parse().unwrap()],
    ];
    let client = Netns::open(cluster.client().netns().name()).unwrap();
    cluster.director_mut().netlink().create_veth("second", "eth1", &client).unwrap();
    let mut at_client = client.netlink().unwrap();
    let index = at_client.link("eth1").unwrap().index;
    if attach == Attach::Xdp {
        let mut ethtool = client.ethtool().unwrap();
        ethtool.set_tx_checksum(index, false).unwrap();
        ethtool.set_gro(index, true).unwrap();
    }
    let at_director = cluster.director_mut().netlink();
    let at_director_index = at_director.link("second").unwrap().index;
    for (netlink, index, addresses) in
        [(at_director, at_director_index, ends[0]), (&mut at_client, index, ends[1])]
    {
        netlink.set_up(index).unwrap();
        for (address, bits) in addresses.into_iter().zip([24, 64]) {
            netlink.add_address(index, Prefix::new(address, bits).unwrap()).unwrap();
        }
    }
    ends
}

/// Requests come in by one cable and replies leave by the other; then, in the middle of a connection, requests change over.
fn by_two_cables(attach: Attach) {
    let mut cluster = cluster(attach);
    let [director, client] = second_cable(&mut cluster, attach);
    for (family, gateway) in FAMILIES.into_iter().zip(client) {
        let route = Route::to(Prefix::host(cluster.client().address_in(family))).via(gateway);
        cluster.director_mut().netlink().add_route(&route).unwrap();
    }
    let mut site = Site::new(cluster, attach);
    assert_eq!(site.attached("second"), attach.name());
    let before = received(&site, "eth1");
    site.transfer();
    // All that the client downloaded.
    assert!(received(&site, "eth1") - before > LEN * 2, "replies came by the first cable");

    let runs = FAMILIES.map(|family| {
        let client = HttpClient::new(site.service(family)).requests(u64::MAX);
        client.start(site.cluster.client().netns()).unwrap()
    });
    for (family, gateway) in FAMILIES.into_iter().zip(director) {
        let route = Route::to(Prefix::host(site.cluster.vip_in(family))).via(gateway);
        site.cluster.client_mut().netlink().add_route(&route).unwrap();
    }
    let answered: Vec<u64> = runs.iter().map(HttpRun::answered).collect();
    for (run, before) in runs.into_iter().zip(answered) {
        wait_until("answers go on", LIMIT, || run.answered() > before + 100).unwrap();
        let report = run.stop();
        assert_eq!((report.failed(), report.connections), (0, 1), "{report:?}");
    }
    site.transfer();
}

/// Bytes that an interface of the client's has received.
fn received(site: &Site, interface: &str) -> u64 {
    let read = || fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let table = site.cluster.client().netns().enter(read).unwrap();
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{interface}:")));
    line.unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn by_two_cables_under_tc() {
    by_two_cables(Attach::Tc);
}

#[test]
fn by_two_cables_under_xdp() {
    by_two_cables(Attach::Xdp);
}

/// Sets the MTU of all links.
fn set_mtu(cluster: &mut Cluster, mtu: u32) {
    let hosts = [cluster.client(), cluster.director()].into_iter().chain(cluster.servers());
    for host in hosts {
        let mut netlink = host.netns().netlink().unwrap();
        for interface in host.interfaces() {
            netlink.set_mtu(interface.index, mtu).unwrap();
        }
    }
}

/// Transfers where packets are that large, and datagrams that are one packet each.
fn large_frames(attach: Attach, mtu: u16) {
    let mut cluster = cluster(attach);
    set_mtu(&mut cluster, mtu.into());
    let site = Site::new(cluster, attach);
    assert_eq!(site.attached("to-client"), attach.name());
    site.transfer();
    for family in FAMILIES {
        let server = SocketAddr::new(site.cluster.servers()[0].address_in(family), MAPPED);
        site.daemon.ipvsadm(&format!("-A -u {} -s rr", site.service(family)));
        site.daemon.ipvsadm(&format!("-a -u {} -r {server} -m", site.service(family)));
        let headers = if family == Family::V4 { 28 } else { 48 };
        datagram_there_and_back(&site, family, server, usize::from(mtu) - headers);
    }
    // Nothing of it was fragmented.
    assert_eq!(site.daemon.dropped("fragment"), 0);
}

fn datagram_there_and_back(site: &Site, family: Family, server: SocketAddr, len: usize) {
    let socket = |netns: &Netns, at: SocketAddr| {
        let socket = netns.enter(|| UdpSocket::bind(at)).unwrap().unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    };
    let at_server = socket(site.cluster.servers()[0].netns(), server);
    let any = SocketAddr::new(site.cluster.client().address_in(family), 0);
    let at_client = socket(site.cluster.client().netns(), any);
    let echo = thread::spawn(move || {
        let mut bytes = [0; 10_000];
        let (len, from) = at_server.recv_from(&mut bytes).unwrap();
        at_server.send_to(&bytes[..len], from).unwrap();
    });
    let sent: Vec<u8> = (0..=250).cycle().take(len).collect();
    at_client.send_to(&sent, site.service(family)).unwrap();
    let mut received = [0; 10_000];
    let (len, from) = at_client.recv_from(&mut received).unwrap();
    echo.join().unwrap();
    assert_eq!((&received[..len], from), (sent.as_slice(), site.service(family)));
}

#[test]
fn jumbo_frames_under_tc() {
    large_frames(Attach::Tc, 9000);
}

/// As large as veth takes them in one piece (ebpf-notes §5).
#[test]
fn large_frames_under_xdp() {
    large_frames(Attach::Xdp, 3400);
}

/// A driver takes no XDP program for frames that don't fit a page: what is asked for is refused with a reason, and what is
/// chosen without asking is TC.
#[test]
fn xdp_is_refused_where_frames_are_too_large() {
    let mut cluster = cluster(Attach::Tc);
    set_mtu(&mut cluster, 9000);
    let daemon = start_daemon(&cluster, &["--attach", "xdp"]);
    let status = daemon.status();
    for interface in status["interfaces"].as_array().unwrap() {
        let reason = interface["reason"].as_str().unwrap();
        assert_eq!(interface["attach"], "none");
        assert!(reason.contains("its MTU of 9000 bytes is more than fits a page"), "{reason}");
    }
}
