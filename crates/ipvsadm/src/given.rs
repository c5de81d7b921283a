//! What stands on the command line after the command, value by value. Each value is checked as it is met, so the first
//! bad one is the one reported; what goes together is checked afterwards, by [`crate::check`].

use core::net::{IpAddr, Ipv6Addr};

use rvs_config::{ClientAddress, ForwardingMethod, Protocol, Scheduler, TunnelChecksum, limits};

use crate::Names;
use crate::error::UsageError;
use crate::lexer::{Lexer, Token};
use crate::table::{Flag, FlagSpec, NameSet, Row};
use crate::value;

/// A service as the command line names it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum GivenService {
    /// `-t`, `-u`, `--sctp-service`
    Address { protocol: Protocol, address: IpAddr, port: u16 },
    /// `-f`, `-f N -6`
    Fwmark { mark: u32, ipv6: bool },
}

impl GivenService {
    const fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Address { protocol, .. } => Some(protocol),
            Self::Fwmark { .. } => None,
        }
    }

    /// The port that a destination has if it names none.
    const fn port(self) -> u16 {
        match self {
            Self::Address { port, .. } => port,
            Self::Fwmark { .. } => 0,
        }
    }

    pub(crate) const fn is_ipv6(self) -> bool {
        match self {
            Self::Address { address, .. } => address.is_ipv6(),
            Self::Fwmark { ipv6, .. } => ipv6,
        }
    }
}

/// `--tun-type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TunnelType {
    #[default]
    Ipip,
    Gue,
    Gre,
}

impl TunnelType {
    pub(crate) const ALL: [Self; 3] = [Self::Ipip, Self::Gue, Self::Gre];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Gre => "gre",
        }
    }
}

/// The options of one command line, with their values where a later step needs them.
#[derive(Debug, Default)]
pub(crate) struct Given<'a> {
    /// Which options there are.
    pub(crate) names: NameSet,
    /// Words that are no options.
    pub(crate) operands: Vec<&'a str>,
    pub(crate) service: Option<GivenService>,
    pub(crate) scheduler: Option<&'a str>,
    pub(crate) sched_flags: &'a str,
    /// 0: not given.
    pub(crate) mss: u16,
    pub(crate) client_address: ClientAddress,
    pub(crate) real_server: Option<(IpAddr, u16)>,
    pub(crate) method: Option<ForwardingMethod>,
    pub(crate) weight: Option<u32>,
    pub(crate) upper_threshold: u32,
    pub(crate) lower_threshold: u32,
    pub(crate) tunnel_type: TunnelType,
    /// 0: not given.
    pub(crate) tunnel_port: u16,
    pub(crate) tunnel_checksum: TunnelChecksum,
}

impl<'a> Given<'a> {
    /// Reads everything after the command.
    pub(crate) fn read(lexer: &mut Lexer<'a>, names: &dyn Names) -> Result<Self, UsageError> {
        let mut given = Self::default();
        while let Some(token) = lexer.next()? {
            match token {
                Token::Operand(word) => given.operands.push(word),
                Token::Option { row: Row::Command(_), word, .. } => {
                    return Err(UsageError::SecondCommand { word: word.to_owned() });
                }
                Token::Option { row: Row::Flag(spec), value, .. } => given.option(spec, value, names)?,
            }
        }
        Ok(given)
    }

