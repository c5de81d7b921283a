//! From arguments to what they ask for.

use rvs_config::{
    Command, CommandError, DestKey, Destination, ForwardingMethod, ServiceKey, TimeoutsUpdate, Tunnel,
    VirtualService,
};

use crate::error::{Context, UsageError};
use crate::given::{self, Given, GivenService, TunnelType};
use crate::lexer::{Lexer, Token};
use crate::list::{ConnTable, Format, ListRequest, ServiceTable};
use crate::restore::Rules;
use crate::table::{CommandSpec, OptionName, Row, Verb};
use crate::{Names, check, sched_flags};

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// A change, for the director.
    Change(Command),
    /// `-A` or `-E` with a scheduler that rvs doesn't have: an error in any case, but which one depends on the service.
    UnknownScheduler(UnknownScheduler),
    /// `-L`
    List(ListRequest),
    /// `-S`: print [`crate::save()`].
    Save {
        /// `-n`: without names.
        numeric: bool,
    },
    /// `-R`: read standard input, [`crate::restore()`] it, apply it as one transaction.
    Restore(Rules),
    /// `-h`: print [`crate::help()`].
    Help,
    /// `-v`: print [`crate::version`].
    Version,
}

/// IPVS looks for the service before it looks for the scheduler (ipvs.md §1.6), so the caller has to as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownScheduler {
    /// The service.
    pub service: ServiceKey,
    /// Whether it was to be changed (`-E`) rather than added (`-A`).
    pub edit: bool,
}

impl UnknownScheduler {
    /// The error, given whether the service exists.
    #[must_use]
    pub const fn error(&self, service_exists: bool) -> CommandError {
        let service = self.service;
        match (self.edit, service_exists) {
            (false, true) => CommandError::ServiceExists { service },
            (true, false) => CommandError::NoSuchService { service },
            _ => CommandError::SchedulerNotFound,
        }
    }
}

/// Reads the arguments of `ipvsadm`, without the program's name.
///
/// # Errors
/// What `ipvsadm` itself finds wrong without asking the kernel, the first thing it would report; and
/// [`UsageError::Refused`] with [`CommandError::NotSupported`] for what this version of rvs can't do.
pub fn parse<S: AsRef<str>>(args: &[S], names: &dyn Names) -> Result<Invocation, UsageError> {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    if args.is_empty() {
        return Ok(Invocation::List(ListRequest::default()));
    }
    let mut lexer = Lexer::new(&args);
    // Whatever is wrong with the first word, the answer is the same.
    let Ok(Some(Token::Option { row: Row::Command(spec), value, .. })) = lexer.next() else {
        return Err(UsageError::NoCommand);
    };
    match spec.verb {
        Verb::StartDaemon => daemon_role("start-daemon parameter", value)?,
        Verb::StopDaemon => daemon_role("start_daemon", value)?,
        // What follows these is not looked at.
        Verb::Help => return Ok(Invocation::Help),
        Verb::Version => return Ok(Invocation::Version),
        _ => {}
    }
    let given = Given::read(&mut lexer, names)?;
    check_all(spec, &given)?;
    meaning(spec, &given)
}

fn daemon_role(what: &'static str, role: Option<&str>) -> Result<(), UsageError> {
    match role {
        Some("master" | "backup") => Ok(()),
        _ => Err(UsageError::IllegalValue { what }),
    }
}

/// Everything that is checked after the last option was read, in the order in which `ipvsadm` reports it.
fn check_all(spec: &CommandSpec, given: &Given<'_>) -> Result<(), UsageError> {
    let operands_taken = if spec.verb == Verb::Set {
        timeouts(given)?;
        3
    } else {
        0
    };
    if let Some(word) = given.operands.get(operands_taken) {
        return Err(UsageError::UnexpectedArgument { word: (*word).to_owned() });
    }
    sched_flags::parse(given.sched_flags, given.scheduler_name())?;
    check::check(spec, given)?;
    match check::unsupported(given) {
        Some(what) => Err(UsageError::Refused(CommandError::not_supported(what))),
        None => Ok(()),
    }
}

/// What a command line means that has passed every check.
fn meaning(spec: &CommandSpec, given: &Given<'_>) -> Result<Invocation, UsageError> {
    let service = || {
        let missing =
            UsageError::Missing { option: OptionName::ServiceAddress, context: Context::Command(spec.name) };
        service_key(given).ok_or(missing)
    };
    let dest_key = || {
        let missing =
            UsageError::Missing { option: OptionName::RealServer, context: Context::Command(spec.name) };
        dest_key(given).ok_or(missing)
    };
    let command = match spec.verb {
        Verb::AddService | Verb::EditService => {
            return service_attributes(service()?, spec.verb == Verb::EditService, given);
        }
        Verb::DeleteService => Command::DeleteService { service: service()? },
        Verb::Flush => Command::Clear,
        Verb::AddServer | Verb::EditServer => {
            let service = service()?;
            let destination = destination(&service, dest_key()?, given);
            if spec.verb == Verb::AddServer {
                Command::AddDestination { service, destination }
            } else {
                Command::EditDestination { service, destination }
            }
        }
        Verb::DeleteServer => Command::DeleteDestination { service: service()?, destination: dest_key()? },
        Verb::Zero => Command::Zero { service: service_key(given) },
        Verb::Set => Command::SetTimeouts(timeouts(given)?),
        Verb::List => return Ok(Invocation::List(list_request(given))),
        Verb::Save => return Ok(Invocation::Save { numeric: given.names.contains(OptionName::Numeric) }),
        Verb::Restore => return Ok(Invocation::Restore(Rules::Add)),
        Verb::Help => return Ok(Invocation::Help),
        Verb::Version => return Ok(Invocation::Version),
        Verb::StartDaemon | Verb::StopDaemon => {
            let what = format_args!("connection synchronisation (--{})", spec.long);
            return Err(UsageError::Refused(CommandError::not_supported(what)));
        }
    };
    Ok(Invocation::Change(command))
}

