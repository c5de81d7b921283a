//! Links in the papers lead somewhere, and the code map of ARCHITECTURE.md names every crate.

use super::Finding;
use super::files::Files;

const CODE_MAP: &str = "ARCHITECTURE.md";

pub(super) fn check(files: &Files, findings: &mut Vec<Finding>) {
    for (path, text) in files.with_extension("md") {
        for (number, line) in text.lines().enumerate() {
            for link in links(line).filter(|link| !leads_somewhere(files, path, link)) {
                findings.push(Finding::new(path, number + 1, format!("the link {link} leads nowhere")));
            }
        }
    }
    let map = files.text(CODE_MAP).unwrap_or_default();
    for (manifest, _) in files.with_extension("toml").filter(|(path, _)| path.ends_with("/Cargo.toml")) {
        let folder = manifest.trim_end_matches("Cargo.toml");
        if !map.contains(&format!("`{folder}`")) {
            findings.push(Finding::new(CODE_MAP, 0, format!("the code map does not name `{folder}`")));
        }
    }
}

/// Targets of the links in a line: what stands between `](` and `)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
}

fn leads_somewhere(files: &Files, from: &str, link: &str) -> bool {
    if link.contains("://") || link.starts_with("mailto:") {
        return true;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let target = if file.is_empty() { from.to_owned() } else { resolve(folder, file) };
    let headings = || files.text(&target).unwrap_or_default().lines().filter(|line| line.starts_with('#'));
    files.holds(&target) && (anchor.is_empty() || headings().any(|heading| slug(heading) == anchor))
}

fn resolve(folder: &str, file: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/').filter(|part| !part.is_empty()) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// The anchor of a heading, as forges make it.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_folders_and_headings_are_followed() {
        let files = Files::of(&[("README.md", ""), ("docs/a.md", "# One, two\n"), ("docs/img/x.svg", "")]);
        for good in ["a.md", "../README.md", "img", "a.md#one-two", "https://example.org/x"] {
            assert!(leads_somewhere(&files, "docs/a.md", good), "{good}");
        }
        for bad in ["b.md", "README.md", "a.md#three", "im"] {
            assert!(!leads_somewhere(&files, "docs/a.md", bad), "{bad}");
        }
        assert_eq!(links("see [a](x.md) and [b](y.md#z).").collect::<Vec<_>>(), ["x.md", "y.md#z"]);
    }
}
