//! The addresses that full NAT comes from.
//!
//! Each has a number, which a connection keeps, and its place in `LOCAL_ADDRESSES`. A pool in force is a row of numbers. Another
//! one gets other numbers: those of connections that live stay what they are.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::sync::atomic::Ordering::{Relaxed, Release};
use core::sync::atomic::fence;
use std::collections::BTreeSet;

use rvs_abi::limits::{FULL_NAT_SOURCES_MAX, LOCAL_ADDRESSES};
use rvs_abi::map::Region;
use rvs_abi::{Addr, Config};
use rvs_config::Prefix;
use rvs_core::conn;
use rvs_model::{Memory, for_each_conn, records};

use crate::director::Director;
use crate::space::Ranges;

/// Words of an address.
const WORDS: usize = size_of::<Addr>() / 8;

/// Addresses that full NAT comes from, to servers in IPv4 and in IPv6.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FullNatSources([Vec<Addr>; 2]);

/// Why addresses can't be those that full NAT comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcesError {
    /// No packet comes from there.
    NoSource(Prefix),
    /// Some of them were given already.
    Twice {
        /// The later prefix.
        prefix: Prefix,
        /// The earlier one.
        first: Prefix,
    },
    /// More than [`FULL_NAT_SOURCES_MAX`] of a family.
    TooMany(Prefix),
    /// Connections from addresses of former pools have the numbers.
    NoRoom {
        /// Numbers that are needed.
        needed: usize,
        /// Numbers that connections have.
        used: u32,
    },
}

impl fmt::Display for SourcesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSource(prefix) => write!(f, "{prefix}: expected addresses that packets can come from"),
            Self::Twice { prefix, first } => {
                write!(f, "{prefix}: expected each address once, there is {first} already")
            }
            Self::TooMany(prefix) => {
                write!(f, "{prefix}: expected at most {FULL_NAT_SOURCES_MAX} addresses of a family")
            }
            Self::NoRoom { needed, used } => write!(
                f,
                "no room for {needed} addresses: connections from former ones have {used} of {LOCAL_ADDRESSES} places"
            ),
        }
    }
}

impl core::error::Error for SourcesError {}

impl FullNatSources {
    /// All addresses of these prefixes.
    ///
    /// # Errors
    /// The first prefix that can't be among them.
    pub fn new(prefixes: &[Prefix]) -> Result<Self, SourcesError> {
        let mut sources = Self::default();
        for (nth, &prefix) in prefixes.iter().enumerate() {
            if !can_send(prefix.address()) {
                return Err(SourcesError::NoSource(prefix));
            }
            if let Some(&first) = prefixes[..nth].iter().find(|first| overlap(**first, prefix)) {
                return Err(SourcesError::Twice { prefix, first });
            }
            let list = &mut sources.0[usize::from(prefix.address().is_ipv6())];
            let count =
                count(prefix).filter(|count| list.len() + *count as usize <= FULL_NAT_SOURCES_MAX as usize);
            let count = count.ok_or(SourcesError::TooMany(prefix))?;
            list.extend((0..count).map(|nth| Addr::from_ip(nth_address(prefix.address(), nth))));
        }
        Ok(sources)
    }

    /// All of them.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().flatten().copied().map(Addr::to_ip)
    }
}

/// Whether a packet may come from there: the pipeline takes no other for a reply.
const fn can_send(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
}

/// Whether both have an address.
fn overlap(a: Prefix, b: Prefix) -> bool {
    let bits = u32::from(a.bits().min(b.bits()));
    match (a.address(), b.address()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits,
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits,
        _ => false,
    }
}

/// How many addresses there are, if a number of 32 bits says it.
fn count(prefix: Prefix) -> Option<u32> {
    let all = if prefix.address().is_ipv4() { 32 } else { 128 };
    1_u32.checked_shl(all - u32::from(prefix.bits()))
}

fn nth_address(first: IpAddr, nth: u32) -> IpAddr {
    match first {
        IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() | nth).into(),
        IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() | u128::from(nth)).into(),
    }
}

impl<M: Memory> Director<M> {
    /// Tells the programs where new connections of full NAT come from; those that live keep what they have. `now` is in
    /// nanoseconds of the data plane's clock.
    ///
    /// # Errors
    /// [`SourcesError::NoRoom`]. Nothing was changed.
    pub fn set_full_nat_sources(&mut self, sources: &FullNatSources, now: u64) -> Result<(), SourcesError> {
        let config = records::config(&self.memory);
        let in_force = config.full_nat_sources.map(Row::of_word);
        let stays = [0, 1].map(|family: usize| in_force[family].read(&self.memory) == sources.0[family]);
        let needed = [0, 1].map(|family: usize| if stays[family] { 0 } else { sources.0[family].len() });
        let places = self.places(&in_force, needed, now)?;
        let mut rows = in_force;
        for family in [0, 1] {
            if !stays[family] {
                rows[family] = places[family];
                rows[family].write(&self.memory, &sources.0[family]);
            }
        }
        // Who sees the row sees its addresses.
        fence(Release);
        records::write_config(&self.memory, &Config { full_nat_sources: rows.map(Row::word), ..config });
        Ok(())
    }

