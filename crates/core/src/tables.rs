//! What the pipeline needs besides the packet: maps, clock, routes.

use rvs_abi::{Addr, DestConns, Event, Outcome, Program, ServiceKey, Stats, limits};

use crate::conn::{Bucket, Geometry};
use crate::pipeline::Scratch;
use crate::{Packet, Verdict, conn, fragment, ftp, hold, pipeline, program, proxy};

/// Tables, clock and routes of a data plane.
pub trait Tables {
    /// Handle of a bucket of the connection table.
    type Bucket: Bucket;
    /// Handle of a destination.
    type Dest: DestRecord;
    /// Handle of a service.
    type Service: ServiceRecord;
    /// Handle of a rule of the classifier.
    type Rule: RuleRecord;

    /// Whether another program has looked at this packet before: under TC, where XDP passed it on.
    fn is_second_look(&self) -> bool;
    /// Whether the packet is one that this host made, on its way out.
    fn is_local(&self) -> bool;
    /// Whether packets can be handed to this host's stack with other addresses than they came with: not under XDP, where the
    /// program under TC would look at them once more.
    fn reaches_stack(&self) -> bool;
    /// Number of IPv4 services.
    fn services_v4(&self) -> u32;
    /// [`rvs_abi::Settings`]. Beside the numbers of services: whoever asks finds it in the cache.
    fn settings(&self) -> u32;
    /// Number of the interface that the packet came in on.
    fn ingress(&self) -> u32;
    /// Number of IPv6 services.
    fn services_v6(&self) -> u32;
    /// Shape and secret of the connection table.
    fn geometry(&self) -> Option<Geometry>;
    /// A time-out in ticks, by index in `Config::timeouts`.
    fn timeout(&self, index: u32) -> u32;
    /// The first of the addresses that tunnels of a family come from, by flow, and which bits of its last four bytes the flow
    /// chooses, network order; zero: they come from the director's own.
    fn tunnel_sources(&self, is_v4: bool) -> (Addr, u32);
    /// [`rvs_abi::FullNatUse`]. Not 0: there may be connections of full NAT.
    fn full_nat(&self) -> u32;
    /// Words of the map of the director's ports less one; a power of two less one.
    fn local_ports_mask(&self) -> u32;
    /// A word of that map, see [`crate::conn::local`].
    fn local_port(&self, index: u32) -> Option<u64>;
    /// Replaces such a word if it still is `old`; says whether it was.
    fn swap_local_port(&self, index: u32, old: u64, new: u64) -> bool;
    /// The addresses that new connections of full NAT come from, to servers of that family, as
    /// [`rvs_abi::Config::full_nat_sources`].
    fn full_nat_sources(&self, is_v4: bool) -> u32;
    /// One of them by its number, [`rvs_abi::ConnEntry::local`].
    fn local_address(&self, number: u16) -> Option<Addr>;
    /// A word of the address filter.
    fn filter_word(&self, index: u32) -> u64;

    /// Number of services by mark, of IPv4 or IPv6.
    fn mark_services(&self, is_v4: bool) -> u32;
    /// The mark that the packet has of its own; 0: none, or it can't be known here.
    fn packet_mark(&self) -> u32;
    /// A word of `MARKED`, see [`rvs_abi::mark`].
    fn marked_word(&self, index: u32) -> u64;
    /// Sets bits in a word of `MARKED`, atomically.
    fn learn(&self, index: u32, bits: u64);
    /// The classifier's list in force, [`rvs_abi::mark::list`].
    fn rules(&self) -> u32;
    /// A rule of the classifier.
    fn rule(&self, index: u32) -> Option<Self::Rule>;
    /// Number of services at TCP port 21.
    fn ftp_services(&self) -> u32;
    /// Number of services at port 0.
    fn any_port_services(&self) -> u32;

    /// A bucket of the connection table.
    fn bucket(&self, index: u32) -> Option<Self::Bucket>;
    /// A bucket of its overflow table.
    fn overflow_bucket(&self, index: u32) -> Option<Self::Bucket>;

