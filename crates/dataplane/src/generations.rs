//! Which programs call which.
//!
//! The programs of interfaces call those behind them by way of an array. The kernel empties an array as soon as neither a
//! process nor a pin holds it, even while programs that hang on interfaces still call by it. So each start pins the arrays
//! that it made, under names that say for which programs, and those whose programs are gone are removed.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use crate::bpf;
use crate::error::{Error, Result};

/// The pins' directory, below the instance's.
const DIRECTORY: &str = "programs";

/// Pins an array under its name and the numbers of the programs that call by it.
pub(crate) fn pin(instance: &Path, array: &str, callers: &[u32], map: BorrowedFd<'_>) -> Result<()> {
    let directory = directory(instance);
    let numbers: Vec<_> = callers.iter().map(u32::to_string).collect();
    let made = match fs::create_dir(&directory) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => bpf::pin(map, &directory.join(format!("{array}-{}", numbers.join("-")))),
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
        if callers(&entry.file_name().to_string_lossy()).into_iter().all(bpf::is_no_program) {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn directory(instance: &Path) -> PathBuf {
    instance.join(DIRECTORY)
}

/// The numbers in a pin's name.
fn callers(name: &str) -> Vec<u32> {
    name.split('-').skip(1).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pins_name_says_for_which_programs_it_is() {
        assert_eq!(callers("PROGRAMS_XDP-17-18-4711"), [17, 18, 4711]);
        assert!(callers("PROGRAMS_XDP").is_empty());
    }
}
