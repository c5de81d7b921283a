//! `deny.toml`: licences that dependencies may have, crates that are not used, no crate in two versions.
//!
//! The file has the form of cargo-deny, which can be run on it as well; building that takes minutes, and this needs
//! only what `cargo metadata` says. Advisories are not looked at here.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::Finding;
use crate::command::root;
use crate::metadata::{Package, packages};

const FILE: &str = "deny.toml";

pub(super) fn check(findings: &mut Vec<Finding>) -> Result<()> {
    let text = std::fs::read_to_string(root().join(FILE)).with_context(|| format!("can't read {FILE}"))?;
    let rules = Rules::parse(&text)?;
    for manifest in ["Cargo.toml", "crates/ebpf/Cargo.toml"] {
        let packages = packages(&root().join(manifest))?;
        rules.check(&packages, findings);
    }
    Ok(())
}

/// What `deny.toml` says.
struct Rules {
    licences: Vec<String>,
    banned: Vec<String>,
    /// Crates that may be there more than once.
    duplicates: Vec<String>,
}

impl Rules {
    fn parse(text: &str) -> Result<Self> {
        let file: toml::Table = text.parse().with_context(|| format!("{FILE} is no TOML"))?;
        let list = |table: &str, key: &str| {
            let entries = file.get(table).and_then(|table| table.get(key)).and_then(toml::Value::as_array);
            let entries = entries.with_context(|| format!("{FILE} has no list {key} in [{table}]"))?;
            // An entry is a name, or a table of a name and a reason.
            let name = |entry: &toml::Value| entry.get("crate").unwrap_or(entry).as_str().map(str::to_owned);
            entries
                .iter()
                .map(|entry| name(entry).with_context(|| format!("{FILE}: {key}: {entry:?}")))
                .collect::<Result<Vec<String>>>()
        };
        Ok(Self {
            licences: list("licenses", "allow")?,
            banned: list("bans", "deny")?,
            duplicates: list("bans", "skip")?,
        })
    }

    fn check(&self, packages: &[Package], findings: &mut Vec<Finding>) {
        let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for package in packages.iter().filter(|package| !package.own) {
            let Package { name, version, .. } = package;
            versions.entry(name).or_default().push(version);
            let licence = package.licence.as_deref().unwrap_or_default();
            if !self.accepts(licence) {
                findings.push(Finding::new(
                    FILE,
                    0,
                    format!("{name} {version} has the licence \"{licence}\""),
                ));
            }
            if self.banned.contains(name) {
                findings.push(Finding::new(FILE, 0, format!("{name} is banned")));
            }
        }
        for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
            if !self.duplicates.iter().any(|duplicate| duplicate == name) {
                let message = format!("{name} is there {} times: {}", versions.len(), versions.join(", "));
                findings.push(Finding::new(FILE, 0, message));
            }
        }
    }

    /// Whether an SPDX expression can be met with allowed licences: all parts of `AND`, one part of `OR`, where `AND`
    /// binds closer. `/` is an old way to write `OR`.
    fn accepts(&self, expression: &str) -> bool {
        let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let (is_met, rest) = self.any(&words);
        is_met && rest.is_empty()
    }

    fn any<'a>(&self, words: &'a [&'a str]) -> (bool, &'a [&'a str]) {
        let (mut is_met, mut rest) = self.all(words);
        while let ["OR", after @ ..] = rest {
            let (other, after) = self.all(after);
            (is_met, rest) = (is_met || other, after);
        }
        (is_met, rest)
    }

    fn all<'a>(&self, words: &'a [&'a str]) -> (bool, &'a [&'a str]) {
        let (mut is_met, mut rest) = self.one(words);
        while let ["AND", after @ ..] = rest {
            let (other, after) = self.one(after);
            (is_met, rest) = (is_met && other, after);
        }
        (is_met, rest)
    }

    fn one<'a>(&self, words: &'a [&'a str]) -> (bool, &'a [&'a str]) {
        match words {
            ["(", inner @ ..] => match self.any(inner) {
                (is_met, [")", rest @ ..]) => (is_met, rest),
                (_, rest) => (false, rest),
            },
            [licence, "WITH", exception, rest @ ..] => {
                (self.lists(&format!("{licence} WITH {exception}")), rest)
            }
            [licence, rest @ ..] => (self.lists(licence), rest),
            [] => (false, words),
        }
    }

    fn lists(&self, licence: &str) -> bool {
        self.licences.iter().any(|allowed| allowed == licence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0", "Unicode-3.0"]
        [bans]
        deny = [{ crate = "tokio", reason = "threads" }]
        skip = [{ crate = "syn", reason = "old macros" }]
    "#;

    #[test]
    fn spdx_expressions_are_understood() {
        let rules = Rules::parse(TEXT).expect("it is TOML");
        for good in ["MIT", "MIT/GPL-2.0", "GPL-3.0 OR Apache-2.0", "(MIT OR GPL-2.0) AND Unicode-3.0"] {
            assert!(rules.accepts(good), "{good}");
        }
        for bad in ["", "GPL-2.0", "MIT AND GPL-2.0", "(MIT", "MIT)", "Apache-2.0 WITH LLVM-exception"] {
            assert!(!rules.accepts(bad), "{bad}");
        }
    }

    #[test]
    fn banned_crates_and_second_versions_are_found() {
        let package = |name: &str, version: &str| Package {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: Some("MIT".to_owned()),
            own: false,
            dependencies: Vec::new(),
            programs: Vec::new(),
        };
        let mut findings = Vec::new();
        let rules = Rules::parse(TEXT).expect("it is TOML");
        rules.check(&[package("syn", "1.0.0"), package("syn", "2.0.0")], &mut findings);
        assert!(findings.is_empty(), "{findings:?}");
        rules
            .check(&[package("a", "1.0.0"), package("a", "2.0.0"), package("tokio", "1.0.0")], &mut findings);
        assert_eq!(findings.len(), 2);
    }
}
