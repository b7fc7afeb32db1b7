//! Permission bits, as `chmod` takes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What the owner of a socket must be able to do: who cannot write to it cannot connect.
const OWNER: u32 = 0o600;

/// Permission bits of a socket, `0600` to `0777`: 3 octal digits, or 4 of which the first is 0.
///
/// Whoever may write may connect: `0660` is owner and group, `0666` everybody on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketMode(u32);

impl SocketMode {
    /// Owner and group.
    pub(crate) const DEFAULT: SocketMode = SocketMode(0o660);

    /// The bits, for `chmod`: 0o600 to 0o777.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for SocketMode {
    type Err = ();

    fn from_str(text: &str) -> Result<SocketMode, ()> {
        let digits = if text.len() == 4 { text.strip_prefix('0').ok_or(())? } else { text };
        // `from_str_radix` would take a sign.
        if digits.len() != 3 || !digits.bytes().all(|digit| matches!(digit, b'0'..=b'7')) {
            return Err(());
        }
        let bits = u32::from_str_radix(digits, 8).map_err(|_| ())?;
        if bits & OWNER == OWNER { Ok(SocketMode(bits)) } else { Err(()) }
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Serialize for SocketMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SocketMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SocketMode, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| de::Error::custom("not a mode"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, bits, written) in [("0660", 0o660, "0660"), ("600", 0o600, "0600"), ("0666", 0o666, "0666"), ("777", 0o777, "0777")] {
            let mode: SocketMode = text.parse().unwrap();
            assert_eq!((mode.bits(), mode.to_string().as_str()), (bits, written), "{text}");
        }
        for bad in ["", "0", "66", "0o660", "1660", "4755", "0680", "0060", "0400", "00660", "+660", "-600", "rw-rw----", " 660"] {
            assert!(bad.parse::<SocketMode>().is_err(), "{bad}");
        }
        assert_eq!("0660".parse(), Ok(SocketMode::DEFAULT));
    }
}
