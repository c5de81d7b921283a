//! The commands.

use super::{OptionName, Value};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// `-A`
    AddService,
    /// `-E`
    EditService,
    /// `-D`
    DeleteService,
    /// `-C`
    Flush,
    /// `-R`
    Restore,
    /// `-S`
    Save,
    /// `-a`
    AddServer,
    /// `-e`
    EditServer,
    /// `-d`
    DeleteServer,
    /// `-L`, `-l`
    List,
    /// `-Z`
    Zero,
    /// `--set`
    Set,
    /// `--start-daemon`
    StartDaemon,
    /// `--stop-daemon`
    StopDaemon,
    /// `-h`
    Help,
    /// `-v`
    Version,
}

/// A row of [`COMMANDS`].
#[derive(Debug, Clone, Copy)]
pub struct CommandSpec {
    /// Which command.
    pub verb: Verb,
    /// What messages call it (CMD of ipvs.md §10.4).
    pub name: &'static str,
    /// The letters it has; the first is the one the help text explains.
    pub shorts: &'static [char],
    /// The word after `--`.
    pub long: &'static str,
    /// The value it takes.
    pub value: Value,
    /// Words after it that are not options, as the help text shows them.
    pub operands: &'static str,
    /// Options without which it fails.
    pub requires: &'static [OptionName],
    /// One line for the help text.
    pub help: &'static str,
    /// Whether this version of rvs can do it. If not, it is parsed and checked, and then refused.
    pub supported: bool,
}

const SERVICE: &[OptionName] = &[OptionName::ServiceAddress];
const SERVER: &[OptionName] = &[OptionName::ServiceAddress, OptionName::RealServer];

const fn command(verb: Verb, name: &'static str, shorts: &'static [char], long: &'static str) -> CommandSpec {
    CommandSpec {
        verb,
        name,
        shorts,
        long,
        value: Value::None,
        operands: "",
        requires: &[],
        help: "",
        supported: true,
    }
}

impl CommandSpec {
    const fn requires(mut self, names: &'static [OptionName]) -> Self {
        self.requires = names;
        self
    }

    const fn value(mut self, value: Value) -> Self {
        self.value = value;
        self
    }

    const fn operands(mut self, operands: &'static str) -> Self {
        self.operands = operands;
        self
    }

    const fn not_yet(mut self) -> Self {
        self.supported = false;
        self
    }

    const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }
}

/// Every command, in the order of [`Verb`].
pub const COMMANDS: &[CommandSpec] = &[
    command(Verb::AddService, "add-service", &['A'], "add-service")
        .requires(SERVICE)
        .help("add a virtual service"),
    command(Verb::EditService, "edit-service", &['E'], "edit-service")
        .requires(SERVICE)
        .help("replace scheduler and flags of a virtual service"),
    command(Verb::DeleteService, "delete-service", &['D'], "delete-service")
        .requires(SERVICE)
        .help("delete a virtual service and its destinations"),
    command(Verb::Flush, "flush", &['C'], "clear").help("delete every virtual service"),
    command(Verb::Restore, "restore", &['R'], "restore")
        .help("apply rules from standard input, all of them or none"),
    command(Verb::Save, "save", &['S'], "save").help("print the rules that make the present services"),
    command(Verb::AddServer, "add-server", &['a'], "add-server")
        .requires(SERVER)
        .help("add a destination to a virtual service"),
    command(Verb::EditServer, "edit-server", &['e'], "edit-server")
        .requires(SERVER)
        .help("replace method, weight, thresholds and tunnel of a destination"),
    command(Verb::DeleteServer, "delete-server", &['d'], "delete-server")
        .requires(SERVER)
        .help("delete a destination"),
    command(Verb::List, "list", &['L', 'l'], "list").help("list one virtual service, or everything"),
    command(Verb::Zero, "zero", &['Z'], "zero").help("zero the counters of one virtual service, or all"),
    command(Verb::Set, "set", &[], "set")
        .operands("tcp tcpfin udp")
        .help("set connection time-outs in seconds; 0 keeps one"),
    command(Verb::StartDaemon, "start-daemon", &[], "start-daemon")
        .value(Value::Required("master|backup"))
        .help("start synchronising connections")
        .not_yet(),
    command(Verb::StopDaemon, "stop-daemon", &[], "stop-daemon")
        .value(Value::Required("master|backup"))
        .help("stop synchronising connections")
        .not_yet(),
    command(Verb::Help, "help", &['h'], "help").help("print this text"),
    command(Verb::Version, "version", &['v'], "version").help("print the version"),
];
