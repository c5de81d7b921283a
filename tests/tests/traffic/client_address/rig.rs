//! A client, a stand-in for a director, and a server that an agent serves.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use rvs_netlink::{MacAddr, Netns, Prefix, Route};
use rvs_testkit::{Capture, Cgroup, wait_until};

use super::agent::Agent;
use super::server::Nginx;
use super::stand_in::{Plan, Says, StandIn, Wire, translated};
use crate::stage::LIMIT;

const CLIENT: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 10))];
/// Addresses that clients connect to.
const SERVICE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 10)),
];
const SERVER: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 10, 0, 11)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 11))];
/// The director that agents are told of.
pub(crate) const DIRECTOR: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 10, 0, 2)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2))];
/// Another host that says who clients are.
pub(crate) const STRANGER: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 10, 0, 3)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 3))];
/// Bits of the networks.
const BITS: [u8; 2] = [24, 64];

/// The documents' page, whose calls the tests make.
pub(crate) const PAGE: &str = include_str!("../../../../docs/client-address.md");

/// Lines of the page's block of commands: the call that starts an agent, and the one that takes down what it left.
pub(crate) fn calls() -> [&'static str; 2] {
    let (_, block) = PAGE.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let calls: Vec<_> =
        block.lines().map(|line| line.split(" #").next().unwrap_or(line).trim_end()).collect();
    calls.try_into().unwrap()
}

/// Whose address a server was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The client's.
    Client,
    /// The one that took its place.
    Director,
    /// Somebody else's.
    Other(SocketAddr),
}

/// What a test stands on. Taken down in the order of its fields.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) agent: Option<Agent>,
    pub(crate) nginx: Option<Nginx>,
    pub(crate) stand_in: StandIn,
    pub(crate) cgroup: Cgroup,
    client: Netns,
    pub(crate) server: Netns,
    _director: Netns,
}

