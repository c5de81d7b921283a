//! Every source file is part of a crate, and every scheduler is in the list of schedulers.

use super::Finding;
use super::files::Files;

/// Folder of the schedulers: a file each, named after what `ipvsadm` calls it.
const SCHEDULERS: &str = "crates/core/src/sched/";

pub(super) fn check(files: &Files, findings: &mut Vec<Finding>) {
    for (path, _) in files.with_extension("rs") {
        let Some((folder, name)) = path.rsplit_once('/') else { continue };
        let name = name.trim_end_matches(".rs");
        let is_root = matches!(name, "lib" | "main" | "build") || is_target_folder(folder);
        if !is_root && !is_declared(files, folder, name) {
            findings.push(Finding::new(path, 0, "no module declares this file"));
        }
        if folder.len() + 1 == SCHEDULERS.len() && path.starts_with(SCHEDULERS) && !is_picked(files, name) {
            findings.push(Finding::new(path, 0, format!("{SCHEDULERS}mod.rs never picks by {name}")));
        }
    }
}

/// Folders whose files are programs of their own: cargo finds them.
fn is_target_folder(folder: &str) -> bool {
    let last = folder.rsplit('/').next().unwrap_or(folder);
    let is_package_folder = matches!(last, "tests" | "benches" | "examples") && !folder.contains("/src/");
    is_package_folder || folder.ends_with("src/bin") || folder.ends_with("fuzz_targets")
}

fn is_declared(files: &Files, folder: &str, name: &str) -> bool {
    // `x/mod.rs` is the module x of the folder above.
    let (folder, name) = match (name, folder.rsplit_once('/')) {
        ("mod", Some((above, module))) => (above, module),
        _ => (folder, name),
    };
    let parents = ["lib.rs", "main.rs", "mod.rs"].map(|file| format!("{folder}/{file}"));
    let declaration = format!("mod {name};");
    parents.into_iter().chain([format!("{folder}.rs")]).any(|parent| {
        let lines = files.text(&parent).unwrap_or_default().lines();
        // Attributes and visibility may stand before it.
        lines
            .map(str::trim_end)
            .any(|line| line.ends_with(&declaration) && !line.trim_start().starts_with("//"))
            || is_declared_by_program(files, &parent, &declaration)
    })
}

/// The files beside a program in `src/bin` or `tests` are named by one of the programs there.
fn is_declared_by_program(files: &Files, parent: &str, declaration: &str) -> bool {
    let Some(folder) = parent.strip_suffix("/mod.rs").filter(|folder| is_target_folder(folder)) else {
        return false;
    };
    let mut programs = files.with_extension("rs").filter(|(path, _)| path.starts_with(folder));
    programs.any(|(_, text)| text.lines().any(|line| line.trim_end().ends_with(declaration)))
}

fn is_picked(files: &Files, name: &str) -> bool {
    let list = files.text(&format!("{SCHEDULERS}mod.rs")).unwrap_or_default();
    name == "mod" || list.lines().any(|line| line.contains(&format!("{name}::")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(files: &[(&str, &str)]) -> Vec<String> {
        let mut findings = Vec::new();
        check(&Files::of(files), &mut findings);
        findings.into_iter().map(|finding| finding.path).collect()
    }

    #[test]
    fn files_that_no_module_declares_are_found() {
        let files = [
            ("a/src/lib.rs", "mod one;\npub(crate) mod two;\n// mod three;\n"),
            ("a/src/one.rs", "mod deep;\n"),
            ("a/src/one/deep.rs", ""),
            ("a/src/two/mod.rs", ""),
            ("a/src/three.rs", ""),
            ("a/tests/behaviour.rs", ""),
        ];
        assert_eq!(paths(&files), ["a/src/three.rs"]);
    }

    #[test]
    fn schedulers_that_are_never_picked_are_found() {
        let files = [
            ("crates/core/src/lib.rs", "pub mod sched;"),
            ("crates/core/src/sched/mod.rs", "mod rr;\nmod lc;\nmatch id { RR => rr::pick(), }"),
            ("crates/core/src/sched/rr.rs", ""),
            ("crates/core/src/sched/lc.rs", ""),
        ];
        assert_eq!(paths(&files), ["crates/core/src/sched/lc.rs"]);
    }
}
