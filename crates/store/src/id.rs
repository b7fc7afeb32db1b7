//! The name of an image in a store.

use std::fmt;
use std::str::FromStr;

use archive::ArchiveVersion;

use crate::Error;

/// Hexadecimal digits of an id.
const DIGITS: usize = 64;

/// An image's id: BLAKE3 of what its archive is a function of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(String);

impl ImageId {
    /// The id of the archive that is made of the manifest with this digest, for a platform, in a version, with options that change its bytes
    /// (`level=9`), in a fixed order.
    pub fn of(manifest: &str, platform: &str, version: ArchiveVersion, options: &str) -> ImageId {
        let mut hasher = blake3::Hasher::new();
        for part in ["clip image 1", manifest, platform, &version.to_string(), options] {
            // With its length, so that no two lists are one text.
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        ImageId(hasher.finalize().to_hex().to_string())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageId {
    type Err = Error;

    /// All of its digits; nothing else is ever part of a path or key.
    fn from_str(text: &str) -> Result<ImageId, Error> {
        if text.len() == DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(ImageId(text.into()));
        }
        Err(Error::Id(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counts_and_nothing_runs_into_its_neighbour() {
        let id = |m, p, v, o| ImageId::of(m, p, v, o).to_string();
        let base = id("sha256:a", "linux/amd64", ArchiveVersion::V1, "level=9");
        assert_eq!(base, id("sha256:a", "linux/amd64", ArchiveVersion::V1, "level=9"));
        let others = [
            id("sha256:b", "linux/amd64", ArchiveVersion::V1, "level=9"),
            id("sha256:a", "linux/arm64", ArchiveVersion::V1, "level=9"),
            id("sha256:a", "linux/amd64", ArchiveVersion::V2, "level=9"),
            id("sha256:a", "linux/amd64", ArchiveVersion::V1, "level=19"),
            id("sha256:alinux/amd64", "", ArchiveVersion::V1, "level=9"),
        ];
        assert!(others.iter().all(|other| *other != base));
        assert_eq!(base.parse::<ImageId>().unwrap().to_string(), base);
    }

    #[test]
    fn paths_are_no_ids() {
        for text in ["", "abc", &"A".repeat(64), &"../".repeat(22)[..64], &"é".repeat(32)] {
            assert!(text.parse::<ImageId>().is_err(), "{text}");
        }
    }
}
