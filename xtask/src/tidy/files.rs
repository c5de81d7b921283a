//! The files of the repository: tracked, or new and not ignored.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Result;

use crate::command::{output, root};

/// Paths relative to the checkout, and contents.
pub(super) struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    pub(super) fn of_checkout() -> Result<Self> {
        let mut list = Command::new("git");
        // CI may run as another user than the one who owns the checkout.
        list.args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root());
        let paths = output(&mut list)?;
        let paths = paths.split('\0').filter(|path| !path.is_empty());
        // One that git knows and that is gone is about to be removed.
        let files = paths.filter_map(|path| Some((path.to_owned(), std::fs::read(root().join(path)).ok()?)));
        Ok(Self(files.collect()))
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|&(path, text)| (path.to_owned(), text.as_bytes().to_owned())).collect())
    }

    /// All files, texts or not.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, content)| (path.as_str(), content.as_slice()))
    }

    /// The texts whose names end so.
    pub(super) fn with_extension(&self, extension: &'static str) -> impl Iterator<Item = (&str, &str)> {
        self.all().filter_map(move |(path, content)| {
            let is_one = path.rsplit_once('.').is_some_and(|(_, end)| end == extension);
            is_one.then_some((path, std::str::from_utf8(content).ok()?))
        })
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.0.get(path)?).ok()
    }

    /// Whether there is a file or a folder of this name.
    pub(super) fn holds(&self, path: &str) -> bool {
        self.0.contains_key(path)
            || self.0.keys().any(|file| file.strip_prefix(path).is_some_and(|r| r.starts_with('/')))
    }
}
