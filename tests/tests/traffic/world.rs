//! A cluster with both families, one real server with the ends of all tunnels, and a director to which services are added.

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command};

use rvs_dataplane::agent::{Decap, DecapMode, DecapOptions, attach_decap};
use rvs_testkit::{Cluster, Family, Host, HttpServer, Replies};
use rvs_wire::gue;

use crate::daemon::Daemon;
use crate::method::Attach;
use crate::stage::start_daemon;

/// Both families.
pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A way to the real server: `ipvsadm`'s options, and the family of the server's address, if not that of the service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) options: &'static str,
    /// The server is reached by the other family.
    pub(crate) mixed: bool,
}

impl Way {
    pub(crate) const NAT: Self = Self::of("-m");
    pub(crate) const FULL_NAT: Self = Self::of("--fullnat");
    pub(crate) const DR: Self = Self::of("-g");
    pub(crate) const IPIP: Self = Self::of("-i");
    pub(crate) const GRE: Self = Self::of("-i --tun-type gre");
    pub(crate) const GUE: Self = Self::of("-i --tun-type gue --tun-port 6080 --tun-nocsum");
    /// By translation.
    pub(crate) const TRANSLATED: Self = Self { mixed: true, ..Self::FULL_NAT };
    /// Those whose replies go past the director.
    pub(crate) const PAST: [Self; 9] = [
        Self::DR,
        Self::IPIP,
        Self::GRE,
        Self::of("-i --tun-type gre --tun-csum"),
        Self::GUE,
        Self::of("-i --tun-type gue --tun-port 6080 --tun-csum"),
        Self { mixed: true, ..Self::IPIP },
        Self { mixed: true, ..Self::GUE },
        Self { mixed: true, ..Self::GRE },
    ];

    const fn of(options: &'static str) -> Self {
        Self { options, mixed: false }
    }

    fn is_nat(self) -> bool {
        self.options == Self::NAT.options
    }

    /// How replies travel.
    pub(crate) fn replies(self) -> Replies {
        if self.is_nat() { Replies::ThroughDirector } else { Replies::PastDirector }
    }

    /// Whether replies pass the director.
    pub(crate) fn passes_back(self) -> bool {
        self.is_nat() || self.options == Self::FULL_NAT.options
    }

    /// The port that the server listens on for that virtual one: another, if it can be.
    pub(crate) fn server_port(self, port: u16) -> u16 {
        if self.passes_back() { port + 1000 } else { port }
    }
}

/// What a test stands on. Taken down in the order of its fields.
#[derive(Debug)]
pub(crate) struct World {
    _tunnels: Decap,
    pub(crate) daemon: Daemon,
    servers: Vec<HttpServer>,
    pub(crate) cluster: Cluster,
}

impl World {
    pub(crate) fn new(replies: Replies, attach: Attach) -> Self {
        Self::with_options(replies, attach, &[])
    }

    /// With more options of the director.
    pub(crate) fn with_options(replies: Replies, attach: Attach, options_of_director: &[&str]) -> Self {
        let builder = Cluster::switched(1).ipv6(true).replies(replies).offloads(attach.offloads());
        let cluster = builder.build().unwrap();
        let options = DecapOptions { gue_port: Some(gue::PORT), ..DecapOptions::new(DecapMode::Tc) };
        // Under TC, whatever the director does: the server is not what is tested.
        let attach_end = || attach_decap("eth0", &options).unwrap();
        let tunnels = cluster.servers()[0].netns().enter(attach_end).unwrap();
        let args = [&["--attach", attach.name()], options_of_director].concat();
        let daemon = start_daemon(&cluster, &args);
        Self { _tunnels: tunnels, daemon, servers: Vec::new(), cluster }
    }

    pub(crate) fn client(&self) -> &Host {
        self.cluster.client()
    }

    pub(crate) fn server(&self) -> &Host {
        &self.cluster.servers()[0]
    }

    /// Makes a service of a kind (`-t`, `-u`, `--sctp-service`) without destinations; its address.
    pub(crate) fn add_service(&self, kind: &str, family: Family, port: u16) -> SocketAddr {
        let service = SocketAddr::new(self.cluster.vip_in(family), port);
        self.daemon.ipvsadm(&format!("-A {kind} {service} -s rr"));
        service
    }

    /// Makes a service with the server as its destination; its address.
    pub(crate) fn add(&self, kind: &str, family: Family, port: u16, way: Way) -> SocketAddr {
        let service = self.add_service(kind, family, port);
        let server = SocketAddr::new(self.server_address(family, way), way.server_port(port));
        self.daemon.ipvsadm(&format!("-a {kind} {service} -r {server} {}", way.options));
        service
    }

    /// The address by which the server is reached.
    pub(crate) fn server_address(&self, family: Family, way: Way) -> IpAddr {
        let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
        self.server().address_in(if way.mixed { other } else { family })
    }

    /// What the server binds to for a service at that port: the address that its packets come to.
    pub(crate) fn listening(&self, family: Family, way: Way, port: u16) -> SocketAddr {
        let address =
            if way.passes_back() { self.server_address(family, way) } else { self.cluster.vip_in(family) };
        SocketAddr::new(address, way.server_port(port))
    }

    /// Makes a service of HTTP, and has the server answer there.
    pub(crate) fn serve(&mut self, family: Family, port: u16, way: Way) -> SocketAddr {
        let listen = SocketAddr::from(([0_u16; 8], way.server_port(port)));
        let server = HttpServer::start(self.server().netns(), "s1", listen).unwrap();
        self.servers.push(server);
        self.add("-t", family, port, way)
    }
}

/// What `-Ln --stats` shows of the service: connections, packets in and out, bytes in and out.
pub(crate) fn numbers(daemon: &Daemon, service: SocketAddr) -> Vec<u64> {
    let listing = daemon.ipvsadm(&format!("-Ln --exact --stats -t {service}"));
    let line = listing.lines().find(|line| line.starts_with("TCP")).unwrap();
    line.split_whitespace().skip(2).map(|number| number.parse().unwrap()).collect()
}

/// A process that ends with its value.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(host: &Host, command: &mut Command) -> Self {
        Self(host.spawn(command).unwrap())
    }

    /// Its input and output, where they are pipes; once.
    pub(crate) fn pipes(&mut self) -> (ChildStdin, ChildStdout) {
        (self.0.stdin.take().unwrap(), self.0.stdout.take().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().unwrap();
    }
}

/// Runs a program on a host to its end; what it prints.
pub(crate) fn output(host: &Host, program: &str, args: &[&str]) -> String {
    let output = host.netns().output(Command::new(program).args(args)).unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {}\n{stdout}{stderr}", output.status);
    stdout.into_owned()
}
