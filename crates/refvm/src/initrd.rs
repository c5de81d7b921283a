//! The initial file system: an archive in the "new ASCII" form of cpio, which the kernel unpacks at boot
//! (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fmt::Write as _;

/// Writes an archive entry by entry.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
/// Name of the last entry.
const TRAILER: &str = "TRAILER!!!";

impl Archive {
    /// Adds a folder. Its parent must have been added.
    pub(crate) fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, &[]);
    }

    /// Adds a file that may be executed.
    pub(crate) fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, content);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("files of the initial file system are small");
        let name_size = u32::try_from(name.len() + 1).expect("names are short");
        let mut header = String::from("070701");
        // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), length of the name, checksum
        for field in [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            write!(header, "{field:08x}").expect("a String takes all");
        }
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    /// Header with name, and content, both end at a multiple of four.
    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_header_name_and_content_each_aligned() {
        let mut archive = Archive::default();
        archive.program("init", b"hello");
        let bytes = archive.finish();

        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[6..14], b"00000001", "inode");
        assert_eq!(&bytes[14..22], b"000081ed", "mode 0100755");
        assert_eq!(&bytes[54..62], b"00000005", "size of the content");
        assert_eq!(&bytes[94..102], b"00000005", "length of the name with its zero byte");
        assert_eq!(&bytes[110..116], b"init\0\0", "name, then zeros up to 116");
        assert_eq!(&bytes[116..124], b"hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701", "next entry");
    }

    #[test]
    fn the_archive_ends_with_the_trailer() {
        let bytes = Archive::default().finish();
        assert_eq!(bytes.len(), (110 + TRAILER.len() + 1).next_multiple_of(4));
        assert!(bytes[110..].starts_with(TRAILER.as_bytes()));
    }
}
