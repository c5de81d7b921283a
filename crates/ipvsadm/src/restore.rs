//! `ipvsadm -R` and `ipvsadm-restore`. `ipvsadm` runs the lines one by one and leaves a half-made table behind if one
//! fails (ipvs.md §10.6). Here all lines together are one transaction: the first bad one is named, and nothing is done.

use core::fmt;

use rvs_config::{Command, CommandError};

use crate::Names;
use crate::error::{Failure, UsageError};
use crate::parse::{Invocation, parse};

/// How the rules are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// `ipvsadm -R`: to what there is.
    Add,
    /// `ipvsadm-restore`: in place of what there is. Lines that begin with `#` are comments.
    Replace,
}

/// The first line that can't be a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// Its number, from 1.
    pub line: usize,
    /// What `ipvsadm` would say about it.
    pub error: UsageError,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.error)
    }
}

impl core::error::Error for LineError {}

impl From<&LineError> for Failure {
    fn from(error: &LineError) -> Self {
        Self::from(&error.error).at_line(error.line)
    }
}

/// Reads rules: the change that each line asks for, with the line's number for [`Failure::at_line`]. The
/// [`Command::Clear`] that [`Rules::Replace`] begins with has number 0.
///
/// Words are separated by blanks and tabs, the word `ipvsadm` is left out, empty lines are skipped; there is no quoting.
///
/// # Errors
/// The first line that [`parse`] refuses, or that asks for something other than a change. A scheduler that rvs doesn't
/// have is an error whether or not its service exists.
pub fn restore(text: &str, rules: Rules, names: &dyn Names) -> Result<Vec<(usize, Command)>, LineError> {
    let mut commands = Vec::new();
    if rules == Rules::Replace {
        commands.push((0, Command::Clear));
    }
    let mut words = Vec::new();
    for (line, text) in (1..).zip(text.split('\n')) {
        if rules == Rules::Replace && text.starts_with('#') {
            continue;
        }
        words.clear();
        words.extend(text.split([' ', '\t', '\r']).filter(|word| !word.is_empty() && *word != "ipvsadm"));
        if !words.is_empty() {
            commands.push((line, rule(&words, names).map_err(|error| LineError { line, error })?));
        }
    }
    Ok(commands)
}

fn rule(words: &[&str], names: &dyn Names) -> Result<Command, UsageError> {
    match parse(words, names)? {
        Invocation::Change(command) => Ok(command),
        Invocation::UnknownScheduler(_) => Err(UsageError::Refused(CommandError::SchedulerNotFound)),
        // In `ipvsadm` too, -R is no command within -R.
        Invocation::Restore(_) => Err(UsageError::NoCommand),
        Invocation::List(_) | Invocation::Save { .. } | Invocation::Help | Invocation::Version => {
            let what = format_args!("{} among rules", words[0]);
            Err(UsageError::Refused(CommandError::not_supported(what)))
        }
    }
}