    /// The scheduler's name; without `-s` it is `wlc`.
    pub(crate) fn scheduler_name(&self) -> &'a str {
        self.scheduler.unwrap_or(Scheduler::Wlc.name())
    }

    fn option(
        &mut self,
        spec: &FlagSpec,
        value: Option<&'a str>,
        names: &dyn Names,
    ) -> Result<(), UsageError> {
        if let Some(name) = spec.name
            && !self.names.insert(name)
        {
            return Err(UsageError::Multiple(name));
        }
        // The lexer has made sure that an option that needs a value has one.
        let text = value.unwrap_or_default();
        match spec.flag {
            Flag::TcpService => self.address_service(Protocol::Tcp, text, names),
            Flag::UdpService => self.address_service(Protocol::Udp, text, names),
            Flag::SctpService => self.address_service(Protocol::Sctp, text, names),
            Flag::FwmarkService => self.fwmark_service(text),
            Flag::Ipv6 => self.ipv6(),
            Flag::RealServer => self.real_server(text, names),
            Flag::Netmask => self.netmask(text, names),
            Flag::Persistent => value.map_or(Ok(()), timeout_value),
            _ => self.plain_option(spec.flag, text),
        }
    }

    /// The options whose value depends on nothing else.
    fn plain_option(&mut self, flag: Flag, text: &'a str) -> Result<(), UsageError> {
        match flag {
            Flag::Scheduler => self.scheduler = Some(text),
            Flag::SchedFlags => self.sched_flags = text,
            Flag::Mss => self.mss = mss(text)?,
            Flag::ClientAddress => self.client_address = client_address(text)?,
            Flag::Gatewaying => self.method = Some(ForwardingMethod::Dr),
            Flag::Ipip => self.method = Some(ForwardingMethod::Tunnel),
            Flag::Masquerading => self.method = Some(ForwardingMethod::Masq),
            Flag::FullNat => self.method = Some(ForwardingMethod::FullNat),
            Flag::Weight => self.weight = Some(number("weight", text, 0, limits::WEIGHT_MAX)?),
            Flag::UpperThreshold => {
                self.upper_threshold = number("u_threshold", text, 0, limits::THRESHOLD_MAX)?;
            }
            Flag::LowerThreshold => {
                self.lower_threshold = number("l_threshold", text, 0, limits::THRESHOLD_MAX)?;
            }
            Flag::TunType => self.tunnel_type = tunnel_type(text)?,
            Flag::TunPort => self.tunnel_port = port("tunnel port", text)?,
            Flag::TunNocsum => self.tunnel_checksum = TunnelChecksum::None,
            Flag::TunCsum => self.tunnel_checksum = TunnelChecksum::Csum,
            Flag::TunRemcsum => self.tunnel_checksum = TunnelChecksum::Remcsum,
            Flag::SyncId => drop(number("syncid", text, 0, 255)?),
            Flag::SyncMaxlen => drop(number("sync-maxlen", text, 1, 65_507)?),
            Flag::McastPort => drop(port("mcast-port", text)?),
            Flag::McastTtl => drop(number("mcast-ttl", text, 1, 255)?),
            Flag::McastGroup => multicast_group(text)?,
            // Only that they are there counts, and `names` says it.
            _ => {}
        }
        Ok(())
    }

    fn address_service(
        &mut self,
        protocol: Protocol,
        text: &str,
        names: &dyn Names,
    ) -> Result<(), UsageError> {
        let (address, port) = value::endpoint(text, Some(protocol), names)
            .ok_or(UsageError::IllegalValue { what: "virtual server address[:port]" })?;
        self.service = Some(GivenService::Address { protocol, address, port: port.unwrap_or(0) });
        Ok(())
    }

    fn fwmark_service(&mut self, text: &str) -> Result<(), UsageError> {
        let mark = value::integer(text, 1, u32::MAX)
            .ok_or_else(|| UsageError::InvalidValue { what: "fwmark", value: text.to_owned() })?;
        self.service = Some(GivenService::Fwmark { mark, ipv6: false });
        Ok(())
    }

    fn ipv6(&mut self) -> Result<(), UsageError> {
        match &mut self.service {
            Some(GivenService::Fwmark { ipv6, .. }) => {
                *ipv6 = true;
                Ok(())
            }
            Some(GivenService::Address { .. }) | None => Err(UsageError::Ipv6BeforeFwmark),
        }
    }

    /// `-r`: the port is that of the service, if the service came before.
    fn real_server(&mut self, text: &str, names: &dyn Names) -> Result<(), UsageError> {
        let protocol = self.service.and_then(GivenService::protocol);
        let (address, port) = value::endpoint(text, protocol, names)
            .ok_or(UsageError::IllegalValue { what: "real server address[:port]" })?;
        let port = port.unwrap_or_else(|| self.service.map_or(0, GivenService::port));
        self.real_server = Some((address, port));
        Ok(())
    }

    /// `-M`: a prefix length if the service is known to be for IPv6, an IPv4 mask otherwise.
    fn netmask(&self, text: &str, names: &dyn Names) -> Result<(), UsageError> {
        if self.service.is_some_and(GivenService::is_ipv6) {
            return number("ipv6 netmask", text, 1, 128).map(drop);
        }
        let mask = value::host(text, names);
        mask.map(drop).ok_or(UsageError::IllegalValue { what: "virtual server persistent mask" })
    }
}

fn number(what: &'static str, text: &str, min: u32, max: u32) -> Result<u32, UsageError> {
    value::integer(text, min, max).ok_or(UsageError::IllegalValue { what })
}

/// A port that is not 0.
fn port(what: &'static str, text: &str) -> Result<u16, UsageError> {
    let number = number(what, text, 1, u16::MAX.into())?;
    u16::try_from(number).map_err(|_| UsageError::IllegalValue { what })
}

/// `-p SECONDS`
fn timeout_value(text: &str) -> Result<(), UsageError> {
    timeout(text, 1).map(drop)
}

/// A time-out in seconds, of `-p` or `--set`.
pub(crate) fn timeout(text: &str, min: u32) -> Result<u32, UsageError> {
    value::integer(text, min, limits::TIMEOUT_S_MAX)
        .ok_or_else(|| UsageError::InvalidValue { what: "timeout", value: text.to_owned() })
}

/// `--mss BYTES`
fn mss(text: &str) -> Result<u16, UsageError> {
    let known = value::integer(text, 0, limits::MSS_MAX.into()).and_then(|number| u16::try_from(number).ok());
    known.filter(|mss| *mss == 0 || *mss >= limits::MSS_MIN).ok_or_else(|| UsageError::UnexpectedValue {
        what: "mss",
        value: text.to_owned(),
        expected: MSS_EXPECTED,
    })
}

const MSS_EXPECTED: &str = "536 to 65495, or 0";
const _: () = assert!(limits::MSS_MIN == 536 && limits::MSS_MAX == 65_495);

/// `--client-address WAY`
fn client_address(text: &str) -> Result<ClientAddress, UsageError> {
    text.parse().map_err(|_| UsageError::UnexpectedValue {
        what: "client-address",
        value: text.to_owned(),
        expected: "option, none or proxy",
    })
}

fn tunnel_type(text: &str) -> Result<TunnelType, UsageError> {
    let known = TunnelType::ALL.into_iter().find(|tunnel| tunnel.name() == text);
    known.ok_or(UsageError::IllegalValue { what: "tunnel type" })
}

fn multicast_group(text: &str) -> Result<(), UsageError> {
    let (family, multicast) = match text.parse::<Ipv6Addr>() {
        Ok(group) => ("IPv6", group.is_multicast()),
        Err(_) => ("IPv4", value::ipv4(text).is_some_and(|group| group.is_multicast())),
    };
    let invalid = || UsageError::InvalidGroup { family, value: text.to_owned() };
    multicast.then_some(()).ok_or_else(invalid)
}
