//! Services and destinations written straight into memory, for tests that decide every word themselves.
//!
//! Nothing here is carried over or undone in an order that packets could rely on: that is `rvs-director`'s work. Services
//! get ids 0, 1, 2 … in their order, destinations are numbered through, and each service's list is in the order given,
//! which is the order in which schedulers see it: newest first (ipvs.md §6.1).

use core::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::Region;
use rvs_abi::sched::{HEADER_WORDS, NO_INDEX, SH_BUCKETS, id, kind, low, word};
use rvs_abi::{
    Addr, Dest, DestFlags, FullNatUse, Method, Rule, Service, ServiceFlags, ServiceKey, TunnelType, family,
    mark,
};

use crate::{Memory, buckets, for_each_conn, records, sweep};

/// A virtual service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSetup {
    /// Virtual address.
    pub vip: Addr,
    /// Virtual port, host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`rvs_abi::sched::id`].
    pub scheduler: u8,
    /// The scheduler's options.
    pub sched_flags: u8,
    /// Destinations, newest first.
    pub dests: Vec<DestSetup>,
}

/// A destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestSetup {
    /// Address of the real server.
    pub addr: Addr,
    /// Its port, host order; 0 keeps the packet's.
    pub port: u16,
    /// [`rvs_abi::Method`].
    pub method: u8,
    /// Weight.
    pub weight: u32,
    /// The director's address on the way to it; zero when unknown.
    pub source: Addr,
    /// [`rvs_abi::TunnelType`].
    pub tunnel: u8,
    /// [`rvs_abi::TunnelFlags`].
    pub tunnel_flags: u8,
    /// UDP port of a GUE tunnel, host order.
    pub tunnel_port: u16,
}

impl DestSetup {
    /// A destination of weight 1 to which no address of the director is known, with tunnels of the plainest kind.
    #[must_use]
    pub fn new(addr: impl Into<Addr>, port: u16, method: u8) -> Self {
        Self {
            addr: addr.into(),
            port,
            method,
            weight: 1,
            source: Addr::default(),
            tunnel: TunnelType::IPIP,
            tunnel_flags: 0,
            tunnel_port: 0,
        }
    }
}

impl ServiceSetup {
    /// For packets with a mark, whatever their protocol.
    #[must_use]
    pub fn by_mark(mark: u32, is_v4: bool, dests: Vec<DestSetup>) -> Self {
        let (vip, protocol) = (mark::address(mark, is_v4), mark::PROTOCOL);
        Self { vip, port: 0, protocol, scheduler: id::RR, sched_flags: 0, dests }
    }

    const fn is_by_mark(&self) -> bool {
        self.protocol == mark::PROTOCOL
    }
}

/// Puts these rules of the classifier in force, for packets to any destination.
///
/// # Panics
/// When there are too many.
pub fn write_rules<M: Memory>(memory: &M, rules: &[Rule]) {
    let place = memory.region(Region::Classifier).as_chunks::<{ size_of::<Rule>() / 8 }>().0;
    for (words, rule) in place[..rules.len()].iter().zip(rules) {
        let new: [u64; size_of::<Rule>() / 8] = zerocopy::transmute!(*rule);
        words.iter().zip(new).for_each(|(word, new)| word.store(new, Relaxed));
    }
    let ruled = memory.region(Region::Marked).iter().skip(mark::RULED_V4 as usize);
    ruled.for_each(|word| word.store(u64::MAX, Relaxed));
    let mut config = records::config(memory);
    config.rules = mark::list(0, count(rules.len()));
    records::write_config(memory, &config);
}

/// The family of an address.
#[must_use]
pub const fn family_of(address: Addr) -> u8 {
    if address.is_v4() { family::V4 } else { family::V6 }
}

/// Words of the largest table: a service's place in `SCHED_TABLES` is its id times this. Memory for n services needs a
/// capacity of 64 n destinations.
pub const TABLE_WORDS: u32 = 1024;

