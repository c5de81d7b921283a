//! The steps of a plan.

use core::fmt;

use rvs_abi::{Dest, DestFlags, ProgramSet, Service, ServiceFlags};
use rvs_config::{ServiceKey, Settings, Timeouts};

use crate::carry::Carry;
use crate::marks::{RuleList, Special};
use crate::row::Row;
use crate::state::{DestId, Family, ServiceId};

/// Where a table is in `SCHED_TABLES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Block {
    /// First word.
    pub at: u32,
    /// Words; 0: there is no table.
    pub words: u32,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "words {}..{}", self.at, u64::from(self.at) + u64::from(self.words))
    }
}

/// One step. After each, packets find a consistent data plane, and a crash leaves one that can be adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Loads programs that packets are sent on to from now on. They stay if what comes next fails.
    Programs {
        /// The command of the list that they are needed for.
        command: usize,
        /// All that there are to be.
        programs: ProgramSet,
        /// At which ports FTP is listened to, if they can.
        ftp_ports: Vec<u16>,
    },
    /// Writes a table into free words. Its state word is final for a new service, and set by `Switch` for others.
    Table {
        /// Where.
        at: u32,
        /// What.
        words: Vec<u64>,
    },
    /// Makes counters begin at zero.
    Zero {
        /// Whose.
        row: Row,
    },
    /// Writes a destination's record; the route in it is kept, or unknown if the record was not in use.
    Dest {
        /// Which.
        id: DestId,
        /// Its record so far.
        old: Dest,
        /// Its record from now on.
        new: Dest,
    },
    /// Writes a service's record.
    Service {
        /// Which.
        id: ServiceId,
        /// Its record so far.
        old: Service,
        /// Its record from now on.
        new: Service,
    },
    /// Sets or clears a bit of the address filter.
    Filter {
        /// Its number.
        bit: u32,
        /// To what.
        set: bool,
    },
    /// Tells the programs how many services of a family there are.
    Services {
        /// Which.
        family: Family,
        /// So far.
        old: u32,
        /// From now on.
        new: u32,
    },
    /// Makes packets to a service find it, or not find it any more.
    Key {
        /// Its identity.
        key: ServiceKey,
        /// The command of the list that asked for it.
        command: usize,
        /// What they found so far.
        old: Option<ServiceId>,
        /// What they find.
        new: Option<ServiceId>,
    },
    /// Puts a new table in the place of the old one, with the scheduler's state.
    Switch {
        /// Whose.
        id: ServiceId,
        /// The table so far.
        old: Block,
        /// The table from now on.
        new: Block,
        /// How the state goes over.
        carry: Carry,
    },
    /// Tells the programs which services there are to look for beside those at the packet's address and port.
    Special {
        /// So far.
        old: Special,
        /// From now on.
        new: Special,
    },
    /// Puts other rules of the classifier in force.
    Rules {
        /// So far.
        old: RuleList,
        /// From now on.
        new: RuleList,
    },
    /// Sets the time-outs.
    Timeouts {
        /// So far.
        old: Timeouts,
        /// From now on.
        new: Timeouts,
    },
    /// Changes the settings.
    Settings {
        /// So far.
        old: Settings,
        /// From now on.
        new: Settings,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Programs { programs, .. } => write!(f, "load programs {:#x}", programs.0),
            Self::Table { at, words } => write!(f, "write a table of {} words at {at}", words.len()),
            Self::Zero { row } => write!(f, "zero the counters of {row}"),
            Self::Dest { id, old, new } => fmt_dest(f, *id, old, new),
            Self::Service { id, old, new } => fmt_service(f, *id, old, new),
            Self::Filter { bit, set: true } => write!(f, "set bit {bit} of the filter"),
            Self::Filter { bit, set: false } => write!(f, "clear bit {bit} of the filter"),
            Self::Services { family, old, new } => {
                write!(f, "number of {family} services: {old} -> {new}")
            }
            Self::Key { key, new: Some(id), .. } => write!(f, "packets to {key} find {id}"),
            Self::Key { key, new: None, .. } => write!(f, "packets to {key} find nothing"),
            Self::Switch { id, old, new, .. } => write!(f, "{id}: switch the table from {old} to {new}"),
            Self::Special { new, .. } => {
                let Special { marks: [v4, v6], ftp, any_port } = new;
                write!(
                    f,
                    "services by mark: IPv4 {v4}, IPv6 {v6}; at port 21: {ftp}; at any port: {any_port}"
                )
            }
            Self::Rules { old, new } => {
                write!(f, "mark rules: {} in place of {}", new.rules.len(), old.rules.len())
            }
            Self::Timeouts { old, new } => write!(
                f,
                "time-outs: tcp {} -> {} s, fin {} -> {} s, udp {} -> {} s",
                old.tcp_s, new.tcp_s, old.tcp_fin_s, new.tcp_fin_s, old.udp_s, new.udp_s
            ),
            Self::Settings { old, new } => {
                write!(f, "settings:")?;
                old.iter()
                    .zip(new.iter())
                    .filter(|(old, new)| old != new)
                    .try_for_each(|((setting, old), (_, new))| write!(f, " {setting} {old} -> {new}"))
            }
        }
    }
}

fn fmt_dest(f: &mut fmt::Formatter<'_>, id: DestId, old: &Dest, new: &Dest) -> fmt::Result {
    let verb = match (old.flags & DestFlags::AVAILABLE != 0, new.flags & DestFlags::AVAILABLE != 0) {
        (false, true) => "make",
        (true, true) => "change",
        (_, false) => "remove",
    };
    let port = u16::from_be(new.port);
    write!(f, "{verb} {id}: {} port {port} method {} weight {}", new.addr.to_ip(), new.method, new.weight)?;
    if (old.tunnel, old.tunnel_flags, old.tunnel_port) == (new.tunnel, new.tunnel_flags, new.tunnel_port) {
        return Ok(());
    }
    write!(f, " tunnel {} flags {} port {}", new.tunnel, new.tunnel_flags, u16::from_be(new.tunnel_port))
}

fn fmt_service(f: &mut fmt::Formatter<'_>, id: ServiceId, old: &Service, new: &Service) -> fmt::Result {
    let live = |service: &Service| {
        service.flags & (ServiceFlags::USED | ServiceFlags::REMOVED) == ServiceFlags::USED
    };
    let (verb, shown) = match (live(old), live(new)) {
        (false, true) => ("make", new),
        (true, true) => ("change", new),
        (_, false) => ("remove", old),
    };
    let (vip, port) = (shown.vip.to_ip(), u16::from_be(shown.vport));
    write!(f, "{verb} {id}: {vip} port {port} protocol {} scheduler {}", shown.protocol, shown.scheduler)
}
