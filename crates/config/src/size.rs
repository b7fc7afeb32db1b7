//! Sizes in bytes, as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Units and their powers of two. `iB` or `B` may follow.
const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

/// A number of bytes, written `512M`, `10G`, `1.5T`, `10GiB` or plainly in bytes; units are powers of 1,024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = ();

    fn from_str(text: &str) -> Result<ByteSize, ()> {
        let short = text.strip_suffix("iB").or_else(|| text.strip_suffix('B')).unwrap_or(text);
        let unit = UNITS.iter().find(|(unit, _)| short.ends_with([*unit, unit.to_ascii_lowercase()]));
        let (number, shift) = unit.map_or((short, 0), |(_, shift)| (&short[..short.len() - 1], *shift));
        // `iB` needs a unit before it, and signs, exponents, `inf` are no sizes.
        if (shift == 0 && text.ends_with("iB")) || !number.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(());
        }
        if !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
            return Err(());
        }
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(1 << shift).map(ByteSize).ok_or(());
        }
        let bytes = number.parse::<f64>().map_err(|_| ())? * (1u64 << shift) as f64;
        // Beyond this an f64 cannot be a u64.
        if bytes < u64::MAX as f64 { Ok(ByteSize(bytes as u64)) } else { Err(()) }
    }
}

/// In the largest unit that says it exactly: `10G`, `1536M`, `1000`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= *shift) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| de::Error::custom("not a size"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read() {
        for (text, bytes) in [
            ("10G", 10 << 30),
            ("10g", 10 << 30),
            ("1.5KiB", 1536),
            ("77", 77),
            ("77B", 77),
            ("2TB", 2 << 40),
            ("0.5M", 512 << 10),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in [
            "",
            "G",
            "-1G",
            "+1G",
            "10X",
            "1e3",
            "1e30T",
            "99999999999T",
            "16777216T",
            "10 G",
            "inf",
            "nan",
            "1.2.3G",
            "5iB",
            "10GG",
            "0x10",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn written() {
        for (bytes, text) in [(10u64 << 30, "10G"), (1536 << 20, "1536M"), (1000, "1000"), (0, "0"), (3 << 40, "3T"), (1 << 10, "1K")] {
            assert_eq!(ByteSize(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
        }
    }
}