/// `-A`, `-E`
fn service_attributes(key: ServiceKey, edit: bool, given: &Given<'_>) -> Result<Invocation, UsageError> {
    let name = given.scheduler_name();
    let flags = sched_flags::parse(given.sched_flags, name)?;
    let Ok(scheduler) = name.parse() else {
        return Ok(Invocation::UnknownScheduler(UnknownScheduler { service: key, edit }));
    };
    let one_packet = given.names.contains(OptionName::Ops);
    let (mss, client_address) = (given.mss, given.client_address);
    let service = VirtualService { key, scheduler, flags, one_packet, mss, client_address };
    Ok(Invocation::Change(if edit { Command::EditService(service) } else { Command::AddService(service) }))
}

fn service_key(given: &Given<'_>) -> Option<ServiceKey> {
    match given.service? {
        GivenService::Address { protocol, address, port } => Some(ServiceKey { protocol, address, port }),
        GivenService::Fwmark { mark, ipv6 } => ServiceKey::marked(mark, ipv6),
    }
}

fn dest_key(given: &Given<'_>) -> Option<DestKey> {
    given.real_server.map(|(address, port)| DestKey { address, port })
}

/// `-a`, `-e`: with direct routing and tunnels the packet arrives with the service's port, whatever `-r` says
/// (ipvs.md §10.3).
fn destination(service: &ServiceKey, mut key: DestKey, given: &Given<'_>) -> Destination {
    let method = given.method.unwrap_or(ForwardingMethod::Dr);
    let maps_ports = matches!(method, ForwardingMethod::Masq | ForwardingMethod::FullNat);
    if !maps_ports && service.mark().is_none() {
        key.port = service.port;
    }
    Destination {
        key,
        method,
        weight: given.weight.unwrap_or(1),
        upper_threshold: given.upper_threshold,
        lower_threshold: given.lower_threshold,
        tunnel: tunnel(given),
    }
}

/// `--tun-*`: after the checks they are there only with `-i`, and only where the kind of tunnel takes them.
const fn tunnel(given: &Given<'_>) -> Tunnel {
    let (port, checksum) = (given.tunnel_port, given.tunnel_checksum);
    match given.tunnel_type {
        TunnelType::Ipip => Tunnel::Ipip,
        TunnelType::Gue => Tunnel::Gue { port, checksum },
        TunnelType::Gre => Tunnel::Gre { checksum },
    }
}

/// The three words after `--set`.
fn timeouts(given: &Given<'_>) -> Result<TimeoutsUpdate, UsageError> {
    let [tcp, tcp_fin, udp, ..] = given.operands.as_slice() else {
        return Err(UsageError::ThreeTimeouts);
    };
    Ok(TimeoutsUpdate {
        tcp_s: given::timeout(tcp, 0)?,
        tcp_fin_s: given::timeout(tcp_fin, 0)?,
        udp_s: given::timeout(udp, 0)?,
    })
}

/// `-L`. Of several tables the first in this order is shown (ipvs.md §10.5).
fn list_request(given: &Given<'_>) -> ListRequest {
    let has = |name| given.names.contains(name);
    let numeric = has(OptionName::Numeric);
    if has(OptionName::Connection) {
        let persistence_data = has(OptionName::PersistentConn);
        return ListRequest::Connections(ConnTable { numeric, persistence_data });
    }
    if has(OptionName::Timeout) {
        return ListRequest::Timeouts;
    }
    if has(OptionName::Daemon) {
        return ListRequest::SyncDaemons;
    }
    let formats = [
        (OptionName::Stats, Format::Stats),
        (OptionName::Rate, Format::Rate),
        (OptionName::Thresholds, Format::Thresholds),
        (OptionName::PersistentConn, Format::PersistentConn),
        (OptionName::TunInfo, Format::TunInfo),
    ];
    let format = formats.into_iter().find(|(name, _)| has(*name)).map_or(Format::Plain, |(_, format)| format);
    ListRequest::Services(ServiceTable {
        service: service_key(given),
        format,
        numeric,
        exact: has(OptionName::Exact),
        sorted: !has(OptionName::NoSort),
    })
}
