//! Reading headers of answers. Pure; nothing here trusts the server.

use std::{ops::RangeInclusive, time::Duration};

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

use super::date;

/// What a registry wants to see before it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token, to be fetched from `realm`.
    Bearer { realm: String, service: Option<String> },
    /// User name and password.
    Basic,
}

/// The challenge that we can meet, a token before a password.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let all: Vec<_> = values.flat_map(parse_challenges).collect();
    let bearer = all.iter().find(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).and_then(|(_, parameters)| {
        let get = |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
        Some(Challenge::Bearer { realm: get("realm")?, service: get("service") })
    });
    bearer.or_else(|| all.iter().any(|(scheme, _)| scheme.eq_ignore_ascii_case("basic")).then_some(Challenge::Basic))
}

type Parameters = Vec<(String, String)>;

/// `scheme key=value, key="value", scheme …`. What does not fit is passed over.
fn parse_challenges(text: &str) -> Vec<(String, Parameters)> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if let Some(value) = after.strip_prefix('=') {
            let (value, tail) = parse_value(value);
            if let Some((_, parameters)) = challenges.last_mut() {
                parameters.push((word.to_owned(), value));
            }
            rest = tail;
        } else if word.is_empty() {
            return challenges;
        } else {
            challenges.push((word.to_owned(), Vec::new()));
            rest = after;
        }
    }
}

/// A value, quoted or not, and what follows it.
fn parse_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, tail) = text.split_at(text.find([' ', '\t', ',']).unwrap_or(text.len()));
        return (value.to_owned(), tail);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// `Content-Range: bytes first-last/total`; the total may be unknown (`*`).
pub fn content_range(text: &str) -> Option<(RangeInclusive<u64>, Option<u64>)> {
    let (unit, rest) = text.trim().split_once(' ')?;
    let (range, total) = rest.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let range = number(first)?..=number(last)?;
    let total = if total == "*" { None } else { Some(number(total)?) };
    let sound = unit.eq_ignore_ascii_case("bytes") && range.start() <= range.end() && total.is_none_or(|total| *range.end() < total);
    sound.then_some((range, total))
}

/// `Retry-After`: seconds or a date, as the time from `now_unix` on.
pub fn retry_after(text: &str, now_unix: u64) -> Option<Duration> {
    let text = text.trim();
    let seconds = number(text).or_else(|| date::http(text).map(|date| date.saturating_sub(now_unix)))?;
    Some(Duration::from_secs(seconds))
}

/// `Cache-Control`: how long the answer stays good, 0 if it must not be kept.
pub(super) fn max_age(text: &str) -> Option<Duration> {
    let directives = || text.split(',').map(|part| part.trim().to_ascii_lowercase());
    if directives().any(|part| part == "no-store" || part == "no-cache") {
        return Some(Duration::ZERO);
    }
    directives().find_map(|part| number(part.strip_prefix("max-age=")?)).map(Duration::from_secs)
}

pub(super) fn is_html(content_type: &str) -> bool {
    let bare = content_type.split(';').next().unwrap_or_default().trim();
    bare.eq_ignore_ascii_case("text/html") || bare.eq_ignore_ascii_case("application/xhtml+xml")
}

fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge_of(values: &[&'static str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        challenge(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) })
    }

    #[test]
    fn challenges() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull,push""#;
        assert_eq!(challenge_of(&[hub]), bearer("https://auth.docker.io/token", Some("registry.docker.io")));
        assert_eq!(challenge_of(&["bearer Realm=https://a/t?x=1 , service=s"]), bearer("https://a/t?x=1", Some("s")));
        assert_eq!(challenge_of(&[r#"Basic realm="a, b", Bearer realm="https://x/\"y\"""#]), bearer("https://x/\"y\"", None));
        assert_eq!(challenge_of(&["Basic realm=\"r\"", "Bearer realm=\"https://t\""]), bearer("https://t", None));
        assert_eq!(challenge_of(&["Basic"]), Some(Challenge::Basic));
    }

    #[test]
    fn challenges_that_are_none() {
        for text in ["", "Bearer", "Bearer service=x", "Negotiate", "realm=x", "=", "\"", "Digest realm=\"unclosed"] {
            assert_eq!(challenge_of(&[text]), None, "{text}");
        }
        assert_eq!(challenge_of(&[]), None);
    }

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 2-5/10"), Some((2..=5, Some(10))));
        assert_eq!(content_range("Bytes 0-0/*"), Some((0..=0, None)));
        for text in [
            "",
            "bytes",
            "bytes */10",
            "bytes 5-2/10",
            "bytes 2-10/10",
            "lines 2-5/10",
            "bytes -5/10",
            "bytes 2-/10",
            "bytes +2-5/10",
            "bytes 2-5",
        ] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }

    #[test]
    fn waits_and_ages() {
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(retry_after(" 120 ", 0), seconds(120));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_770), seconds(7));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_999), seconds(0));
        assert_eq!(retry_after("-1", 0), None);
        assert_eq!(retry_after("soon", 0), None);
        assert_eq!(max_age("public, Max-Age=90"), seconds(90));
        assert_eq!(max_age("no-store, max-age=90"), seconds(0));
        assert_eq!(max_age("public"), None);
    }

    #[test]
    fn html() {
        assert!(is_html("text/html; charset=utf-8") && is_html("TEXT/HTML"));
        assert!(!is_html("application/octet-stream") && !is_html(""));
    }
}
