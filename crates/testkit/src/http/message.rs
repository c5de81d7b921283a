//! Finding messages in a stream of bytes.

/// Longest head of a message, request or response.
pub(super) const HEAD_LEN_MAX: usize = 8 * 1024;
/// What ends a head.
const END: &[u8] = b"\r\n\r\n";

/// Length of the head at the start of `bytes`, with the empty line that ends it; `None` if it is not complete.
pub(super) fn head_len(bytes: &[u8]) -> Option<usize> {
    bytes.windows(END.len()).position(|window| window == END).map(|start| start + END.len())
}

/// A head split in its first line's three words and its fields.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// Method or protocol, target or status, protocol or reason.
    pub(super) words: [&'a str; 3],
    fields: &'a str,
}

impl<'a> Head<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (line, fields) = text.split_once("\r\n")?;
        let mut words = line.splitn(3, ' ');
        Some(Self { words: [words.next()?, words.next()?, words.next()?], fields })
    }

    /// Value of a field; names don't distinguish case (RFC 9110 §5.1).
    pub(super) fn field(&self, name: &str) -> Option<&'a str> {
        self.fields.split("\r\n").find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Whether the sender closes the connection after this message.
    pub(super) fn closes(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    #[test]
    fn heads_are_found_and_split() {
        let bytes = b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\nConnection: Close\r\n\r\nhello";
        let len = head_len(bytes).unwrap();
        assert_eq!(&bytes[len..], b"hello");
        let head = Head::parse(&bytes[..len]).unwrap();
        assert_eq!(head.words, ["HTTP/1.1", "404", "Not Found"]);
        assert_eq!(head.field("Content-Length"), Some("5"));
        assert_eq!(head.field("Host"), None);
        assert!(head.closes());
        assert_eq!(head_len(b"GET / HTTP/1.1\r\nHost: a\r\n"), None);
        assert!(Head::parse(b"GET\r\n\r\n").is_none());
    }
}
