//! Listening to what changes in a network namespace.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use netlink_packet_core::{NetlinkBuffer, NetlinkDeserializable, NetlinkHeader};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::error::Result;
use crate::link::Link;
use crate::neighbour::Neighbour;
use crate::socket::Netlink;
use crate::transport::{DATAGRAM_MAX, Failure, after};

/// Multicast groups of rtnetlink (`RTNLGRP_*`) whose messages bear on forwarding.
const GROUPS: [u32; 9] = [
    1,  // links
    3,  // neighbours
    5,  // IPv4 addresses
    7,  // IPv4 routes
    8,  // IPv4 rules
    9,  // IPv6 addresses
    11, // IPv6 routes
    19, // IPv6 rules
    32, // next-hop objects, which routes refer to
];

/// Bytes of events that may wait while the listener is busy: some ten thousand.
const RECEIVE_BUFFER_LEN: usize = 4 * 1024 * 1024;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;

/// Something changed. Coarse on purpose: the listener looks at the kernel's tables for what is so now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A link appeared: made, or moved into this namespace.
    LinkAdded {
        /// Its number.
        index: u32,
        /// Its name.
        name: String,
    },
    /// A link changed: up or down, MTU, address, master, name.
    LinkChanged {
        /// Its number.
        index: u32,
        /// Its name, the new one if that was the change.
        name: String,
    },
    /// A link went: deleted, or moved out of this namespace.
    LinkRemoved {
        /// Its number.
        index: u32,
        /// The name it had.
        name: String,
    },
    /// A route, a routing rule or a next-hop object was added or removed.
    RoutesChanged,
    /// A neighbour was added or changed.
    NeighbourChanged(Neighbour),
    /// A neighbour was forgotten.
    NeighbourRemoved {
        /// The link it was on.
        ifindex: u32,
        /// Its address.
        address: IpAddr,
    },
    /// A local address was added or removed.
    AddressesChanged,
    /// Events were lost because they came faster than they were read. Anything may have changed.
    Overrun,
}

