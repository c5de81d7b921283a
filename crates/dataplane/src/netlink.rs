//! Questions to the kernel's rtnetlink: what an interface is, and the messages of traffic control.

use std::fmt;
use std::io;

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkInfo, LinkLayerType, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::error::{Error, Result};

/// The kernel fills datagrams of a dump up to 32 KiB; a single message is bounded by the same allocation.
const DATAGRAM_MAX: usize = 64 * 1024;
/// Bytes of a message's header (RFC 3549 §2.3.2): all of the request that an error carries.
const HEADER_LEN: usize = 16;
/// Boundary that messages begin at.
const ALIGNMENT: usize = 4;
/// Attribute of an extended acknowledgement: the kernel's sentence.
const NLMSGERR_ATTR_MSG: u16 = 1;
/// Longest name of an interface (`IFNAMSIZ` less the closing zero).
const NAME_LEN_MAX: usize = 15;

/// Why the kernel did not do what was asked.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Its error number, if it has one.
    pub(crate) errno: Option<i32>,
    text: String,
}

impl From<io::Error> for Refusal {
    fn from(e: io::Error) -> Self {
        Self { errno: e.raw_os_error(), text: e.to_string() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::other(refusal.text)
    }
}

/// An interface, as far as it matters for attaching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// Largest packet in bytes, without the link-layer header.
    pub(crate) mtu: u32,
    /// Ethernet address.
    pub(crate) address: Option<[u8; 6]>,
    /// Frames begin with an Ethernet header.
    pub(crate) is_ethernet: bool,
    /// The kernel's word for virtual ones.
    pub(crate) kind: Option<String>,
    /// It belongs to a device on a bus (`/sys/class/net/NAME/device`): there is a real driver.
    pub(crate) is_device: bool,
}

impl Interface {
    fn from_message(message: &LinkMessage) -> Self {
        let layer = message.header.link_layer_type;
        let mut interface = Self {
            index: message.header.index,
            name: String::new(),
            mtu: 0,
            address: None,
            is_ethernet: matches!(layer, LinkLayerType::Ether | LinkLayerType::Loopback),
            kind: None,
            is_device: false,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::Address(bytes) => interface.address = bytes.as_slice().try_into().ok(),
                LinkAttribute::ParentDevName(_) => interface.is_device = true,
                LinkAttribute::LinkInfo(infos) => {
                    interface.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        interface
    }
}

/// A socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Rtnetlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Rtnetlink {
    pub(crate) fn open() -> Result<Self> {
        Self::socket().map_err(|source| Error::system("open rtnetlink socket", source))
    }

    fn socket() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Sentences instead of bare error numbers, and without a copy of the request in front of them.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(DATAGRAM_MAX) })
    }

    /// The interface with that number.
    pub(crate) fn interface(&mut self, index: u32) -> Result<Interface> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.one_interface(message, &index.to_string())
    }

    /// The interface of that name.
    pub(crate) fn interface_by_name(&mut self, name: &str) -> Result<Interface> {
        if !(1..=NAME_LEN_MAX).contains(&name.len()) || name.contains('\0') {
            return Err(Error::NoSuchInterface { interface: name.to_owned() });
        }
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.one_interface(message, name)
    }

    fn one_interface(&mut self, message: LinkMessage, shown: &str) -> Result<Interface> {
        match self.request(RouteNetlinkMessage::GetLink(message), 0) {
            Ok(answers) => interfaces(&answers)
                .next()
                .ok_or_else(|| Error::NoSuchInterface { interface: shown.to_owned() }),
            Err(e) if e.errno == Some(libc::ENODEV) => {
                Err(Error::NoSuchInterface { interface: shown.to_owned() })
            }
            Err(e) => Err(Error::system(format!("look up interface {shown}"), e)),
        }
    }

    /// All interfaces.
    pub(crate) fn interfaces(&mut self) -> Result<Vec<Interface>> {
        let answers = self
            .request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)
            .map_err(|e| Error::system("list interfaces", e))?;
        Ok(interfaces(&answers).collect())
    }

    /// Asks, and returns the answer's messages.
    pub(crate) fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, Refusal> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        // A dump ends with a message of its own instead of an acknowledgement.
        let acknowledge = if flags & NLM_F_DUMP == NLM_F_DUMP { 0 } else { NLM_F_ACK };
        header.flags = NLM_F_REQUEST | acknowledge | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        while !self.receive(&mut answers)? {}
        Ok(answers)
    }

    /// Reads one datagram; tells whether the answer is complete.
    fn receive(&mut self, answers: &mut Vec<RouteNetlinkMessage>) -> Result<bool, Refusal> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer, 0) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(false),
            result => result?,
        };
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            let frame = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
            let length = (frame.length() as usize).max(HEADER_LEN).next_multiple_of(ALIGNMENT);
            // An answer that was given up half-way may still lie in the queue.
            if frame.sequence_number() == self.sequence {
                let message = NetlinkMessage::deserialize(rest).map_err(io::Error::other)?;
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    NetlinkPayload::Error(ErrorMessage { code: None, .. }) | NetlinkPayload::Done(_) => {
                        return Ok(true);
                    }
                    NetlinkPayload::Error(error) => return Err(refusal(&error)),
                    _ => {}
                }
            }
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(false)
    }
}

fn interfaces(answers: &[RouteNetlinkMessage]) -> impl Iterator<Item = Interface> {
    answers.iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(message) => Some(Interface::from_message(message)),
        _ => None,
    })
}

fn refusal(error: &ErrorMessage) -> Refusal {
    let source = error.to_io();
    let attributes = error.header.get(HEADER_LEN..).unwrap_or_default();
    let sentence = NlasIterator::new(attributes).flatten().find(|a| a.kind() == NLMSGERR_ATTR_MSG);
    let errno = source.raw_os_error();
    let text = match sentence {
        Some(sentence) => {
            let sentence = String::from_utf8_lossy(sentence.value());
            format!("{} ({source})", sentence.trim_end_matches(['\0', '.']))
        }
        None => source.to_string(),
    };
    Refusal { errno, text }
}
