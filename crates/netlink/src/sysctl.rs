//! Kernel parameters below `/proc/sys`, of the calling thread's network namespace.
//!
//! `/proc/sys/net` shows the namespace of the thread that opens the file, so these functions need no path per
//! namespace: run them inside [`Netns::enter`](crate::Netns::enter), or use [`Netns::sysctl`](crate::Netns::sysctl).
//!
//! Paths are written with slashes (`net/ipv4/conf/eth0/rp_filter`), because names of links may contain dots.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use crate::error::{Error, Result};

const ROOT: &str = "/proc/sys";

/// Whether the running kernel has this parameter.
#[must_use]
pub fn exists(path: &str) -> bool {
    fs::exists(format!("{ROOT}/{path}")).unwrap_or(false)
}

/// The parameter's value, without the closing newline.
pub fn read(path: &str) -> Result<String> {
    let value = fs::read_to_string(format!("{ROOT}/{path}")).map_err(|source| Error::Sysctl {
        operation: "read".to_owned(),
        path: path.to_owned(),
        source,
    })?;
    Ok(value.trim_end().to_owned())
}

/// Sets a parameter.
pub fn write(path: &str, value: &str) -> Result<()> {
    let try_write = || -> io::Result<()> {
        // Never created: a parameter that does not exist is an error, not a new file.
        let mut file = OpenOptions::new().write(true).open(format!("{ROOT}/{path}"))?;
        file.write_all(value.as_bytes())
    };
    try_write().map_err(|source| Error::Sysctl {
        operation: format!("set to {value}"),
        path: path.to_owned(),
        source,
    })
}
