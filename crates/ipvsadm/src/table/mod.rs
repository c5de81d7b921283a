//! The table of everything that can stand on the command line: one row per command and one per option, with its short
//! and long form, its value, and the commands that take it (ipvs.md §10.2). The lexer, the checks and the help text
//! are all made from it.

mod commands;
mod flags;
mod name;

pub use commands::{COMMANDS, CommandSpec, Verb};
pub(crate) use flags::takes;
pub use flags::{FLAGS, Flag, FlagSpec};
pub(crate) use name::NameSet;
pub use name::OptionName;

/// Whether something on the command line is followed by a value, and what the help text calls that value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Takes none.
    None,
    /// Takes the rest of the word, or else the next word, whatever it looks like.
    Required(&'static str),
    /// Takes the rest of the word, or else the next word if that doesn't begin with `-`.
    Optional(&'static str),
}

/// A row found by its short or long form.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Row {
    /// One that says what to do.
    Command(&'static CommandSpec),
    /// One that says how.
    Flag(&'static FlagSpec),
}

impl Row {
    pub(crate) fn by_short(short: char) -> Option<Self> {
        let command = COMMANDS.iter().find(|spec| spec.shorts.contains(&short)).map(Self::Command);
        command.or_else(|| FLAGS.iter().find(|spec| spec.short == Some(short)).map(Self::Flag))
    }

    pub(crate) fn by_long(long: &str) -> Option<Self> {
        let command = COMMANDS.iter().find(|spec| spec.long == long).map(Self::Command);
        command.or_else(|| FLAGS.iter().find(|spec| spec.long == long).map(Self::Flag))
    }

    pub(crate) const fn value(self) -> Value {
        match self {
            Self::Command(spec) => spec.value,
            Self::Flag(spec) => spec.value,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn longs() -> impl Iterator<Item = &'static str> {
        COMMANDS.iter().map(|spec| spec.long).chain(FLAGS.iter().map(|spec| spec.long))
    }

    fn shorts() -> impl Iterator<Item = char> {
        let commands = COMMANDS.iter().flat_map(|spec| spec.shorts.iter().copied());
        commands.chain(FLAGS.iter().filter_map(|spec| spec.short))
    }

    #[test]
    fn no_form_is_used_twice() {
        assert_eq!(longs().collect::<BTreeSet<_>>().len(), longs().count());
        assert_eq!(shorts().collect::<BTreeSet<_>>().len(), shorts().count());
    }

    #[test]
    fn forms_are_ascii_and_found() {
        for long in longs() {
            assert!(
                long.len() > 1 && long.bytes().all(|b| b.is_ascii_lowercase() || b"-6".contains(&b)),
                "{long}"
            );
            assert!(Row::by_long(long).is_some(), "{long}");
        }
        for short in shorts() {
            assert!(short.is_ascii_alphanumeric(), "{short}");
            assert!(Row::by_short(short).is_some(), "{short}");
        }
    }

    #[test]
    fn every_verb_and_flag_has_its_row_at_its_place() {
        for (index, spec) in COMMANDS.iter().enumerate() {
            assert_eq!(spec.verb as usize, index, "{}", spec.long);
        }
        for (index, spec) in FLAGS.iter().enumerate() {
            assert_eq!(spec.flag as usize, index, "{}", spec.long);
        }
    }

    /// Four options share the name `service-address`, three `forwarding-method`: a command takes all of them or none.
    #[test]
    fn options_of_one_name_go_with_the_same_commands() {
        for a in FLAGS {
            for b in FLAGS.iter().filter(|b| a.name.is_some() && b.name == a.name) {
                assert_eq!(a.with, b.with, "--{} and --{}", a.long, b.long);
            }
        }
    }

    #[test]
    fn every_name_belongs_to_an_option() {
        for name in OptionName::ALL {
            assert!(FLAGS.iter().any(|spec| spec.name == Some(*name)), "{}", name.text());
        }
    }

    #[test]
    fn commands_take_what_they_require() {
        for spec in COMMANDS {
            for name in spec.requires {
                assert!(flags::takes(spec.verb, *name), "--{} requires {}", spec.long, name.text());
            }
        }
    }

    #[test]
    fn every_row_is_explained() {
        assert!(COMMANDS.iter().all(|spec| !spec.help.is_empty()));
        assert!(FLAGS.iter().all(|spec| !spec.help.is_empty()));
    }
}
