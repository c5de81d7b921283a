//! Carrying out actions.
//!
//! Packets are being handled meanwhile, and this process may be killed between any two stores. So each action becomes
//! visible by one store: of the word that holds a record's flags, or of the one that says where the table is. That word is
//! written last when something comes into being and first when it goes.

use core::mem::offset_of;
use core::sync::atomic::Ordering::{Relaxed, Release};
use core::sync::atomic::fence;

use rvs_abi::map::Region;
use rvs_abi::{Dest, DestFlags, FullNatUse, Method, Service, ServiceFlags, Timeout, TunnelType};
use rvs_config::Timeouts;
use rvs_model::{Memory, MemoryError, records, ticks_u32};
use zerocopy::transmute;

use crate::action::{Action, Block};
use crate::carry::Carry;
use crate::convert::key_record;
use crate::filter;
use crate::programs;
use crate::row::{self, Row};
use crate::settings;
use crate::state::{DestId, Family, ServiceId};

const DEST_WORDS: usize = size_of::<Dest>() / 8;
const DEST_FLAGS: usize = offset_of!(Dest, flags) / 8;
const SERVICE_WORDS: usize = size_of::<Service>() / 8;
const SERVICE_FLAGS: usize = offset_of!(Service, flags) / 8;
const SERVICE_TABLE: usize = offset_of!(Service, table) / 8;
const _: () = assert!(offset_of!(Service, table_words) / 8 == SERVICE_TABLE);

impl Action {
    /// Carries it out.
    ///
    /// # Errors
    /// Only `Key` and `Programs` can fail.
    pub fn execute<M: Memory>(&self, memory: &M) -> Result<(), MemoryError> {
        match self {
            Self::Programs { programs, ftp_ports, .. } => {
                return programs::load(memory, *programs, ftp_ports);
            }
            Self::Table { at, words } => write_table(memory, *at, words),
            Self::Zero { row } => zero(memory, *row),
            Self::Dest { id, old, new } => write_dest(memory, *id, old, new),
            Self::Service { id, new, .. } => write_service(memory, *id, new),
            Self::Filter { bit, set } => filter::write(memory, *bit, *set),
            Self::Services { family, new, .. } => write_services(memory, *family, *new),
            Self::Key { key, new, .. } => {
                return memory.set_service_key(&key_record(key), new.map(|id| id.0));
            }
            Self::Switch { id, old, new, carry } => switch(memory, *id, *old, *new, carry),
            Self::Special { new, .. } => new.write(memory),
            Self::Rules { new, .. } => new.write(memory),
            Self::Timeouts { new, .. } => write_timeouts(memory, new),
            Self::Settings { new, .. } => settings::write(memory, new),
        }
        Ok(())
    }

    /// The command of the list that asked for it, if it is one that can fail.
    pub(crate) const fn command(&self) -> Option<usize> {
        match self {
            Self::Key { command, .. } | Self::Programs { command, .. } => Some(*command),
            _ => None,
        }
    }

    /// The action that takes this one back. `None`: nothing finds what it wrote.
    pub(crate) fn undo(&self) -> Option<Self> {
        match self.clone() {
            Self::Programs { .. } | Self::Table { .. } | Self::Zero { .. } => None,
            Self::Dest { id, old, new } => Some(Self::Dest { id, old: new, new: old }),
            Self::Service { id, old, new } => Some(Self::Service { id, old: new, new: old }),
            Self::Filter { bit, set } => Some(Self::Filter { bit, set: !set }),
            Self::Services { family, old, new } => Some(Self::Services { family, old: new, new: old }),
            Self::Key { key, command, old, new } => Some(Self::Key { key, command, old: new, new: old }),
            Self::Special { old, new } => Some(Self::Special { old: new, new: old }),
            // Comes after the last action that can fail.
            Self::Rules { .. } | Self::Switch { .. } | Self::Timeouts { .. } | Self::Settings { .. } => None,
        }
    }
}

/// The words of a table.
pub(crate) fn read_table<M: Memory>(memory: &M, block: Block) -> Option<Vec<u64>> {
    let (from, words) = (block.at as usize, block.words as usize);
    let words = memory.region(Region::SchedTables).get(from..from + words)?;
    Some(words.iter().map(|word| word.load(Relaxed)).collect())
}

fn write_table<M: Memory>(memory: &M, at: u32, words: &[u64]) {
    let place = memory.region(Region::SchedTables).iter().skip(at as usize);
    place.zip(words).for_each(|(word, new)| word.store(*new, Relaxed));
}

