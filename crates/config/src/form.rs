//! What texts of a special form look like. Only what is surely wrong is refused: the service that gets the text knows better.

use crate::listen::Listen;
use crate::mode::SocketMode;

/// Shortest token of ours, in characters: 16 of them drawn at random cannot be guessed over a network.
const TOKEN_CHARS_MIN: usize = 16;
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

/// As [`url`], but with a query if need be: where to send to is often said there.
pub(crate) fn webhook(text: &str) -> bool {
    let (place, query) = text.split_once('?').unwrap_or((text, ""));
    url(place) && !query.contains('#') && !text.contains(|c: char| c.is_control() || c.is_whitespace())
}

/// A URL of PostgreSQL. What follows the scheme is for its client to read: it may be no more than a query.
pub(crate) fn database(text: &str) -> bool {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(|c: char| c.is_control() || c.is_whitespace()))
}

/// A line of text.
pub(crate) fn line(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

/// What can stand behind `Authorization: Bearer`.
pub(crate) fn bearer(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

/// What others must bring to be let in.
pub(crate) fn token(text: &str) -> bool {
    bearer(text) && text.len() >= TOKEN_CHARS_MIN
}

/// A directory below which something may be done: absolute, and no way out of what its text says.
pub(crate) fn root(text: &str) -> bool {
    path(text) && text.starts_with('/') && text.split('/').all(|part| part != "." && part != "..")
}

/// Permission bits of a socket.
pub(crate) fn socket_mode(text: &str) -> bool {
    text.parse::<SocketMode>().is_ok()
}

/// A TCP address to listen on.
pub(crate) fn listen(text: &str) -> bool {
    text.parse::<Listen>().is_ok()
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
        check(
            webhook,
            &["http://h", "https://h.example/x?y=1&z=a@b", "https://h/?"],
            &["", "h", "https://?x", "https://u:p@h/?x", "https://h/?x#y", "https://h#y", "https://h/?a b", "https://h/?a\u{7}"],
        );
        check(
            database,
            &["postgres://h/db", "postgresql://u:p@h:5432/db?sslmode=require", "postgres:///db?host=/run/postgresql"],
            &[
                "",
                "postgres://",
                "postgres:h",
                "mysql://h/db",
                "sqlite:///x",
                "http://h",
                "POSTGRES://h",
                "postgres://a b",
                "postgres://a\n",
            ],
        );
        check(line, &["a b", "x"], &["", "a\nb"]);
        check(bearer, &["x", "abc.DEF-123_~+/="], &["", "a b", "a\n", "é"]);
        check(token, &["0123456789abcdef"], &["0123456789abcde", "0123456789 abcdef", "ééééééééé"]);
        check(root, &["/", "/mnt", "/mnt/a.b/..c", "/mnt/"], &["", "mnt", "/mnt/..", "/./mnt", "/mnt/../etc", "..", "/a\0b"]);
        check(log_filter, &["info", "WARN", "off", "info,read=debug"], &["", "loud", "read=", "=info", "info,", "read=loud"]);
    }
}
