//! Virtual services (ipvs.md §1.1).

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::CommandError;

/// Transport protocol of an address service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Protocol number 6.
    Tcp,
    /// Protocol number 17.
    Udp,
    /// Protocol number 132.
    Sctp,
    /// None: the service is for a firewall mark, whatever the protocol ([`ServiceKey::marked`]).
    #[serde(skip)]
    Mark,
}

impl Protocol {
    /// Every protocol that services have.
    pub const ALL: &'static [Self] = &[Self::Tcp, Self::Udp, Self::Sctp];

    /// The number in the IP header.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
            Self::Mark => 0,
        }
    }

    /// The protocol of that number in an IP header, if it is one that is balanced.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }

    /// The name in the services database (and in JSON): lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Mark => "mark",
        }
    }
}

/// As listings show it: `TCP`, `UDP`, `SCTP`.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Mark => "FWM",
        })
    }
}

/// Takes the names in either case, so both [`Protocol::name`] and `Display` are read back.
impl FromStr for Protocol {
    type Err = CommandError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.iter().copied().find(|protocol| protocol.name().eq_ignore_ascii_case(name));
        known.ok_or_else(|| {
            CommandError::invalid(format_args!("protocol `{name}': expected tcp, udp or sctp"))
        })
    }
}

/// What a virtual service is known by: protocol, address and port; or address family and firewall mark, of which IPVS's
/// own lists say protocol 0 and the mark as an address (ipvs.md §7.1), and so does this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "KeyForm", into = "KeyForm")]
pub struct ServiceKey {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The virtual address (VIP).
    pub address: IpAddr,
    /// The virtual port, host order.
    pub port: u16,
}

/// An address family, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FamilyName {
    Ipv4,
    Ipv6,
}

/// The two forms in JSON.
#[derive(Serialize, Deserialize)]
struct KeyForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<FamilyName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<Protocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

impl From<ServiceKey> for KeyForm {
    fn from(key: ServiceKey) -> Self {
        let ServiceKey { protocol, address, port } = key;
        match key.mark() {
            Some(mark) => {
                let family = if address.is_ipv4() { FamilyName::Ipv4 } else { FamilyName::Ipv6 };
                Self { mark: Some(mark), family: Some(family), protocol: None, address: None, port: None }
            }
            None => Self {
                mark: None,
                family: None,
                protocol: Some(protocol),
                address: Some(address),
                port: Some(port),
            },
        }
    }
}

impl TryFrom<KeyForm> for ServiceKey {
    type Error = CommandError;

    fn try_from(form: KeyForm) -> Result<Self, Self::Error> {
        let missing = |field: &str| CommandError::invalid(format_args!("missing field `{field}`"));
        let KeyForm { mark, family, protocol, address, port } = form;
        let Some(mark) = mark else {
            return Ok(Self {
                protocol: protocol.ok_or_else(|| missing("protocol"))?,
                address: address.ok_or_else(|| missing("address"))?,
                port: port.ok_or_else(|| missing("port"))?,
            });
        };
        if protocol.is_some() || address.is_some() || port.is_some() {
            let expected = "expected no protocol, address or port beside a mark";
            return Err(CommandError::invalid(format_args!("service of mark {mark}: {expected}")));
        }
        let is_ipv6 = family.ok_or_else(|| missing("family"))? == FamilyName::Ipv6;
        Self::marked(mark, is_ipv6).ok_or_else(|| CommandError::invalid(format_args!("{ZERO_MARK}")))
    }
}

const ZERO_MARK: &str = "service of mark 0: expected 1 to 4294967295";

impl ServiceKey {
    /// The service for a firewall mark and an address family; `None` for mark 0, which is none.
    #[must_use]
    pub fn marked(mark: u32, is_ipv6: bool) -> Option<Self> {
        let address =
            if is_ipv6 { IpAddr::V6(u128::from(mark).into()) } else { IpAddr::V4(Ipv4Addr::from_bits(mark)) };
        (mark != 0).then_some(Self { protocol: Protocol::Mark, address, port: 0 })
    }

    /// The mark, if it is a service for one.
    #[must_use]
    pub fn mark(&self) -> Option<u32> {
        match (self.protocol, self.address) {
            (Protocol::Mark, IpAddr::V4(v4)) => Some(v4.to_bits()),
            (Protocol::Mark, IpAddr::V6(v6)) => u32::try_from(v6.to_bits()).ok(),
            _ => None,
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mark) = self.mark() {
            return write!(f, "mark {mark}/{}", if self.address.is_ipv4() { "ipv4" } else { "ipv6" });
        }
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.protocol.name())
    }
}

/// Reads what `Display` writes: `10.0.0.1:80/tcp`, `[2001:db8::1]:53/udp`, `mark 7/ipv4`.
impl FromStr for ServiceKey {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mark = text.strip_prefix("mark ").and_then(|rest| rest.rsplit_once('/'));
        if let Some((mark, family @ ("ipv4" | "ipv6"))) = mark
            && let Some(key) = mark.parse().ok().and_then(|mark| Self::marked(mark, family == "ipv6"))
        {
            return Ok(key);
        }
        let parsed = text.rsplit_once('/').and_then(|(address, protocol)| {
            Some((address.parse::<SocketAddr>().ok()?, protocol.parse().ok()?))
        });
        let Some((address, protocol)) = parsed else {
            let expected =
                "expected ADDRESS:PORT/PROTOCOL, the protocol tcp, udp or sctp, or mark N/ipv4, mark N/ipv6";
            return Err(CommandError::invalid(format_args!("service `{text}': {expected}")));
        };
        Ok(Self { protocol, address: address.ip(), port: address.port() })
    }
}