    /// The id of the service with that key.
    fn service_id(&self, key: &ServiceKey) -> Option<u32>;
    /// A service.
    fn service(&self, id: u32) -> Option<Self::Service>;
    /// A destination.
    fn dest(&self, id: u32) -> Option<Self::Dest>;
    /// A destination's connections.
    fn dest_conns(&self, id: u32) -> DestConns;
    /// Adds to a destination's connections, atomically: sums of `DestConns::TOTAL` and `ACTIVE`, wrapping.
    fn add_dest_conns(&self, id: u32, delta: u64);

    /// A word of the scheduler tables.
    fn sched_word(&self, index: u32) -> Option<u64>;
    /// Replaces a word of the scheduler tables if it still is `old`; says whether it was.
    fn swap_sched_word(&self, index: u32, old: u64, new: u64) -> bool;

    /// Adds to the statistics of the total, a service and a destination.
    fn count(&self, service: u32, dest: u32, delta: &Stats);

    /// What was decided about the first fragment of a packet, if it came not long ago.
    fn fragment(&self, key: &fragment::Key) -> Option<fragment::Known>;
    /// Keeps what was decided about a first fragment. Old ones give way.
    fn keep_fragment(&self, key: &fragment::Key, known: &fragment::Known);

    /// Whether fragments can be held here: under TC.
    fn holds(&self) -> bool;
    /// The word of a slot for held fragments, by its index below `HOLD_GROUPS` times `HOLD_SHARE`.
    fn held_word(&self, slot: u32) -> u64;
    /// Replaces that word if it still is `old`; says whether it was.
    fn swap_held_word(&self, slot: u32, old: u64, new: u64) -> bool;
    /// Whether a slot's fragment has that key.
    fn held_is(&self, slot: u32, key: &fragment::Key) -> bool;
    /// Writes a slot's key.
    fn set_held_key(&self, slot: u32, key: &fragment::Key);
    /// Lends a slot's frame.
    fn with_held<R>(&self, slot: u32, use_it: impl FnOnce(&mut hold::Bytes) -> R) -> Option<R>;
    /// Lends room for one more frame.
    fn with_saved<R>(&self, use_it: impl FnOnce(&mut hold::Saved) -> R) -> Option<R>;
    /// When a fragment was last held in a group, in ticks; 0: never.
    fn held_at(&self, group: u32) -> u32;
    /// Sets that.
    fn set_held_at(&self, group: u32, now: u32);

    /// Ports at which FTP's control connections are listened to, network order; 0: none.
    fn ftp_ports(&self) -> [[u8; 2]; limits::FTP_PORTS];
    /// A word of the table of FTP's control connections, by its index below `FTP_CONTROLS` times `FTP_WORDS`.
    fn ftp_word(&self, index: u32) -> u64;
    /// Writes such a word.
    fn set_ftp_word(&self, index: u32, word: u64);
    /// Replaces such a word if it still is `old`; says whether it was.
    fn swap_ftp_word(&self, index: u32, old: u64, new: u64) -> bool;

    /// Counts an event.
    fn note(&self, event: Event);

    /// Lends the memory in which the stages hand over. Not within a use of it.
    fn with_scratch<R>(&self, use_it: impl FnOnce(&mut Scratch) -> R) -> Option<R>;

    /// [`program::run`], by a tail call in the kernel: what is not in the scratch memory is lost.
    #[inline(always)]
    fn go_on<P: Packet>(&self, packet: &mut P, program: Program, outcome: Outcome) -> Verdict
    where
        Self: Sized,
    {
        program::run(program, packet, self, outcome)
    }

