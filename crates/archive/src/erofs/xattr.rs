//! Extended attributes, kept behind their inode: a header of 12 bytes, then entries of 4 bytes, name and value, each padded to 4.

use crate::Xattrs;
use crate::error::{Damage, damaged};

const HEADER_BYTES: usize = 12;

/// Prefixes that EROFS writes as a number. The two ACLs are whole names.
const PREFIXES: [(u8, &[u8]); 5] =
    [(1, b"user."), (2, b"system.posix_acl_access"), (3, b"system.posix_acl_default"), (4, b"trusted."), (6, b"security.")];

/// Whether EROFS, and Linux filesystems in general, can hold an attribute of this name and value size.
pub fn representable(name: &[u8], value: &[u8]) -> bool {
    split(name).is_some_and(|(_, rest)| rest.len() <= 255) && u16::try_from(value.len()).is_ok()
}

fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|(index, prefix)| {
        let rest = name.strip_prefix(*prefix)?;
        (rest.is_empty() != prefix.ends_with(b".")).then_some((*index, rest))
    })
}

/// Bytes that these attributes take behind an inode; 0 for none.
pub(crate) fn size(xattrs: &[(Vec<u8>, Vec<u8>)]) -> u64 {
    if xattrs.is_empty() { 0 } else { encode(xattrs).len() as u64 }
}

/// The attributes as they lie behind the inode. All are [`representable`].
pub(crate) fn encode(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![0; HEADER_BYTES];
    for (name, value) in xattrs {
        let Some((index, rest)) = split(name) else { continue };
        out.extend_from_slice(&[rest.len() as u8, index]);
        out.extend_from_slice(&(value.len() as u16).to_le_bytes());
        out.extend_from_slice(rest);
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// Whether an inode has room for all of these, each of them [`representable`].
pub fn fit(xattrs: &[(Vec<u8>, Vec<u8>)]) -> bool {
    count(size(xattrs)).is_some()
}

/// `i_xattr_icount` for attributes of `size` bytes; `None` where they are more than an inode can have (256 KiB).
pub(crate) fn count(size: u64) -> Option<u16> {
    if size == 0 { Some(0) } else { u16::try_from((size - HEADER_BYTES as u64) / 4 + 1).ok() }
}

/// The bytes behind the inode that `i_xattr_icount` announces.
pub(crate) fn area_bytes(count: u16) -> u64 {
    if count == 0 { 0 } else { HEADER_BYTES as u64 + 4 * (u64::from(count) - 1) }
}

/// Names and values.
pub(crate) fn parse(area: &[u8]) -> Result<Xattrs, Damage> {
    let Some((header, mut rest)) = area.split_at_checked(HEADER_BYTES) else { return Ok(Vec::new()) };
    if header[4] != 0 {
        return damaged!("an inode refers to shared attributes, which clip does not write");
    }
    let mut found = Vec::new();
    while let Some((entry, body)) = rest.split_first_chunk::<4>() {
        let (name_bytes, value_bytes) = (usize::from(entry[0]), usize::from(u16::from_le_bytes([entry[2], entry[3]])));
        let prefix = PREFIXES.iter().find(|p| p.0 == entry[1]);
        let (Some((_, prefix)), Some(name), Some(value)) = (prefix, body.get(..name_bytes), body.get(name_bytes..name_bytes + value_bytes))
        else {
            return damaged!("an extended attribute lies outside its inode");
        };
        found.push(([prefix, name].concat(), value.to_vec()));
        rest = body.get((name_bytes + value_bytes).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_found() {
        let pair = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
        let xattrs = vec![
            pair("security.capability", &[1; 20]),
            pair("system.posix_acl_access", &[2; 44]),
            pair("user.empty", b""),
            pair("user.long", &[3; 60_000]),
        ];
        assert!(xattrs.iter().all(|(n, v)| representable(n, v)));
        let area = encode(&xattrs);
        assert_eq!(area_bytes(count(area.len() as u64).unwrap()), area.len() as u64);
        assert_eq!(parse(&area).unwrap(), xattrs);
        assert!(!representable(b"btrfs.compression", b"") && !representable(b"user.", b"") && !representable(b"user.x", &[0; 65536]));
    }
}
