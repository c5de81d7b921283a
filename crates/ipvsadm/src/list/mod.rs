//! What `ipvsadm -L` prints (ipvs.md §10.5).

mod conns;
mod endpoint;
mod number;
mod services;
mod sort;

pub use conns::ConnTable;
pub(crate) use endpoint::Endpoints;
use rvs_config::Timeouts;
pub use services::{Format, ServiceTable};
pub(crate) use sort::sorted;

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListRequest {
    /// Services and destinations.
    Services(ServiceTable),
    /// `-c`
    Connections(ConnTable),
    /// `--timeout`: print [`timeouts`].
    Timeouts,
    /// `--daemon`: one line for each daemon that runs. This version of rvs has none, so nothing is printed.
    SyncDaemons,
}

impl Default for ListRequest {
    /// `ipvsadm` without arguments.
    fn default() -> Self {
        Self::Services(ServiceTable::default())
    }
}

/// `-L --timeout`
#[must_use]
pub fn timeouts(timeouts: &Timeouts) -> String {
    let Timeouts { tcp_s, tcp_fin_s, udp_s } = timeouts;
    format!("Timeout (tcp tcpfin udp): {tcp_s} {tcp_fin_s} {udp_s}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs() {
        assert_eq!(timeouts(&Timeouts::default()), "Timeout (tcp tcpfin udp): 900 120 300\n");
    }
}
