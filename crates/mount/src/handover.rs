//! What a server leaves to its successor besides the descriptor: everything about the mount that nobody can find out later.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use archive::Archive;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;
use crate::greeting::Greeting;
use crate::mountinfo::MountEntry;

/// What generations of servers must have in common to follow each other on one mount: how inode numbers and directory cookies are made from an archive (`ino`,
/// `filesystem`), and that no file handle means anything. The kernel remembers numbers of the former server and asks the next one about them.
/// Whoever changes one of these counts this up, and mounts of before are then served to their end by nobody but the old version.
const CONTRACT: u32 = 1;

/// Tells the next server what it must know of a mount. Small (about 300 bytes of JSON); unknown fields, of a later version, are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    contract: u32,
    /// The archive's id in hexadecimal.
    archive: String,
    #[serde(serialize_with = "path_to_serde", deserialize_with = "path_from_serde")]
    mountpoint: PathBuf,
    major: u32,
    minor: u32,
    allow_other: bool,
    greeting: Greeting,
}

impl Handover {
    pub(crate) fn new(archive: &Archive, entry: &MountEntry, allow_other: bool, greeting: Greeting) -> Handover {
        let MountEntry { major, minor, ref mountpoint, .. } = *entry;
        Handover { contract: CONTRACT, archive: id(archive), mountpoint: mountpoint.clone(), major, minor, allow_other, greeting }
    }

    /// Where the mount was when it was last served. It may have been moved since.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Major and minor number of the mount (st_dev, /proc/self/mountinfo): its name for as long as it lives, and free for others afterwards.
    pub fn device(&self) -> (u32, u32) {
        (self.major, self.minor)
    }

    /// The id of the mounted archive, in hexadecimal.
    pub fn archive(&self) -> &str {
        &self.archive
    }

    /// True where everybody may enter the mount.
    pub(crate) fn allow_other(&self) -> bool {
        self.allow_other
    }

    pub(crate) fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Refuses what this version, or this archive, cannot go on with.
    pub(crate) fn check(&self, archive: &Archive) -> Result<(), Error> {
        if self.contract != CONTRACT {
            return Err(Error::OtherContract { path: self.mountpoint.clone(), theirs: self.contract, ours: CONTRACT });
        }
        match self.archive == id(archive) {
            true => Ok(()),
            false => Err(Error::OtherArchive { path: self.mountpoint.clone(), archive: archive.path().to_owned() }),
        }
    }

    /// True for mounts of clip with this device number.
    pub(crate) fn is_of(&self, entry: &MountEntry) -> bool {
        entry.is_clip() && (entry.major, entry.minor) == self.device()
    }
}

fn id(archive: &Archive) -> String {
    archive.id().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path is text where it can be, for the eyes of people, and bytes where it must be: JSON knows Unicode only.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Bytes(Vec<u8>),
}

fn path_to_serde<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    let written = match path.to_str() {
        Some(text) => Written::Text(text.to_owned()),
        None => Written::Bytes(path.as_os_str().as_bytes().to_vec()),
    };
    written.serialize(serializer)
}

fn path_from_serde<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Ok(match Written::deserialize(deserializer)? {
        Written::Text(text) => text.into(),
        Written::Bytes(bytes) => OsString::from_vec(bytes).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handover(mountpoint: &[u8]) -> Handover {
        let greeting = serde_json::json!({ "major": 7, "minor": 45, "max_readahead": 131_072, "offered": u64::MAX, "agreed": 5 });
        Handover {
            contract: CONTRACT,
            archive: "ab".repeat(32),
            mountpoint: OsString::from_vec(mountpoint.to_vec()).into(),
            major: 0,
            minor: 45,
            allow_other: true,
            greeting: serde_json::from_value(greeting).unwrap(),
        }
    }

    #[test]
    fn survives_json_with_any_path() {
        for path in [&b"/mnt/x"[..], b"/mnt/\xff\xfe", "/mnt/\u{e9}".as_bytes()] {
            let before = handover(path);
            let text = serde_json::to_string(&before).unwrap();
            assert_eq!(serde_json::from_str::<Handover>(&text).unwrap(), before);
        }
    }

    #[test]
    fn is_readable_and_takes_what_later_versions_add() {
        let mut json = serde_json::to_value(handover(b"/mnt/x")).unwrap();
        assert_eq!(json["mountpoint"], "/mnt/x");
        json["later"] = serde_json::json!({ "more": [1] });
        json["greeting"]["later"] = 1.into();
        assert!(serde_json::from_value::<Handover>(json).is_ok());
    }
}
