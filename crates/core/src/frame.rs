//! A packet in plain memory: the host's side of [`Packet`], for the model, tests and tools.

use rvs_abi::{Port, family, limits};
use rvs_wire::checksum::Delta;
use rvs_wire::eth;

use crate::{Encap, Packet, Parsed, hold};

/// Frames that may be sent behind another: all that are held for a packet, or that it is cut into.
const BEHIND_MAX: usize = limits::PIECES_MAX as usize;
/// Of a frame as under TC: its first bytes, which can be read at once.
const LINEAR: usize = 14 + 60 + 20;

/// A frame of at most `MAX` bytes.
#[derive(Debug, Clone)]
pub struct Frame<const MAX: usize> {
    buffer: [u8; MAX],
    len: usize,
    /// How many of them can be read.
    linear: usize,
    port: Port,
    /// Frames that were sent behind it, one after the other, and where each ends.
    behind: [u8; MAX],
    ends: [usize; BEHIND_MAX],
    /// Whether it is to an interface: it does not meet the program again.
    leaves: [bool; BEHIND_MAX],
    count: usize,
}

impl<const MAX: usize> Frame<MAX> {
    /// A copy of those bytes, if they fit.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut buffer = [0; MAX];
        buffer.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let ends = [0; BEHIND_MAX];
        Some(Self {
            buffer,
            len: bytes.len(),
            linear: MAX,
            port: Port::default(),
            behind: [0; MAX],
            ends,
            leaves: [false; BEHIND_MAX],
            count: 0,
        })
    }

    /// The frames that were sent behind it, as they meet the program again.
    pub fn behind(&self) -> impl Iterator<Item = Self> {
        self.others(false)
    }

    /// The frames that were sent out beside it.
    pub fn beside(&self) -> impl Iterator<Item = Self> {
        self.others(true)
    }

    fn others(&self, leave: bool) -> impl Iterator<Item = Self> {
        (0..self.count).filter(move |i| self.leaves[*i] == leave).filter_map(|i| {
            let start = if i == 0 { 0 } else { self.ends[i - 1] };
            Some(Self::new(self.behind.get(start..self.ends[i])?)?.from(self.port))
        })
    }

    fn add(&mut self, leaves: bool) -> Option<()> {
        let start = if self.count == 0 { 0 } else { self.ends[self.count - 1] };
        let end = start + self.len;
        self.behind.get_mut(start..end)?.copy_from_slice(&self.buffer[..self.len]);
        *self.ends.get_mut(self.count)? = end;
        self.leaves[self.count] = leaves;
        self.count += 1;
        Some(())
    }

    /// As it came in on an interface of which this is known.
    #[must_use]
    pub fn from(self, port: Port) -> Self {
        Self { port, ..self }
    }

    /// As in a socket buffer, whose first bytes are all that can be read before a program has [reached](Packet::reach) for more.
    #[must_use]
    pub fn in_pages(self) -> Self {
        Self { linear: LINEAR, ..self }
    }

    /// How many bytes can be read.
    fn readable(&self) -> usize {
        self.len.min(self.linear.max(LINEAR))
    }

    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// The kernel's helpers reach for what they change.
    fn reach_field(&mut self, offset: usize) {
        self.linear = self.linear.max(offset.saturating_add(2));
    }

    fn insert(&mut self, offset: usize, count: usize) -> Option<()> {
        let len = self.len + count;
        if offset > self.len || len > MAX {
            return None;
        }
        self.buffer.copy_within(offset..self.len, offset + count);
        self.len = len;
        self.linear = self.linear.saturating_add(count);
        Some(())
    }
}

impl<const MAX: usize> Packet for Frame<MAX> {
    fn frame_len(&self) -> u32 {
        u32::try_from(self.bytes().len()).unwrap_or(u32::MAX)
    }

    fn bundle_len(&self) -> u32 {
        0
    }

    fn wire_len(&self, parsed: &Parsed) -> u32 {
        parsed.len
    }

    fn for_host(&self) -> bool {
        self.get::<8>(0).is_some_and(|head| !eth::is_group(head[0]) && !self.port.is_for_another(head))
    }

    fn has_tag_aside(&self) -> bool {
        false
    }

    fn may_lack_checksum(&self) -> bool {
        false
    }

    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.buffer[..self.readable()].get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    fn set<const N: usize>(&mut self, offset: usize, bytes: &[u8; N]) -> Option<()> {
        let readable = self.readable();
        self.buffer[..readable].get_mut(offset..offset.checked_add(N)?)?.copy_from_slice(bytes);
        Some(())
    }

    fn update_tcp_checksum(&mut self, offset: usize, pseudo: Delta, fields: Delta) -> Option<()> {
        self.reach_field(offset);
        let field = self.get::<2>(offset)?;
        self.set(offset, &pseudo.and(fields).apply(field))
    }

    fn update_udp_checksum(&mut self, offset: usize, pseudo: Delta, fields: Delta) -> Option<()> {
        self.reach_field(offset);
        let field = self.get::<2>(offset)?;
        self.set(offset, &pseudo.and(fields).apply_udp(field))
    }

    fn push(&mut self, header: &Encap) -> Option<()> {
        self.insert(eth::LEN, header.size() as usize)?;
        self.set(eth::LEN - 2, &if header.is_v4() { eth::TYPE_IPV4 } else { eth::TYPE_IPV6 })
    }

    fn pull(&mut self, len: u32) -> Option<()> {
        let from = eth::LEN + len as usize;
        if from > self.len {
            return None;
        }
        self.buffer.copy_within(from..self.len, eth::LEN);
        self.len -= len as usize;
        self.linear = self.linear.saturating_sub(len as usize);
        Some(())
    }

    fn change_family(&mut self, to: u8, old: u32, new: u32) -> Option<()> {
        self.pull(old)?;
        self.insert(eth::LEN, new as usize)?;
        self.set(eth::LEN - 2, &eth::type_of(to == family::V4))
    }

    fn resize(&mut self, frame_len: u32) -> Option<()> {
        let len = frame_len as usize;
        if len > MAX {
            return None;
        }
        (self.len, self.linear) = (len, MAX);
        Some(())
    }

    fn reach(&mut self, len: u32) {
        self.linear = self.linear.max(len as usize);
    }

    fn is_short_of(&self, end: u32) -> bool {
        self.readable() < self.len.min(end as usize)
    }

    fn resend(&mut self) -> Option<()> {
        self.add(false)
    }

    fn send_to(&mut self, _ifindex: u32) -> Option<()> {
        self.add(true)
    }

    fn copy_to<const N: usize>(&self, frame: &mut [u8; N], len: u32) -> Option<()> {
        let len = len as usize;
        frame.get_mut(..len)?.copy_from_slice(self.bytes().get(..len)?);
        Some(())
    }

    fn fill(&mut self, frame: &hold::Saved, from: u32, offset: u32, len: u32) -> Option<()> {
        let (from, offset, len) = (from as usize, offset as usize, len as usize);
        let part = frame.get(from..from + len)?;
        self.buffer[..self.len].get_mut(offset..offset + len)?.copy_from_slice(part);
        Some(())
    }

    fn replace<const N: usize>(&mut self, frame: &[u8; N], len: u32) -> Option<()> {
        let len = len as usize;
        self.buffer.get_mut(..len)?.copy_from_slice(frame.get(..len)?);
        (self.len, self.linear) = (len, MAX);
        Some(())
    }
}
