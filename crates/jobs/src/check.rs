//! What is checked of texts and documents before they are stored: an accepted one can be stored, and read again, in either database.

use serde_json::Value;

use crate::Error;

/// Longest kind of a job and name of an event, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest key, in bytes: an image reference is at most 255 of repository, 128 of tag, and a digest.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest name of a worker, and request id, in bytes.
pub const WORKER_BYTES_MAX: usize = 128;

/// The parser of JSON gives up at 128 levels: what is stored must stay below, also inside an event's data.
const LEVELS_MAX: usize = 96;

/// A name for programs: kinds of jobs, names of events.
pub(crate) fn name(field: &'static str, text: &str) -> Result<(), Error> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    match text.len() {
        1..=NAME_BYTES_MAX if text.bytes().all(is_plain) => Ok(()),
        _ => Err(Error::invalid(field, format!("must be 1 to {NAME_BYTES_MAX} of a-z, 0-9, '.', '_' and '-'"))),
    }
}

/// A name for people: keys, workers, request ids. PostgreSQL stores no NUL, and nobody wants the other control characters.
pub(crate) fn text(field: &'static str, text: &str, bytes_max: usize) -> Result<(), Error> {
    match text.len() {
        0 => Err(Error::invalid(field, "must not be empty")),
        length if length > bytes_max => Err(Error::invalid(field, format!("has {length} bytes, more than {bytes_max}"))),
        _ if text.chars().any(char::is_control) => Err(Error::invalid(field, "has control characters")),
        _ => Ok(()),
    }
}

/// A document as text.
pub(crate) fn document(field: &'static str, value: &Value, bytes_max: usize) -> Result<String, Error> {
    if !fits_levels(value, LEVELS_MAX) {
        return Err(Error::invalid(field, format!("is nested more than {LEVELS_MAX} deep")));
    }
    let text = value.to_string();
    match text.len() {
        length if length > bytes_max => Err(Error::invalid(field, format!("has {length} bytes, more than {bytes_max}"))),
        _ => Ok(text),
    }
}

fn fits_levels(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => false,
        Value::Array(values) => values.iter().all(|value| fits_levels(value, levels - 1)),
        Value::Object(values) => values.values().all(|value| fits_levels(value, levels - 1)),
        _ => true,
    }
}

/// Text that is stored in any case, if need be without its end: lines of logs and messages of errors.
pub(crate) fn shortened(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_have_their_form() {
        assert!(name("kind", "image.build-2").is_ok());
        for bad in ["", "Image", "a b", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(name("kind", bad).is_err(), "{bad}");
        }
        assert!(text("key", &"ü".repeat(256), KEY_BYTES_MAX).is_ok());
        for bad in ["", "a\0", "a\n", &"ü".repeat(257)] {
            assert!(text("key", bad, KEY_BYTES_MAX).is_err(), "{bad}");
        }
    }

    #[test]
    fn documents_are_bounded_in_length_and_depth() {
        let nested = |levels| (0..levels).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert!(document("payload", &nested(LEVELS_MAX), 1000).is_ok());
        assert!(document("payload", &nested(LEVELS_MAX + 1), 1000).is_err());
        assert!(document("payload", &Value::String("x".repeat(98)), 100).is_ok());
        assert!(document("payload", &Value::String("x".repeat(99)), 100).is_err());
    }

    #[test]
    fn shortening_keeps_characters_whole_within_the_bound() {
        assert_eq!(shortened("aüb", 2), "a");
        assert_eq!(shortened("aüb", 3), "aü");
        assert_eq!(shortened("a\0", 10), "a\u{fffd}");
    }
}
