//! One history: commands and packets by a seed, in turns.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rvs_config::Setting;
use rvs_wire::builder::Payload;
use rvs_wire::icmp;

use super::ATTEMPTS;
use super::errors::{self, Message};
use super::numbers::Random;
use super::packets::{self, Protocol, Shape};
use super::setup::{self, Kind, SCHEDULERS, Service};
use crate::refvm::frames::{self, Family};
use crate::refvm::lab::{Seen, Wire};
use crate::refvm::scene::{Scene, chosen};
use crate::refvm::world::{Part, Rule};

/// Steps of a history: each some commands, then some packets.
const STEPS: u64 = 4;
/// Virtual addresses, clients and marks come again after so many seeds.
const SEEDS: u64 = 1600;
/// Those of the first seed, of which other tests have none.
const FIRST: u16 = 4096;
/// Clients of a history.
const CLIENTS: u64 = 16;
/// After a client's packet: it may take the place of a connection that has ended, or end one whose server is gone. IPVS ends
/// those by timers, a few ticks later, and until then they count for its schedulers; in rvs they are gone at once.
const TIMERS: Duration = Duration::from_millis(30);
/// A port that no service has.
const NOBODY: u16 = 7777;
/// The port of the exchange of keys.
const KEYS: u16 = 500;

/// A connection, or what may have become one.
#[derive(Clone)]
struct Conn {
    protocol: Protocol,
    cip: IpAddr,
    cport: u16,
    vport: u16,
    /// The server that got the last packet, and its port.
    server: u8,
    rport: u16,
    /// The packet that the server got last.
    got: Vec<u8>,
}

pub(super) struct History {
    seed: u64,
    /// What makes addresses and marks its own.
    number: u16,
    family: Family,
    vip: IpAddr,
    random: Random,
    services: Vec<Service>,
    settings: Vec<(Setting, u32)>,
    conns: Vec<Conn>,
    begun: u16,
    /// Packets so far, for identifications.
    packets: u16,
}

impl History {
    /// Another attempt, of two, has other addresses: nothing of the one before is in its way.
    pub(super) fn new(seed: u64, attempt: u16) -> Self {
        let number = u16::try_from(seed % SEEDS).unwrap_or(0) * ATTEMPTS + attempt;
        let mut random = Random::new(seed);
        let family = random.of(&[Family::V4, Family::V6]);
        // Schedulers take turns.
        let scheduler = SCHEDULERS[usize::try_from(seed % 5).unwrap_or(0)];
        let settings = setup::settings(&mut random);
        let may_be_one_packet = !settings.contains(&(Setting::ScheduleIcmp, 1));
        let services = Service::some(&mut random, family, (scheduler, may_be_one_packet), number);
        let vip = IpAddr::V4([0; 4].into());
        Self {
            seed,
            number,
            family,
            vip,
            random,
            services,
            settings,
            conns: Vec::new(),
            begun: 0,
            packets: 0,
        }
    }

    /// Plays it with one of the directors of rvs; afterwards settings have their defaults.
    pub(super) fn play(mut self, scene: &mut Scene<'_>) -> Result<()> {
        // The places take turns.
        scene.world.choose(Part::One(usize::try_from(self.seed)?));
        scene.move_to(self.family, FIRST + self.number)?;
        self.vip = scene.vip;
        let mark = self.services.iter().find_map(|service| match service.kind {
            Kind::Mark(mark) => Some(mark),
            _ => None,
        });
        if let Some(mark) = mark {
            scene.world.mark(self.vip, mark)?;
        }
        scene.world.set_all(&self.settings)?;
        let result = self.steps(scene);
        let defaults: Vec<_> =
            self.settings.iter().map(|&(setting, _)| (setting, setting.default())).collect();
        scene.world.set_all(&defaults)?;
        if mark.is_some() {
            scene.world.mark(self.vip, 0)?;
        }
        result.with_context(|| format!("{:?}, settings {:?}", self.family, self.settings))
    }

