//! Why a command could not be carried out. The texts for `ipvsadm` are those of ipvs.md §1.6; `Display` names the
//! object as well, for everybody else.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{DestKey, ServiceKey};

/// A refused command. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "kebab-case")]
pub enum CommandError {
    /// `-A` of a service that exists (EEXIST).
    ServiceExists {
        /// Which.
        service: ServiceKey,
    },
    /// `-E`, `-D`, `-Z`, listing of a service that does not exist (ESRCH).
    NoSuchService {
        /// Which.
        service: ServiceKey,
    },
    /// `-a`, `-e`, `-d` on a service that does not exist (ESRCH).
    ServiceNotDefined {
        /// Which.
        service: ServiceKey,
    },
    /// `-a` of a destination that exists (EEXIST).
    DestinationExists {
        /// Its service.
        service: ServiceKey,
        /// Which.
        destination: DestKey,
    },
    /// `-e`, `-d` of a destination that does not exist (ENOENT).
    NoSuchDestination {
        /// Its service.
        service: ServiceKey,
        /// Which.
        destination: DestKey,
    },
    /// The scheduler's name is not known (ENOENT).
    SchedulerNotFound,
    /// Thresholds or weight out of range (ERANGE).
    OutOfRange {
        /// Which value of which object, and what was expected.
        what: String,
    },
    /// Anything else that IPVS answers with EINVAL: address not unicast, family rules.
    Invalid {
        /// Which object, and what was expected.
        what: String,
    },
    /// A limit of this director is reached (ENOMEM).
    LimitReached {
        /// Which, and how much it is.
        what: String,
    },
    /// IPVS knows this, this version of rvs does not yet.
    NotSupported {
        /// What; a whole sentence, as for the others.
        what: String,
    },
}

impl CommandError {
    /// A [`CommandError::NotSupported`] that says so of `what`, a noun.
    #[must_use]
    pub fn not_supported(what: impl fmt::Display) -> Self {
        Self::NotSupported { what: format!("{what}: not supported by this version of rvs") }
    }

    /// A [`CommandError::Invalid`] with this text.
    pub(crate) fn invalid(what: fmt::Arguments<'_>) -> Self {
        Self::Invalid { what: what.to_string() }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceExists { service } => write!(f, "service {service}: already exists"),
            Self::NoSuchService { service } => write!(f, "service {service}: no such service"),
            Self::ServiceNotDefined { service } => write!(f, "service {service}: not defined"),
            Self::DestinationExists { service, destination } => {
                write!(f, "destination {destination} of service {service}: already exists")
            }
            Self::NoSuchDestination { service, destination } => {
                write!(f, "destination {destination} of service {service}: no such destination")
            }
            Self::SchedulerNotFound => f.write_str("scheduler not found"),
            Self::OutOfRange { what }
            | Self::Invalid { what }
            | Self::LimitReached { what }
            | Self::NotSupported { what } => f.write_str(what),
        }
    }
}

impl core::error::Error for CommandError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use super::*;

    #[test]
    fn texts_name_the_object() {
        let service = "10.0.0.1:80/tcp".parse().unwrap();
        let destination = "10.0.0.2:80".parse().unwrap();
        let what = || "IPv6".to_owned();
        let texts = [
            (CommandError::ServiceExists { service }, "service 10.0.0.1:80/tcp: already exists"),
            (CommandError::NoSuchService { service }, "service 10.0.0.1:80/tcp: no such service"),
            (CommandError::ServiceNotDefined { service }, "service 10.0.0.1:80/tcp: not defined"),
            (
                CommandError::DestinationExists { service, destination },
                "destination 10.0.0.2:80 of service 10.0.0.1:80/tcp: already exists",
            ),
            (
                CommandError::NoSuchDestination { service, destination },
                "destination 10.0.0.2:80 of service 10.0.0.1:80/tcp: no such destination",
            ),
            (CommandError::LimitReached { what: what() }, "IPv6"),
            (CommandError::not_supported("IPv6"), "IPv6: not supported by this version of rvs"),
        ];
        for (error, text) in texts {
            assert_eq!(error.to_string(), text);
        }
    }
}
