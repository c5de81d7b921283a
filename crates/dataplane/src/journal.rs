//! The journal: what a director is about to do to the maps, where the maps are.
//!
//! It is a map of its own that nothing but [`Kernel`](crate::Kernel) looks at, pinned beside those that it is about. So it
//! lives exactly as long as they do: through a crash of the director, but not through `remove` or a restart of the machine,
//! and it can't be found beside the maps of another life. It appears by being pinned, with all that is in it, and
//! disappears by one store.

use core::sync::atomic::Ordering;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::bpf;
use crate::error::{Error, Result};
use crate::mapping::Mapping;

/// Name of its pin.
pub(crate) const JOURNAL: &str = "JOURNAL";
const WORD: usize = size_of::<u64>();

/// A journal that is there.
///
/// It stays when this value ends; see [`Journal::erase`].
#[derive(Debug)]
#[must_use]
pub struct Journal {
    /// Word 0: length of the text in bytes, 0 once it is erased; then the text.
    map: Mapping,
    pin: PathBuf,
    shown: PathBuf,
}

impl Journal {
    /// Makes one, in place of one that is erased.
    pub(crate) fn write(directory: &Path, shown: PathBuf, text: &[u8]) -> Result<Self> {
        let pin = directory.join(JOURNAL);
        let map = pin_text(&pin, text)
            .map_err(|source| Error::system(format!("write journal {}", shown.display()), source))?;
        Ok(Self { map, pin, shown })
    }

    /// The one that is there.
    pub(crate) fn find(directory: &Path, shown: PathBuf) -> Result<Option<Self>> {
        let pin = directory.join(JOURNAL);
        match bpf::get(&pin).and_then(|map| Mapping::new(map.as_fd())) {
            Ok(map) => Ok(Some(Self { map, pin, shown })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::system(format!("read journal {}", shown.display()), e)),
        }
    }

    /// What was written; nothing once it is erased.
    ///
    /// # Errors
    /// When it is shorter than it says.
    pub fn text(&self) -> Result<Vec<u8>> {
        let words = self.map.words();
        let length = words.first().map_or(0, |length| length.load(Ordering::Acquire));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut text: Vec<u8> =
            words.iter().skip(1).flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        if length > text.len() {
            let reason = io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut short");
            return Err(Error::system(format!("read journal {}", self.shown.display()), reason));
        }
        text.truncate(length);
        Ok(text)
    }

    /// Makes it say nothing, which can't fail, and removes it.
    ///
    /// # Errors
    /// When its pin can't be removed. Nobody finds anything in it.
    pub fn erase(self) -> Result<()> {
        if let Some(length) = self.map.words().first() {
            length.store(0, Ordering::Release);
        }
        remove(&self.pin)
            .map_err(|source| Error::system(format!("remove journal {}", self.shown.display()), source))
    }
}

/// Makes a map of the text and pins it, which is when others see it.
fn pin_text(pin: &Path, text: &[u8]) -> io::Result<Mapping> {
    remove(pin)?;
    let words = u32::try_from(1 + text.len().div_ceil(WORD)).map_err(io::Error::other)?;
    let descriptor = bpf::array_create(JOURNAL, WORD, words)?;
    let map = Mapping::new(descriptor.as_fd())?;
    let (length, rest) = map.words().split_first().ok_or(io::ErrorKind::InvalidData)?;
    for (word, bytes) in rest.iter().zip(text.chunks(WORD)) {
        let mut padded = [0; WORD];
        padded[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
    }
    length.store(text.len() as u64, Ordering::Release);
    bpf::pin(descriptor.as_fd(), pin)?;
    Ok(map)
}

fn remove(pin: &Path) -> io::Result<()> {
    match fs::remove_file(pin) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
