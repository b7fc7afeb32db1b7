//! Which boot of the machine this is: what tells bytes that the page cache vouches for from bytes that a dead machine left behind.

use std::fs;
use std::io;
use std::path::Path;

use crate::Error;

/// Where the kernel says it: a random UUID, made once per boot, the same in all containers.
const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";

/// The name of one boot, as two words for the mapped header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BootId(pub [u64; 2]);

impl BootId {
    /// The boot that we run in.
    pub fn current() -> Result<Self, Error> {
        let path = Path::new(BOOT_ID_PATH);
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse(&text).ok_or_else(|| Error::io("parse", path)(io::ErrorKind::InvalidData.into()))
    }

    fn parse(text: &str) -> Option<Self> {
        let hex: String = text.trim().split('-').collect();
        let number = (hex.len() == 32).then(|| u128::from_str_radix(&hex, 16).ok())??;
        let (high, low) = ((number >> 64) as u64, number as u64);
        Some(Self([high, low]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_kernels_uuid() {
        let id = BootId::parse("00000000-0000-0001-0000-0000000000ff\n").unwrap();
        assert_eq!(id, BootId([1, 255]));
        for bad in ["", "xyz", "00000000-0000-0001-0000-0000000000f", "g0000000-0000-0001-0000-0000000000ff"] {
            assert!(BootId::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(BootId::current().unwrap(), BootId::current().unwrap());
    }
}
