//! Bytes that came in and are not used up yet.

/// A queue of bytes.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Everything before is used up.
    start: usize,
}

impl Buffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Uses up `count` bytes, or all there are.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.bytes.len().min(self.start.saturating_add(count));
    }

    /// Uses up and returns at most `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> &[u8] {
        let from = self.start;
        self.consume(count);
        self.bytes.get(from..self.start).unwrap_or_default()
    }

    /// Uses up a line that ends in CR LF, and returns it without them. `None` while its end is not there.
    pub(crate) fn line(&mut self) -> Option<&[u8]> {
        let length = self.bytes().windows(2).position(|pair| pair == b"\r\n")?;
        let from = self.start;
        self.consume(length + 2);
        self.bytes.get(from..from + length)
    }
}
