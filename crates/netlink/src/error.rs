//! What can go wrong, named after the operation and its object.

use std::fmt;
use std::io;

use nix::errno::Errno;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation. The text is one line: operation, object, reason.
#[derive(Debug)]
pub enum Error {
    /// The kernel refused a netlink request, or the socket failed while it was made.
    Request {
        /// What was asked, with the object's name: `create veth c0/d0`.
        operation: String,
        /// The kernel's error number.
        source: io::Error,
        /// The kernel's own sentence (extended acknowledgement), where it gave one.
        detail: Option<String>,
    },
    /// The kernel's answer could not be understood.
    Reply {
        /// What was asked.
        operation: String,
        /// Which part of the answer made no sense.
        reason: String,
    },
    /// No link has this name in the handle's namespace.
    NoSuchLink {
        /// The name looked for.
        name: String,
    },
    /// A network namespace could not be made, opened, entered or removed.
    Namespace {
        /// What was tried: `create`, `enter`, ...
        operation: &'static str,
        /// Name or path of the namespace.
        name: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program could not be started in a network namespace.
    Spawn {
        /// The program.
        program: String,
        /// Name or path of the namespace.
        namespace: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A file below `/proc/sys` could not be read or written.
    Sysctl {
        /// What was tried: `read`, or `set to VALUE`.
        operation: String,
        /// Path below `/proc/sys`.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A device feature kept its value: the driver fixes it, or another feature it needs is off.
    FeatureFixed {
        /// Name of the feature, as `ethtool -k` prints the kernel's names.
        feature: String,
        /// Index of the link.
        ifindex: u32,
        /// The value that was asked for.
        wanted: bool,
    },
}

impl Error {
    /// The kernel's error kind where the failure came with one, for callers that tell "exists already" from the rest.
    #[must_use]
    pub fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Request { source, .. }
            | Self::Namespace { source, .. }
            | Self::Spawn { source, .. }
            | Self::Sysctl { source, .. } => Some(source.kind()),
            Self::NoSuchLink { .. } => Some(io::ErrorKind::NotFound),
            Self::Reply { .. } | Self::FeatureFixed { .. } => None,
        }
    }

    /// The error number the kernel gave, if the failure came from there.
    #[must_use]
    pub fn os_error(&self) -> Option<i32> {
        match self {
            Self::Request { source, .. }
            | Self::Namespace { source, .. }
            | Self::Spawn { source, .. }
            | Self::Sysctl { source, .. } => source.raw_os_error(),
            Self::NoSuchLink { .. } | Self::Reply { .. } | Self::FeatureFixed { .. } => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { operation, source, detail: None } => write!(f, "{operation}: {}", Reason(source)),
            Self::Request { operation, source, detail: Some(detail) } => {
                write!(f, "{operation}: {} ({detail})", Reason(source))
            }
            Self::Reply { operation, reason } => write!(f, "{operation}: unexpected answer: {reason}"),
            Self::NoSuchLink { name } => write!(f, "link {name}: no such link in this network namespace"),
            Self::Namespace { operation, name, source } => {
                write!(f, "{operation} network namespace {name}: {}", Reason(source))
            }
            Self::Spawn { program, namespace, source } => {
                write!(f, "start {program} in network namespace {namespace}: {}", Reason(source))
            }
            Self::Sysctl { operation, path, source } => {
                write!(f, "sysctl {path}: {operation}: {}", Reason(source))
            }
            Self::FeatureFixed { feature, ifindex, wanted } => {
                let (wanted, actual) = if *wanted { ("on", "off") } else { ("off", "on") };
                write!(f, "feature {feature} of link {ifindex}: asked for {wanted}, stays {actual}")
            }
        }
    }
}

impl std::error::Error for Error {
    // The cause is part of the text already, so a chain printer would say it twice.
}

/// Text of an `io::Error` without the "(os error 17)" that the standard library appends.
struct Reason<'a>(&'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.raw_os_error() {
            Some(number) => f.write_str(Errno::from_raw(number).desc()),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_operation_object_reason() {
        let source = io::Error::from_raw_os_error(Errno::EEXIST as i32);
        let operation = "create veth c0/d0".to_owned();
        let error = Error::Request { operation: operation.clone(), source, detail: None };
        assert_eq!(error.to_string(), "create veth c0/d0: File exists");
        assert_eq!(error.kind(), Some(io::ErrorKind::AlreadyExists));

        let source = io::Error::from_raw_os_error(Errno::ENETUNREACH as i32);
        let detail = Some("Nexthop has invalid gateway".to_owned());
        let error = Error::Request { operation, source, detail };
        assert_eq!(
            error.to_string(),
            "create veth c0/d0: Network is unreachable (Nexthop has invalid gateway)"
        );
    }
}
