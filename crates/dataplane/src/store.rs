//! Pinned maps: made by the first start of an instance, adopted by the later ones.
//!
//! The version in the configuration record is written last. Maps without it are what a start left that did
//! not come to its end: no program has run on them, and they are made again.

use core::sync::atomic::Ordering;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rvs_abi::map::{Region, SERVICE_KEYS};
use rvs_abi::{ABI_VERSION, ServiceKey, limits};
use rvs_model::{Capacity, records};

use crate::bpf;
use crate::error::{Error, Result};
use crate::instance::{Instance, possible_cpus};
use crate::journal::JOURNAL;
use crate::maps::{Maps, open_region};

/// What is there at a start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing (any more): maps are to be made.
    Nothing,
    /// A data plane of this layout.
    Complete {
        /// Where its size is not the one that was asked for.
        warnings: Vec<String>,
    },
}

/// Looks at what is pinned; removes an unfinished beginning.
pub(crate) fn look(instance: &Instance, capacity: &Capacity) -> Result<Found> {
    check_capacity(capacity)?;
    let directory = instance.directory();
    match abi_version(&directory)? {
        None | Some(0) => {
            remove(&directory)?;
            Ok(Found::Nothing)
        }
        Some(ABI_VERSION) => Ok(Found::Complete { warnings: compare(instance, capacity)? }),
        Some(found) => {
            Err(Error::AbiVersion { instance: instance.name().to_owned(), found, expected: ABI_VERSION })
        }
    }
}

/// The version in the configuration record. In every layout it is the record's first half word.
fn abi_version(directory: &Path) -> Result<Option<u32>> {
    if !is_pinned(directory, Region::Config.name()) {
        return Ok(None);
    }
    let config = open_region(directory, Region::Config)?;
    let word = config.words()[0].load(Ordering::Acquire).to_ne_bytes();
    Ok(Some(u32::from_ne_bytes([word[0], word[1], word[2], word[3]])))
}

fn is_pinned(directory: &Path, name: &str) -> bool {
    directory.join(name).exists()
}

