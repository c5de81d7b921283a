//! Dependencies: a crate depends only on rows above its own (ARCHITECTURE.md, "Direction of dependencies"), and on crates of
//! others only if the same page says why.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Finding;
use super::files::Files;
use crate::command::root;
use crate::metadata::{Package, members};

/// Row of each crate of the product.
const ROWS: &[(&str, u32)] = &[
    ("rvs-wire", 1),
    ("rvs-abi", 1),
    ("rvs-core", 2),
    ("rvs-ebpf", 3),
    ("rvs-config", 3),
    ("rvs-netlink", 3),
    ("rvs-model", 4),
    ("rvs-ipvsadm", 4),
    ("rvs-testkit", 4),
    ("rvs-dataplane", 5),
    ("rvs-director", 5),
    ("rvs-control", 6),
    ("rvs", 7),
];
/// Tests and tools, which may use anything, and which the product may not use.
const TOOLS: &[&str] = &["rvs-refvm", "rvs-tests", "rvs-bench", "rvs-fuzz", "xtask"];

/// The page that gives reasons.
const REASONS: &str = "ARCHITECTURE.md";

pub(super) fn check(files: &Files, findings: &mut Vec<Finding>) -> Result<()> {
    let reasons = files.text(REASONS).unwrap_or_default();
    let mut unexplained = BTreeSet::new();
    for manifest in ["Cargo.toml", "crates/ebpf/Cargo.toml"] {
        let packages = members(&root().join(manifest))?;
        for package in &packages {
            check_package(manifest, package, findings);
            let others = package.dependencies.iter().filter(|name| row(name).is_none() && !is_tool(name));
            unexplained.extend(others.filter(|name| !reasons.contains(&format!("`{name}`"))).cloned());
        }
    }
    findings.extend(
        unexplained.iter().map(|name| Finding::new(REASONS, 0, format!("no reason for depending on {name}"))),
    );
    Ok(())
}

fn is_tool(name: &str) -> bool {
    TOOLS.contains(&name)
}

fn check_package(manifest: &str, package: &Package, findings: &mut Vec<Finding>) {
    if is_tool(&package.name) {
        return;
    }
    let Some(own) = row(&package.name) else {
        findings.push(Finding::new(
            manifest,
            0,
            format!("{} has no row in xtask/src/tidy/layers.rs", package.name),
        ));
        return;
    };
    for dependency in &package.dependencies {
        if is_tool(dependency) || row(dependency).is_some_and(|row| row >= own) {
            let message = format!("{} (row {own}) may not depend on {dependency}", package.name);
            findings.push(Finding::new(manifest, 0, message));
        }
    }
}

fn row(name: &str) -> Option<u32> {
    ROWS.iter().find(|(crate_name, _)| *crate_name == name).map(|&(_, row)| row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, dependencies: &[&str]) -> usize {
        let package = Package {
            name: name.to_owned(),
            version: String::new(),
            licence: None,
            own: true,
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
            programs: Vec::new(),
        };
        let mut findings = Vec::new();
        check_package("Cargo.toml", &package, &mut findings);
        findings.len()
    }

    #[test]
    fn only_rows_above_may_be_used() {
        assert_eq!(findings("rvs-core", &["rvs-wire", "rvs-abi", "zerocopy"]), 0);
        assert_eq!(findings("rvs-core", &["rvs-model"]), 1, "a row below");
        assert_eq!(findings("rvs-abi", &["rvs-wire"]), 1, "the same row");
        assert_eq!(findings("rvs-model", &["rvs-refvm"]), 1, "a tool");
        assert_eq!(findings("rvs-tests", &["rvs", "rvs-testkit"]), 0, "tools use anything");
        assert_eq!(findings("rvs-new", &[]), 1, "a crate without a row");
    }
}
