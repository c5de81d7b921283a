//! What is counted beside the outcomes of packets.

/// Something that happens on the way of a packet and does not end it. Counted in the words behind those of the outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Event {
    /// The connection table was full where a new connection belongs: one that had seen only one packet made room.
    Evicted = 96,
    /// A packet that was dropped was answered with an ICMP error.
    ErrorSent = 97,
    /// It would have been, but so many were sent to that address, or at all, that this one was not.
    ErrorLimited = 98,
    /// A rule of the classifier gave a packet its mark.
    Classified = 102,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 4] = [Self::Evicted, Self::ErrorSent, Self::ErrorLimited, Self::Classified];
}

// Outcomes are below, the map's values end above.
const _: () = {
    assert!((Event::Classified as u32) < crate::limits::COUNTERS);
    let mut i = 0;
    while i < crate::OUTCOMES.len() {
        assert!((crate::OUTCOMES[i] as u32) < Event::Evicted as u32);
        i += 1;
    }
};
