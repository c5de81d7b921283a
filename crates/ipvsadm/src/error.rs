//! What `ipvsadm` says when it can't do something, and the exit status that goes with it.

use core::fmt;

use rvs_config::CommandError;

use crate::table::OptionName;

/// What is printed on standard error, and the status to exit with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The text, without the newline that ends it.
    pub message: String,
    /// The exit status: 1, 2 or 255.
    pub status: u8,
}

impl Failure {
    /// The failure of a change or of anything but a listing (ipvs.md §1.6).
    #[must_use]
    pub fn refused(error: &CommandError) -> Self {
        Self { message: refusal_text(error), status: 255 }
    }

    /// The failure of a listing: a missing service exits 1, not 255 (ipvs.md §1.6).
    #[must_use]
    pub fn not_listed(error: &CommandError) -> Self {
        let status = if matches!(error, CommandError::NoSuchService { .. }) { 1 } else { 255 };
        Self { message: refusal_text(error), status }
    }

    /// The same failure, of a line of `-R`.
    #[must_use]
    pub fn at_line(self, line: usize) -> Self {
        Self { message: format!("line {line}: {}", self.message), ..self }
    }
}

impl From<&UsageError> for Failure {
    fn from(error: &UsageError) -> Self {
        Self { message: error.to_string(), status: error.status() }
    }
}

/// The texts of ipvs.md §1.6. Limits and missing features are rvs's own, so their texts say more.
fn refusal_text(error: &CommandError) -> String {
    match error {
        CommandError::ServiceExists { .. } => "Service already exists".to_owned(),
        CommandError::NoSuchService { .. } => "No such service".to_owned(),
        CommandError::ServiceNotDefined { .. } => "Service not defined".to_owned(),
        CommandError::DestinationExists { .. } => "Destination already exists".to_owned(),
        CommandError::NoSuchDestination { .. } => "No such destination".to_owned(),
        CommandError::SchedulerNotFound => "Scheduler or persistence engine not found".to_owned(),
        CommandError::OutOfRange { .. } => "Numerical result out of range".to_owned(),
        CommandError::Invalid { .. } => {
            "Invalid operation.  Possibly wrong module version, address not unicast, ...".to_owned()
        }
        CommandError::LimitReached { what } => format!("Memory allocation problem: {what}"),
        CommandError::NotSupported { .. } => error.to_string(),
    }
}

/// What is wrong with an option before its meaning is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionProblem {
    /// There is no such option.
    Unknown,
    /// Its value is missing.
    MissingArgument,
    /// It has a value and takes none: `--rate=5`.
    TakesNoArgument,
}

impl fmt::Display for OptionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown option",
            Self::MissingArgument => "missing argument",
            Self::TakesNoArgument => "option does not take an argument",
        })
    }
}

/// For what an option is missing, illegal or in conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// A command, by its name in messages.
    Command(&'static str),
    /// A tunnel type.
    TunnelType(&'static str),
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(name) => write!(f, "'{name}' command"),
            Self::TunnelType(name) => write!(f, "'{name}' tunnel type"),
        }
    }
}

