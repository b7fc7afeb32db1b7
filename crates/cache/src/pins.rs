//! Pins: streams that stay, whatever else is read. Each pin has a name, and a stream stays until the last of its names is gone.
//!
//! A pin is an empty file `<dir>/pins/<hex key>.<name>`, so that pins outlive processes, boots and the stream itself: one may be set before
//! anything of the stream is here, and whoever evicts in whatever process sees it.
//!
//! *Pin against evict.* An evictor reads the pins once, holding `evict.lock`; a pin is set under the same lock. So once [`Cache::pin`] has
//! returned, nothing of the stream is evicted; what was evicted while it waited is gone, and comes back when it is read. [`Cache::unpin`]
//! needs no lock: an evictor that still knows the pin spares the stream once more.
//!
//! What pins do not hold off: a record file that is damaged, or that somebody opens with another layout, is replaced by an empty one; spans
//! that are found to be wrong, or whose writer died, have no right bytes and may go; and a process of a version that knows no pins evicts.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::cache::{Cache, Paths};
use crate::key::{key_hex, parse_key};
use crate::lock::{self, open_private};

/// Most pins in a cache: every eviction reads them all.
pub const PINS_MAX: usize = 10_000;
/// Longest name of a pin, in bytes: key and name together are the name of a file.
pub const PIN_NAME_BYTES_MAX: usize = 128;

/// A name that holds a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// Which stream.
    pub key: [u8; 32],
    /// Who wants it.
    pub name: String,
}

impl Cache {
    /// Pins the stream that `key` names, here or not, under a `name`: its spans are not evicted any more, by no process, until the last
    /// of its names is unpinned. Pinned again under the same name is as pinned once. Is on the disk when it returns.
    ///
    /// Pinned bytes count. What does not fit beside them is not kept: [`StreamCache::put`](crate::StreamCache::put) skips it.
    ///
    /// Blocks while an eviction is at work, at most ten seconds.
    ///
    /// # Errors
    ///
    /// `BadPinName` unless the name is 1 to [`PIN_NAME_BYTES_MAX`] ASCII letters, digits, `-`, `_` and `.`, with no `.` at the beginning;
    /// `TooManyPins` beyond [`PINS_MAX`]; `Busy` if the eviction does not end; `Io`.
    pub fn pin(&self, key: &[u8; 32], name: &str) -> Result<(), Error> {
        let paths = self.paths();
        let path = pin_path(paths, key, name)?;
        let file = {
            let _lock = lock::wait(&paths.evict_lock())?;
            if !path.exists() && entries(&paths.pins())?.len() >= PINS_MAX {
                return Err(Error::TooManyPins { max: PINS_MAX });
            }
            open_private(&path, true).map_err(Error::io("create", &path))?
        };
        file.sync_all().map_err(Error::io("sync", &path))?;
        sync_dir(&paths.pins())
    }

    /// Takes a pin away; false if there is none of that name. The spans stay until room is needed.
    ///
    /// # Errors
    ///
    /// `BadPinName` as for [`Cache::pin`]; `Io`.
    pub fn unpin(&self, key: &[u8; 32], name: &str) -> Result<bool, Error> {
        let paths = self.paths();
        let path = pin_path(paths, key, name)?;
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("remove", &path)(error)),
        }
        self.shared().room.may_have_changed();
        sync_dir(&paths.pins())?;
        Ok(true)
    }

    /// All pins, by key and name: at most [`PINS_MAX`].
    ///
    /// # Errors
    ///
    /// `Io` if the directory cannot be read.
    pub fn pins(&self) -> Result<Vec<Pin>, Error> {
        list(self.paths())
    }
}

/// All pins, by key and name.
pub(crate) fn list(paths: &Paths) -> Result<Vec<Pin>, Error> {
    let mut pins: Vec<Pin> = entries(&paths.pins())?.iter().filter_map(|name| parse(name)).collect();
    pins.sort();
    Ok(pins)
}

/// The streams that are pinned.
pub(crate) fn pinned_keys(paths: &Paths) -> Result<HashSet<[u8; 32]>, Error> {
    Ok(list(paths)?.into_iter().map(|pin| pin.key).collect())
}

/// Names of files in the directory, at most [`PINS_MAX`]: [`Cache::pin`] lets no more come about.
fn entries(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        // Somebody removed it while we run: then nothing is pinned.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", dir)(error)),
    };
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.take(PINS_MAX).map(|entry| entry.map(name).map_err(Error::io("list", dir))).collect()
}

/// The pin that a file name says; None if it is not one of ours.
fn parse(file_name: &str) -> Option<Pin> {
    let (key, name) = file_name.split_once('.')?;
    let key = parse_key(key)?;
    is_name(name).then(|| Pin { key, name: name.into() })
}

fn pin_path(paths: &Paths, key: &[u8; 32], name: &str) -> Result<PathBuf, Error> {
    if !is_name(name) {
        return Err(Error::BadPinName { max: PIN_NAME_BYTES_MAX });
    }
    Ok(paths.pins().join(format!("{}.{name}", key_hex(key))))
}

/// A word that is the end of a file name and nothing else.
fn is_name(name: &str) -> bool {
    (1..=PIN_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Makes names that came or went outlast a power cut: a pin is a promise, not a guess.
fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let key = [0xAB; 32];
        let hex = key_hex(&key);
        for good in ["a", "A-b_c.d", &"f".repeat(64), &"x".repeat(PIN_NAME_BYTES_MAX)] {
            assert_eq!(parse(&format!("{hex}.{good}")), Some(Pin { key, name: good.into() }));
        }
        for bad in ["", ".", "..", ".x", "a/b", "a b", "é", "a\0", &"x".repeat(PIN_NAME_BYTES_MAX + 1)] {
            assert!(!is_name(bad), "{bad}");
        }
        assert_eq!((parse(&hex), parse("x.y"), parse("")), (None, None, None));
    }
}
