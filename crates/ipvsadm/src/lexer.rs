//! Splits arguments into options, their values and other words, by the conventions of `ipvsadm` 1.31's option parser:
//! `-Ln`, `-tVALUE`, `-t=VALUE`, `-t VALUE`, `--tcp-service=VALUE`, `--tcp-service VALUE`, `--` ends the options. Options
//! and other words may be mixed; long forms can't be shortened.

use crate::error::{OptionProblem, UsageError};
use crate::table::{Row, Value};

/// What stands next on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Token<'a> {
    /// An option or a command.
    Option {
        /// What it is.
        row: Row,
        /// Its value.
        value: Option<&'a str>,
        /// The last word it took: what messages show.
        word: &'a str,
    },
    /// A word that is neither an option nor the value of one.
    Operand(&'a str),
}

/// The arguments not read yet.
#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    words: core::slice::Iter<'a, &'a str>,
    /// The word whose letters are being read, and those not read yet: `-Ln`.
    letters: Option<(&'a str, &'a str)>,
    options_ended: bool,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(args: &'a [&'a str]) -> Self {
        Self { words: args.iter(), letters: None, options_ended: false }
    }

    /// The next token; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Token<'a>>, UsageError> {
        if let Some((word, letters)) = self.letters.take() {
            return self.letter(word, letters).map(Some);
        }
        let Some(word) = self.words.next().copied() else {
            return Ok(None);
        };
        if self.options_ended || word == "-" || !word.starts_with('-') {
            return Ok(Some(Token::Operand(word)));
        }
        if word == "--" {
            self.options_ended = true;
            return self.next();
        }
        match word.strip_prefix("--") {
            Some(long) => self.long(word, long).map(Some),
            None => self.letter(word, &word[1..]).map(Some),
        }
    }

    fn long(&mut self, word: &'a str, long: &'a str) -> Result<Token<'a>, UsageError> {
        let (long, attached) = match long.split_once('=') {
            Some((long, value)) => (long, Some(value)),
            None => (long, None),
        };
        let row = Row::by_long(long).ok_or_else(|| problem(word, OptionProblem::Unknown))?;
        if row.value() == Value::None && attached.is_some() {
            return Err(problem(word, OptionProblem::TakesNoArgument));
        }
        self.with_value(row, word, attached)
    }

    /// Reads one letter of a word of letters. A letter that takes a value takes the rest of the word.
    fn letter(&mut self, word: &'a str, letters: &'a str) -> Result<Token<'a>, UsageError> {
        let mut rest = letters.chars();
        let row = rest.next().and_then(Row::by_short);
        let row = row.ok_or_else(|| problem(word, OptionProblem::Unknown))?;
        let rest = rest.as_str();
        if row.value() != Value::None {
            let attached = (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest));
            return self.with_value(row, word, attached);
        }
        if !rest.is_empty() {
            self.letters = Some((word, rest));
        }
        Ok(Token::Option { row, value: None, word })
    }

    fn with_value(
        &mut self,
        row: Row,
        word: &'a str,
        attached: Option<&'a str>,
    ) -> Result<Token<'a>, UsageError> {
        if attached.is_some() || row.value() == Value::None {
            return Ok(Token::Option { row, value: attached, word });
        }
        let next = self.words.as_slice().first().copied();
        let next = match row.value() {
            Value::Optional(_) => next.filter(|word| !word.starts_with('-')),
            Value::Required(_) => Some(next.ok_or_else(|| problem(word, OptionProblem::MissingArgument))?),
            Value::None => None,
        };
        if next.is_some() {
            self.words.next();
        }
        Ok(Token::Option { row, value: next, word: next.unwrap_or(word) })
    }
}

fn problem(word: &str, problem: OptionProblem) -> UsageError {
    UsageError::Option { word: word.to_owned(), problem }
}
