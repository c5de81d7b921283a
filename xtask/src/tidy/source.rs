//! Rules for a Rust file by itself.

use super::Finding;

/// Longest function, in lines.
const FUNCTION_LINES_MAX: usize = 90;
/// Longest file, in lines.
const FILE_LINES_MAX: usize = 800;
/// How far above `unsafe` its proof may stand, in lines.
const SAFETY_DISTANCE_MAX: usize = 5;
/// Where `unsafe` may be. All other crates forbid it in their first file.
const UNSAFE_ALLOWED: &[&str] = &["crates/ebpf/", "crates/dataplane/"];
/// What must not be committed. In pieces, or this file would be a finding.
const LEFT_OVERS: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("db", "g!("),
    concat!("#[ig", "nore"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("TO", "DO"),
];

pub(super) fn check(path: &str, text: &str, findings: &mut Vec<Finding>) {
    if !text.starts_with("//!") {
        findings.push(Finding::new(path, 1, "no module documentation: the first line is a //! comment"));
    }
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > FILE_LINES_MAX {
        findings.push(Finding::new(path, 0, format!("{} lines, maximum {FILE_LINES_MAX}", lines.len())));
    }
    for number in doc_tests(&lines) {
        findings.push(Finding::new(
            path,
            number,
            "code in documentation, which no step runs: make it a test, or `text`",
        ));
    }
    for (number, line) in lines.iter().enumerate() {
        if let Some(what) = LEFT_OVERS.iter().find(|what| line.contains(*what)) {
            findings.push(Finding::new(path, number + 1, format!("left over: {what}")));
        }
    }
    check_functions(path, &lines, findings);
    check_unsafe(path, &lines, findings);
}

/// Lines of documentation at which a block begins that `cargo test --doc` would run.
fn doc_tests(lines: &[&str]) -> Vec<usize> {
    let fence = |line: &str| {
        let text = line.trim_start().strip_prefix("///").or(line.trim_start().strip_prefix("//!"))?;
        text.trim().strip_prefix("```").map(str::to_owned)
    };
    let fences = lines.iter().enumerate().filter_map(|(number, line)| Some((number + 1, fence(line)?)));
    // Every second one is an end.
    fences.step_by(2).filter(|(_, language)| language != "text").map(|(number, _)| number).collect()
}

/// A function reaches from `fn` to the brace with the same indentation, which rustfmt guarantees.
fn check_functions(path: &str, lines: &[&str], findings: &mut Vec<Finding>) {
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
        let end = format!("{}}}", &line[..indentation(line)]);
        let length = lines[start..].iter().position(|line| *line == end).map_or(1, |last| last + 1);
        let ends_at_once = line.ends_with(';') || line.ends_with('}');
        if length > FUNCTION_LINES_MAX && !ends_at_once {
            let message = format!("function of {length} lines, maximum {FUNCTION_LINES_MAX}");
            findings.push(Finding::new(path, start + 1, message));
        }
    }
}

fn is_function(line: &str) -> bool {
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    let mut words = line.split_whitespace().skip_while(|word| qualifiers.contains(word));
    words.next() == Some("fn")
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn check_unsafe(path: &str, lines: &[&str], findings: &mut Vec<Finding>) {
    let allowed = UNSAFE_ALLOWED.iter().any(|folder| path.starts_with(folder));
    let is_first_of_crate =
        path.ends_with("src/lib.rs") || path.ends_with("src/main.rs") || path.contains("src/bin/");
    if is_first_of_crate && !allowed && !lines.contains(&"#![forbid(unsafe_code)]") {
        findings.push(Finding::new(path, 1, "no #![forbid(unsafe_code)]"));
    }
    for (number, _) in lines.iter().enumerate().filter(|(_, line)| is_unsafe(line)) {
        let above = &lines[number.saturating_sub(SAFETY_DISTANCE_MAX)..=number];
        if !above.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety")) {
            findings.push(Finding::new(path, number + 1, "unsafe without a SAFETY comment above it"));
        }
    }
}

fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let mut words = code.split_whitespace().peekable();
    std::iter::from_fn(|| words.next().map(|word| (word, words.peek().copied())))
        .any(|(word, next)| word.ends_with("unsafe") && matches!(next, Some("{" | "impl" | "fn")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check("crates/ebpf/src/x.rs", text, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_begins_with_its_documentation() {
        assert_eq!(findings("//! What it is.\n"), Vec::<String>::new());
        assert_eq!(findings("use std::fmt;\n").len(), 1);
    }

    #[test]
    fn a_function_may_have_ninety_lines_and_no_more() {
        let function = |lines: usize| {
            format!("//! -\n    pub(crate) fn f() {{\n{}    }}\n", "        g();\n".repeat(lines - 2))
        };
        assert_eq!(findings(&function(90)), Vec::<String>::new());
        assert_eq!(findings(&function(91)), ["crates/ebpf/src/x.rs:2: function of 91 lines, maximum 90"]);
    }

    #[test]
    fn documentation_has_no_code_that_nobody_runs() {
        let drawing = "//! -\n//! ```text\n//! a ── b\n//! ```\n";
        assert_eq!(findings(drawing), Vec::<String>::new());
        let code = format!("{drawing}    /// ```\n    /// f();\n    /// ```\n    fn f() {{}}\n");
        assert_eq!(
            findings(&code),
            ["crates/ebpf/src/x.rs:5: code in documentation, which no step runs: make it a test, or `text`"]
        );
    }

    #[test]
    fn unsafe_needs_its_proof_nearby() {
        assert_eq!(findings("//! -\n// SAFETY: p is valid.\nlet x = unsafe { *p };\n"), Vec::<String>::new());
        assert_eq!(findings("//! -\nlet x = unsafe { *p };\n").len(), 1);
        assert_eq!(findings("//! -\nunsafe impl Send for X {}\n").len(), 1);
        assert_eq!(
            findings("//! -\n#[unsafe(no_mangle)]\n// unsafe { is a word here\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn other_crates_forbid_unsafe() {
        let mut findings = Vec::new();
        check("crates/core/src/lib.rs", "//! -\n", &mut findings);
        assert_eq!(findings.len(), 1);
        check("crates/core/src/lib.rs", "//! -\n#![forbid(unsafe_code)]\n", &mut findings);
        assert_eq!(findings.len(), 1);
    }
}
