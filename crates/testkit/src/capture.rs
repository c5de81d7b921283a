//! Raw frames on an interface: reading what passes, sending what no stack would send.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send, setsockopt,
    socket, sockopt,
};
use rvs_netlink::Netns;

use crate::error::{Error, Result};
use crate::poll::wait_readable;

/// Largest frame: the kernel's largest segment before it is cut, and its Ethernet header.
const FRAME_LEN_MAX: usize = 64 * 1024 + 256;
/// Bytes of frames that may wait to be read.
const RECEIVE_BUFFER_LEN: usize = 8 * 1024 * 1024;
/// `sll_pkttype` of a frame that this host sends.
const PACKET_OUTGOING: u8 = 4;

/// Which way a captured frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It came in on the interface.
    Received,
    /// This host sent it.
    Sent,
}

/// A captured frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The frame from its Ethernet header on, without a VLAN tag (the kernel keeps that apart).
    ///
    /// With checksum and segmentation offload on, a frame inside one machine may be longer than the MTU and carry
    /// partial checksums; see [`Offloads::XdpReady`](crate::Offloads::XdpReady).
    pub bytes: Vec<u8>,
    /// Which way it went.
    pub direction: Direction,
}

/// A packet socket on one interface. It sees frames from its opening on, also those that the host is not meant to
/// have; not those that XDP takes away before.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    ifindex: usize,
    interface: String,
    buffer: Vec<u8>,
}

impl Capture {
    /// Opens an interface of a namespace.
    pub fn open(netns: &Netns, interface: &str) -> Result<Self> {
        let label = format!("{interface} in {}", netns.name());
        let opened = netns.enter(|| open(interface))?;
        let (socket, ifindex) = opened.map_err(|source| Error::Capture {
            interface: label.clone(),
            operation: "capture on",
            source,
        })?;
        Ok(Self { socket, ifindex, interface: label, buffer: vec![0; FRAME_LEN_MAX] })
    }

    /// The next frame, or `None` if none comes within `timeout`.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Frame>> {
        let deadline = Instant::now() + timeout;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            if !wait_readable(&self.socket, rest).map_err(|e| self.failed("capture on", e))? {
                return Ok(None);
            }
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut self.buffer) {
                // Before the socket was bound it heard the namespace's other interfaces too.
                Ok((len, Some(from))) if from.ifindex() == self.ifindex => {
                    let sent = from.pkttype() == PACKET_OUTGOING;
                    let direction = if sent { Direction::Sent } else { Direction::Received };
                    return Ok(Some(Frame { bytes: self.buffer[..len].to_vec(), direction }));
                }
                // The kernel reports a link that went down once, then goes on.
                Ok(_) | Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => {}
                Err(errno) => return Err(self.failed("capture on", errno.into())),
            }
        }
    }

    /// The next frame that satisfies `wanted`; others are thrown away. `None` if none comes within `timeout`.
    pub fn next_matching(
        &mut self,
        timeout: Duration,
        wanted: impl Fn(&Frame) -> bool,
    ) -> Result<Option<Frame>> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now()))? {
                Some(frame) if !wanted(&frame) => {}
                result => return Ok(result),
            }
        }
    }

    /// Sends a frame as it stands, from its Ethernet header on.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
            Ok(len) if len == frame.len() => Ok(()),
            Ok(_) => Err(self.failed("send on", io::ErrorKind::WriteZero.into())),
            Err(errno) => Err(self.failed("send on", errno.into())),
        }
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        Error::Capture { interface: self.interface.clone(), operation, source }
    }
}

/// Opens and binds a socket in the calling thread's namespace; the number is the interface's.
fn open(interface: &str) -> io::Result<(OwnedFd, usize)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_LEN)?;
    // The list of interfaces is the way to a link-layer socket address that needs no unsafe code. Its protocol is 0,
    // with which bind keeps the socket's: all.
    let address = getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .ok_or(io::ErrorKind::NotFound)?;
    bind(socket.as_raw_fd(), &address)?;
    Ok((socket, address.ifindex()))
}
