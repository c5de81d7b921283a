//! The main loop: one thread that owns everything, takes messages, and does what is due between them.

use core::fmt::Display;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rvs_config::{Command, CommandError};
use rvs_control::api::{Applied, Failure, Request, Response, Stopped};
use rvs_control::{Peer, Running};
use rvs_dataplane::{Handle, Kernel};
use rvs_director::Director;
use rvs_netlink::{Event, Netlink};

use super::auditor::Auditor;
use super::changes::{Changes, Look, News};
use super::interfaces::Interfaces;
use super::limits::MESSAGES_PER_ROUND;
use super::message::{End, Message};
use super::neighbours::Neighbours;
use super::routes::Routes;
use super::sweeper::Sweeper;
use super::{clock, conns, log};
use crate::output;

/// Everything that the daemon has.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) instance: String,
    pub(super) kernel_release: String,
    pub(super) started_ns: u64,
    /// How often the connection table was full before this start.
    pub(super) full_at_start: u64,
    /// And how often full NAT's ports were.
    pub(super) out_of_ports_at_start: u64,
    /// `None` once it was taken down.
    pub(super) kernel: Option<Kernel>,
    pub(super) director: Director<Handle>,
    pub(super) netlink: Netlink,
    pub(super) interfaces: Interfaces,
    pub(super) routes: Routes,
    pub(super) neighbours: Neighbours,
    pub(super) sweeper: Sweeper,
    pub(super) auditor: Auditor,
    /// `None` until it serves.
    pub(super) control: Option<Running>,
    pub(super) changes: Changes,
}

