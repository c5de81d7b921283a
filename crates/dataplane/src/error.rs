//! What can go wrong between this crate and the kernel.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation. The text is one line that names the object.
#[derive(Debug)]
pub enum Error {
    /// The name of an instance is not one.
    InstanceName {
        /// The name.
        name: String,
    },
    /// The data plane can't be made that large.
    Capacity {
        /// Which capacity, and what is expected.
        reason: String,
    },
    /// There is no BPF file system to keep the state in.
    Bpffs {
        /// Where it was looked for.
        path: PathBuf,
        /// Why there is none.
        reason: String,
    },
    /// Another process works on the instance.
    Locked {
        /// Name of the instance.
        instance: String,
        /// The process that holds the lock, if it can be seen from here.
        pid: Option<u32>,
    },
    /// Maps of another layout are pinned.
    AbiVersion {
        /// Name of the instance.
        instance: String,
        /// Version of the pinned maps.
        found: u32,
        /// Version that this program knows.
        expected: u32,
    },
    /// The pinned maps don't belong together.
    Inconsistent {
        /// Where they are pinned.
        directory: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A pinned map of the agent is of another layout.
    Outdated {
        /// Where it is pinned.
        pin: PathBuf,
    },
    /// Programs can't hang on a cgroup, or it can't be looked into.
    Cgroup {
        /// Its directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// More directors than there is room for.
    TooManyDirectors {
        /// How many.
        count: usize,
        /// How many there may be.
        max: u32,
    },
    /// More addresses whose listeners have a segment size than there is room for.
    TooManyAddresses {
        /// How many.
        count: usize,
        /// How many there may be.
        max: u32,
    },
    /// The kernel refused a map or a program.
    Load {
        /// Name of the program, or `maps`.
        object: String,
        /// The kernel's reason.
        reason: String,
        /// What the verifier said.
        log: VerifierLog,
    },
    /// No interface of that name or number in the network namespace.
    NoSuchInterface {
        /// The name, or the number.
        interface: String,
    },
    /// Frames of the interface have no Ethernet header.
    NotEthernet {
        /// Name of the interface.
        interface: String,
    },
    /// A program could not be attached.
    Attach {
        /// Name of the interface.
        interface: String,
        /// `XDP`, `generic XDP` or `TC`.
        hook: &'static str,
        /// Why not.
        reason: String,
    },
    /// The system refused something else.
    System {
        /// What was tried, with the name of the object.
        operation: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// The verifier's whole log; empty where it has not spoken.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct VerifierLog(pub String);

impl fmt::Debug for VerifierLog {
    /// Its size only: logs have megabytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierLog({} bytes)", self.0.len())
    }
}

impl Error {
    /// The verifier's whole log, if it refused a program: many lines, for a bug report.
    #[must_use]
    pub fn verifier_log(&self) -> Option<&str> {
        match self {
            Self::Load { log: VerifierLog(log), .. } if !log.is_empty() => Some(log),
            _ => None,
        }
    }

    pub(crate) fn system(operation: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { operation: operation.into(), source: source.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InstanceName { name } => {
                write!(f, "instance {name:?}: expected 1 to 64 letters, digits, '-' and '_'")
            }
            Self::Capacity { reason } => write!(f, "capacity: {reason}"),
            Self::Bpffs { path, reason } => write!(f, "no BPF file system at {}: {reason}", path.display()),
            Self::Locked { instance, pid: Some(pid) } => {
                write!(f, "instance {instance} is in use by process {pid}")
            }
            Self::Locked { instance, pid: None } => {
                write!(f, "instance {instance} is in use by a process of another PID namespace")
            }
            Self::AbiVersion { instance, found, expected } => write!(
                f,
                "instance {instance}: its maps have layout version {found}, this program has version {expected}; \
                 run the version of rvs that made them, or remove them with `rvs director --stop` (which ends their \
                 connections) and start again"
            ),
            Self::Inconsistent { directory, reason } => write!(
                f,
                "pinned maps in {}: {reason}; remove them with `rvs director --stop` and start again",
                directory.display()
            ),
            Self::Outdated { pin } => write!(
                f,
                "pinned map {}: it is of another version of rvs; remove it with `rvs agent --client-address --stop` \
                 and start again",
                pin.display()
            ),
            Self::Cgroup { path, reason } => write!(f, "cgroup {}: {reason}", path.display()),
            Self::TooManyDirectors { count, max } => write!(f, "{count} directors: expected {max} at most"),
            Self::TooManyAddresses { count, max } => write!(f, "{count} addresses: expected {max} at most"),
            Self::Load { object, reason, .. } => write!(f, "load {object}: {reason}"),
            Self::NoSuchInterface { interface } => write!(f, "interface {interface}: there is none"),
            Self::NotEthernet { interface } => {
                write!(
                    f,
                    "interface {interface}: its frames have no Ethernet header, which the programs need"
                )
            }
            Self::Attach { interface, hook, reason } => {
                write!(f, "interface {interface}: can't attach {hook}: {reason}")
            }
            Self::System { operation, source } => write!(f, "{operation}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}
