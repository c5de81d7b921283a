//! What can go wrong with the virtual machine.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What can go wrong with the virtual machine. That the command in it fails is no error: see [`crate::Outcome`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// We are in the virtual machine already; it can't hold another.
    Inside,
    /// A program of this machine is missing.
    ProgramMissing {
        /// Name of the program.
        program: &'static str,
        /// Debian package which holds it.
        package: &'static str,
    },
    /// A program of this machine failed.
    ProgramFailed {
        /// Program and arguments.
        command: String,
        /// What it said, or why it could not start.
        complaint: String,
    },
    /// A file or folder could not be read or written.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The package of the kernel doesn't hold what it should.
    KernelIncomplete {
        /// What is missing.
        missing: String,
    },
    /// The command did not end in time; the machine was stopped.
    TimedOut {
        /// The limit.
        limit: Duration,
        /// What the command had printed so far.
        output: String,
    },
    /// The machine stopped before the command ended.
    Stopped {
        /// The last lines of the kernel's console.
        console: String,
    },
}

impl Error {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::File { path: path.to_owned(), source }
    }

    pub(crate) fn program(command: &Command, complaint: impl fmt::Display) -> Self {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let command = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        Self::ProgramFailed { command, complaint: complaint.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inside => f.write_str("reference VM: this is the virtual machine already"),
            Self::ProgramMissing { program, package } => {
                write!(f, "reference VM: program {program} not found; Debian package {package} holds it")
            }
            Self::ProgramFailed { command, complaint } => {
                write!(f, "reference VM: {command} failed: {complaint}")
            }
            Self::File { path, .. } => write!(f, "reference VM: can't use {}", path.display()),
            Self::KernelIncomplete { missing } => {
                write!(f, "reference VM: the kernel's package holds no {missing}")
            }
            Self::TimedOut { limit, .. } => write!(f, "reference VM: no end after {} s", limit.as_secs()),
            Self::Stopped { console } => {
                write!(
                    f,
                    "reference VM: the kernel stopped before the command ended; its last words:\n{console}"
                )
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}
