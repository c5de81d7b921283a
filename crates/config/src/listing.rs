//! What a director answers when asked what there is: the material of `ipvsadm -L` and of `rvs services --json`.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Destination, ForwardingMethod, Protocol, VirtualService};

/// Traffic counters since the last `-Z` (ipvs.md §9.1). Bytes are IP total lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Connections created.
    pub conns: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients that came through the director.
    pub out_packets: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Bytes to clients that came through the director.
    pub out_bytes: u64,
}

/// Rates per second, averaged as IPVS does (ipvs.md §9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rates {
    /// Connections per second.
    pub cps: u64,
    /// Packets per second from clients.
    pub in_pps: u64,
    /// Packets per second to clients.
    pub out_pps: u64,
    /// Bytes per second from clients.
    pub in_bps: u64,
    /// Bytes per second to clients.
    pub out_bps: u64,
}

/// A destination with what is happening on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestListing {
    /// The destination.
    #[serde(flatten)]
    pub destination: Destination,
    /// Connections in an active state (ipvs.md §4.5).
    pub active_conns: u32,
    /// All others.
    pub inactive_conns: u32,
    /// Persistence templates bound to it.
    pub persistent_conns: u32,
    /// Counters.
    pub counters: Counters,
    /// Rates.
    pub rates: Rates,
}

/// A service with its destinations in list order: the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceListing {
    /// The service.
    #[serde(flatten)]
    pub service: VirtualService,
    /// Its destinations, newest first.
    pub destinations: Vec<DestListing>,
    /// Counters.
    pub counters: Counters,
    /// Rates.
    pub rates: Rates,
}

/// Everything that is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Services in the director's own order (by id): what `ipvsadm -L --nosort` shows.
    pub services: Vec<ServiceListing>,
    /// Slots of the connection table: what `size=` prints.
    pub conn_table_size: u32,
    /// Time-outs in force.
    pub timeouts: Timeouts,
}

/// The three time-outs that `--set` changes, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// TCP ESTABLISHED.
    pub tcp_s: u32,
    /// TCP FIN_WAIT.
    pub tcp_fin_s: u32,
    /// UDP.
    pub udp_s: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { tcp_s: 900, tcp_fin_s: 120, udp_s: 300 }
    }
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnListing {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Client address.
    pub client: IpAddr,
    /// Client port.
    pub client_port: u16,
    /// Virtual address.
    pub vip: IpAddr,
    /// Virtual port.
    pub vport: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port.
    pub dport: u16,
    /// Forwarding method it was created with.
    pub method: ForwardingMethod,
    /// State, by the name IPVS lists it under (ipvs.md §5.3).
    pub state: String,
    /// Seconds until it expires.
    pub expires_s: u32,
    /// Packets from the client.
    pub packets: u32,
}