fn switch<M: Memory>(memory: &M, id: ServiceId, old: Block, new: Block, carry: &Carry) {
    let words = memory.region(Region::SchedTables);
    if let (Some(old), Some(new_words)) = (read_table(memory, old), read_table(memory, new)) {
        words[new.at as usize].store(carry.state(Some(&old), &new_words), Relaxed);
    }
    let record = Service { table: new.at, table_words: new.words, ..Service::default() };
    let record: [u64; SERVICE_WORDS] = transmute!(record);
    let place = id.0 as usize * SERVICE_WORDS + SERVICE_TABLE;
    memory.region(Region::Services)[place].store(record[SERVICE_TABLE], Release);
}

/// Writes a destination's record, all but its route.
pub(crate) fn write_dest<M: Memory>(memory: &M, id: DestId, old: &Dest, new: &Dest) {
    let mut record = *new;
    if old.flags & DestFlags::USED != 0 && new.flags & DestFlags::USED != 0 {
        let known = records::dest(memory, id.0).unwrap_or_default();
        record.gateway = known.gateway;
        record.source = known.source;
        record.ifindex = known.ifindex;
        record.mtu = known.mtu;
        record.flags |= known.flags & DestFlags::LOCAL;
    }
    let words: [u64; DEST_WORDS] = transmute!(record);
    if new.method == Method::FULL_NAT {
        begin_full_nat(memory, new);
    }
    // A packet in between must not find a GUE tunnel whose port is gone already.
    let leaves_gue = old.flags & DestFlags::AVAILABLE != 0
        && old.tunnel == TunnelType::GUE
        && new.tunnel != TunnelType::GUE;
    let appears = new.flags & DestFlags::AVAILABLE != 0 && !leaves_gue;
    write_record(memory, Region::Dests, id.0, words, DEST_FLAGS, appears);
}

/// Tells the programs to look for replies at the director's own ports: from now on, as connections outlive destinations.
fn begin_full_nat<M: Memory>(memory: &M, dest: &Dest) {
    let mut config = records::config(memory);
    let translates = dest.flags & DestFlags::TRANSLATED != 0;
    let uses = FullNatUse::ANY | if translates { FullNatUse::TRANSLATES } else { 0 };
    if config.full_nat & uses != uses {
        config.full_nat |= uses;
        records::write_config(memory, &config);
    }
}

/// Writes a service's record.
pub(crate) fn write_service<M: Memory>(memory: &M, id: ServiceId, new: &Service) {
    let words: [u64; SERVICE_WORDS] = transmute!(*new);
    let appears = new.flags & (ServiceFlags::USED | ServiceFlags::REMOVED) == ServiceFlags::USED;
    write_record(memory, Region::Services, id.0, words, SERVICE_FLAGS, appears);
}

/// Writes a record: the word with its flags last if it appears, first if it goes.
fn write_record<M: Memory, const N: usize>(
    memory: &M,
    region: Region,
    index: u32,
    words: [u64; N],
    flags: usize,
    appears: bool,
) {
    let place = &memory.region(region)[index as usize * N..][..N];
    if !appears {
        place[flags].store(words[flags], Relaxed);
        fence(Release);
    }
    for (at, (word, new)) in place.iter().zip(words).enumerate() {
        if at != flags {
            word.store(new, Relaxed);
        }
    }
    if appears {
        place[flags].store(words[flags], Release);
    }
}

fn zero<M: Memory>(memory: &M, row: Row) {
    let config = records::config(memory);
    row::zero(memory, &config, row.index(services_max(memory)));
}

/// Room for services, from the size of their map.
pub(crate) fn services_max<M: Memory>(memory: &M) -> u32 {
    u32::try_from(memory.region(Region::Services).len() / SERVICE_WORDS).unwrap_or(u32::MAX)
}

/// Tells the programs how many services of a family there are.
pub(crate) fn write_services<M: Memory>(memory: &M, family: Family, count: u32) {
    let mut config = records::config(memory);
    match family {
        Family::V4 => config.services_v4 = count,
        Family::V6 => config.services_v6 = count,
    }
    records::write_config(memory, &config);
}

/// Writes the time-outs, in seconds for the control plane and in ticks for the programs.
pub(crate) fn write_timeouts<M: Memory>(memory: &M, new: &Timeouts) {
    const ESTABLISHED: usize = Timeout::Tcp as usize + 1;
    const FIN_WAIT: usize = Timeout::Tcp as usize + 4;
    let mut config = records::config(memory);
    config.set_timeouts_s = [new.tcp_s, new.tcp_fin_s, new.udp_s];
    config.timeouts[ESTABLISHED] = ticks_u32(new.tcp_s.into());
    config.timeouts[FIN_WAIT] = ticks_u32(new.tcp_fin_s.into());
    config.timeouts[Timeout::Udp as usize] = ticks_u32(new.udp_s.into());
    records::write_config(memory, &config);
}
