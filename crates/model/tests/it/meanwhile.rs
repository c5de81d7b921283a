//! What another CPU does while a packet is handled.

use std::cell::Cell;

use rvs_abi::{Event, Method, Outcome};
use rvs_core::hold::Saved;
use rvs_core::{Encap, Packet, Parsed};
use rvs_model::Model;
use rvs_wire::checksum::Delta;

use crate::fragments::{Large, RS, Route, datagram, events, frame, model, request};

/// A frame that lets something else happen right before it is first written to: another CPU is at work then.
struct Meanwhile<'a> {
    frame: Large,
    happens: Option<&'a dyn Fn()>,
}

impl Packet for Meanwhile<'_> {
    fn frame_len(&self) -> u32 {
        self.frame.frame_len()
    }
    fn wire_len(&self, parsed: &Parsed) -> u32 {
        self.frame.wire_len(parsed)
    }
    fn bundle_len(&self) -> u32 {
        self.frame.bundle_len()
    }
    fn for_host(&self) -> bool {
        self.frame.for_host()
    }
    fn has_tag_aside(&self) -> bool {
        self.frame.has_tag_aside()
    }
    fn may_lack_checksum(&self) -> bool {
        self.frame.may_lack_checksum()
    }
    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.frame.get(offset)
    }
    fn set<const N: usize>(&mut self, offset: usize, bytes: &[u8; N]) -> Option<()> {
        if let Some(happens) = self.happens.take() {
            happens();
        }
        self.frame.set(offset, bytes)
    }
    fn update_tcp_checksum(&mut self, offset: usize, pseudo: Delta, fields: Delta) -> Option<()> {
        self.frame.update_tcp_checksum(offset, pseudo, fields)
    }
    fn update_udp_checksum(&mut self, offset: usize, pseudo: Delta, fields: Delta) -> Option<()> {
        self.frame.update_udp_checksum(offset, pseudo, fields)
    }
    fn push(&mut self, header: &Encap) -> Option<()> {
        self.frame.push(header)
    }
    fn pull(&mut self, len: u32) -> Option<()> {
        self.frame.pull(len)
    }
    fn change_family(&mut self, to: u8, old: u32, new: u32) -> Option<()> {
        self.frame.change_family(to, old, new)
    }
    fn resize(&mut self, frame_len: u32) -> Option<()> {
        self.frame.resize(frame_len)
    }
    fn reach(&mut self, len: u32) {
        self.frame.reach(len);
    }
    fn resend(&mut self) -> Option<()> {
        self.frame.resend()
    }
    fn send_to(&mut self, ifindex: u32) -> Option<()> {
        self.frame.send_to(ifindex)
    }
    fn copy_to<const N: usize>(&self, frame: &mut [u8; N], len: u32) -> Option<()> {
        self.frame.copy_to(frame, len)
    }
    fn replace<const N: usize>(&mut self, frame: &[u8; N], len: u32) -> Option<()> {
        self.frame.replace(frame, len)
    }
    fn fill(&mut self, frame: &Saved, from: u32, offset: u32, len: u32) -> Option<()> {
        self.frame.fill(frame, from, offset, len)
    }
}

/// Who handles the first fragment writes down where it goes and then looks for held ones; who holds one looks the other way
/// round: so one of both sees the other.
#[test]
fn a_fragment_that_comes_while_the_first_is_sent_is_not_lost() {
    let late = |model: &Model<Route>, fragment: &[u8]| {
        // By CPU 1, to which XDP there handed it over.
        let mut late = frame(fragment);
        model.ingress_after_xdp(&mut late, 11).outcome
    };
    for (is_tc, of_late, sent) in [(true, Outcome::FragmentHeld, 1), (false, Outcome::ForwardMasq, 0)] {
        let mut model = model(RS, Method::MASQ);
        model.set_tc(is_tc);
        let fragments = request(5).fragments(&datagram(53, 60), 48);
        let came = Cell::new(None);
        let comes = || came.set(Some(late(&model, &fragments[1])));
        let mut first = Meanwhile { frame: frame(&fragments[0]), happens: Some(&comes) };
        assert_eq!(model.ingress(&mut first, 11).outcome, Outcome::ForwardMasq);
        assert!(first.frame_len() > 0);
        assert_eq!((came.get(), events(&model, Event::HeldSent)), (Some(of_late), sent), "TC: {is_tc}");
    }
}
