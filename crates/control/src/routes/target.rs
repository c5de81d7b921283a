//! The target of a request: its path and query.

use super::{Location, Route};

/// A path and its query, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// As it was sent, without the query.
    pub(super) path: String,
    segments: Vec<String>,
    query: Vec<(String, String)>,
    /// What stands for the parameters of the route's path, in their order.
    pub(super) variables: Vec<String>,
}

impl Target {
    /// `None` when it does not begin with a slash or is not UTF-8 after decoding.
    pub(super) fn parse(target: &str) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let segments = path.strip_prefix('/')?.split('/').map(decode).collect::<Option<_>>()?;
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        };
        let query = query.split('&').filter(|item| !item.is_empty()).map(pair).collect::<Option<_>>()?;
        Some(Self { path: path.to_owned(), segments, query, variables: Vec::new() })
    }

    /// This target with its variables, if the path is one of this template.
    pub(super) fn matching(&self, template: &str) -> Option<Self> {
        let mut variables = Vec::new();
        let mut segments = self.segments.iter();
        for expected in template.split('/').skip(1) {
            let segment = segments.next()?;
            if expected.starts_with('{') {
                variables.push(segment.clone());
            } else if segment != expected {
                return None;
            }
        }
        segments.next().is_none().then(|| Self { variables, ..self.clone() })
    }

    /// Whether every parameter is one of the route's, and none comes twice; the message if not.
    pub(super) fn check_query(&self, route: &Route) -> Result<(), String> {
        for (place, (name, _)) in self.query.iter().enumerate() {
            let known = |name: &str| {
                let mut parameters = route.parameters.iter();
                parameters.any(|known| known.location == Location::Query && known.name == name)
            };
            if !known(name) {
                return Err(format!("parameter {name:?}: {} has none of that name", route.path));
            }
            if self.query.iter().skip(place + 1).any(|(other, _)| other == name) {
                return Err(format!("parameter {name:?}: given twice"));
            }
        }
        Ok(())
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Undoes percent-encoding (RFC 3986 §2.1).
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(decode("%5B::1%5d:80").as_deref(), Some("[::1]:80"));
        for bad in ["%", "%5", "%zz", "%+1", "%ff"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_match_as_a_whole() {
        let target = Target::parse("/a/b%2Fc?x=1&y").unwrap_or_else(|| panic!("a good target"));
        assert_eq!(target.matching("/a/{v}").map(|found| found.variables), Some(vec!["b/c".to_owned()]));
        assert_eq!(target.query("x"), Some("1"));
        assert_eq!(target.query("y"), Some(""));
        for other in ["/a", "/a/{v}/{w}", "/b/{v}", "/"] {
            assert_eq!(target.matching(other), None, "{other}");
        }
        assert_eq!(Target::parse("*"), None);
        assert_eq!(Target::parse(""), None);
    }
}
