//! Which programs call which.
//!
//! The programs of interfaces call those behind them by way of an array. The kernel empties an array as soon as neither a
//! process nor a pin holds it, even while programs that hang on interfaces still call by it. So an array is pinned for each
//! program that calls by it, under a name that says for which, and those whose program is gone are removed.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use crate::bpf;
use crate::error::{Error, Result};

/// The pins' directory, below the instance's.
const DIRECTORY: &str = "programs";

/// Pins an array under its name and the number of a program that calls by it.
pub(crate) fn pin(instance: &Path, array: &str, caller: u32, map: BorrowedFd<'_>) -> Result<()> {
    let directory = directory(instance);
    let made = match fs::create_dir(&directory) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => bpf::pin(map, &directory.join(format!("{array}-{caller}"))),
    };
    made.map_err(|e| Error::system(format!("pin map {array}"), e))
}

/// Removes the arrays that no program calls by any more. Without the right to know (`CAP_SYS_ADMIN`) they stay.
pub(crate) fn tidy(instance: &Path) -> Result<()> {
    let failed = |e| Error::system("tidy the pins of programs", e);
    let entries = match fs::read_dir(directory(instance)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if caller(&entry.file_name().to_string_lossy()).is_none_or(bpf::is_no_program) {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn directory(instance: &Path) -> PathBuf {
    instance.join(DIRECTORY)
}

/// The number in a pin's name.
fn caller(name: &str) -> Option<u32> {
    name.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pins_name_says_for_which_program_it_is() {
        assert_eq!(caller("PROGRAMS_XDP-4711"), Some(4711));
        assert_eq!(caller("PROGRAMS_XDP"), None);
    }
}