/// Removes the pins of all maps.
pub(crate) fn remove(directory: &Path) -> Result<()> {
    for name in Region::ALL.iter().map(|r| r.name()).chain([SERVICE_KEYS, JOURNAL]) {
        match fs::remove_file(directory.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::system(format!("remove the pin of map {name}"), e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes the first configuration record: from now on the maps are complete.
pub(crate) fn finish(maps: &Maps, capacity: &Capacity) -> Result<()> {
    let mut config = capacity.config(0, random()?);
    records::write_config(maps, &config);
    records::number_buckets(maps);
    core::sync::atomic::fence(Ordering::SeqCst);
    config.abi_version = ABI_VERSION;
    records::write_config(maps, &config);
    Ok(())
}

/// Bounds that a capacity must keep.
fn check_capacity(capacity: &Capacity) -> Result<()> {
    let Capacity { services, dests, conns, cpus } = *capacity;
    let possible = possible_cpus()?;
    let reason = if services == 0 || dests == 0 || conns == 0 {
        format!(
            "{services} services, {dests} destinations, {conns} connections: expected one at least of each"
        )
    } else if cpus < possible || cpus > limits::CPUS_MAX {
        format!("{cpus} CPUs: expected {possible}, which this machine may have, to {}", limits::CPUS_MAX)
    } else if exceeds_a_map(capacity) {
        format!(
            "{services} services and {dests} destinations on {cpus} CPUs: more than a map of the kernel takes"
        )
    } else {
        return Ok(());
    };
    Err(Error::Capacity { reason })
}

/// Whether a map would have more than 2^32 - 1 entries.
fn exceeds_a_map(capacity: &Capacity) -> bool {
    let Capacity { services, dests, cpus, .. } = *capacity;
    let rows = 1 + u64::from(services) + u64::from(dests);
    let stats = rows * (u64::from(cpus) + 1);
    let tables = u64::from(dests) * u64::from(limits::SCHED_WORDS_PER_DEST);
    stats.max(tables) > u64::from(u32::MAX)
}

/// Checks that pinned maps are what this layout says; tells where they are not as large as asked.
fn compare(instance: &Instance, capacity: &Capacity) -> Result<Vec<String>> {
    let inconsistent = |reason| Error::Inconsistent { directory: instance.shown(), reason };
    let mut differing = Vec::new();
    for name in Region::ALL.iter().map(|r| r.name()).chain([SERVICE_KEYS]) {
        if !is_pinned(&instance.directory(), name) {
            return Err(inconsistent(format!("map {name} is missing")));
        }
        let region = Region::ALL.into_iter().find(|r| r.name() == name);
        let info = bpf::get(&instance.directory().join(name))
            .and_then(|map| bpf::map_info(map.as_fd()))
            .map_err(|e| Error::system(format!("look at map {name}"), e))?;
        let (map_type, key_size, value_size) = match region {
            Some(region) => (bpf::MAP_TYPE_ARRAY, size_of::<u32>(), region.value_words() * 8),
            None => (bpf::MAP_TYPE_HASH, size_of::<ServiceKey>(), size_of::<u32>()),
        };
        let found = (info.map_type, info.key_size as usize, info.value_size as usize);
        if found != (map_type, key_size, value_size) {
            return Err(inconsistent(format!(
                "map {name} has type {} with keys of {} and values of {} bytes, not {map_type}, {key_size} and \
                 {value_size}",
                found.0, found.1, found.2
            )));
        }
        let wanted = region.map_or(capacity.service_keys(), |region| capacity.entries(region));
        if info.max_entries != wanted {
            differing.push(Size { name, region, found: info.max_entries, wanted });
        }
    }
    let warning = |differences: Vec<_>| {
        format!(
            "instance {} keeps the size that it was made with: {}; `rvs director --stop` removes it",
            instance.name(),
            differences.join(", ")
        )
    };
    Ok(if differing.is_empty() { Vec::new() } else { vec![warning(differences(&differing, capacity))] })
}

/// A map that is not as large as asked.
struct Size {
    name: &'static str,
    /// `None`: the service keys.
    region: Option<Region>,
    found: u32,
    wanted: u32,
}

impl Size {
    /// What it has room for, if a setting says so; of the other maps the sizes follow from those.
    fn text(&self, capacity: &Capacity) -> Option<String> {
        let Capacity { services, dests, conns, cpus } = *capacity;
        let room = |what, room, asked, setting| {
            Some(format!("room for {room} {what} instead of the {asked} asked for ({setting})"))
        };
        match self.region? {
            Region::Services => room("services", self.found, services, "--services-max"),
            Region::Dests => room("destinations", self.found, dests, "--dests-max"),
            Region::Conns => room("connections", Capacity::conns_in(self.found), conns, "--conns-max"),
            Region::Counters => {
                let room = self.found / limits::COUNTERS;
                Some(format!("{room} CPUs instead of the {cpus} that this machine may have"))
            }
            _ => None,
        }
    }
}

/// In users' words; by the names of maps where no setting explains them.
fn differences(differing: &[Size], capacity: &Capacity) -> Vec<String> {
    let explained: Vec<_> = differing.iter().filter_map(|size| size.text(capacity)).collect();
    if !explained.is_empty() {
        return explained;
    }
    let named = |size: &Size| format!("{} of {} entries instead of {}", size.name, size.found, size.wanted);
    differing.iter().map(named).collect()
}

/// A secret that nobody outside this machine can guess.
fn random() -> Result<[u64; 3]> {
    let mut words = [0_u64; 3];
    // SAFETY: the address is that of as many writable bytes as are asked for, and any bytes are valid in
    // them.
    let written = unsafe { libc::getrandom(words.as_mut_ptr().cast(), size_of_val(&words), 0) };
    // Up to 256 bytes are never cut short.
    if usize::try_from(written) == Ok(size_of_val(&words)) {
        Ok(words)
    } else {
        Err(Error::system("draw the hash's seed", io::Error::last_os_error()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_words_of_settings() {
        let asked = Capacity { services: 10, dests: 20, conns: 1 << 20, cpus: 4 };
        let between = |made: &Capacity| {
            let regions =
                Region::ALL.map(|region| (Some(region), made.entries(region), asked.entries(region)));
            let keys = (None, made.service_keys(), asked.service_keys());
            let all = regions.into_iter().chain([keys]).filter(|(_, found, wanted)| found != wanted);
            let size = |(region, found, wanted): (Option<Region>, _, _)| Size {
                name: region.map_or(SERVICE_KEYS, Region::name),
                region,
                found,
                wanted,
            };
            differences(&all.map(size).collect::<Vec<_>>(), &asked).join(", ")
        };
        assert_eq!(between(&asked), "");
        assert_eq!(
            between(&Capacity { conns: 200_000, ..asked }),
            "room for 199999 connections instead of the 1048576 asked for (--conns-max)"
        );
        assert_eq!(
            between(&Capacity { services: 11, dests: 22, conns: 1 << 20, cpus: 2 }),
            "room for 11 services instead of the 10 asked for (--services-max), room for 22 destinations instead of the \
             20 asked for (--dests-max), 2 CPUs instead of the 4 that this machine may have"
        );
        let other = Size { name: "FILTER", region: Some(Region::Filter), found: 1, wanted: 2 };
        assert_eq!(differences(&[other], &asked), ["FILTER of 1 entries instead of 2"]);
    }
}