    fn steps(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        let random = &mut self.random;
        let begin = self.services.iter_mut().map(|service| service.begin(random));
        let mut rules = begin.fold("-C\n".to_owned(), |rules, more| rules + &more);
        // What a deleted destination leaves goes at once in IPVS, in small steps in rvs (docs/compatibility.md).
        let may_return = !self.settings.contains(&(Setting::ExpireNodestConn, 1));
        for step in 0..STEPS {
            if !rules.is_empty() {
                scene.rules(&rules)?;
            }
            self.packets(scene).with_context(|| format!("step {step}, after\n{}", scene.text(&rules)))?;
            let edits = self.random.below(4);
            rules = String::new();
            for _ in 0..edits {
                let index = self.random.index(self.services.len());
                rules += &self.services[index].edit(&mut self.random, may_return);
            }
        }
        scene.all_conns()?;
        scene.listing("-Ln", |_| true).map(drop)
    }

    fn packets(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        for _ in 0..8 + self.random.below(8) {
            let what = self.random.below(20);
            let at = self.random.index(self.conns.len());
            // Those of a deleted destination are gone at once in IPVS; in rvs only for requests, which end them.
            let is_gone = self.conns.get(at).is_some_and(|conn| self.is_ending(conn));
            match (what, at) {
                (0..=3, _) => self.begin(scene)?,
                (4, _) => self.stray(scene)?,
                (5, _) => self.secured(scene)?,
                (_, 0) if self.conns.is_empty() => self.begin(scene)?,
                (6.., at) if is_gone => self.request(scene, at)?,
                (6..=10, at) => self.request(scene, at)?,
                (11..=14, at) => self.reply(scene, at)?,
                (15 | 16, at) => self.error_of_client(scene, at)?,
                (17 | 18, at) => self.error_of_server(scene, at)?,
                (_, _) => self.begin(scene)?,
            }
        }
        Ok(())
    }

    /// Whether a connection ends by `expire_nodest_conn`.
    fn is_ending(&self, conn: &Conn) -> bool {
        self.settings.contains(&(Setting::ExpireNodestConn, 1))
            && self.services.iter().any(|service| service.has_lost(conn.server))
    }

    /// A header for a payload, by the seed.
    fn shape(&mut self, payload: &Payload, may_be_parted: bool) -> Shape {
        self.packets += 1;
        let len = packets::len_of(payload);
        Shape::any(&mut self.random, self.packets, len, may_be_parted)
    }

    /// Sends a packet from somebody to somebody; all do the same with it.
    fn send(
        &mut self,
        scene: &mut Scene<'_>,
        server: Option<u8>,
        ends: (IpAddr, IpAddr),
        shape: &Shape,
        payload: &Payload,
    ) -> Result<Seen> {
        let mut sent = shape.packets(ends, payload);
        packets::in_some_order(&mut self.random, payload, &mut sent);
        let (from, frames) = match server {
            None => (Wire::Clients, packets::of_client(&sent)),
            Some(number) => (Wire::Servers, packets::of_server(number, &sent)),
        };
        scene.world.exchange(from, &frames, Rule::Same)
    }

    /// Whether packets of a protocol may come in fragments: not where they go through a tunnel, in which IPVS sends them whole,
    /// nor those of SCTP that change their port, which rvs drops.
    fn may_be_parted(&self, protocol: Protocol) -> bool {
        let mut services = self.services.iter();
        let is_mapped = protocol == Protocol::Sctp && self.services.iter().any(Service::may_map);
        !is_mapped && !services.any(Service::has_tunnels)
    }

    /// Data and what they mean; what is not sloppy only begins with what `begins`.
    fn payload(&mut self, protocol: Protocol, ports: (u16, u16), begins: bool, may_be_long: bool) -> Payload {
        let usual = begins && !self.random.one_in(6);
        let meaning = if usual { protocol.beginning() } else { self.random.of(protocol.meanings()) };
        // What is too big for a tunnel is fragmented without the setting (ipvs.md §3.2): statement 61 is for that.
        let may_be_long = may_be_long && !self.settings.contains(&(Setting::PmtuDisc, 0));
        let is_v4 = self.family == Family::V4;
        let len = packets::data_len(&mut self.random, is_v4, protocol, may_be_long);
        protocol.payload(ports, meaning, len)
    }