/// Writes the services into empty memory.
///
/// # Panics
/// When they do not fit.
pub fn install<M: Memory>(memory: &M, services: &[ServiceSetup]) {
    let mut first_dest = 0;
    for (id, setup) in (0_u32..).zip(services) {
        install_service(memory, id, first_dest, setup);
        first_dest += count(setup.dests.len());
    }
    let mut config = records::config(memory);
    let of_family = |family| services.iter().filter(|service| family_of(service.vip) == family).count();
    config.services_v4 = count(of_family(family::V4));
    config.services_v6 = count(of_family(family::V6));
    let is_full = |dest: &DestSetup| dest.method == Method::FULL_NAT;
    let is_other = |service: &ServiceSetup| {
        service.dests.iter().any(|dest| is_full(dest) && dest.addr.is_v4() != service.vip.is_v4())
    };
    let uses = |is: bool, bit| if is { bit } else { 0 };
    config.full_nat = uses(services.iter().flat_map(|service| &service.dests).any(is_full), FullNatUse::ANY)
        | uses(services.iter().any(is_other), FullNatUse::TRANSLATES);
    let of = |family| {
        services.iter().filter(move |service| service.is_by_mark() && family_of(service.vip) == family)
    };
    (config.marks_v4, config.marks_v6) = (count(of(family::V4).count()), count(of(family::V6).count()));
    let at = |port| services.iter().filter(move |service| !service.is_by_mark() && service.port == port);
    config.ftp_services = count(at(21).count());
    config.any_port_services = count(at(0).count());
    records::write_config(memory, &config);
}

fn install_service<M: Memory>(memory: &M, id: u32, first_dest: u32, setup: &ServiceSetup) {
    let list: Vec<(u32, u32)> =
        (first_dest..).zip(&setup.dests).map(|(id, dest)| (id, dest.weight)).collect();
    write_table(memory, id, &Table { scheduler: setup.scheduler, flags: setup.sched_flags, list: &list });
    for (dest_id, dest) in (first_dest..).zip(&setup.dests) {
        let record = Dest {
            addr: dest.addr,
            port: dest.port.to_be(),
            family: family_of(dest.addr),
            method: dest.method,
            flags: DestFlags::USED | DestFlags::AVAILABLE,
            service: id,
            weight: dest.weight,
            source: dest.source,
            tunnel: dest.tunnel,
            tunnel_flags: dest.tunnel_flags,
            tunnel_port: dest.tunnel_port.to_be(),
            ..Dest::default()
        };
        records::write_dest(memory, dest_id, &record);
        add_to_filter(memory, dest.addr);
        if dest.method == Method::TUNNEL {
            memory.set_service_key(&tunnel_key(&record), Some(dest_id)).expect("there is room for the key");
        }
    }
    let record = Service {
        vip: setup.vip,
        vport: setup.port.to_be(),
        protocol: setup.protocol,
        family: family_of(setup.vip),
        flags: ServiceFlags::USED,
        scheduler: setup.scheduler,
        sched_flags: setup.sched_flags,
        table: id * TABLE_WORDS,
        table_words: TABLE_WORDS,
        ..Service::default()
    };
    records::write_service(memory, id, &record);
    if !setup.is_by_mark() {
        add_to_filter(memory, setup.vip);
    }
    memory.set_service_key(&key(setup), Some(id)).expect("there is room for the key");
}

/// The key that packets to a service look for.
#[must_use]
pub fn key(service: &ServiceSetup) -> ServiceKey {
    ServiceKey {
        vip: service.vip,
        vport: service.port.to_be(),
        protocol: service.protocol,
        family: family_of(service.vip),
        zero: 0,
    }
}

/// What a scheduler sees.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// [`rvs_abi::sched::id`].
    pub scheduler: u8,
    /// The scheduler's options.
    pub flags: u8,
    /// Ids and weights, newest first.
    pub list: &'a [(u32, u32)],
}

