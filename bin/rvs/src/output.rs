//! Printing.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process;

use anyhow::{Context, Result};
use serde::Serialize;

/// Writes to standard output. A reader that went away ends the program quietly, as `head` does to whatever writes to it.
///
/// # Errors
/// When it can't be written for any other reason, such as a full disk.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    done(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Ends a write to standard output.
///
/// # Errors
/// See [`print()`].
pub(crate) fn done(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
        result => result.context("standard output"),
    }
}

/// Prints a value as JSON, for people and programs: indented, in the order of its fields.
///
/// # Errors
/// See [`print()`].
pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("JSON")?;
    text.push('\n');
    print(&text)
}

/// Arguments as text; what is not UTF-8 can't name anything and is refused as unknown by whoever reads it.
pub(crate) fn lossy(args: impl IntoIterator<Item = OsString>) -> Vec<String> {
    args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
}

/// A text without line breaks: causes of errors may have brought some.
pub(crate) fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

/// A number of things: `1 service`, `2 services`.
pub(crate) fn count(number: impl Into<u64>, thing: &str) -> String {
    match number.into() {
        1 => format!("1 {thing}"),
        number => format!("{number} {thing}s"),
    }
}

/// A time for people: its two largest units.
pub(crate) fn duration(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min {} s", secs % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        let texts = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_599, "59 min 59 s"),
            (3_600, "1 h 0 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
        ];
        for (secs, text) in texts {
            assert_eq!(duration(secs), text);
        }
    }

    #[test]
    fn one_thing_is_singular() {
        assert_eq!([0_u64, 1, 2].map(|n| count(n, "service")), ["0 services", "1 service", "2 services"]);
    }

    #[test]
    fn lines_become_one() {
        assert_eq!(one_line("load: refused\n  R2 !read_ok\n\n"), "load: refused R2 !read_ok");
    }
}