impl Daemon {
    /// Works until there is a reason to end.
    ///
    /// # Errors
    /// When it can't go on. The data plane stays.
    pub(super) fn run(&mut self, inbox: &Receiver<Message>) -> Result<End> {
        loop {
            let wait = Duration::from_nanos(self.due_ns().saturating_sub(clock::now_ns()?));
            match inbox.recv_timeout(wait) {
                Ok(message) => {
                    let rest = inbox.try_iter().take(MESSAGES_PER_ROUND - 1);
                    for message in std::iter::once(message).chain(rest) {
                        if let Some(end) = self.take(message)? {
                            return Ok(end);
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(anyhow!("all threads have ended")),
            }
            self.work(clock::now_ns()?);
        }
    }

    /// When there is something to do without being told.
    fn due_ns(&self) -> u64 {
        let (routes, neighbours) = (self.routes.due_ns(), self.neighbours.due_ns());
        let times = [routes, self.changes.due_ns(), neighbours, self.director.next_tick()];
        let table = self.sweeper.due_ns().min(self.auditor.due_ns());
        times.into_iter().flatten().fold(table, u64::min)
    }

    fn take(&mut self, message: Message) -> Result<Option<End>> {
        match message {
            Message::Signal(signal) => return Ok(Some(End::Signal(signal))),
            Message::StdinEnded => {
                log::info("standard input has ended");
                return self.take_down().map(|_| Some(End::Stopped));
            }
            Message::NetworkLost(error) => return Err(error.into()),
            Message::Network(event) => self.network(&event),
            Message::Request { request, peer, reply } => {
                let (response, result) = self.answer(request, peer, clock::now_ns()?);
                // A client that went away wants no answer.
                drop(reply.send(response));
                return result;
            }
        }
        Ok(None)
    }

    fn network(&mut self, event: &Event) {
        match event {
            Event::LinkAdded { .. } | Event::LinkChanged { .. } | Event::LinkRemoved { .. } => {
                self.changes.links.want();
                self.changes.routes_changed();
            }
            Event::RoutesChanged | Event::AddressesChanged => self.changes.routes_changed(),
            Event::NeighbourChanged(_) | Event::NeighbourRemoved { .. } => self.neighbours.event(event),
            Event::Overrun => {
                if !self.changes.neighbours.is_wanted() {
                    log::warning(
                        "events of the network came faster than they were read: looking at all of it again",
                    );
                }
                self.changes.links.want();
                self.changes.neighbours.want();
                self.changes.routes_changed();
            }
        }
    }

    /// The answer to a request, and whether it was the last one.
    fn answer(&mut self, request: Request, peer: Peer, now_ns: u64) -> (Response, Result<Option<End>>) {
        let response = match request {
            Request::Services => Response::Services(self.director.listing()),
            Request::Service(key) => self.service(key),
            Request::Connections(query) => {
                Response::Connections(conns::page(self.director.memory(), query, now_ns))
            }
            Request::Status => self.status(now_ns),
            Request::Counters => self.counters(),
            Request::Marks => Response::Marks(self.director.mark_rules()),
            Request::Timeouts => Response::Timeouts(self.director.timeouts()),
            Request::Settings => Response::Settings(self.director.settings().into()),
            Request::Commands(commands) => self.apply(&commands, peer, now_ns),
            Request::Stop => return self.stop(peer),
        };
        (response, Ok(None))
    }

    fn apply(&mut self, commands: &[Command], peer: Peer, now_ns: u64) -> Response {
        if let Err(failure) = self.change(commands, peer, now_ns) {
            if let Failure::Refused { error: CommandError::LimitReached { what }, .. } = &failure {
                log::warning(format_args!("limit reached: {what}"));
            }
            return Response::Failed(failure);
        }
        let applied = commands.len() as u64;
        let Peer { pid, uid, .. } = peer;
        let commands = output::count(applied, "command");
        log::info(format_args!("{commands} of process {pid} (user {uid}) applied"));
        if self.director.take_purge() {
            self.sweeper.purge();
        }
        self.routes.follow(&mut self.director);
        self.ask_routes(now_ns);
        self.follow_peers();
        Response::Applied(Applied { applied })
    }

    fn stop(&mut self, peer: Peer) -> (Response, Result<Option<End>>) {
        log::info(format_args!("process {} (user {}) asks to stop", peer.pid, peer.uid));
        match self.take_down() {
            Ok(message) => (Response::Stopped(Stopped { message }), Ok(Some(End::Stopped))),
            Err(error) => {
                let message = format!("instance {}: not taken down: {error:#}", self.instance);
                (Response::Failed(Failure::Internal { message }), Err(error))
            }
        }
    }

    /// Removes the data plane. In one line, what is gone.
    fn take_down(&mut self) -> Result<String> {
        let (interfaces, status) = (self.interfaces.attached(), self.director.status());
        let kernel = self.kernel.take().context("it was taken down already")?;
        kernel.remove()?;
        Ok(format!(
            "instance {}: taken down: programs off {}, {} removed",
            self.instance,
            output::count(interfaces, "interface"),
            output::count(status.services, "service"),
        ))
    }

    /// Does what is due, in steps of a bounded size.
    fn work(&mut self, now_ns: u64) {
        self.follow_changes(now_ns);
        if self.routes.due_ns().is_some_and(|due| due <= now_ns) {
            self.ask_routes(now_ns);
        }
        if self.neighbours.due_ns().is_some_and(|due| due <= now_ns) {
            self.probe(now_ns);
        }
        if self.neighbours.take_moved() {
            self.follow_peers();
        }
        self.sweeper.step(self.director.memory(), now_ns);
        self.auditor.step(self.director.memory(), now_ns).iter().for_each(log::info);
        if self.director.next_tick().is_none_or(|due| due <= now_ns) {
            self.director.tick(now_ns);
        }
    }

    fn follow_changes(&mut self, now_ns: u64) {
        if self.changes.links.is_due(now_ns)
            && let Some(kernel) = &mut self.kernel
        {
            let result = self.interfaces.follow(kernel, &mut self.netlink);
            taken(&mut self.changes.links, "interfaces", result, now_ns);
        }
        if self.changes.neighbours.is_due(now_ns) {
            self.learn_neighbours(now_ns);
        }
        if self.changes.take_routes(now_ns) {
            self.routes.ask_all_again();
        }
    }

    /// Asks for some routes, and for the neighbours on new ones.
    pub(super) fn ask_routes(&mut self, now_ns: u64) {
        let netlink = &mut self.netlink;
        let learnt = self.routes.step(&mut self.director, now_ns, |address| netlink.route_get(address));
        learnt.news.iter().for_each(log::info);
        if learnt.changed {
            if self.neighbours.follow(&self.routes.next_hops()) {
                self.learn_neighbours(now_ns);
            }
            self.follow_peers();
            self.probe(now_ns);
        }
    }

    /// Tells the programs the Ethernet addresses of destinations on the director's links.
    fn follow_peers(&mut self) {
        let (routes, neighbours) = (&self.routes, &self.neighbours);
        let mac = |address| neighbours.mac((routes.link_to(address)?, address)).map(|mac| mac.0);
        self.director.set_peers(mac);
    }

    fn learn_neighbours(&mut self, now_ns: u64) {
        let result = self.netlink.neighbours().map(|table| self.neighbours.learn(&table));
        taken(&mut self.changes.neighbours, "neighbours", result, now_ns);
    }

    fn probe(&mut self, now_ns: u64) {
        for (ifindex, address) in self.neighbours.take_due(now_ns) {
            // An interface that is down or gone refuses; its event is on the way.
            drop(self.netlink.probe_neighbour(ifindex, address));
        }
    }
}

/// A look at something of the kernel's was taken; says what is news of it.
fn taken<E: Display>(look: &mut Look, what: &str, result: Result<(), E>, now_ns: u64) {
    match look.taken(result, now_ns) {
        Some(News::Failed(error)) => log::warning(error),
        Some(News::Well) => log::info(format_args!("{what}: the kernel tells of them again")),
        None => {}
    }
}
