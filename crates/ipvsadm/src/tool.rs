//! The three names under which the binary is this tool.

use crate::Names;
use crate::error::{Failure, UsageError};
use crate::parse::{Invocation, parse};
use crate::restore::Rules;

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

    /// Reads the tool's arguments, without its name. `ipvsadm-save` takes `-n` and ignores words that are no options;
    /// `ipvsadm-restore` ignores everything.
    ///
    /// # Errors
    /// What is to be printed, and the status to exit with.
    pub fn parse<S: AsRef<str>>(self, args: &[S], names: &dyn Names) -> Result<Invocation, Failure> {
        match self {
            Self::Ipvsadm => parse(args, names).map_err(|error: UsageError| Failure::from(&error)),
            Self::Save => save(args),
            Self::Restore => Ok(Invocation::Restore(Rules::Replace)),
        }
    }
}

fn save<S: AsRef<str>>(args: &[S]) -> Result<Invocation, Failure> {
    let mut numeric = false;
    for arg in args.iter().map(AsRef::as_ref).take_while(|arg| arg.starts_with('-')) {
        if arg != "-n" {
            let message =
                "ipvsadm-save: prints the rules that make the present services; takes -n: as numbers";
            return Err(Failure { message: message.to_owned(), status: 1 });
        }
        numeric = true;
    }
    Ok(Invocation::Save { numeric })
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

    #[test]
    fn save_takes_one_option() {
        let parse = |args: &[&str]| Tool::Save.parse(args, &Numeric);
        assert_eq!(parse(&[]), Ok(Invocation::Save { numeric: false }));
        assert_eq!(parse(&["-n"]), Ok(Invocation::Save { numeric: true }));
        assert_eq!(parse(&["-n", "word"]), Ok(Invocation::Save { numeric: true }));
        assert_eq!(parse(&["--numeric"]).map_err(|failure| failure.status), Err(1));
    }

    #[test]
    fn restore_replaces() {
        let parsed = Tool::Restore.parse(&["-n"], &Numeric);
        assert_eq!(parsed, Ok(Invocation::Restore(Rules::Replace)));
    }

    #[test]
    fn ipvsadm_fails_with_text_and_status() {
        let failure = Tool::Ipvsadm.parse(&["-A", "-E"], &Numeric);
        assert_eq!(failure, Err(Failure { message: "invalid option `-E'".to_owned(), status: 2 }));
    }
}
