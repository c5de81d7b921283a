//! `cargo xtask tidy`: the rules of STYLE.md that a machine can check.
//!
//! They are greps, on purpose: each is short, says what is wrong in one line, and works on a checkout that doesn't
//! compile.

mod files;
mod layers;
mod licences;
mod links;
mod modules;
mod names;
mod pure;
mod source;
mod texts;

use std::fmt;

use anyhow::{Result, bail};

use files::Files;

/// Something that breaks a rule.
#[derive(Debug)]
struct Finding {
    /// File, relative to the checkout.
    path: String,
    /// Line, from 1; 0 for the whole file.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Checks everything and names what is wrong.
pub(crate) fn run() -> Result<()> {
    let files = Files::of_checkout()?;
    let mut findings = Vec::new();
    for (path, text) in files.with_extension("rs") {
        source::check(path, text, &mut findings);
        names::check(path, text, &mut findings);
        pure::check(path, text, &mut findings);
    }
    modules::check(&files, &mut findings);
    texts::check(&files, &mut findings);
    links::check(&files, &mut findings);
    layers::check(&files, &mut findings)?;
    licences::check(&mut findings)?;

    findings.iter().for_each(|finding| println!("{finding}"));
    match findings.len() {
        0 => Ok(()),
        1 => bail!("1 finding"),
        number => bail!("{number} findings"),
    }
}