    fn begin(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        let service = &self.services[self.random.index(self.services.len())];
        let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        let (protocol, vport) = match service.kind {
            Kind::Tcp => (Protocol::Tcp, service.port),
            Kind::Udp => (Protocol::Udp, service.port),
            Kind::Sctp => (Protocol::Sctp, service.port),
            Kind::Mark(_) => (self.random.of(&all), self.random.of(&setup::PORTS)),
        };
        self.begun += 1;
        let is_keys = protocol == Protocol::Udp && vport == KEYS && !self.random.one_in(4);
        let cport = if is_keys { KEYS } else { 20000 + self.begun };
        let cip = self.client();
        let conn = Conn { protocol, cip, cport, vport, server: 0, rport: vport, got: Vec::new() };
        let payload = self.payload(protocol, (cport, vport), true, true);
        let shape = self.shape(&payload, self.may_be_parted(protocol));
        let seen = self.send(scene, None, (cip, self.vip), &shape, &payload)?;
        self.learn(conn, None, &shape, &seen);
        Ok(())
    }

    /// Notes which server got a packet, and what.
    fn learn(&mut self, mut conn: Conn, at: Option<usize>, shape: &Shape, seen: &Seen) {
        let Some((&server, got)) = chosen(seen).first().zip(seen.to_servers.first()) else { return };
        let inner = frames::innermost(frames::packet(got));
        if server == 0 || frames::error(inner).is_some() {
            return;
        }
        conn.server = server;
        conn.rport = frames::ports(inner).map_or(conn.rport, |(_, port)| port);
        if shape.is_whole() {
            conn.got = frames::packet(got).to_vec();
        }
        match at {
            Some(at) => self.conns[at] = conn,
            None => self.conns.push(conn),
        }
    }

    fn request(&mut self, scene: &mut Scene<'_>, at: usize) -> Result<()> {
        let conn = self.conns[at].clone();
        let payload = self.payload(conn.protocol, (conn.cport, conn.vport), false, true);
        let shape = self.shape(&payload, self.may_be_parted(conn.protocol));
        let seen = self.send(scene, None, (conn.cip, self.vip), &shape, &payload)?;
        thread::sleep(TIMERS);
        self.learn(conn, Some(at), &shape, &seen);
        Ok(())
    }

    /// A packet of the server, by its address of the clients' family.
    fn reply(&mut self, scene: &mut Scene<'_>, at: usize) -> Result<()> {
        let Conn { protocol, cip, cport, server, rport, .. } = self.conns[at].clone();
        // Now and then from another port: of no connection.
        let rport = if self.random.one_in(12) { rport ^ 1 } else { rport };
        let payload = self.payload(protocol, (rport, cport), false, false);
        let shape = self.shape(&payload, self.may_be_parted(protocol));
        let ends = (self.family.server(server), cip);
        self.send(scene, Some(server), ends, &shape, &payload).map(drop)
    }

    /// ESP or AH, of the client or of the server.
    fn secured(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        let is_keys =
            |conn: &&Conn| conn.protocol == Protocol::Udp && (conn.cport, conn.vport) == (KEYS, KEYS);
        let conns = self.conns.iter().filter(is_keys).filter(|conn| !self.is_ending(conn));
        let conns: Vec<Conn> = conns.cloned().collect();
        let payload = packets::secured(&mut self.random, self.family == Family::V4);
        let shape = self.shape(&payload, self.may_be_parted(Protocol::Udp));
        let ((client, server), is_of_server) = match self.random.choose(&conns) {
            Some(conn) => ((conn.cip, conn.server), self.random.one_in(2)),
            None => ((self.client(), 2), self.random.one_in(4)),
        };
        if is_of_server {
            let ends = (self.family.server(server), client);
            return self.send(scene, Some(server), ends, &shape, &payload).map(drop);
        }
        self.send(scene, None, (client, self.vip), &shape, &payload).map(drop)
    }

