//! The program under test.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Names it, where it was built already.
const VARIABLE: &str = "RVS_BINARY";

/// Where it is. Without [`VARIABLE`] it is built first, like these tests, so that they never run an old one.
pub(crate) fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match env::var_os(VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    let status = Command::new(env!("CARGO")).args(["build", "--quiet", "--package", "rvs"]).status().unwrap();
    assert!(status.success(), "cargo build --package rvs: {status}");
    // This is TARGET/PROFILE/deps/traffic-HASH.
    let tests = env::current_exe().unwrap();
    tests.parent().and_then(|deps| deps.parent()).unwrap().join("rvs")
}
