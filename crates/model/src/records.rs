//! Typed access to the records in a data plane's memory.

use core::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::Region;
use rvs_abi::{Config, Dest, DestConns, Port, Service, Stats};
use zerocopy::transmute;

use crate::Memory;

fn read<M: Memory + ?Sized, const N: usize>(memory: &M, region: Region, index: usize) -> Option<[u64; N]> {
    let words = memory.region(region).get(index * N..(index + 1) * N)?;
    Some(core::array::from_fn(|i| words[i].load(Relaxed)))
}

fn write<M: Memory + ?Sized, const N: usize>(memory: &M, region: Region, index: usize, value: [u64; N]) {
    for (word, new) in memory.region(region)[index * N..(index + 1) * N].iter().zip(value) {
        word.store(new, Relaxed);
    }
}

/// The configuration record.
#[must_use]
pub fn config<M: Memory + ?Sized>(memory: &M) -> Config {
    let words: [u64; size_of::<Config>() / 8] = read(memory, Region::Config, 0).unwrap_or([0; _]);
    transmute!(words)
}

/// Replaces the configuration record.
pub fn write_config<M: Memory + ?Sized>(memory: &M, config: &Config) {
    let words: [u64; size_of::<Config>() / 8] = transmute!(*config);
    write(memory, Region::Config, 0, words);
}

/// A service's record.
#[must_use]
pub fn service<M: Memory + ?Sized>(memory: &M, id: u32) -> Option<Service> {
    let words: [u64; size_of::<Service>() / 8] = read(memory, Region::Services, id as usize)?;
    Some(transmute!(words))
}

/// Replaces a service's record.
pub fn write_service<M: Memory + ?Sized>(memory: &M, id: u32, service: &Service) {
    let words: [u64; size_of::<Service>() / 8] = transmute!(*service);
    write(memory, Region::Services, id as usize, words);
}

/// A destination's record.
#[must_use]
pub fn dest<M: Memory + ?Sized>(memory: &M, id: u32) -> Option<Dest> {
    let words: [u64; size_of::<Dest>() / 8] = read(memory, Region::Dests, id as usize)?;
    Some(transmute!(words))
}

/// Replaces a destination's record.
pub fn write_dest<M: Memory + ?Sized>(memory: &M, id: u32, dest: &Dest) {
    let words: [u64; size_of::<Dest>() / 8] = transmute!(*dest);
    write(memory, Region::Dests, id as usize, words);
}

/// Connections of a destination.
#[must_use]
pub fn dest_conns<M: Memory + ?Sized>(memory: &M, id: u32) -> DestConns {
    memory
        .region(Region::DestConns)
        .get(id as usize)
        .map_or_else(DestConns::default, |word| DestConns::from_word(word.load(Relaxed)))
}

/// One part of a row of the statistics: a CPU's, or, for `part` = number of CPUs, the zero point.
#[must_use]
pub fn stats_part<M: Memory + ?Sized>(memory: &M, config: &Config, part: u32, row: u32) -> Stats {
    let index = config.stats_rows as usize * part as usize + row as usize;
    let words: [u64; size_of::<Stats>() / 8] = read(memory, Region::Stats, index).unwrap_or_default();
    transmute!(words)
}

/// Replaces the zero point of a row: what is subtracted from the sum over the CPUs (`-Z`, ipvs.md §9.4).
pub fn write_stats_zero<M: Memory + ?Sized>(memory: &M, config: &Config, row: u32, zero: &Stats) {
    let words: [u64; size_of::<Stats>() / 8] = transmute!(*zero);
    write(memory, Region::Stats, config.stats_rows as usize * config.cpus as usize + row as usize, words);
}

/// Writes each bucket's own number into it. Once, when the table is made.
pub fn number_buckets<M: Memory + ?Sized>(memory: &M) {
    const WORDS: usize = size_of::<rvs_abi::Bucket>() / 8;
    for (region, bit) in [(Region::Conns, 0), (Region::ConnOverflow, rvs_abi::OVERFLOW_BUCKET)] {
        for (bucket, number) in memory.region(region).chunks_exact(WORDS).zip(0_u32..) {
            bucket[rvs_abi::SLOTS].store(u64::from(number | bit) << 32, Relaxed);
        }
    }
}

/// What is known of an interface.
pub fn port<M: Memory + ?Sized>(memory: &M, ifindex: u32) -> Port {
    let word = memory.region(Region::Ports).get(ifindex as usize);
    word.map_or(Port::default(), |word| Port::from_word(word.load(Relaxed)))
}

/// Writes down what is known of an interface. One whose number is too high stays unknown.
pub fn write_port<M: Memory + ?Sized>(memory: &M, ifindex: u32, port: Port) {
    if let Some(word) = memory.region(Region::Ports).get(ifindex as usize) {
        word.store(port.word(), Relaxed);
    }
}