    /// What no service is for, and what is no connection's.
    fn stray(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        let cip = self.client();
        let port = self.services[0].port.max(1);
        let beginning = |protocol: Protocol, ports| protocol.payload(ports, protocol.beginning(), 20);
        let payload = match self.random.below(6) {
            0 => match self.family {
                Family::V4 => Payload::Icmp(icmp::v4::ECHO, 0, vec![7; 60]),
                Family::V6 => Payload::Icmp6(icmp::v6::ECHO, 0, vec![7; 60]),
            },
            1 => beginning(Protocol::Tcp, (19999, NOBODY)),
            2 => beginning(Protocol::Udp, (19999, NOBODY)),
            3 => Payload::Other(self.random.of(&[47, 89, 253]), vec![0; 40]),
            4 => beginning(Protocol::Tcp, (20, port)),
            _ => {
                let number = self.random.of(&[2, 3, 4, 9]);
                let protocol = self.random.of(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
                let payload = self.payload(protocol, (port, 19999), false, false);
                let shape = self.shape(&payload, false);
                let ends = (self.family.server(number), cip);
                return self.send(scene, Some(number), ends, &shape, &payload).map(drop);
            }
        };
        let shape = self.shape(&payload, false);
        self.send(scene, None, (cip, self.vip), &shape, &payload).map(drop)
    }

    /// An error of the client, or of a router before it, about what the service sent.
    fn error_of_client(&mut self, scene: &mut Scene<'_>, at: usize) -> Result<()> {
        let conn = self.conns[at].clone();
        let is_keys = conn.cport == KEYS && self.random.one_in(2);
        let payload = if is_keys {
            packets::secured(&mut self.random, self.family == Family::V4)
        } else {
            self.payload(conn.protocol, (conn.vport, conn.cport), false, false)
        };
        let shape = self.shape(&payload, false);
        let about = shape.packets((self.vip, conn.cip), &payload);
        let mut quoted = errors::quote(&mut self.random, &about[0]);
        errors::spoil(&mut self.random, &mut quoted);
        let error = Message::any(&mut self.random, self.family).about(&quoted);
        let source = if self.random.one_in(3) { self.client() } else { conn.cip };
        let shape = self.shape(&error, false);
        self.send(scene, None, (source, self.vip), &shape, &error).map(drop)
    }

    /// An error about what the server got: its own or of a router before it, to the one whose address stands there.
    fn error_of_server(&mut self, scene: &mut Scene<'_>, at: usize) -> Result<()> {
        let conn = self.conns[at].clone();
        let Some((to, _)) = frames::addresses(&conn.got) else { return self.reply(scene, at) };
        let outer = Family::of(to);
        let is_tunnel = frames::tunnelled(&conn.got).is_some();
        let message = Message::any(&mut self.random, outer);
        // Of tunnels, those of IPv4 in IPv4; and they keep no state of how wide a way is.
        let is_unknown = outer == Family::V6 || self.family == Family::V6 || message.is_too_big();
        if is_tunnel && is_unknown {
            return self.reply(scene, at);
        }
        let mut quoted = errors::quote(&mut self.random, &conn.got);
        errors::spoil(&mut self.random, &mut quoted);
        let error = message.about(&quoted);
        let from = self.random.of(&[conn.server, 20]);
        let shape = self.shape(&error, false);
        self.send(scene, Some(from), (outer.server(from), to), &shape, &error).map(drop)
    }

    /// A client of this history.
    fn client(&mut self) -> IpAddr {
        let first = u64::from(self.number) * CLIENTS;
        frames::remote_client(self.family, u32::try_from(first + self.random.below(CLIENTS)).unwrap_or(0))
    }
}
