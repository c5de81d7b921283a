//! Requests and answers on one blocking netlink socket, for any netlink protocol.

use std::io;

use netlink_packet_core::{
    DecodeError, ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_ALIGNTO,
    NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
    NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use crate::error::Error;

/// The kernel fills datagrams of a dump up to 32 KiB; a single message is bounded by the same allocation.
pub(crate) const DATAGRAM_MAX: usize = 64 * 1024;
/// How often a dump is taken again when the table changed under it, before giving up.
const DUMP_ATTEMPTS_MAX: u32 = 32;
/// Bytes of a netlink message header (RFC 3549 §2.3.2), which is all of the request that a capped error carries.
const HEADER_LEN: usize = 16;
/// Attribute of an extended acknowledgement: the kernel's sentence, with a closing zero byte.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Why a request got no answer. Becomes an [`Error`] once the caller says what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    Os { source: io::Error, detail: Option<String> },
    Decode(String),
}

impl Failure {
    pub(crate) fn during(self, operation: impl Into<String>) -> Error {
        let operation = operation.into();
        match self {
            Self::Os { source, detail } => Error::Request { operation, source, detail },
            Self::Decode(reason) => Error::Reply { operation, reason },
        }
    }

    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Os { source, .. } => source.raw_os_error().map(Errno::from_raw),
            Self::Decode(_) => None,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Self {
        Self::Os { source, detail: None }
    }
}

/// What to do after one message of an answer.
enum Step {
    More,
    Complete,
}

/// One netlink socket and its sequence number.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Transport {
    /// Opens a socket in the calling thread's network namespace. `protocol` is one of `netlink_sys::protocols`.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Sentences instead of bare error numbers, and without a copy of the request in front of them.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(DATAGRAM_MAX) })
    }

    /// Asks the kernel to do something, and returns the messages that came before its acknowledgement.
    pub(crate) fn request<M>(&mut self, message: M, flags: u16) -> Result<Vec<M>, Failure>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        self.receive().map(|(messages, _)| messages)
    }

    /// Reads a whole table. Taken again when the table changed meanwhile, so that the result never misses an entry
    /// that was there all the time.
    pub(crate) fn dump<M>(&mut self, message: M) -> Result<Vec<M>, Failure>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        for _ in 0..DUMP_ATTEMPTS_MAX {
            self.send(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            let (messages, interrupted) = self.receive()?;
            if !interrupted {
                return Ok(messages);
            }
        }
        Err(Failure::Decode(format!("the table changed during each of {DUMP_ATTEMPTS_MAX} readings")))
    }

    fn send<M: NetlinkSerializable>(&mut self, message: M, flags: u16) -> Result<(), Failure> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        let sent = self.socket.send(&bytes, 0)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero).into()) }
    }

    /// Collects the answer to the last request; the flag tells that a dump was interrupted by changes.
    fn receive<M: NetlinkDeserializable>(&mut self) -> Result<(Vec<M>, bool), Failure> {
        let mut messages = Vec::new();
        let mut interrupted = false;
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                let frame = NetlinkBuffer::new_checked(rest).map_err(undecodable)?;
                let current = rest;
                rest = after(rest, frame.length());
                // The rest of an answer that the caller gave up on (a decoding error) may still lie in the queue.
                if frame.sequence_number() != self.sequence {
                    continue;
                }
                let message = NetlinkMessage::<M>::deserialize(current).map_err(undecodable)?;
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                if let Step::Complete = collect(message.payload, &mut messages)? {
                    return Ok((messages, interrupted));
                }
            }
        }
    }
}

fn undecodable(error: DecodeError) -> Failure {
    Failure::Decode(error.to_string())
}

/// What follows a message of `length` bytes in a datagram.
pub(crate) fn after(bytes: &[u8], length: u32) -> &[u8] {
    let align = usize::from(NLMSG_ALIGNTO);
    let length = usize::try_from(length).unwrap_or(usize::MAX).max(HEADER_LEN);
    bytes.get(length.next_multiple_of(align)..).unwrap_or_default()
}

fn collect<M>(payload: NetlinkPayload<M>, messages: &mut Vec<M>) -> Result<Step, Failure> {
    match payload {
        NetlinkPayload::InnerMessage(message) => {
            messages.push(message);
            Ok(Step::More)
        }
        NetlinkPayload::Error(ErrorMessage { code: None, .. }) => Ok(Step::Complete),
        NetlinkPayload::Error(error) => {
            let detail = error.header.get(HEADER_LEN..).and_then(sentence);
            Err(Failure::Os { source: error.to_io(), detail })
        }
        NetlinkPayload::Done(done) if done.code < 0 => {
            let source = io::Error::from_raw_os_error(-done.code);
            Err(Failure::Os { source, detail: sentence(&done.extended_ack) })
        }
        NetlinkPayload::Done(_) => Ok(Step::Complete),
        NetlinkPayload::Overrun(_) => Err(io::Error::from_raw_os_error(Errno::ENOBUFS as i32).into()),
        NetlinkPayload::Noop => Ok(Step::More),
        _ => Err(Failure::Decode("a control message of unknown type".to_owned())),
    }
}

/// The sentence in the attributes of an extended acknowledgement.
fn sentence(attributes: &[u8]) -> Option<String> {
    let message = NlasIterator::new(attributes).flatten().find(|a| a.kind() == NLMSGERR_ATTR_MSG)?;
    let text = String::from_utf8_lossy(message.value());
    Some(text.trim_end_matches(['\0', '.']).to_owned())
}