/// A command line that can't be carried out, found without asking the director. `Display` is the text of `ipvsadm`
/// (ipvs.md §10.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsageError {
    /// The first word is not a command.
    NoCommand,
    /// The option parser can't read an option.
    Option {
        /// The whole word.
        word: String,
        /// What is wrong with it.
        problem: OptionProblem,
    },
    /// A second command.
    SecondCommand {
        /// The last word of it.
        word: String,
    },
    /// A word that belongs to nothing.
    UnexpectedArgument {
        /// The word.
        word: String,
    },
    /// An option given twice.
    Multiple(OptionName),
    /// A value that is not what the option takes.
    IllegalValue {
        /// What the message calls the value.
        what: &'static str,
    },
    /// The same, with the value in the message.
    InvalidValue {
        /// What the message calls the value.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// The same, with what was expected: of options that `ipvsadm` itself lacks.
    UnexpectedValue {
        /// What the message calls the value.
        what: &'static str,
        /// The value.
        value: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// A multicast group that is none.
    InvalidGroup {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The value.
        value: String,
    },
    /// A flag of another scheduler.
    IncompatibleSchedulerFlag {
        /// The flag.
        flag: String,
    },
    /// A flag of no scheduler.
    UnknownSchedulerFlag {
        /// The flag.
        flag: String,
    },
    /// `-6` without `-f` before it.
    Ipv6BeforeFwmark,
    /// `--set` with fewer than three words after it.
    ThreeTimeouts,
    /// A service on any port that is not persistent.
    ZeroPort,
    /// `-o` on a TCP or SCTP service.
    OnePacketNotUdp,
    /// `--mss` on a UDP or SCTP service.
    MssNotTcp,
    /// `--client-address proxy` on a UDP or SCTP service.
    ProxyNotTcp,
    /// A destination of another address family without `-i` or `--fullnat`.
    MixedFamilies,
    /// Tunnel options without `-i`.
    TunnelWithoutIpip,
    /// Options of the list command that exclude each other.
    ListConflict,
    /// An option that is needed.
    Missing {
        /// The option.
        option: OptionName,
        /// For what.
        context: Context,
    },
    /// An option that is not taken.
    Illegal {
        /// The option.
        option: OptionName,
        /// By what.
        context: Context,
    },
    /// Two options that exclude each other.
    Conflict {
        /// The later one in the order of the checks.
        option: OptionName,
        /// The earlier one.
        other: OptionName,
        /// In what.
        context: Context,
    },
    /// The command line is right and rvs still can't: an error that a director would give, known beforehand.
    Refused(CommandError),
}

impl UsageError {
    /// The exit status of `ipvsadm`.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::NoCommand | Self::Option { .. } | Self::Refused(_) => 255,
            _ => 2,
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommand => f.write_str("Try `ipvsadm -h' or 'ipvsadm --help' for more information."),
            Self::Option { word, problem } => write!(f, "{word}: {problem}"),
            Self::SecondCommand { word } => write!(f, "invalid option `{word}'"),
            Self::UnexpectedArgument { word } => write!(f, "unexpected argument {word}"),
            Self::Multiple(option) => write!(f, "multiple '{}' options specified", option.text()),
            Self::IllegalValue { what } => write!(f, "illegal {what} specified"),
            Self::InvalidValue { what, value } => write!(f, "invalid {what} value `{value}' specified"),
            Self::UnexpectedValue { what, value, expected } => {
                write!(f, "invalid {what} value `{value}' specified: expected {expected}")
            }
            Self::InvalidGroup { family, value } => write!(f, "invalid {family} mcast-group `{value}'"),
            Self::IncompatibleSchedulerFlag { flag } => write!(f, "incompatible scheduler flag `{flag}'"),
            Self::UnknownSchedulerFlag { flag } => write!(f, "invalid scheduler flag `{flag}'"),
            // With the empty line that ipvsadm prints after it.
            Self::Ipv6BeforeFwmark => f.write_str("-6 used before -f\n"),
            Self::ThreeTimeouts => f.write_str("--set option requires 3 timeout values"),
            Self::ZeroPort => f.write_str("Zero port specified for non-persistent service"),
            Self::OnePacketNotUdp => f.write_str("One-Packet Scheduling is only for UDP virtual services"),
            Self::MssNotTcp => f.write_str("A maximum segment size is only for TCP virtual services"),
            Self::ProxyNotTcp => f.write_str("The PROXY protocol is only for TCP virtual services"),
            Self::MixedFamilies => {
                f.write_str("Different address family is allowed only for tunneling servers")
            }
            Self::TunnelWithoutIpip => f.write_str("Tunnel options conflict with forward method"),
            Self::ListConflict => f.write_str("options conflicts in the list command"),
            Self::Missing { option, context } => {
                write!(f, "You need to supply the '{}' option for the {context}", option.text())
            }
            Self::Illegal { option, context } => {
                write!(f, "Illegal '{}' option with the {context}", option.text())
            }
            Self::Conflict { option, other, context } => {
                let (option, other) = (option.text(), other.text());
                write!(f, "The option '{option}' conflicts with the '{other}' option in the {context}")
            }
            Self::Refused(error) => f.write_str(&refusal_text(error)),
        }
    }
}

impl core::error::Error for UsageError {}
