//! The mount table of this process, /proc/self/mountinfo (proc_pid_mountinfo(5)): a pure parser and what we look up in it.
//!
//! It is the only safe way to ask about a mount: stat(2) of a mountpoint whose server is stuck never returns.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::mountpoint::patiently;

/// The filesystem type of our mounts: FUSE, with a subtype of ours.
pub(crate) const FSTYPE: &str = "fuse.clip";

const TABLE: &str = "/proc/self/mountinfo";

/// One line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Major number of st_dev; 0 for FUSE.
    pub major: u32,
    /// Minor number of st_dev: names the mounted filesystem as long as it lives.
    pub minor: u32,
    /// Where it is mounted, as this process sees it.
    pub mountpoint: PathBuf,
    /// "ext4", "fuse.clip".
    pub fstype: String,
    /// What was mounted: for our mounts the path of the archive.
    pub source: OsString,
    /// FUSE only: the uid of the process that mounted.
    pub user_id: Option<u32>,
}

impl MountEntry {
    /// True for mounts of clip.
    pub fn is_clip(&self) -> bool {
        self.fstype == FSTYPE
    }

    /// True for mounts that a FUSE server stands behind.
    pub(crate) fn is_fuse(&self) -> bool {
        self.fstype == "fuse" || self.fstype.starts_with("fuse.")
    }
}

/// All mounts of clip that this process can see, in the order in which they were mounted.
pub fn list() -> Result<Vec<MountEntry>, Error> {
    Ok(table()?.into_iter().filter(MountEntry::is_clip).collect())
}

/// The whole mount table.
pub(crate) fn table() -> Result<Vec<MountEntry>, Error> {
    let text = fs::read(TABLE).map_err(|source| Error::MountTable { source })?;
    Ok(parse(&text))
}

/// The mount that lies on top at exactly `path` (relative paths and symbolic links are followed, without touching a mount at its end).
///
/// # Errors
/// A table that cannot be read; a path that does not answer.
pub fn find(path: &Path) -> Result<Option<MountEntry>, Error> {
    let table = table()?;
    let absolute = std::path::absolute(path).map_err(|source| Error::MountpointUnreadable { path: path.to_owned(), source })?;
    // Collecting the components drops a trailing slash, which the table does not have.
    let absolute: PathBuf = absolute.components().collect();
    if let Some(entry) = topmost(&table, &absolute) {
        return Ok(Some(entry.clone()));
    }
    let canonical = patiently(path, move || absolute.canonicalize())?;
    Ok(canonical.ok().and_then(|canonical| topmost(&table, &canonical).cloned()))
}

/// The mount on top at exactly `path`, which must be as the table has it: absolute and free of links.
pub(crate) fn topmost<'a>(table: &'a [MountEntry], path: &Path) -> Option<&'a MountEntry> {
    table.iter().rev().find(|entry| entry.mountpoint == path)
}

/// Reads the text of the table. The kernel writes it; a line that we do not understand is from a kernel that we do not know, and left out.
pub(crate) fn parse(text: &[u8]) -> Vec<MountEntry> {
    text.split(|b| *b == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /mountpoint rw,noatime master:1 - ext3 /dev/root rw,user_id=0`: six fields, optional ones up to a dash, three more.
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|b| *b == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let mountpoint = unescape(fields.nth(1)?);
    fields.find(|field| *field == b"-")?;
    let fstype = String::from_utf8(unescape(fields.next()?)).ok()?;
    let source = unescape(fields.next()?);
    Some(MountEntry {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        mountpoint: PathBuf::from(OsString::from_vec(mountpoint)),
        fstype,
        source: OsString::from_vec(source),
        user_id: fields.next().and_then(user_id),
    })
}

fn user_id(options: &[u8]) -> Option<u32> {
    let value = options.split(|b| *b == b',').find_map(|option| option.strip_prefix(b"user_id="))?;
    OsStr::from_bytes(value).to_str()?.parse().ok()
}

/// The kernel writes space, tab, newline, backslash and # as a backslash with three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte, tail.first_chunk().and_then(octal)) {
            (b'\\', Some(escaped)) => {
                out.push(escaped);
                rest = &tail[3..];
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

fn octal(digits: &[u8; 3]) -> Option<u8> {
    let value = digits.iter().try_fold(0_u32, |value, d| d.is_ascii_digit().then(|| value * 8 + u32::from(d - b'0')))?;
    (digits.iter().all(|d| *d < b'8')).then(|| u8::try_from(value).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
36 22 0:45 / /mnt/with\\040space\\134 ro,relatime shared:1 master:7 - fuse.clip /images/a\\011b.clip ro,user_id=1000,group_id=0,default_permissions
37 22 0:46 /sub /mnt/x ro - fuse.sshfs host: rw,user_id=0
nonsense
38 22 0:47 / /mnt/x rw - tmpfs tmpfs rw
";

    #[test]
    fn reads_every_line_that_makes_sense() {
        let table = parse(TEXT);
        assert_eq!(table.len(), 4);
        let clip = &table[1];
        assert_eq!(clip.mountpoint, Path::new("/mnt/with space\\"));
        assert_eq!((clip.major, clip.minor, clip.user_id), (0, 45, Some(1000)));
        assert_eq!(clip.source, "/images/a\tb.clip");
        assert!(clip.is_clip() && clip.is_fuse());
        assert!(table[2].is_fuse() && !table[2].is_clip());
        assert_eq!(table[0].user_id, None);
    }

    #[test]
    fn the_last_mount_lies_on_top() {
        let table = parse(TEXT);
        assert_eq!(topmost(&table, Path::new("/mnt/x")).map(|e| e.minor), Some(47));
        assert_eq!(topmost(&table, Path::new("/mnt")), None);
    }

    #[test]
    fn only_whole_octal_escapes_are_undone() {
        for (escaped, plain) in [("a\\040b", "a b"), ("\\0", "\\0"), ("\\09", "\\09"), ("\\089", "\\089"), ("\\134040", "\\040")] {
            assert_eq!(unescape(escaped.as_bytes()), plain.as_bytes(), "{escaped}");
        }
    }

    #[test]
    fn the_real_table_has_a_root() {
        assert!(topmost(&table().unwrap(), Path::new("/")).is_some());
    }

    #[test]
    fn odd_bytes_are_no_trouble() {
        let mut text = TEXT.to_vec();
        for at in 0..text.len() {
            let old = std::mem::replace(&mut text[at], 0xff);
            parse(&text);
            parse(&text[at..]);
            text[at] = old;
        }
    }
}
