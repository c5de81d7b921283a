//! The three names under which the binary is this tool.

use crate::error::{Failure, UsageError};
use crate::parse::{Invocation, parse};
use crate::restore::Rules;
use crate::{Names, help};

/// A program of the ipvsadm package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `ipvsadm`
    Ipvsadm,
    /// `ipvsadm-save`
    Save,
    /// `ipvsadm-restore`
    Restore,
}

impl Tool {
    /// The tool that a program called `program` is, with or without folders before its name.
    #[must_use]
    pub fn named(program: &str) -> Option<Self> {
        match program.rsplit('/').next()? {
            "ipvsadm" => Some(Self::Ipvsadm),
            "ipvsadm-save" => Some(Self::Save),
            "ipvsadm-restore" => Some(Self::Restore),
            _ => None,
        }
    }

    /// Reads the tool's arguments, without its name. The two others than `ipvsadm` take `--help`, and `ipvsadm-save` takes
    /// `-n`; what they don't know they refuse. The scripts of that name ignore it, and so `ipvsadm-restore --help` clears
    /// the table, or waits for rules.
    ///
    /// # Errors
    /// What is to be printed, and the status to exit with.
    pub fn parse<S: AsRef<str>>(self, args: &[S], names: &dyn Names) -> Result<Invocation, Failure> {
        let asks_for_help = || args.iter().any(|arg| matches!(arg.as_ref(), "-h" | "--help"));
        match self {
            Self::Ipvsadm => parse(args, names).map_err(|error: UsageError| Failure::from(&error)),
            Self::Save | Self::Restore if asks_for_help() => Ok(Invocation::Help),
            Self::Save => save(args),
            Self::Restore => match args.first() {
                None => Ok(Invocation::Restore(Rules::Replace)),
                Some(arg) => Err(unexpected(RESTORE_TAKES, arg.as_ref())),
            },
        }
    }

    /// What it prints when it is asked for help.
    #[must_use]
    pub fn help(self) -> String {
        match self {
            Self::Ipvsadm => help::help(),
            Self::Save => SAVE_HELP.to_owned(),
            Self::Restore => RESTORE_HELP.to_owned(),
        }
    }
}

const SAVE_TAKES: &str = "ipvsadm-save: takes -n and --help";
const RESTORE_TAKES: &str = "ipvsadm-restore: takes no arguments but --help, and rules on its standard input";

const SAVE_HELP: &str = "\
Usage: ipvsadm-save [-n] > FILE

Prints the rules that make the present services, for ipvsadm-restore.

  -n, --numeric  addresses and ports as numbers
  -h, --help     print help
";

const RESTORE_HELP: &str = "\
Usage: ipvsadm-restore < FILE

Puts the rules on its standard input, as ipvsadm-save prints them, in place of all services: all of them or, if one is
wrong, none. Lines that begin with # are comments.

  -h, --help     print help
";

fn unexpected(takes: &str, arg: &str) -> Failure {
    Failure { message: format!("{takes}: unexpected argument {arg}"), status: 2 }
}

fn save<S: AsRef<str>>(args: &[S]) -> Result<Invocation, Failure> {
    let is_known = |arg: &&str| matches!(*arg, "-n" | "--numeric");
    match args.iter().map(AsRef::as_ref).find(|arg| !is_known(arg)) {
        None => Ok(Invocation::Save { numeric: !args.is_empty() }),
        Some(arg) => Err(unexpected(SAVE_TAKES, arg)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Numeric;

    #[test]
    fn names_of_the_tools() {
        assert_eq!(Tool::named("ipvsadm"), Some(Tool::Ipvsadm));
        assert_eq!(Tool::named("/usr/sbin/ipvsadm-save"), Some(Tool::Save));
        assert_eq!(Tool::named("./ipvsadm-restore"), Some(Tool::Restore));
        assert_eq!(Tool::named("/usr/bin/rvs"), None);
        assert_eq!(Tool::named(""), None);
    }

    fn refused(message: &str) -> Result<Invocation, Failure> {
        Err(Failure { message: message.to_owned(), status: 2 })
    }

    #[test]
    fn save_takes_one_option() {
        let parse = |args: &[&str]| Tool::Save.parse(args, &Numeric);
        assert_eq!(parse(&[]), Ok(Invocation::Save { numeric: false }));
        assert_eq!(parse(&["-n"]), Ok(Invocation::Save { numeric: true }));
        assert_eq!(parse(&["--numeric"]), Ok(Invocation::Save { numeric: true }));
        assert_eq!(parse(&["-h"]), Ok(Invocation::Help));
        let expected = refused("ipvsadm-save: takes -n and --help: unexpected argument -x");
        assert_eq!(parse(&["-n", "-x"]), expected);
        let expected = refused("ipvsadm-save: takes -n and --help: unexpected argument rules");
        assert_eq!(parse(&["rules"]), expected);
    }

    #[test]
    fn restore_replaces_and_takes_nothing() {
        let parse = |args: &[&str]| Tool::Restore.parse(args, &Numeric);
        assert_eq!(parse(&[]), Ok(Invocation::Restore(Rules::Replace)));
        assert_eq!(parse(&["--help"]), Ok(Invocation::Help));
        assert_eq!(parse(&["-n"]), refused(&format!("{RESTORE_TAKES}: unexpected argument -n")));
    }

    #[test]
    fn each_tool_has_a_help_of_its_own() {
        assert_eq!(Tool::Ipvsadm.help(), help::help());
        for (tool, first) in
            [(Tool::Save, "ipvsadm-save [-n] > FILE"), (Tool::Restore, "ipvsadm-restore < FILE")]
        {
            assert_eq!(tool.help().lines().next(), Some(&*format!("Usage: {first}")));
        }
    }

    #[test]
    fn ipvsadm_fails_with_text_and_status() {
        let failure = Tool::Ipvsadm.parse(&["-A", "-E"], &Numeric);
        assert_eq!(failure, Err(Failure { message: "invalid option `-E'".to_owned(), status: 2 }));
    }
}