    /// Rows of so many numbers that nobody has. The connection table is searched only if none are left that never were used.
    fn places(&self, in_force: &[Row; 2], needed: [usize; 2], now: u64) -> Result<[Row; 2], SourcesError> {
        let written = (0..LOCAL_ADDRESSES).filter(|number| read(&self.memory, *number) != Addr::default());
        if let Ok(rows) = place(in_force, written.collect(), needed) {
            return Ok(rows);
        }
        let mut used = BTreeSet::new();
        for_each_conn(&self.memory, conn::ticks(now), |conn| used.extend([u32::from(conn.entry.local)]));
        place(in_force, used, needed)
    }
}

/// Rows of so many numbers, beside those that are used or in force.
fn place(in_force: &[Row; 2], mut used: BTreeSet<u32>, needed: [usize; 2]) -> Result<[Row; 2], SourcesError> {
    used.insert(0);
    used.extend(in_force.iter().flat_map(|row| row.first..row.first + row.count));
    let mut free = Ranges::new(LOCAL_ADDRESSES);
    for number in used {
        let _taken = free.take_at(number, 1);
    }
    let none = SourcesError::NoRoom { needed: needed.iter().sum(), used: free.used() - 1 };
    let mut take = |count: usize| {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let first = if count == 0 { Some(0) } else { free.take(count) };
        Some(Row { first: first?, count })
    };
    match needed.map(&mut take) {
        [Some(v4), Some(v6)] => Ok([v4, v6]),
        _ => Err(none),
    }
}

/// Numbers in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    first: u32,
    count: u32,
}

impl Row {
    /// As in [`Config::full_nat_sources`], as far as there are numbers.
    fn of_word(word: u32) -> Self {
        let first = (word & 0xffff).min(LOCAL_ADDRESSES);
        Self { first, count: (word >> 16).min(LOCAL_ADDRESSES - first) }
    }

    const fn word(self) -> u32 {
        if self.count == 0 { 0 } else { self.first | self.count << 16 }
    }

    fn read<M: Memory>(self, memory: &M) -> Vec<Addr> {
        (self.first..self.first + self.count).map(|number| read(memory, number)).collect()
    }

    fn write<M: Memory>(self, memory: &M, addresses: &[Addr]) {
        let places = memory.region(Region::LocalAddresses).as_chunks::<WORDS>().0;
        for (place, address) in places.iter().skip(self.first as usize).zip(addresses) {
            for (word, value) in place.iter().zip(address.0) {
                word.store(value, Relaxed);
            }
        }
    }
}

/// The address with that number.
fn read<M: Memory>(memory: &M, number: u32) -> Addr {
    let places = memory.region(Region::LocalAddresses).as_chunks::<WORDS>().0;
    let place = places.get(number as usize);
    place.map_or_else(Addr::default, |place| Addr([0, 1].map(|word: usize| place[word].load(Relaxed))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use super::*;

    fn sources(texts: &[&str]) -> Result<FullNatSources, String> {
        let prefixes: Vec<Prefix> = texts.iter().map(|text| text.parse().unwrap()).collect();
        FullNatSources::new(&prefixes).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pool_is_all_addresses_of_its_prefixes() {
        let FullNatSources([v4, v6]) =
            sources(&["192.0.2.4/30", "192.0.2.9", "2001:db8::fe/127", "2001:db8::1:0"]).unwrap();
        let texts = |list: Vec<Addr>| -> Vec<String> { list.iter().map(|a| a.to_ip().to_string()).collect() };
        assert_eq!(texts(v4), ["192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7", "192.0.2.9"]);
        assert_eq!(texts(v6), ["2001:db8::fe", "2001:db8::ff", "2001:db8::1:0"]);
        assert_eq!(sources(&["10.0.0.0/22", "fd00::/118"]).unwrap().addresses().count(), 2048);
    }

    #[test]
    fn what_can_be_no_pool_is_named() {
        for (texts, said) in [
            (&["10.0.0.0/21"][..], "10.0.0.0/21: expected at most 1024 addresses of a family"),
            (&["fd00::/64"], "fd00::/64: expected at most 1024 addresses of a family"),
            (&["10.0.0.0/22", "10.1.0.0"], "10.1.0.0/32: expected at most 1024 addresses of a family"),
            (
                &["10.0.0.0/24", "10.0.0.7"],
                "10.0.0.7/32: expected each address once, there is 10.0.0.0/24 already",
            ),
            (
                &["fd00::7", "fd00::/120"],
                "fd00::/120: expected each address once, there is fd00::7/128 already",
            ),
            (&["127.0.0.1"], "127.0.0.1/32: expected addresses that packets can come from"),
            (&["::"], "::/128: expected addresses that packets can come from"),
            (&["224.0.0.8/30"], "224.0.0.8/30: expected addresses that packets can come from"),
        ] {
            assert_eq!(sources(texts).unwrap_err(), said);
        }
    }
}
