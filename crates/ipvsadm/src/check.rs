//! Which options go with which command, and with each other (ipvs.md §10.2–§10.4).

use rvs_config::{ClientAddress, ForwardingMethod};

use crate::error::{Context, UsageError};
use crate::given::{Given, GivenService, TunnelType};
use crate::table::{self, CommandSpec, NameSet, OptionName, Verb};

/// The list command shows one of these, or everything.
const LIST_EXCLUSIVE: &[OptionName] =
    &[OptionName::Connection, OptionName::ServiceAddress, OptionName::Timeout, OptionName::Daemon];

const TUNNEL_OPTIONS: &[OptionName] = &[
    OptionName::TunType,
    OptionName::TunPort,
    OptionName::TunNocsum,
    OptionName::TunCsum,
    OptionName::TunRemcsum,
];

const CHECKSUMS: &[OptionName] = &[OptionName::TunNocsum, OptionName::TunCsum, OptionName::TunRemcsum];

/// Everything that is wrong with a command line whose values are right; the first thing in `ipvsadm`'s order.
pub(crate) fn check(spec: &CommandSpec, given: &Given<'_>) -> Result<(), UsageError> {
    options(spec, given.names)?;
    match spec.verb {
        Verb::List => list(given.names),
        Verb::AddService | Verb::EditService => service(given),
        Verb::AddServer | Verb::EditServer => server(given),
        _ => Ok(()),
    }
}

fn options(spec: &CommandSpec, names: NameSet) -> Result<(), UsageError> {
    let rules = Rules {
        context: Context::Command(spec.name),
        requires: spec.requires,
        takes: |name| table::takes(spec.verb, name),
        exclusive: if spec.verb == Verb::List { LIST_EXCLUSIVE } else { &[] },
    };
    rules.check(OptionName::ALL, names)
}

/// What a command or a tunnel type says about options.
struct Rules<F> {
    context: Context,
    requires: &'static [OptionName],
    takes: F,
    exclusive: &'static [OptionName],
}

impl<F: Fn(OptionName) -> bool> Rules<F> {
    /// Goes through `order`; for each name: is it missing, is it taken, does it exclude an earlier one.
    fn check(&self, order: &[OptionName], names: NameSet) -> Result<(), UsageError> {
        let context = self.context;
        for &option in order {
            if !names.contains(option) {
                if self.requires.contains(&option) {
                    return Err(UsageError::Missing { option, context });
                }
                continue;
            }
            if !(self.takes)(option) {
                return Err(UsageError::Illegal { option, context });
            }
            if !self.exclusive.contains(&option) {
                continue;
            }
            if let Some(&other) =
                self.exclusive.iter().find(|&&other| other < option && names.contains(other))
            {
                return Err(UsageError::Conflict { option, other, context });
            }
        }
        Ok(())
    }
}

fn list(names: NameSet) -> Result<(), UsageError> {
    use OptionName::{Connection, Daemon, PersistentConn, Rate, Stats, Thresholds, Timeout};
    let tables = names.contains_any(&[Stats, Rate, Thresholds]);
    let conflict = names.contains_any(&[Connection, Timeout, Daemon]) && tables
        || names.contains_any(&[Timeout, Daemon]) && names.contains(PersistentConn);
    if conflict { Err(UsageError::ListConflict) } else { Ok(()) }
}

fn service(given: &Given<'_>) -> Result<(), UsageError> {
    let Some(GivenService::Address { protocol, port, .. }) = given.service else {
        return Ok(());
    };
    if port == 0 && !given.names.contains(OptionName::Persistent) {
        return Err(UsageError::ZeroPort);
    }
    if given.names.contains(OptionName::Ops) && protocol != rvs_config::Protocol::Udp {
        return Err(UsageError::OnePacketNotUdp);
    }
    if given.mss != 0 && protocol != rvs_config::Protocol::Tcp {
        return Err(UsageError::MssNotTcp);
    }
    if given.client_address == ClientAddress::Proxy && protocol != rvs_config::Protocol::Tcp {
        return Err(UsageError::ProxyNotTcp);
    }
    Ok(())
}

fn server(given: &Given<'_>) -> Result<(), UsageError> {
    let crosses = matches!(given.method, Some(ForwardingMethod::Tunnel | ForwardingMethod::FullNat));
    if let (Some(service), Some((address, _))) = (given.service, given.real_server)
        && service.is_ipv6() != address.is_ipv6()
        && !crosses
    {
        return Err(UsageError::MixedFamilies);
    }
    if !given.names.contains_any(TUNNEL_OPTIONS) {
        return Ok(());
    }
    if given.method != Some(ForwardingMethod::Tunnel) {
        return Err(UsageError::TunnelWithoutIpip);
    }
    let rules = Rules {
        context: Context::TunnelType(given.tunnel_type.name()),
        requires: if given.tunnel_type == TunnelType::Gue { &[OptionName::TunPort] } else { &[] },
        takes: |name| tunnel_takes(given.tunnel_type, name),
        exclusive: CHECKSUMS,
    };
    rules.check(TUNNEL_OPTIONS, given.names)
}

const fn tunnel_takes(tunnel: TunnelType, name: OptionName) -> bool {
    match name {
        OptionName::TunPort | OptionName::TunRemcsum => matches!(tunnel, TunnelType::Gue),
        OptionName::TunNocsum | OptionName::TunCsum => !matches!(tunnel, TunnelType::Ipip),
        _ => true,
    }
}

/// What the command line asks for and this version of rvs can't do, in words; the first thing found.
pub(crate) fn unsupported(given: &Given<'_>) -> Option<&'static str> {
    let has = |name| given.names.contains(name);
    let what = match () {
        () if given.scheduler == Some("none") => "services without a scheduler (-s none)",
        () if has(OptionName::Persistent) => "persistence (-p)",
        () if has(OptionName::Netmask) => "persistence masks (-M)",
        () if has(OptionName::Pe) => "persistence engines (--pe)",
        () if given.upper_threshold != 0 || given.lower_threshold != 0 => "connection thresholds (-x, -y)",
        () => return None,
    };
    Some(what)
}