macro_rules! schedulers {
    ($($variant:ident = $id:literal $name:literal),+ $(,)?) => {
        /// A scheduler, by its name in `ipvsadm` (ipvs.md §6). What each does: `rvs_core::sched`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        #[repr(u8)]
        pub enum Scheduler {
            $(#[doc = concat!("`", $name, "`")] $variant = $id,)+
        }

        impl Scheduler {
            /// Every scheduler there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name that `ipvsadm -s` takes.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

// Ids are those of `rvs_abi::scheduler`; the director asserts that they agree.
schedulers! {
    Rr = 1 "rr",
    Wrr = 2 "wrr",
    Lc = 3 "lc",
    Wlc = 4 "wlc",
    Sh = 5 "sh",
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scheduler {
    type Err = CommandError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|scheduler| scheduler.name() == name)
            .ok_or(CommandError::SchedulerNotFound)
    }
}

/// Options of a scheduler (`ipvsadm -b`), ipvs.md §1.1: three bits whose meaning is the scheduler's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct SchedulerFlags(pub u8);

impl SchedulerFlags {
    /// `flag-1`; for `sh` this is `sh-fallback`.
    pub const FLAG_1: u8 = 1;
    /// `flag-2`; for `sh` this is `sh-port`.
    pub const FLAG_2: u8 = 2;
    /// `flag-3`.
    pub const FLAG_3: u8 = 4;
    /// Every flag there is.
    pub const ALL: u8 = Self::FLAG_1 | Self::FLAG_2 | Self::FLAG_3;

    /// Whether no flag is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every flag of `flags` is set.
    #[must_use]
    pub const fn contains(self, flags: u8) -> bool {
        self.0 & flags == flags
    }
}

/// A virtual service and its attributes, without its destinations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualService {
    /// Its identity.
    pub key: ServiceKey,
    /// The scheduler.
    pub scheduler: Scheduler,
    /// The scheduler's options.
    #[serde(default)]
    pub flags: SchedulerFlags,
    /// Each UDP datagram is scheduled by itself (`-o`, ipvs.md §4.6).
    #[serde(default)]
    pub one_packet: bool,
    /// TCP maximum segment size that neither end of a connection may exceed, in bytes (`--mss`); 0: as the ends agree.
    #[serde(default)]
    pub mss: u16,
    /// How full NAT tells servers who the client is (`--client-address`).
    #[serde(default)]
    pub client_address: ClientAddress,
}

/// How full NAT tells a server who the client is. IPVS has nothing of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAddress {
    /// By a TCP option in the first segments.
    #[default]
    Option,
    /// Not at all. What a client says there itself is made blank all the same.
    None,
    /// By a header of the PROXY protocol, version 2, in front of the client's data; likewise.
    Proxy,
}

impl ClientAddress {
    /// Every way.
    pub const ALL: &'static [Self] = &[Self::Option, Self::None, Self::Proxy];

    /// The name that `ipvsadm --client-address` takes (and JSON).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Option => "option",
            Self::None => "none",
            Self::Proxy => "proxy",
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ClientAddress {
    type Err = CommandError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.iter().copied().find(|way| way.name() == name);
        known.ok_or_else(|| {
            CommandError::invalid(format_args!("client address `{name}': expected option, none or proxy"))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use super::*;

    #[test]
    fn names_are_read_back() {
        for scheduler in Scheduler::ALL {
            assert_eq!(scheduler.name().parse::<Scheduler>().unwrap(), *scheduler);
        }
        for &protocol in Protocol::ALL {
            assert_eq!(protocol.name().parse::<Protocol>().unwrap(), protocol);
            assert_eq!(protocol.to_string().parse::<Protocol>().unwrap(), protocol);
            assert_eq!(Protocol::from_number(protocol.number()), Some(protocol));
        }
        for way in ClientAddress::ALL {
            assert_eq!(way.name().parse::<ClientAddress>().unwrap(), *way);
        }
        let error = "toa".parse::<ClientAddress>().unwrap_err();
        assert_eq!(error.to_string(), "client address `toa': expected option, none or proxy");
        assert_eq!("RR".parse::<Scheduler>(), Err(CommandError::SchedulerNotFound));
        assert_eq!(Protocol::from_number(50), None);
    }

    #[test]
    fn service_keys_are_read_back() {
        for text in [
            "10.0.0.1:80/tcp",
            "10.0.0.1:0/udp",
            "[2001:db8::1]:53/udp",
            "10.0.0.1:3868/sctp",
            "mark 7/ipv4",
            "mark 4294967295/ipv6",
        ] {
            assert_eq!(text.parse::<ServiceKey>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "10.0.0.1:80",
            "10.0.0.1/tcp",
            "10.0.0.1:80/dccp",
            "10.0.0.1:65536/tcp",
            "x:80/tcp",
            "mark 0/ipv4",
            "mark 7",
            "mark x/ipv6",
        ] {
            let error = text.parse::<ServiceKey>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "service `{text}': expected ADDRESS:PORT/PROTOCOL, the protocol tcp, udp or sctp, or mark N/ipv4, mark N/ipv6"
                )
            );
        }
    }

    #[test]
    fn flags_contain_themselves_only() {
        let flags = SchedulerFlags(SchedulerFlags::FLAG_1 | SchedulerFlags::FLAG_3);
        assert!(flags.contains(SchedulerFlags::FLAG_1) && flags.contains(SchedulerFlags::FLAG_3));
        assert!(!flags.contains(SchedulerFlags::FLAG_2) && !flags.is_empty());
    }
}
