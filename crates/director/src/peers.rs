//! Hosts that are destinations by direct routing or through a tunnel, on the director's links: what they send to the same
//! service was balanced before (`rvs_core::guard`).
//!
//! The map of keys is the truth about them, and is read when a director takes over: so nothing is forgotten between one
//! and the next, and nothing of a change that was interrupted stays.

use core::net::IpAddr;
use std::collections::BTreeSet;

use rvs_abi::peer;
use rvs_config::ForwardingMethod;
use rvs_model::{Memory, MemoryError};

use crate::director::Director;
use crate::filter;
use crate::state::ServiceId;

/// A service, and the Ethernet address of a host that is a destination of it.
pub(crate) type Peer = (ServiceId, [u8; 6]);

/// Those that packets find.
pub(crate) fn read<M: Memory>(memory: &M) -> Result<BTreeSet<Peer>, MemoryError> {
    let peers = memory.service_keys()?;
    Ok(peers.iter().filter_map(peer::parse).map(|(service, mac)| (ServiceId(service), mac)).collect())
}

/// The filter's bit of a host.
pub(crate) const fn bit(peer: Peer) -> u32 {
    filter::bit_of(peer::address(peer.1))
}

impl<M: Memory> Director<M> {
    /// Tells the programs which hosts are destinations by such a method: `mac` is the Ethernet address of a destination that is
    /// on a link of the director's, if it is known. To be called again after each [`Director::apply`].
    ///
    /// There is room for each destination's key, so no more than the system's memory can be missing: then what such a host
    /// sends is balanced.
    pub fn set_peers(&mut self, mac: impl Fn(IpAddr) -> Option<[u8; 6]>) {
        let is_peer = |method| matches!(method, ForwardingMethod::Dr | ForwardingMethod::Tunnel);
        let mut wanted = BTreeSet::new();
        for (id, service) in &self.state.services {
            let members = service.members().filter(|member| is_peer(member.method));
            wanted.extend(members.filter_map(|member| Some((*id, mac(member.key.address)?))));
        }
        let gone: Vec<Peer> = self.state.peers.difference(&wanted).copied().collect();
        let new: Vec<Peer> = wanted.difference(&self.state.peers).copied().collect();
        gone.into_iter().for_each(|peer| self.remove_peer(peer));
        new.into_iter().for_each(|peer| self.add_peer(peer));
    }

    /// The bit first: a key without it would not be found.
    fn add_peer(&mut self, peer: Peer) {
        let (bit, key) = (bit(peer), peer::key(peer.0.0, peer::address(peer.1)));
        *self.state.filter.entry(bit).or_default() += 1;
        filter::write(&self.memory, bit, true);
        if self.memory.set_service_key(&key, Some(peer.0.0)).is_ok() {
            self.state.peers.insert(peer);
        } else {
            self.forget_bit(bit);
        }
    }

    /// The key first, which is what a director that takes over goes by.
    fn remove_peer(&mut self, peer: Peer) {
        let key = peer::key(peer.0.0, peer::address(peer.1));
        if self.memory.set_service_key(&key, None).is_ok() {
            self.state.peers.remove(&peer);
            self.forget_bit(bit(peer));
        }
    }

    fn forget_bit(&mut self, bit: u32) {
        let Some(count) = self.state.filter.get_mut(&bit) else { return };
        *count -= 1;
        if *count == 0 {
            self.state.filter.remove(&bit);
            filter::write(&self.memory, bit, false);
        }
    }
}
