//! Nothing of the machine on which something was written or built gets into a file, committed objects included.

use super::Finding;
use super::files::Files;
use crate::command::root;

/// Names of package registries' hosts. In pieces, or this file would be a finding.
const HOSTS: &[&str] = &[concat!("index.", "crates.io"), concat!("static.", "crates.io")];

pub(super) fn check(files: &Files, findings: &mut Vec<Finding>) {
    let mut forbidden: Vec<String> = HOSTS.iter().map(|&host| host.to_owned()).collect();
    forbidden.push(format!("{}/", root().display()));
    forbidden.push(concat!("/ho", "me/").to_owned());
    if let Some(home) = std::env::home_dir().filter(|home| home.components().count() > 1) {
        forbidden.push(format!("{}/", home.display()));
    }
    for (path, content) in files.all() {
        for (number, line) in content.split(|&byte| byte == b'\n').enumerate() {
            let found = forbidden.iter().find(|text| holds(line, text.as_bytes()));
            if let Some(text) = found {
                findings.push(Finding::new(
                    path,
                    number + 1,
                    format!("{text}: nothing of one machine belongs here"),
                ));
            }
        }
    }
}

/// Whether the text is in the line, and not just the end of a longer path: `/proc/1/root/x` is nobody's home.
fn holds(line: &[u8], text: &[u8]) -> bool {
    line.windows(text.len()).enumerate().any(|(start, window)| {
        let before = start.checked_sub(1).map(|before| line[before]);
        window == text && !before.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-.}".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_longer_path_is_something_else() {
        assert!(holds(b"see /nest/x", b"/nest/"));
        assert!(holds(b"/nest/x", b"/nest/"));
        assert!(!holds(b"/proc/1/nest/x", b"/nest/"));
        assert!(!holds(b"/proc/{pid}/nest/x", b"/nest/"));
    }
}
