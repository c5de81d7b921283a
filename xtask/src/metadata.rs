//! What cargo says about packages.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{cargo, output};

/// One package of a dependency tree.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// SPDX expression, as the package states it.
    pub(crate) licence: Option<String>,
    /// Whether it lies in this repository.
    pub(crate) own: bool,
    /// Names of its dependencies of the kinds `normal` and `build`, not those for its tests.
    pub(crate) dependencies: Vec<String>,
    /// Names of its programs.
    pub(crate) programs: Vec<String>,
}

/// The packages which a workspace is built from on this platform, itself included.
pub(crate) fn packages(manifest: &Path) -> Result<Vec<Package>> {
    let mut command = cargo();
    command.args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ]);
    read(command.arg("--manifest-path").arg(manifest))
}

/// The packages of a workspace itself, without a look at what they depend on.
pub(crate) fn members(manifest: &Path) -> Result<Vec<Package>> {
    let mut command = cargo();
    read(command.args(["metadata", "--format-version=1", "--no-deps", "--manifest-path"]).arg(manifest))
}

fn read(command: &mut Command) -> Result<Vec<Package>> {
    let text = output(command)?;
    let json: Value = serde_json::from_str(&text).context("cargo metadata printed no JSON")?;
    Ok(array(&json["packages"]).iter().map(package).collect())
}

fn package(json: &Value) -> Package {
    let dependencies = array(&json["dependencies"]).iter();
    let targets = array(&json["targets"]).iter();
    Package {
        name: text(&json["name"]),
        version: text(&json["version"]),
        licence: json["license"].as_str().map(str::to_owned),
        own: json["source"].is_null(),
        dependencies: dependencies.filter(|d| d["kind"] != "dev").map(|d| text(&d["name"])).collect(),
        programs: targets
            .filter(|t| array(&t["kind"]).iter().any(|kind| kind == "bin"))
            .map(|t| text(&t["name"]))
            .collect(),
    }
}

fn array(json: &Value) -> &[Value] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}