/// Writes the scheduler table of service `id`, with the state of a fresh start (ipvs.md §6.3, §6.4).
///
/// # Panics
/// When it does not fit.
pub fn write_table<M: Memory>(memory: &M, service: u32, table: &Table<'_>) {
    let weights = || table.list.iter().map(|item| item.1);
    let di = weights().filter(|weight| *weight > 0).fold(0, gcd).max(1);
    let mw = weights().max().unwrap_or(0).saturating_sub(di - 1);
    let (state, di, mw) = if table.scheduler == id::WRR { (word(0, mw), di, mw) } else { (0, 0, 0) };
    let mut words =
        vec![state, word(count(table.list.len()), mw), word(di, 0), kind(table.scheduler, table.flags)];
    words.extend(table.list.iter().map(|(id, weight)| word(*id, *weight)));
    if table.scheduler == id::SH {
        words.extend(sh_buckets(table.list));
    }
    assert!(words.len() <= TABLE_WORDS as usize, "table of {} words", words.len());
    let start = (service * TABLE_WORDS) as usize;
    for (to, from) in memory.region(Region::SchedTables)[start..].iter().zip(words) {
        to.store(from, Relaxed);
    }
}

/// Replaces a scheduler's state word.
pub fn write_sched_state<M: Memory>(memory: &M, service: u32, state: u64) {
    memory.region(Region::SchedTables)[(service * TABLE_WORDS) as usize].store(state, Relaxed);
}

/// ipvs.md §6.13: round the list, to each destination as many buckets in a row as its weight, at least one.
fn sh_buckets(list: &[(u32, u32)]) -> Vec<u64> {
    let shares = (0_u32..).zip(list).flat_map(|(i, item)| (0..item.1.clamp(1, SH_BUCKETS)).map(move |_| i));
    let round: Vec<u32> = shares.collect();
    let at = |bucket: u32| round.get(bucket as usize % round.len().max(1)).copied().unwrap_or(NO_INDEX);
    (0..SH_BUCKETS / 2).map(|pair| word(at(2 * pair), at(2 * pair + 1))).collect()
}

/// Gives every destination the key that NAT destinations have while `nat_icmp_send` is on (ipvs.md §2.7).
///
/// # Panics
/// When they do not fit.
pub fn add_real_servers<M: Memory>(memory: &M) {
    for (id, dest) in (0..).map_while(|id| Some((id, records::dest(memory, id)?))) {
        let service = records::service(memory, dest.service).unwrap_or_default();
        let key = ServiceKey {
            vip: dest.addr,
            vport: dest.port,
            protocol: service.protocol,
            family: dest.family,
            zero: ServiceKey::REAL_SERVER,
        };
        if dest.flags & DestFlags::AVAILABLE != 0 {
            memory.set_service_key(&key, Some(id)).expect("there is room for the key");
        }
    }
}

/// Makes a host with that Ethernet address one whose packets to a service were balanced before (`rvs_abi::peer`).
///
/// # Panics
/// When its key does not fit.
pub fn add_peer<M: Memory>(memory: &M, service: u32, mac: [u8; 6]) {
    let address = rvs_abi::peer::address(mac);
    add_to_filter(memory, address);
    let key = rvs_abi::peer::key(service, address);
    memory.set_service_key(&key, Some(service)).expect("there is room for the key");
}

fn tunnel_key(record: &Dest) -> ServiceKey {
    ServiceKey::tunnel(record.addr, record.tunnel, record.tunnel_port)
}

/// Takes a destination out of its service's list; its connections stay (ipvs.md §1.3).
///
/// # Panics
/// When the memory refuses.
pub fn remove_dest<M: Memory>(memory: &M, id: u32) {
    let mut record = records::dest(memory, id).unwrap_or_default();
    if record.method == Method::TUNNEL {
        memory.set_service_key(&tunnel_key(&record), None).expect("keys can be removed");
    }
    record.flags = DestFlags::USED;
    records::write_dest(memory, id, &record);
    let list = list(memory, record.service);
    let rest: Vec<_> = list.into_iter().filter(|item| item.0 != id).collect();
    rewrite(memory, record.service, &rest);
}