    /// [`pipeline::reply`], as it is called here: in the kernel it is a function that is verified by itself.
    #[inline(always)]
    fn reply<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::reply(packet, self)
    }

    /// [`pipeline::request`], likewise.
    #[inline(always)]
    fn request<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::request(packet, self)
    }

    /// [`pipeline::icmp`], likewise.
    #[inline(always)]
    fn icmp<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::icmp(packet, self)
    }

    /// [`pipeline::find`], likewise.
    #[inline(always)]
    fn find(&self, side: pipeline::Side) -> bool
    where
        Self: Sized,
    {
        pipeline::find(self, side)
    }

    /// [`pipeline::find_local`], likewise.
    #[inline(always)]
    fn find_local(&self, about: pipeline::About) -> bool
    where
        Self: Sized,
    {
        pipeline::find_local(self, about)
    }

    /// [`pipeline::local_reply`], likewise.
    #[inline(always)]
    fn local_reply<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::local_reply(packet, self)
    }

    /// [`pipeline::reserve`], likewise.
    #[inline(always)]
    fn reserve(&self) -> Outcome
    where
        Self: Sized,
    {
        pipeline::reserve(self)
    }

    /// [`pipeline::publish`], likewise.
    #[inline(always)]
    fn publish(&self) -> Outcome
    where
        Self: Sized,
    {
        pipeline::publish(self)
    }

    /// [`pipeline::full_nat`], likewise.
    #[inline(always)]
    fn full_nat_stage<P: Packet>(&self, packet: &mut P, step: Outcome) -> Outcome
    where
        Self: Sized,
    {
        pipeline::full_nat(packet, self, step)
    }

    /// [`pipeline::client_option`], likewise.
    #[inline(always)]
    fn client_option<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::client_option(packet, self)
    }

    /// [`pipeline::clamp`], likewise.
    #[inline(always)]
    fn clamp<P: Packet>(&self, packet: &mut P) -> bool
    where
        Self: Sized,
    {
        pipeline::clamp(packet, self)
    }

    /// [`pipeline::fragment`], likewise.
    #[inline(always)]
    fn fragment_stage<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::fragment(packet, self)
    }

    /// [`pipeline::hold`], likewise.
    #[inline(always)]
    fn hold<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::hold(packet, self)
    }

    /// [`pipeline::keep`], likewise.
    #[inline(always)]
    fn keep(&self, outcome: Outcome)
    where
        Self: Sized,
    {
        pipeline::keep(self, outcome);
    }

    /// [`pipeline::cut`], likewise.
    #[inline(always)]
    fn cut<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::cut(packet, self)
    }

    /// [`pipeline::translate`], likewise.
    #[inline(always)]
    fn translate<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::translate(packet, self)
    }

    /// [`pipeline::become_other`], likewise.
    #[inline(always)]
    fn become_other<P: Packet>(&self, packet: &mut P) -> bool
    where
        Self: Sized,
    {
        pipeline::become_other(packet, self)
    }

    /// [`pipeline::translate_error`], likewise.
    #[inline(always)]
    fn translate_error<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::translate_error(packet, self)
    }

    /// [`pipeline::error_becomes_other`], likewise.
    #[inline(always)]
    fn error_becomes_other<P: Packet>(&self, packet: &mut P) -> bool
    where
        Self: Sized,
    {
        pipeline::error_becomes_other(packet, self)
    }

    /// [`pipeline::cut_outer`], likewise.
    #[inline(always)]
    fn cut_outer<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::cut_outer(packet, self)
    }

    /// [`pipeline::release`], likewise.
    #[inline(always)]
    fn release<P: Packet>(&self, packet: &mut P) -> bool
    where
        Self: Sized,
    {
        pipeline::release(packet, self)
    }

    /// [`proxy::rewrite`], likewise.
    #[inline(always)]
    fn proxy<P: Packet>(&self, packet: &mut P, step: Outcome) -> Outcome
    where
        Self: Sized,
    {
        proxy::rewrite(packet, self, step)
    }

    /// [`proxy::quoted`], likewise.
    #[inline(always)]
    fn proxy_quoted<P: Packet>(&self, packet: &mut P)
    where
        Self: Sized,
    {
        proxy::quoted(packet, self);
    }

    /// [`ftp::find`], likewise.
    #[inline(always)]
    fn ftp_find(&self, step: Outcome) -> bool
    where
        Self: Sized,
    {
        ftp::find(self, step)
    }

    /// [`ftp::look`], likewise.
    #[inline(always)]
    fn ftp_look<P: Packet>(&self, packet: &mut P, step: Outcome) -> Outcome
    where
        Self: Sized,
    {
        ftp::look(packet, self, step)
    }

    /// [`ftp::reuse`], likewise.
    #[inline(always)]
    fn ftp_reuse(&self) -> bool
    where
        Self: Sized,
    {
        ftp::reuse(self)
    }

    /// [`ftp::rewrite`], likewise.
    #[inline(always)]
    fn ftp_rewrite<P: Packet>(&self, packet: &mut P, step: Outcome) -> Outcome
    where
        Self: Sized,
    {
        ftp::rewrite(packet, self, step)
    }

    /// [`ftp::find_same`], likewise.
    #[inline(always)]
    fn find_same(&self) -> bool
    where
        Self: Sized,
    {
        ftp::find_same(self)
    }

    /// [`ftp::expected`], likewise.
    #[inline(always)]
    fn expected(&self) -> Outcome
    where
        Self: Sized,
    {
        ftp::expected(self)
    }

    /// [`ftp::arrived`], likewise.
    #[inline(always)]
    fn arrived(&self)
    where
        Self: Sized,
    {
        ftp::arrived(self);
    }

    /// [`conn::control::keep`], likewise.
    #[inline(always)]
    fn keep_control(&self, name: u32, now: u64, ticks: i64)
    where
        Self: Sized,
    {
        conn::control::keep(self, name, now, ticks);
    }

    /// [`pipeline::tunnel`], likewise.
    #[inline(always)]
    fn tunnel<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::tunnel(packet, self)
    }

    /// [`pipeline::reply_here`], likewise.
    #[inline(always)]
    fn reply_here<P: Packet>(&self, _packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::reply_here(self)
    }

    /// [`pipeline::request_here`], likewise.
    #[inline(always)]
    fn request_here<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::request_here(packet, self)
    }

    /// [`pipeline::one_packet_here`], likewise.
    #[inline(always)]
    fn one_packet_here<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::one_packet_here(packet, self)
    }

    /// [`pipeline::deliver`], likewise.
    #[inline(always)]
    fn deliver<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::deliver(packet, self)
    }

    /// [`pipeline::bypass`], likewise.
    #[inline(always)]
    fn bypass<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::bypass(packet, self)
    }

    /// [`pipeline::tunnel_error`], likewise.
    #[inline(always)]
    fn tunnel_error<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::tunnel_error(packet, self)
    }

    /// [`pipeline::answer`], likewise.
    #[inline(always)]
    fn answer<P: Packet>(&self, packet: &mut P, outcome: Outcome) -> bool
    where
        Self: Sized,
    {
        pipeline::answer(packet, self, outcome)
    }

    /// [`crate::mark::classify`], likewise.
    #[inline(always)]
    fn classify(&self) -> Outcome
    where
        Self: Sized,
    {
        crate::mark::classify(self)
    }

    /// [`pipeline::prepare`], likewise.
    #[inline(always)]
    fn prepare(&self) -> Outcome
    where
        Self: Sized,
    {
        pipeline::prepare(self)
    }

    /// [`pipeline::insert`], likewise.
    #[inline(always)]
    fn insert(&self) -> Outcome
    where
        Self: Sized,
    {
        pipeline::insert(self)
    }

    /// [`pipeline::one_packet`], likewise.
    #[inline(always)]
    fn one_packet<P: Packet>(&self, packet: &mut P) -> Outcome
    where
        Self: Sized,
    {
        pipeline::one_packet(packet, self)
    }

    /// [`pipeline::take_quoted`], likewise.
    #[inline(always)]
    fn take_quoted(&self)
    where
        Self: Sized,
    {
        pipeline::take_quoted(self);
    }

    /// [`pipeline::give_quoted_back`], likewise.
    #[inline(always)]
    fn give_quoted_back(&self)
    where
        Self: Sized,
    {
        pipeline::give_quoted_back(self);
    }

    /// [`pipeline::server`], likewise.
    #[inline(always)]
    fn server(&self) -> Outcome
    where
        Self: Sized,
    {
        pipeline::server(self)
    }

    /// Nanoseconds of the data plane's clock. Asked once for each packet.
    fn now(&self) -> u64;
    /// A random number.
    fn random(&self) -> u32;
    /// Lends one of the [`rvs_abi::limits::ERROR_BUDGETS`] words that say how many ICMP errors may be sent.
    fn with_error_budget<R>(&self, index: u32, use_it: impl FnOnce(&mut u64) -> R) -> Option<R>;
    /// Where packets of this flow leave. `Err` is the outcome of a packet that can't leave.
    ///
    /// # Errors
    /// A hand-over or a drop.
    fn next_hop(&self, flow: &Flow) -> Result<NextHop, Outcome>;

    /// The same number, of which the verifier knows nothing. Kernels before 6.7 verify the body of a loop only for the state
    /// before its first round, and cut out branches that are not taken in that: what a round reads of an earlier one must
    /// begin with a number from here.
    fn veiled(&self, number: u64) -> u64;

    /// Runs a step for 0, 1, 2 … `rounds - 1` or until it says that it is done.
    fn repeat<S: Step<Self>>(&self, rounds: u32, step: &mut S)
    where
        Self: Sized;
}

