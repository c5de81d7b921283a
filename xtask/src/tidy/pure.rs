//! Crates that take time and input as arguments read no clock and no environment (STYLE.md, "State machines").

use super::Finding;

/// Folders of the crates that do no I/O at all.
const PURE: &[&str] = &[
    "crates/wire/",
    "crates/abi/",
    "crates/core/",
    "crates/config/",
    "crates/model/",
    "crates/ipvsadm/",
    "crates/director/",
];
/// What reads a clock, the environment, or the world outside.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "env::var",
    "env::args",
    "fs::",
    "File::open",
    "thread::sleep",
    "println!",
];

pub(super) fn check(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let is_product = path.contains("/src/") && !path.ends_with("/tests.rs") && !path.contains("/tests/");
    if !is_product || !PURE.iter().any(|folder| path.starts_with(folder)) {
        return;
    }
    // Tests stand at the end of a file, and may do as they like.
    let product = text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    for (number, line) in product.filter(|(_, line)| !line.trim_start().starts_with("//")) {
        if let Some(what) = IMPURE.iter().find(|what| line.contains(*what)) {
            findings.push(Finding::new(path, number + 1, format!("{what} in a crate that does no I/O")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_product_part_of_pure_crates_is_looked_at() {
        let text =
            "//! Instant::now is not called.\nlet now = Instant::now();\n#[cfg(test)]\nfs::read(path);\n";
        let lines = |path| {
            let mut findings = Vec::new();
            check(path, text, &mut findings);
            findings.into_iter().map(|finding| finding.line).collect::<Vec<_>>()
        };
        assert_eq!(lines("crates/core/src/state.rs"), [2]);
        assert_eq!(lines("crates/core/tests/state.rs"), Vec::<usize>::new());
        assert_eq!(lines("bin/rvs/src/main.rs"), Vec::<usize>::new());
    }
}
