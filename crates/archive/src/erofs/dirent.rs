//! Directory blocks: up to 512 bytes of entries (12 bytes each), then their names, sorted over the whole directory.

use super::BLOCK_BYTES;
use crate::error::{Damage, damaged};
use crate::le;

/// Bytes of an entry without its name.
pub(crate) const ENTRY_BYTES: usize = 12;

/// How many of the `names` (their lengths) go into the next block.
fn fitting(names: impl Iterator<Item = usize>) -> (usize, usize) {
    let (mut count, mut used) = (0, 0);
    for name in names {
        if used + ENTRY_BYTES + name > BLOCK_BYTES as usize {
            break;
        }
        used += ENTRY_BYTES + name;
        count += 1;
    }
    (count, used)
}

/// Bytes that a directory with these names takes: every block but the last counts whole.
pub(crate) fn directory_bytes(names: &[usize]) -> u64 {
    let (mut total, mut rest) = (0, names);
    loop {
        let (count, used) = fitting(rest.iter().copied());
        rest = &rest[count..];
        if rest.is_empty() {
            return total + used as u64;
        }
        total += BLOCK_BYTES;
    }
}

/// The blocks of a directory with these entries (node number, `file_type`, name), sorted by name; the last is as long as it needs to be.
pub(crate) fn encode(entries: &[(u64, u8, &[u8])]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), entries);
    while !rest.is_empty() {
        out.resize(out.len().next_multiple_of(BLOCK_BYTES as usize), 0);
        let (count, _) = fitting(rest.iter().map(|e| e.2.len()));
        let (block, others) = rest.split_at(count);
        let mut name_at = count * ENTRY_BYTES;
        for (nid, file_type, name) in block {
            out.extend_from_slice(&nid.to_le_bytes());
            out.extend_from_slice(&(name_at as u16).to_le_bytes());
            out.extend_from_slice(&[*file_type, 0]);
            name_at += name.len();
        }
        for (_, _, name) in block {
            out.extend_from_slice(name);
        }
        rest = others;
    }
    out
}

/// One block of a directory, parsed as far as needed.
pub(crate) struct Block<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Block<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Block<'a>, Damage> {
        let Some(first) = bytes.first_chunk::<ENTRY_BYTES>() else { return damaged!("a directory block is too short") };
        let names_at = usize::from(le::u16(first, 8));
        if names_at < ENTRY_BYTES || names_at > bytes.len() || names_at % ENTRY_BYTES != 0 {
            return damaged!("a directory block has its names at {names_at}");
        }
        Ok(Block { bytes, count: names_at / ENTRY_BYTES })
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// Entry `i`, below [`Block::len`]: (node number, `file_type`, name).
    pub fn entry(&self, i: usize) -> Result<(u64, u8, &'a [u8]), Damage> {
        let record = |i: usize| self.bytes[i * ENTRY_BYTES..].first_chunk::<ENTRY_BYTES>();
        let Some(entry) = record(i) else { return damaged!("a directory block ends in an entry") };
        let start = usize::from(le::u16(entry, 8));
        let end = match record(i + 1).filter(|_| i + 1 < self.count) {
            Some(next) => usize::from(le::u16(next, 8)),
            None => self.bytes.len(),
        };
        let Some(mut name) = self.bytes.get(start..end) else { return damaged!("a name lies outside its directory block") };
        if i + 1 == self.count {
            // The last name ends at a NUL or with the block.
            name = name.split(|b| *b == 0).next().unwrap_or(name);
        }
        if name.is_empty() || name.len() > 255 || name.contains(&b'/') || name.contains(&0) {
            return damaged!("a directory has an impossible name");
        }
        Ok((le::u64(entry, 0), entry[10], name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_found() {
        let names: Vec<String> = (0..500).map(|i| format!("{i:05}{}", "x".repeat(i % 250))).collect();
        let entries: Vec<(u64, u8, &[u8])> = names.iter().enumerate().map(|(i, n)| (i as u64, 1, n.as_bytes())).collect();
        let bytes = encode(&entries);
        let lengths: Vec<usize> = names.iter().map(String::len).collect();
        assert_eq!(bytes.len() as u64, directory_bytes(&lengths));
        let mut found = Vec::new();
        for block in bytes.chunks(BLOCK_BYTES as usize) {
            let block = Block::parse(block).unwrap();
            found.extend((0..block.len()).map(|i| block.entry(i).unwrap()));
        }
        assert_eq!(found, entries);
    }
}
