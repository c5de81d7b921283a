//! Help texts, whole. After a change that is wanted: `RVS_UPDATE_HELP=1 cargo test -p rvs --test cli help`.

use std::fs;
use std::path::Path;

use crate::support::rvs;

/// Compares with the text in the repository, or replaces that.
#[track_caller]
fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/help").join(name);
    if std::env::var_os("RVS_UPDATE_HELP").is_some() {
        fs::write(&path, text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "{name}");
}

#[test]
fn of_rvs() {
    check("rvs.txt", &rvs(&["--help"]).success());
    assert_eq!(rvs(&["-h"]), rvs(&["--help"]));
}

#[test]
fn of_every_sub_command() {
    for command in ["director", "status", "services", "connections", "marks", "sysctl", "agent", "demo"] {
        check(&format!("{command}.txt"), &rvs(&[command, "--help"]).success());
    }
}

#[test]
fn of_ipvsadm() {
    check("ipvsadm.txt", &rvs(&["ipvsadm", "--help"]).success());
    assert_eq!(rvs(&["ipvsadm", "-h"]), rvs(&["ipvsadm", "--help"]));
}

#[test]
fn versions() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(rvs(&["--version"]).success(), format!("rvs {version}\n"));
    let ipvsadm = format!("ipvsadm v1.31 2019/12/24 (rvs {version}, IPVS v1.2.1)\n");
    assert_eq!(rvs(&["ipvsadm", "-v"]).success(), ipvsadm);
}
