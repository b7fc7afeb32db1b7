//! Names of descriptors.

use std::fmt;

use crate::error::Error;

/// Longest name, as sd_pid_notify_with_fds(3) has it.
const BYTES_MAX: usize = 255;

/// The name of a stored descriptor: 1 to 255 printable ASCII characters, no colon (which separates names in $LISTEN_FDNAMES). Several descriptors may have one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Checks a name.
    pub fn new(name: impl Into<String>) -> Result<Name, Error> {
        let name = name.into();
        match is_valid(name.as_bytes()) {
            true => Ok(Name(name)),
            false => Err(Error::Name { name }),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_valid(name: &[u8]) -> bool {
    (1..=BYTES_MAX).contains(&name.len()) && name.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_names_are_names() {
        for good in ["mount-45", "a", "with space", "a=b", &"x".repeat(255)] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a:b", "a\nb", "a\0", "\u{e9}", "\x7f", &"x".repeat(256)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }
}
