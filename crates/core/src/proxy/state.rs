//! By how much the numbers of a connection are shifted whose data begin with a header that the client knows nothing of, and
//! when that header is sent.
//!
//! It stands where the client's first byte would, so all numbers of the client's data move by its length. It is sent with the
//! first segment behind the SYN, most often a bare acknowledgement. Nobody but the director could send it again: a server that
//! still acknowledges nothing but the SYN has not got it.

/// What is known of a connection: the number of its SYN, how long its header is, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// The number of the client's SYN.
    pub(crate) syn: u32,
    /// Bytes of the header.
    pub(crate) len: u32,
    /// One of those below: bits of [`rvs_abi::ConnFlags::PROXY_STAGE`].
    pub(crate) stage: u16,
}

/// No SYN was seen: the connection goes on as it is.
pub(crate) const UNKNOWN: u16 = 0;
/// The next segment that begins where the data do gets the header.
pub(crate) const DUE: u16 = 0x0100;
/// One got it.
pub(crate) const SENT: u16 = 0x0200;
/// The server has it. From here on all numbers are shifted, also those that have come round (2^31 bytes and more behind).
pub(crate) const THERE: u16 = 0x0300;

/// What becomes of a client's segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing.
    Leave,
    /// Its number is shifted.
    Shift,
    /// The header is put in front of its data.
    Insert,
    /// It is dropped: its data would stand where the header does.
    Drop,
}

impl Numbers {
    /// The number of the first byte behind the SYN.
    #[inline(always)]
    pub(crate) const fn first(self) -> u32 {
        self.syn.wrapping_add(1)
    }

    /// What becomes of a segment of the client that is no SYN. One that begins before the first byte has no data, unless
    /// the client wants to be taken for another: until the server has the header, they would be taken for part of it.
    #[inline(always)]
    pub(crate) const fn plan(self, sequence: u32, has_data: bool, is_reset: bool) -> Plan {
        let place = sequence.wrapping_sub(self.first()).cast_signed();
        let is_due = self.stage == DUE;
        if self.stage == UNKNOWN {
            Plan::Leave
        } else if self.stage != THERE && place < 0 && has_data {
            Plan::Drop
        } else if is_due && (place < 0 || place == 0 && is_reset) {
            Plan::Leave
        } else if is_due && place == 0 {
            Plan::Insert
        } else {
            Plan::Shift
        }
    }

    /// What the server acknowledges, as the client knows it; and the stage behind that.
    #[inline(always)]
    pub(crate) const fn acknowledged(self, seen: u32) -> (u32, u16) {
        let place = seen.wrapping_sub(self.first()).cast_signed();
        if self.stage == THERE {
            (seen.wrapping_sub(self.len), THERE)
        } else if self.stage == UNKNOWN || place < 0 {
            (seen, self.stage)
        } else if place >= self.len.cast_signed() {
            (seen.wrapping_sub(self.len), THERE)
        } else {
            (self.first(), DUE)
        }
    }

