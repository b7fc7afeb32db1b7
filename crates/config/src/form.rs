//! What texts of a special form look like. Only what is surely wrong is refused: the service that gets the text knows better.

/// Names of log levels, as tracing has them.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A path: anything but nothing. NUL cannot be in one.
pub(crate) fn path(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

/// A bucket or region: one word.
pub(crate) fn word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// The beginning of object names: empty, or parts with `/` between them.
pub(crate) fn prefix(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.chars().any(char::is_control);
    text.is_empty() || text.split('/').all(part)
}

/// An http or https URL. One with user and password is refused: it would be shown, and they have keys of their own.
pub(crate) fn url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with(['/', ':']) && !rest.contains(['@', '?', '#']) && !rest.contains(char::is_whitespace)
    })
}

/// `HOST` or `HOST:PORT`; an IPv6 address in brackets.
pub(crate) fn host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let named = match address {
        Some(address) => address.contains(':') && address.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.')),
        None => !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    named && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0))
}

/// A level, or directives `TARGET=LEVEL` and levels with commas between them.
pub(crate) fn log_filter(text: &str) -> bool {
    text.split(',').all(|directive| {
        let level = match directive.split_once('=') {
            Some(("", _)) => return false,
            Some((_, level)) => level,
            None => directive,
        };
        LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let check = |form: fn(&str) -> bool, good: &[&str], bad: &[&str]| {
            good.iter().for_each(|text| assert!(form(text), "{text}"));
            bad.iter().for_each(|text| assert!(!form(text), "{text}"));
        };
        check(path, &["/x", "x"], &["", "a\0b"]);
        check(word, &["my-bucket.x_1", "0123"], &["", "a/b", "a b", "s3://b"]);
        check(prefix, &["", "clip", "a/b"], &["/", "/a", "a/", "a//b", "../x", "a\nb"]);
        check(
            url,
            &["http://127.0.0.1:9000", "https://s3.example/base"],
            &["", "s3.example", "ftp://x", "https://", "https:///x", "https://u:p@h", "https://a b", "http://:9"],
        );
        check(
            host,
            &["localhost", "r.example:5000", "[::1]", "[::1]:5000", "10.0.0.1:80"],
            &["", "http://r", "r/x", "r:", "r:0", "r:65536", "r:x", "[::1", "[]", ":5000", "a b", "::1"],
        );
        check(log_filter, &["info", "WARN", "off", "info,read=debug"], &["", "loud", "read=", "=info", "info,", "read=loud"]);
    }
}
