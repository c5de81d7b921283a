//! The programs that are loaded once there is something that takes them ([`ProgramSet::ON_DEMAND`]): most directors need none of
//! them, and each takes the kernel's verifier a while.

use rvs_abi::{Config, DestFlags, Program, ProgramSet, limits};
use rvs_config::{ClientAddress, Protocol, Setting, Settings};
use rvs_model::{Memory, MemoryError, records};

use crate::convert::dest_record;
use crate::director::Director;
use crate::state::{ServiceId, ServiceState, State};

const FTP: ProgramSet = ProgramSet::of(&[Program::Ftp, Program::Heard]);
const TRANSLATE: ProgramSet = ProgramSet::of(&[Program::Translate]);
const BYPASS: ProgramSet = ProgramSet::of(&[Program::Bypass]);
const CLAMP: ProgramSet = ProgramSet::of(&[Program::Clamp]);
const HEAD: ProgramSet = ProgramSet::of(&[Program::Head]);

/// What a service's packets may need.
fn of_service(service: &ServiceState, ftp_ports: &[u16]) -> ProgramSet {
    let trash = service.trash.values().map(|trashed| &trashed.member);
    // Which service it is of makes no difference.
    let is_translated =
        |member| dest_record((ServiceId(0), &service.key), member, true).flags & DestFlags::TRANSLATED != 0;
    let takes_any_port = service.key.port == 0 || service.key.mark().is_some();
    let may_be_ftp = match service.key.protocol {
        Protocol::Tcp | Protocol::Mark => {
            !ftp_ports.is_empty() && (takes_any_port || ftp_ports.contains(&service.key.port))
        }
        _ => false,
    };
    let live = service.live.as_ref();
    let lowers_segments = live.is_some_and(|live| live.mss != 0);
    let begins_with_header = live.is_some_and(|live| live.client_address == ClientAddress::Proxy);
    [
        (service.members().chain(trash).any(is_translated), TRANSLATE),
        (may_be_ftp, FTP),
        (lowers_segments, CLAMP),
        (begins_with_header, HEAD),
    ]
    .into_iter()
    .filter(|(is_needed, _)| *is_needed)
    .fold(ProgramSet::NONE, |set, (_, programs)| set.with(programs))
}

/// What these may need together, beside those that were needed before.
pub(crate) fn needed<'a>(
    before: ProgramSet,
    services: impl IntoIterator<Item = &'a ServiceState>,
    settings: Settings,
    ftp_ports: &[u16],
) -> ProgramSet {
    let of_settings = if settings.is_on(Setting::CacheBypass) { BYPASS } else { ProgramSet::NONE };
    let of_services = services.into_iter().map(|service| of_service(service, ftp_ports));
    of_services.fold(before.with(of_settings), ProgramSet::with)
}

/// Loads them, and writes down that packets may be sent on to them. FTP's ports count only with its programs: without them
/// no packet has to be looked up as the first of a data connection.
pub(crate) fn load<M: Memory>(
    memory: &M,
    programs: ProgramSet,
    ftp_ports: &[u16],
) -> Result<(), MemoryError> {
    memory.load(programs)?;
    let mut config = records::config(memory);
    config.programs = programs.0;
    config.ftp_ports = [0; limits::FTP_PORTS];
    if programs.has(Program::Ftp) {
        for (place, port) in config.ftp_ports.iter_mut().zip(ftp_ports) {
            *place = port.to_be();
        }
    }
    records::write_config(memory, &config);
    Ok(())
}

/// The ports at which FTP's control connections are listened to now.
pub(crate) fn ftp_ports(config: &Config) -> Vec<u16> {
    config.ftp_ports.iter().map(|port| u16::from_be(*port)).filter(|port| *port != 0).collect()
}

impl State {
    /// What all that is there may need.
    fn programs_needed(&self) -> ProgramSet {
        needed(self.programs, self.services.values(), self.settings, &self.ftp_ports)
    }
}

impl<M: Memory> Director<M> {
    /// Sets at which virtual ports FTP's control connections are listened to (ipvs.md §12.1): the first
    /// [`limits::FTP_PORTS`] of them, from the next [`load_programs`](Self::load_programs) on. Connections that are there
    /// already stay as they are.
    pub fn set_ftp_ports(&mut self, ports: &[u16]) {
        self.state.ftp_ports = ports.iter().copied().take(limits::FTP_PORTS).collect();
    }

    /// Loads the programs that what is there may need: after a start, before packets come.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn load_programs(&mut self) -> Result<(), MemoryError> {
        self.state.programs = self.state.programs_needed();
        load(&self.memory, self.state.programs, &self.state.ftp_ports)
    }
}
