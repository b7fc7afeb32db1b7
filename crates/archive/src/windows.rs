//! Windows of restart points inside gzip members: a table of offsets, and the windows, each by itself (FORMAT.md §7).

use std::ops::Range;

use crate::error::{Damage, damaged};
use crate::paged::Paged;

/// Index of a window in its archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WindowId(pub u32);

/// The window table: n + 1 ascending offsets of 8 bytes, so that window i is what lies between offsets i and i + 1.
pub(crate) struct WindowTable {
    offsets: Vec<u64>,
}

impl WindowTable {
    /// Parses the table of windows that take `length` bytes together.
    pub fn parse(bytes: &[u8], length: u64) -> Result<WindowTable, Damage> {
        let (words, rest) = bytes.as_chunks::<8>();
        let offsets: Vec<u64> = words.iter().map(|w| u64::from_le_bytes(*w)).collect();
        let ascending = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        let whole = offsets.first() == Some(&0) && offsets.last() == Some(&length);
        if !rest.is_empty() || !ascending || !(whole || offsets.is_empty() && length == 0) {
            return damaged!("its window table does not fit its windows");
        }
        Ok(WindowTable { offsets })
    }

    pub fn len(&self) -> u32 {
        self.offsets.len().saturating_sub(1) as u32
    }

    fn range(&self, id: WindowId) -> Result<Range<u64>, Damage> {
        match self.offsets.get(id.0 as usize..id.0 as usize + 2) {
            Some([start, end]) => Ok(*start..*end),
            _ => damaged!("there is no window {}", id.0),
        }
    }

    /// A window's 32 KiB (or fewer), from the windows section.
    pub fn window(&self, windows: &Paged, id: WindowId) -> Result<Vec<u8>, Damage> {
        let stored = windows.get(self.range(id)?)?;
        seek::window::decompress(stored).map_err(|e| Damage(format!("window {}: {e}", id.0)))
    }
}