/// A destination's record. Read field by field: a copy of the whole would not fit a program's stack.
pub trait DestRecord: Copy {
    /// Address of the real server.
    fn addr(self) -> Addr;
    /// Its port, network order; 0 keeps the packet's.
    fn port(self) -> u16;
    /// [`rvs_abi::Method`].
    fn method(self) -> u8;
    /// [`rvs_abi::DestFlags`].
    fn flags(self) -> u16;
    /// [`rvs_abi::TunnelType`], [`rvs_abi::TunnelFlags`] and port (network order).
    fn tunnel(self) -> (u8, u8, u16);
    /// The director's address on the way to it; zero when unknown.
    fn source(self) -> Addr;
    /// Its weight; 0: quiesced.
    fn weight(self) -> u32;
}

/// A service's record.
pub trait ServiceRecord: Copy {
    /// [`rvs_abi::ServiceFlags`].
    fn flags(self) -> u16;
    /// IP protocol number; [`rvs_abi::mark::PROTOCOL`] of a service by mark.
    fn protocol(self) -> u8;
    /// Virtual port, network order.
    fn port(self) -> u16;
    /// TCP maximum segment size that neither end of a connection may exceed; 0: as the ends agree.
    fn mss(self) -> u16;
    /// [`rvs_abi::ClientTold`].
    fn client_address(self) -> u8;
    /// First word of its scheduler table, and how many words it has, as one read of both (they change together).
    fn table(self) -> (u32, u32);
}