    /// An edge of what the server acknowledges selectively. It is behind a hole, so never within the header.
    #[inline(always)]
    pub(crate) const fn edge(self, seen: u32) -> u32 {
        self.acknowledged(seen).0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const NEW: Numbers = Numbers { syn: 1000, len: 28, stage: DUE };

    #[test]
    fn the_first_segment_behind_the_syn_gets_the_header() {
        assert_eq!(NEW.plan(1001, true, false), Plan::Insert);
        // Those that came before it, and a reset without it.
        assert_eq!((NEW.plan(1002, true, false), NEW.plan(1000, false, false)), (Plan::Shift, Plan::Leave));
        assert_eq!(NEW.plan(1001, true, true), Plan::Leave);
        let sent = Numbers { stage: SENT, ..NEW };
        assert_eq!((sent.plan(1001, true, false), sent.plan(1001, true, true)), (Plan::Shift, Plan::Shift));
        let unknown = Numbers { stage: UNKNOWN, ..NEW };
        assert_eq!((unknown.plan(1001, true, false), unknown.acknowledged(5)), (Plan::Leave, (5, UNKNOWN)));
    }

    /// A keepalive has the number before the first.
    #[test]
    fn no_data_stand_where_the_header_does() {
        for (stage, without) in [(DUE, Plan::Leave), (SENT, Plan::Shift), (THERE, Plan::Shift)] {
            let numbers = Numbers { stage, ..NEW };
            assert_eq!(numbers.plan(1000, false, false), without);
            let with = if stage == THERE { Plan::Shift } else { Plan::Drop };
            assert_eq!(numbers.plan(1000, true, false), with);
            assert_eq!(numbers.plan(1001_u32.wrapping_sub(28), true, false), with);
            assert_eq!(numbers.plan(1001 + (1 << 31), true, true), with);
        }
    }

    #[test]
    fn a_server_that_has_not_got_it_gets_it_again() {
        let sent = Numbers { stage: SENT, ..NEW };
        assert_eq!(sent.acknowledged(1001), (1001, DUE));
        assert_eq!(sent.acknowledged(1028), (1001, DUE));
        assert_eq!(sent.acknowledged(1029), (1001, THERE));
        assert_eq!(sent.acknowledged(1039), (1011, THERE));
        assert_eq!(NEW.acknowledged(1001), (1001, DUE));
        // Sent again for nothing: it was there.
        assert_eq!(NEW.acknowledged(1029), (1001, THERE));
    }

    /// Numbers come round every 2^32 bytes, and are half of the time nearer from the other side.
    #[test]
    fn numbers_of_long_connections_are_shifted_too() {
        let there = Numbers { stage: THERE, ..NEW };
        for sent in (0..32).map(|i: u32| i << 27) {
            let sequence = there.first().wrapping_add(sent);
            assert_eq!(there.plan(sequence, true, false), Plan::Shift);
            assert_eq!(there.acknowledged(sequence.wrapping_add(28)), (sequence, THERE));
        }
    }

    /// A receiver: what it has of the stream, and what it acknowledges.
    struct Server {
        first: u32,
        has: Vec<Option<u8>>,
    }

    impl Server {
        fn take(&mut self, sequence: u32, data: &[u8]) {
            let at = sequence.wrapping_sub(self.first) as usize;
            for (i, byte) in data.iter().enumerate() {
                if at + i < self.has.len() {
                    self.has[at + i].get_or_insert(*byte);
                }
            }
        }

        fn acknowledges(&self) -> u32 {
            let n = self.has.iter().take_while(|byte| byte.is_some()).count();
            self.first.wrapping_add(u32::try_from(n).unwrap())
        }
    }

    const HEADER: [u8; 28] = [0xff; 28];
    const DATA: usize = 60;

    proptest! {
        /// Segments of a client, any of them lost on either side of the director, in any order: what the server has of the
        /// stream is the header and the data behind it, and in the end it has all of it.
        #[test]
        fn losses_do_no_harm(syn: u32, lost in proptest::collection::vec((any::<bool>(), any::<bool>(), 0_usize..=DATA / 10), 0..60)) {
            let data: Vec<u8> = (0..u8::try_from(DATA).unwrap()).collect();
            let mut numbers = Numbers { syn, len: 28, stage: DUE };
            let first = syn.wrapping_add(1);
            let mut server = Server { first, has: vec![None; HEADER.len() + DATA] };
            let mut acknowledged = first;
            // In the end nothing is lost any more.
            let calm = (0..30).map(|_| (false, false, DATA));
            for (is_lost, is_answer_lost, which) in lost.into_iter().chain(calm) {
                let had = acknowledged.wrapping_sub(first) as usize;
                // Any segment that is not acknowledged, or a bare acknowledgement.
                let at = if which * 10 >= DATA { had } else { (had + which * 10).min(DATA) };
                let payload = if which == 0 { &[] } else { &data[at..(at + 10).min(DATA)] };
                let sequence = first.wrapping_add(u32::try_from(at).unwrap());
                let sent = match numbers.plan(sequence, true, false) {
                    Plan::Leave => (sequence, payload.to_vec()),
                    Plan::Drop => return Err(TestCaseError::fail("nothing of this client's is dropped")),
                    Plan::Shift => (sequence.wrapping_add(28), payload.to_vec()),
                    Plan::Insert => {
                        numbers.stage = SENT;
                        (sequence, [&HEADER, payload].concat())
                    }
                };
                if is_lost {
                    continue;
                }
                server.take(sent.0, &sent.1);
                let (seen, stage) = numbers.acknowledged(server.acknowledges());
                numbers.stage = stage;
                prop_assert!(seen.wrapping_sub(first) as usize <= DATA);
                if !is_answer_lost {
                    acknowledged = seen;
                }
            }
            let wanted: Vec<_> = HEADER.iter().chain(&data).copied().map(Some).collect();
            prop_assert_eq!(server.has, wanted);
            prop_assert_eq!(numbers.stage, THERE);
        }
    }
}
