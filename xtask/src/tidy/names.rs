//! One word for each thing (STYLE.md, "Names"): words of other balancers don't get in.

use super::Finding;

/// Words that are not used, and what this project says.
const SYNONYMS: &[(&str, &str)] = &[
    ("backend", "Destination (as configured) or real server (the host)"),
    ("backends", "destinations"),
    ("frontend", "VirtualService"),
    ("frontends", "virtual services"),
    ("upstream", "Destination"),
    ("upstreams", "destinations"),
    ("session", "Conn"),
    ("sessions", "connections"),
    ("sticky", "Template, persistence"),
];
/// Beginnings of function names that say nothing.
const EMPTY_VERBS: &[&str] = &["do_", "process_", "handle_data"];
/// Where the words have a meaning of their own: folders, with the reason.
const EXCEPT: &[(&str, &str)] = &[("xtask/", "the rules name the words; apt-get has a variable with one")];

pub(super) fn check(path: &str, text: &str, findings: &mut Vec<Finding>) {
    if EXCEPT.iter().any(|(folder, _)| path.starts_with(folder)) {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        for word in words(line) {
            if let Some((_, instead)) = SYNONYMS.iter().find(|(synonym, _)| *synonym == word) {
                findings.push(Finding::new(path, number + 1, format!("\"{word}\": say {instead}")));
            }
        }
        let function = line.split_once("fn ").map_or("", |(_, name)| name);
        if let Some(verb) = EMPTY_VERBS.iter().find(|verb| function.starts_with(*verb)) {
            findings.push(Finding::new(
                path,
                number + 1,
                format!("fn {verb}…: a verb that says what it does"),
            ));
        }
    }
}

/// The words of a line in lower case; identifiers are taken apart.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous = ' ';
    for letter in line.chars() {
        let is_start = letter.is_uppercase() && previous.is_lowercase();
        if !letter.is_alphanumeric() || is_start {
            words.push(String::new());
        }
        if letter.is_alphanumeric() {
            words.last_mut().expect("it begins with one word").extend(letter.to_lowercase());
        }
        previous = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_taken_apart() {
        assert_eq!(
            words("let dest_id = DestId::new(\"a-b\");"),
            ["let", "dest", "id", "dest", "id", "new", "a", "b"]
        );
    }

    #[test]
    fn words_of_other_balancers_are_found() {
        let mut findings = Vec::new();
        check("crates/x/src/y.rs", "struct BackendPool;\nfn do_it() {}\nfn domain() {}\n", &mut findings);
        let findings: Vec<_> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(findings, [1, 2]);
    }
}