impl Rig {
    /// Neither server nor agent yet. The stand-in says who the client is in the SYN.
    pub(crate) fn new() -> Self {
        let [client, director, server] =
            ["client", "director", "server"].map(|_| Netns::create_unique("rvs-client-address").unwrap());
        for netns in [&client, &server] {
            // Addresses are usable at once.
            netns.sysctl("net/ipv6/conf/default/accept_dad", "0").unwrap();
            netns.sysctl("net/ipv6/conf/all/accept_dad", "0").unwrap();
        }
        director.sysctl("net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        let mut at_director = director.netlink().unwrap();
        at_director.create_veth("to-client", "eth0", &client).unwrap();
        at_director.create_veth("to-server", "eth0", &server).unwrap();
        for name in ["to-client", "to-server"] {
            let index = at_director.link(name).unwrap().index;
            at_director.set_up(index).unwrap();
        }
        let mac = |netlink: &mut rvs_netlink::Netlink, name: &str| netlink.link(name).unwrap().mac.unwrap();
        let macs = ["to-client", "to-server"].map(|name| mac(&mut at_director, name));
        let at_client = furnish(&client, CLIENT, &[GATEWAY], macs[0], true);
        let at_server = furnish(&server, SERVER, &[DIRECTOR, STRANGER], macs[1], false);
        let capture = |name| Capture::open(&director, name).unwrap();
        let inward =
            Wire { from: capture("to-client"), to: capture("to-server"), macs: [at_server.0, macs[1].0] };
        let outward =
            Wire { from: capture("to-server"), to: capture("to-client"), macs: [at_client.0, macs[0].0] };
        let plan = Plan { own: DIRECTOR, says: Says::Client, in_syn: true, in_acks: false };
        let places = [0, 1].map(|family| [SERVICE[family], SERVER[family], CLIENT[family]]);
        let stand_in = StandIn::start(plan, inward, outward, places);
        let cgroup = Cgroup::create().unwrap();
        Self { agent: None, nginx: None, stand_in, cgroup, client, server, _director: director }
    }

    /// With an agent that was there before the server.
    pub(crate) fn with_agent_first() -> Self {
        let mut rig = Self::new();
        rig.start_agent();
        rig.start_server();
        rig
    }

    pub(crate) fn start_agent(&mut self) {
        self.agent = Some(Agent::start(self.cgroup.path(), calls()[0]));
    }

    pub(crate) fn start_server(&mut self) {
        self.nginx = Some(Nginx::start(&self.server, &self.cgroup));
    }

    pub(crate) fn agent(&mut self) -> &mut Agent {
        self.agent.as_mut().unwrap()
    }

    /// Makes a request over a new connection; says whose address the server was shown: in its answer and in its log alike.
    #[track_caller]
    pub(crate) fn ask(&self, family: usize, port: u16) -> Shown {
        let service = SocketAddr::new(SERVICE[family], port);
        let (client, answer) = self.client.enter(|| request(service)).unwrap();
        let nginx = self.nginx.as_ref().unwrap();
        let logged = || nginx.log().lines().any(|line| line == answer);
        wait_until("the line in nginx's log", LIMIT, logged)
            .unwrap_or_else(|e| panic!("{e}: {answer:?}\n{}", nginx.log()));
        let (address, port) = answer.split_once(' ').unwrap();
        let shown = SocketAddr::new(canonical(address.parse().unwrap()), port.parse().unwrap());
        let mut directors = [DIRECTOR[family], STRANGER[family]].into_iter();
        if shown == client {
            Shown::Client
        } else if directors.any(|own| shown == SocketAddr::new(own, translated(client.port()))) {
            Shown::Director
        } else {
            Shown::Other(shown)
        }
    }

    /// Waits until the server has seen the last of its connections' segments, which clients don't wait for.
    #[track_caller]
    pub(crate) fn wait_for_the_last_segments(&self) {
        const LISTEN: &str = "0A";
        const TIME_WAIT: &str = "06";
        let states = || {
            let read = || fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
            let table = self.server.enter(read).unwrap();
            let state = |line: &str| line.split_ascii_whitespace().nth(3).unwrap().to_owned();
            table.lines().skip(1).map(state).collect::<Vec<_>>()
        };
        let has_seen_all = || states().iter().all(|state| state == LISTEN || state == TIME_WAIT);
        wait_until("the ends of the server's connections", LIMIT, has_seen_all)
            .unwrap_or_else(|e| panic!("{e}: states {:?}", states()));
    }

    /// As [`Rig::ask`], at every listener that takes IPv4, then at those that take IPv6: ports 80 and 81 each.
    #[track_caller]
    pub(crate) fn ask_all(&self) -> [Shown; 4] {
        [self.ask(0, 80), self.ask(0, 81), self.ask(1, 80), self.ask(1, 81)]
    }
}

/// The client's way to services.
const GATEWAY: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2))];

/// Gives an end of a cable its addresses, and neighbours that are all at the other end; its Ethernet address.
fn furnish(
    netns: &Netns,
    own: [IpAddr; 2],
    neighbours: &[[IpAddr; 2]],
    at: MacAddr,
    is_gateway: bool,
) -> MacAddr {
    let mut netlink = netns.netlink().unwrap();
    let link = netlink.link("eth0").unwrap();
    netlink.set_up(link.index).unwrap();
    for (address, bits) in own.into_iter().zip(BITS) {
        netlink.add_address(link.index, Prefix::new(address, bits).unwrap()).unwrap();
    }
    for address in neighbours.iter().flatten() {
        netlink.add_neighbour(link.index, *address, at).unwrap();
    }
    if is_gateway {
        let everything = [Prefix::default_v4(), Prefix::default_v6()];
        for (prefix, [via, ..]) in everything.into_iter().zip([[GATEWAY[0]], [GATEWAY[1]]]) {
            netlink.add_route(&Route::to(prefix).via(via)).unwrap();
        }
    }
    link.mac.unwrap()
}

/// The client's own address, and what the server answers.
pub(super) fn request(service: SocketAddr) -> (SocketAddr, String) {
    let mut stream = TcpStream::connect_timeout(&service, LIMIT).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let client = stream.local_addr().unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (client, body.to_owned())
}

/// IPv4 addresses in their mapped form become IPv4.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