/// Changes a destination's weight.
pub fn set_weight<M: Memory>(memory: &M, id: u32, weight: u32) {
    let mut record = records::dest(memory, id).unwrap_or_default();
    record.weight = weight;
    records::write_dest(memory, id, &record);
    let change = |item: (u32, u32)| if item.0 == id { (id, weight) } else { item };
    let changed: Vec<_> = list(memory, record.service).into_iter().map(change).collect();
    rewrite(memory, record.service, &changed);
}

/// Removes a service and takes its destinations out of its list.
///
/// # Panics
/// When the memory refuses.
pub fn remove_service<M: Memory>(memory: &M, id: u32) {
    let mut record = records::service(memory, id).unwrap_or_default();
    let key = ServiceKey {
        vip: record.vip,
        vport: record.vport,
        protocol: record.protocol,
        family: record.family,
        zero: 0,
    };
    memory.set_service_key(&key, None).expect("keys can be removed");
    for (dest, _) in list(memory, id) {
        remove_dest(memory, dest);
    }
    record.flags = ServiceFlags::USED | ServiceFlags::REMOVED;
    records::write_service(memory, id, &record);
    let mut config = records::config(memory);
    if record.family == family::V4 {
        config.services_v4 -= 1;
    } else {
        config.services_v6 -= 1;
    }
    records::write_config(memory, &config);
}

fn list<M: Memory>(memory: &M, service: u32) -> Vec<(u32, u32)> {
    let table = &memory.region(Region::SchedTables)[(service * TABLE_WORDS) as usize..];
    let len = low(table[1].load(Relaxed)) as usize;
    let items = table[HEADER_WORDS as usize..][..len].iter().map(|item| item.load(Relaxed));
    items.map(|item| (low(item), rvs_abi::sched::high(item))).collect()
}

fn rewrite<M: Memory>(memory: &M, service: u32, list: &[(u32, u32)]) {
    let record = records::service(memory, service).unwrap_or_default();
    write_table(memory, service, &Table { scheduler: record.scheduler, flags: record.sched_flags, list });
}

fn add_to_filter<M: Memory>(memory: &M, address: Addr) {
    let (word, bit) = rvs_core::filter::bit(address);
    memory.region(Region::Filter)[word as usize].fetch_or(1 << bit, Relaxed);
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Beyond all time-outs, and within half a round of the table's clock, in ticks.
const BEYOND_TICKS: u64 = (365 * 86_400 * 10) % (1 << 27);

/// Of a table that nobody works on any more: a sweep finds the connections that are alive, and no insert that was never
/// finished. `now` in ticks.
///
/// # Panics
/// When that is not so.
pub fn assert_nothing_half_done<M: Memory>(memory: &M, now: u64) {
    let mut alive = 0;
    for_each_conn(memory, now, |_| alive += 1);
    // The sweeper has a tick of patience.
    let swept = sweep(memory, 0, buckets(memory), now + 1);
    assert_eq!((swept.live, swept.abandoned), (alive, 0), "alive, and abandoned");
}

/// When all time is over no connection is left, and none counted of the first `dests` destinations. `now` in ticks.
///
/// # Panics
/// When that is not so.
pub fn assert_all_end<M: Memory>(memory: &M, now: u64, dests: u32) {
    assert_eq!(sweep(memory, 0, buckets(memory), now + BEYOND_TICKS).live, 0, "entries that never end");
    for dest in 0..dests {
        let conns = records::dest_conns(memory, dest);
        assert_eq!((conns.active, conns.total), (0, 0), "destination {dest}");
    }
}
