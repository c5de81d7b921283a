//! Where the control socket is.

use std::env;
use std::path::{Path, PathBuf};

use rvs_control::{Client, Error};
use rvs_dataplane::Error as DataplaneError;

/// Name of an instance that has no other.
pub(crate) const DEFAULT_INSTANCE: &str = "director";
/// Folder of the sockets.
const FOLDER: &str = "/run/rvs";
/// Names the socket to clients.
const VARIABLE: &str = "RVS_SOCKET";
/// Longest name of an instance.
const INSTANCE_LEN_MAX: usize = 64;

/// Which director.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Which {
    /// Control socket [default: /run/rvs/INSTANCE.sock; for clients without --instance, what RVS_SOCKET says]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Name that tells several directors on one machine apart [default: director]
    #[arg(long, value_name = "NAME", value_parser = instance_name)]
    instance: Option<String>,
}

impl Which {
    /// The instance's name.
    pub(crate) fn instance(&self) -> &str {
        self.instance.as_deref().unwrap_or(DEFAULT_INSTANCE)
    }

    /// The socket that a director makes.
    pub(crate) fn of_director(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| default_path(self.instance()))
    }

    /// Whether the arguments name an instance.
    pub(crate) fn names_instance(&self) -> bool {
        self.instance.is_some()
    }

    /// Whether the variable names a socket, and is not asked because the arguments name an instance: what is typed goes
    /// before what is set. `--instance` would otherwise be without effect to a client, or two directors be mixed up.
    pub(crate) fn overrides_variable(&self) -> bool {
        self.socket.is_none()
            && self.instance.is_some()
            && env::var_os(VARIABLE).is_some_and(|path| !path.is_empty())
    }

    /// The socket that a client opens: as the arguments say, or else the variable `RVS_SOCKET`, or else the default.
    pub(crate) fn of_client(&self) -> PathBuf {
        self.client_path(env::var_os(VARIABLE).map(PathBuf::from))
    }

    fn client_path(&self, variable: Option<PathBuf>) -> PathBuf {
        match (&self.socket, &self.instance, variable) {
            (Some(socket), _, _) => socket.clone(),
            (None, None, Some(path)) if !path.as_os_str().is_empty() => path,
            (None, _, _) => default_path(self.instance()),
        }
    }

    /// A client of the running director.
    ///
    /// # Errors
    /// When there is none, or it does not let this user in.
    pub(crate) fn connect(&self) -> Result<Client, Error> {
        Client::connect(self.of_client())
    }
}

fn default_path(instance: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{instance}.sock"))
}

/// A name becomes a file name here and in the BPF file system, where `rvs-dataplane` has the same rule.
pub(crate) fn instance_name(name: &str) -> Result<String, DataplaneError> {
    let fits = (1..=INSTANCE_LEN_MAX).contains(&name.len());
    if fits && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        Ok(name.to_owned())
    } else {
        Err(DataplaneError::InstanceName { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(socket: Option<&str>, instance: Option<&str>) -> Which {
        Which { socket: socket.map(PathBuf::from), instance: instance.map(str::to_owned) }
    }

    #[test]
    fn arguments_go_before_the_variable() {
        let path = |socket, instance, variable: Option<&str>| {
            let path = args(socket, instance).client_path(variable.map(PathBuf::from));
            path.to_string_lossy().into_owned()
        };
        assert_eq!(path(None, None, None), "/run/rvs/director.sock");
        assert_eq!(path(None, None, Some("/x")), "/x");
        assert_eq!(path(None, None, Some("")), "/run/rvs/director.sock");
        assert_eq!(path(None, Some("a"), Some("/x")), "/run/rvs/a.sock");
        assert_eq!(path(Some("/y"), Some("a"), Some("/x")), "/y");
    }

    #[test]
    fn directors_take_no_notice_of_the_variable() {
        assert_eq!(args(None, None).of_director(), Path::new("/run/rvs/director.sock"));
        assert_eq!(args(None, Some("a")).of_director(), Path::new("/run/rvs/a.sock"));
        assert_eq!(args(Some("/y"), Some("a")).of_director(), Path::new("/y"));
    }

    #[test]
    fn names_of_instances_are_file_names() {
        assert!(instance_name("edge-1_a").is_ok());
        for bad in ["", "a/b", "..", "a b", &"x".repeat(INSTANCE_LEN_MAX + 1)] {
            assert!(instance_name(bad).is_err(), "{bad}");
        }
    }
}