/// A rule of the classifier, read field by field.
pub trait RuleRecord: Copy {
    /// Whether it takes packets between these addresses.
    fn is_between(self, source: Addr, destination: Addr) -> bool;
    /// First and last source port, first and last destination port, host order.
    fn ports(self) -> [u16; 4];
    /// IP protocol number, and [`rvs_abi::family`]; 0 for any.
    fn kind(self) -> (u8, u8);
    /// The mark; not 0.
    fn mark(self) -> u32;
}

/// The body of a bounded loop (the verifier wants loops of many rounds to be calls).
pub trait Step<T: Tables> {
    /// One round; `true` ends the loop.
    fn step(&mut self, tables: &T, round: u32) -> bool;
}

/// What a route is looked up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Address that the packet goes to.
    pub to: Addr,
    /// Address of the same family that it is sent from; zero for requests, whose route does not depend on the client
    /// (ipvs.md §3.1).
    pub from: Addr,
    /// The destination, for requests.
    pub dest: Option<u32>,
    /// Whether nothing of its connection went this way before.
    pub begins: bool,
    /// Nanoseconds of the data plane's clock.
    pub now: u64,
}

/// Where a packet leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NextHop {
    /// How.
    pub link: Link,
    /// Largest IP packet in bytes; 0 when unknown.
    pub mtu: u32,
}

/// How a packet leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// By this interface; 0: it does not leave.
    pub ifindex: u32,
    /// 0: the kernel is to resolve `gateway`. Otherwise `macs` are known; under XDP it is what [`rvs_abi::Port::xdp`] says.
    pub resolved: u32,
    /// The first twelve bytes of the Ethernet header (destination, then source) as words in memory order.
    pub macs: [u32; 3],
    /// Address of the neighbour, of either family.
    pub gateway: Addr,
}
