//! The service that a new connection is for (ipvs.md §2.5).

use rvs_abi::{Outcome, ServiceFlags, ServiceKey, proto};

use crate::pipeline::{Context, FTP_DATA};
use crate::{Parsed, ServiceRecord, Tables};

impl<T: Tables> Context<'_, T> {
    /// Without persistence a service takes its own port only (ipvs.md §2.4 step 5, §2.6).
    #[inline(always)]
    pub(crate) fn check_port(port: [u8; 2], of_service: [u8; 2]) -> Result<(), Outcome> {
        if port == of_service {
            return Ok(());
        }
        Err(if of_service == FTP { Outcome::FtpPort } else { Outcome::NoDestination })
    }

    /// The service of a packet (ipvs.md §2.5).
    #[inline(always)]
    pub(crate) fn service(&self, parsed: &Parsed, mark: u32) -> Option<(u32, T::Service)> {
        let id = self.service_id(parsed, mark)?;
        let service = self.tables.service(id)?;
        let in_use = service.flags() & (ServiceFlags::USED | ServiceFlags::REMOVED) == ServiceFlags::USED;
        in_use.then_some((id, service))
    }

    /// The steps of ipvs.md §2.5, in their order.
    #[inline(always)]
    fn service_id(&self, parsed: &Parsed, mark: u32) -> Option<u32> {
        let tables = self.tables;
        if mark != 0
            && let Some(id) = tables.service_id(&rvs_abi::mark::key(mark, parsed.is_v4()))
        {
            return Some(id);
        }
        let mut key = ServiceKey {
            vip: parsed.destination,
            vport: u16::from_ne_bytes(parsed.dport),
            protocol: parsed.protocol,
            family: parsed.family,
            zero: 0,
        };
        if let Some(id) = tables.service_id(&key) {
            return Some(id);
        }
        let dport = u16::from_be_bytes(parsed.dport);
        if tables.ftp_services() != 0
            && parsed.protocol == proto::TCP
            && (parsed.dport == FTP_DATA || dport >= UNPRIVILEGED_PORT)
        {
            key.vport = u16::from_ne_bytes(FTP);
            if let Some(id) = tables.service_id(&key) {
                return Some(id);
            }
        }
        if tables.any_port_services() == 0 {
            return None;
        }
        key.vport = 0;
        tables.service_id(&key)
    }
}

/// Port 21, network order.
const FTP: [u8; 2] = [0, 21];

/// The first port that any process may bind, `net.ipv4.ip_unprivileged_port_start` as the kernel has it by itself.
const UNPRIVILEGED_PORT: u16 = 1024;
