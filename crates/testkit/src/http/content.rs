//! Bytes to be transferred and compared: any number, each a function of where it is.

use std::io::{self, Read, Write};
use std::sync::LazyLock;

/// After so many bytes they repeat. A prime: no lost, repeated or exchanged packet goes unnoticed.
const PERIOD: usize = 1_000_003;

/// One period, by a linear congruential generator (the constants are Knuth's, MMIX).
static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(PERIOD).collect()
});

/// Writes the first `len` bytes.
pub fn write(to: &mut impl Write, len: u64) -> io::Result<()> {
    let mut left = len;
    while left > 0 {
        let part = &BLOCK[..usize::try_from(left).unwrap_or(PERIOD).min(PERIOD)];
        to.write_all(part)?;
        left -= part.len() as u64;
    }
    Ok(())
}

/// Reads `len` bytes, and says whether they are the first `len` of these; fewer are an error, at the first other one it
/// ends.
pub fn is_same(mut from: impl Read, len: u64) -> io::Result<bool> {
    let mut buffer = vec![0; 64 * 1024];
    let (mut left, mut at) = (len, 0);
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(PERIOD).min(buffer.len()).min(PERIOD - at);
        let read = match from.read(&mut buffer[..part]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if buffer[..read] != BLOCK[at..at + read] {
            return Ok(false);
        }
        left -= read as u64;
        at = (at + read) % PERIOD;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let len = 2 * PERIOD as u64 + 5;
        let mut bytes = Vec::new();
        write(&mut bytes, len).unwrap();
        assert_eq!(bytes.len() as u64, len);
        assert!(is_same(bytes.as_slice(), len).unwrap());
        assert!(!is_same(&bytes[1..], len - 1).unwrap());
        assert!(is_same(&bytes[..100], 101).is_err());
        bytes[PERIOD + 7] ^= 1;
        assert!(!is_same(bytes.as_slice(), len).unwrap());
    }
}