/// A listener on the network namespace of the thread that opened it.
///
/// Open it first and list links, routes and neighbours after: a change between is then seen in the list, reported as an
/// event, or both, but never neither.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    netlink: Netlink,
    /// Links already reported or present at the start: the kernel uses one message for "new" and "changed".
    known: BTreeSet<u32>,
    pending: VecDeque<Event>,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Starts listening to the calling thread's network namespace.
    pub fn new() -> Result<Self> {
        Self::with_receive_buffer(RECEIVE_BUFFER_LEN)
    }

    /// Starts listening with room for `bytes` of unread events, more than which are an [`Event::Overrun`].
    pub fn with_receive_buffer(bytes: usize) -> Result<Self> {
        let socket = subscribe(bytes).map_err(|e| Failure::from(e).during("listen to rtnetlink events"))?;
        let mut monitor = Self {
            socket,
            netlink: Netlink::new()?,
            known: BTreeSet::new(),
            pending: VecDeque::new(),
            buffer: Vec::with_capacity(DATAGRAM_MAX),
        };
        monitor.relearn_links()?;
        Ok(monitor)
    }

    /// The next event; waits at most `timeout` for one, without end if that is `None`. `Ok(None)`: none came.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Event>> {
        let deadline = timeout.map(|t| Instant::now() + t);
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            let failed = |e: io::Error| Failure::from(e).during("read rtnetlink events");
            if !wait_readable(self.socket.as_fd(), deadline).map_err(failed)? {
                return Ok(None);
            }
            match self.receive() {
                Ok(()) => self.decode(),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::Interrupted => {
                }
                Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    self.relearn_links()?;
                    self.pending.push_back(Event::Overrun);
                }
                Err(e) => return Err(failed(e)),
            }
        }
    }

    fn relearn_links(&mut self) -> Result<()> {
        self.known = self.netlink.links()?.iter().map(|link| link.index).collect();
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.socket.recv(&mut self.buffer, 0).map(drop)
    }

    /// Turns one datagram into events.
    fn decode(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        while let Ok(frame) = NetlinkBuffer::new_checked(rest) {
            rest = after(rest, frame.length());
            // What can't be decoded (an attribute newer than this program) is still a change of that kind.
            let event = self.event(frame.message_type(), frame.payload()).unwrap_or(Some(Event::Overrun));
            // Taking a link down removes many routes; one event says it all.
            self.pending.extend(event.filter(|e| self.pending.back() != Some(e)));
        }
        self.buffer = buffer;
    }

    /// The event in a message; `Err` if the message makes no sense, `Ok(None)` if it does not matter.
    fn event(&mut self, message_type: u16, payload: &[u8]) -> Result<Option<Event>, ()> {
        Ok(match message_type {
            RTM_NEWADDR | RTM_DELADDR => Some(Event::AddressesChanged),
            RTM_NEWROUTE | RTM_DELROUTE | RTM_NEWRULE | RTM_DELRULE | RTM_NEWNEXTHOP | RTM_DELNEXTHOP => {
                Some(Event::RoutesChanged)
            }
            RTM_NEWLINK | RTM_DELLINK | RTM_NEWNEIGH | RTM_DELNEIGH => match parse(message_type, payload)? {
                RouteNetlinkMessage::NewLink(message) => Some(self.link_changed(&message)),
                RouteNetlinkMessage::DelLink(message) => Some(self.link_removed(&message)),
                RouteNetlinkMessage::NewNeighbour(message) => {
                    Neighbour::from_message(&message).map(Event::NeighbourChanged)
                }
                RouteNetlinkMessage::DelNeighbour(message) => Neighbour::from_message(&message)
                    .map(|n| Event::NeighbourRemoved { ifindex: n.ifindex, address: n.address }),
                _ => None,
            },
            _ => None,
        })
    }

    fn link_changed(&mut self, message: &LinkMessage) -> Event {
        let Link { index, name, .. } = Link::from_message(message);
        if self.known.insert(index) {
            Event::LinkAdded { index, name }
        } else {
            Event::LinkChanged { index, name }
        }
    }

    fn link_removed(&mut self, message: &LinkMessage) -> Event {
        let Link { index, name, .. } = Link::from_message(message);
        // A bridge reports a port that leaves it as a removed link of its own family; the link itself stays.
        if message.header.interface_family == AddressFamily::Bridge {
            return Event::LinkChanged { index, name };
        }
        self.known.remove(&index);
        Event::LinkRemoved { index, name }
    }
}

impl AsFd for Monitor {
    /// Readable when events wait; for callers with a poll loop of their own.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn subscribe(buffer_len: usize) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    // Beyond the system's limit if allowed (CAP_NET_ADMIN), else up to it.
    if setsockopt(&socket, sockopt::RcvBufForce, &buffer_len).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &buffer_len)?;
    }
    for group in GROUPS {
        socket.add_membership(group)?;
    }
    socket.set_non_blocking(true)?;
    Ok(socket)
}

fn parse(message_type: u16, payload: &[u8]) -> Result<RouteNetlinkMessage, ()> {
    let mut header = NetlinkHeader::default();
    header.message_type = message_type;
    RouteNetlinkMessage::deserialize(&header, payload).map_err(drop)
}

/// Waits until something can be read; false if the deadline came first.
fn wait_readable(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let timeout = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        match poll(&mut fds, poll_timeout(timeout)) {
            Ok(0) if timeout.is_some_and(|t| t.is_zero()) => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Milliseconds for `poll`, rounded up so that a short rest is waited for and not polled away.
fn poll_timeout(timeout: Option<Duration>) -> PollTimeout {
    match timeout {
        None => PollTimeout::NONE,
        Some(rest) => PollTimeout::try_from(rest.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX),
    }
}
