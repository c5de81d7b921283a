//! The same with a director: full NAT tells the server who the client is.

use std::net::{IpAddr, SocketAddr};

use rvs_testkit::{Cgroup, Family, Replies, wait_until};

use super::agent::Agent;
use super::rig::request;
use super::server::Nginx;
use crate::method::Attach;
use crate::stage::LIMIT;
use crate::turn::await_turn;
use crate::world::{FAMILIES, Way, World};

/// nginx behind a director, with an agent.
struct Site {
    world: World,
    nginx: Nginx,
    /// nginx shows IPv4 addresses in their mapped form: it listens for both families at once.
    is_mapped: bool,
    _agent: Agent,
    _cgroup: Cgroup,
}

impl Site {
    fn new(attach: Attach, way: Way, port: u16) -> Self {
        let world = World::new(Replies::PastDirector, attach);
        let cgroup = Cgroup::create().unwrap();
        let own = world.cluster.director().interface("to-servers");
        let (v4, v6) = (own.address.unwrap(), own.address_v6.unwrap());
        let call = format!("rvs agent --client-address --director {v4} --director {v6}");
        let agent = Agent::start(cgroup.path(), &call);
        let nginx = Nginx::start(world.server().netns(), &cgroup);
        for family in FAMILIES {
            let service = world.add_service("-t", family, 80);
            let server = SocketAddr::new(world.server_address(family, way), port);
            world.daemon.ipvsadm(&format!("-a -t {service} -r {server} {}", way.options));
        }
        Self { world, nginx, is_mapped: port == BOTH, _agent: agent, _cgroup: cgroup }
    }

    /// Makes requests over a new connection each. What nginx answers and logs is the client's own address and port.
    fn ask(&self, family: Family) {
        let service = SocketAddr::new(self.world.cluster.vip_in(family), 80);
        for _ in 0..5 {
            let (client, answer) = self.world.client().netns().enter(|| request(service)).unwrap();
            let shown = match (client.ip(), self.is_mapped) {
                (IpAddr::V4(v4), true) => IpAddr::V6(v4.to_ipv6_mapped()),
                (ip, _) => ip,
            };
            assert_eq!(answer, format!("{shown} {}", client.port()));
            let logged = || self.nginx.log().lines().any(|line| line == answer);
            wait_until("the line in nginx's log", LIMIT, logged)
                .unwrap_or_else(|e| panic!("{e}: {answer}\n{}", self.nginx.log()));
        }
    }
}

/// The port at which nginx listens by one socket for both families, and those where it has one for each.
const BOTH: u16 = 81;
const EACH: u16 = 80;

fn nginx_logs_the_client(attach: Attach, way: Way, port: u16) {
    let _turn = await_turn();
    let site = Site::new(attach, way, port);
    for family in FAMILIES {
        site.ask(family);
    }
    // A server that keeps nothing of the SYN hears it from the ACK.
    site.world.server().netns().sysctl("net/ipv4/tcp_syncookies", "2").unwrap();
    for family in FAMILIES {
        site.ask(family);
    }
}

#[test]
fn nginx_behind_full_nat_logs_the_client_under_tc() {
    nginx_logs_the_client(Attach::Tc, Way::FULL_NAT, EACH);
}

/// A socket of IPv4 can't show a client in IPv6; one for both families can.
#[test]
fn nginx_behind_translation_logs_the_client_under_tc() {
    nginx_logs_the_client(Attach::Tc, Way::TRANSLATED, BOTH);
}

#[test]
fn nginx_behind_full_nat_logs_the_client_under_xdp() {
    nginx_logs_the_client(Attach::Xdp, Way::FULL_NAT, EACH);
}

#[test]
fn nginx_behind_translation_logs_the_client_under_xdp() {
    nginx_logs_the_client(Attach::Xdp, Way::TRANSLATED, BOTH);
}
