//! The key that was probably meant.

use crate::keys::KEYS;

/// Longest text that is compared and shown, in characters: names have less, and the comparison is quadratic.
const SHOWN_MAX: usize = 64;
/// Most letters that a misspelt name may differ in.
const DISTANCE_MAX: usize = 3;

/// `text` as it can stand in a message: no control characters, not too long.
pub(crate) fn shown(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let mut short: String = text.chars().take(SHOWN_MAX).map(escape).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        short.push('…');
    }
    short
}

/// The one of `names` that is nearest to `given`, if it is near.
pub(crate) fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.chars().count() > SHOWN_MAX {
        return None;
    }
    let given = given.to_lowercase();
    let near = names.into_iter().map(|name| (distance(&given, &name.to_lowercase()), name)).min_by_key(|(distance, _)| *distance)?;
    // Three letters of `dir` are all of it.
    (near.0 <= DISTANCE_MAX.min(near.1.len() / 3)).then_some(near.1)
}

/// A key of the same name in another section.
pub(crate) fn elsewhere(name: &str) -> Option<&'static str> {
    KEYS.iter().map(|key| key.path).find(|path| path.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case(name)))
}

/// Letters to insert, remove or replace to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near() {
        let names = ["clipVersion", "registryStore", "s3", "level"];
        for (given, expected) in [
            ("clipVersoin", Some("clipVersion")),
            ("ClipVersion", Some("clipVersion")),
            ("levle", None), // two of five letters
            ("leve", Some("level")),
            ("x3", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, names), expected, "{given}");
        }
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("a", "a")), (3, 3, 0));
        assert_eq!(elsewhere("bucket"), Some("imageService.s3.bucket"));
    }

    #[test]
    fn messages_stay_short_and_printable() {
        assert_eq!(shown("a\n\u{1b}[1m"), "a\\n\\u{1b}[1m");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), SHOWN_MAX + 1);
        assert_eq!(nearest(&"x".repeat(1 << 20), ["level"]), None);
    }
}
