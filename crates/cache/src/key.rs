//! Keys of streams as text: how their directories and their pins are called.

use std::path::Path;

/// Digits of a key.
const DIGITS: usize = 64;

/// A stream's key as 64 lower-case hex digits.
pub fn key_hex(key: &[u8; 32]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key that 64 hex digits say. Upper case is refused: a key has one name.
pub fn parse_key(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != DIGITS || !hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut key = [0; 32];
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(key)
}

/// The key of the stream that lies in a directory; None if no stream is called so.
pub(crate) fn of_dir(dir: &Path) -> Option<[u8; 32]> {
    parse_key(dir.file_name()?.to_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let key: [u8; 32] = std::array::from_fn(|index| index as u8 * 8 + 7);
        let hex = key_hex(&key);
        assert_eq!((hex.len(), parse_key(&hex)), (DIGITS, Some(key)));
        assert_eq!(of_dir(&Path::new("/x/streams").join(&hex)), Some(key));
        for bad in ["", "00", &hex.to_uppercase(), &format!("{hex}0"), &hex.replace('f', "g"), &"é".repeat(32), &"+f".repeat(32)] {
            assert_eq!(parse_key(bad), None, "{bad}");
        }
    }
}
