//! Where registries send us for a blob, and for how long that is good.
//!
//! A registry answers a blob's GET with a signed URL of its storage. Remembering it saves a round trip on every
//! ranged read. What is remembered is only ever a hint: when the storage refuses, the registry is asked again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{StatusCode, Url};

use super::date;

/// A lifetime where nothing says one: short, and yet the start of a container fits into it.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(60);
/// No URL is trusted for longer, whatever it says.
const LIFETIME_MAX: Duration = Duration::from_secs(3600);
/// Not used in the last part of its life: the request takes time, and clocks differ.
const MARGIN_MAX: Duration = Duration::from_secs(30);
/// URLs remembered at most, of some KiB each. A node's mounts read from some hundred layers.
const REMEMBERED_MAX: usize = 4096;

/// Final URLs by blob, until they expire.
#[derive(Debug, Default)]
pub(super) struct Redirects {
    known: Mutex<HashMap<String, (Url, Instant)>>,
}

impl Redirects {
    pub(super) fn get(&self, blob: &str, now: Instant) -> Option<Url> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(blob).filter(|(_, until)| now < *until).map(|(url, _)| url.clone())
    }

    pub(super) fn remember(&self, blob: &str, url: Url, until: Instant, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, (_, until)| now < *until);
        }
        if until > now && (known.len() < REMEMBERED_MAX || known.contains_key(blob)) {
            known.insert(blob.to_owned(), (url, until));
        }
    }

    /// Forgets `url`, but not a newer one that another request has learnt meanwhile.
    pub(super) fn forget(&self, blob: &str, url: &Url) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(blob).is_some_and(|(known, _)| known == url) {
            known.remove(blob);
        }
    }
}

/// Whether this answer from a remembered URL means that the URL has had its time. Amazon says 400 for a token that
/// has expired.
pub(super) fn is_stale(status: StatusCode) -> bool {
    status.is_redirection() || matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410)
}

/// How long `url` may be used from now on, judged by its own query, else by the `Cache-Control` of the redirect.
pub(super) fn lifetime(url: &Url, max_age: Option<Duration>, now_unix: u64) -> Duration {
    let whole = expiry(url).map(|end| Duration::from_secs(end.saturating_sub(now_unix))).or(max_age).unwrap_or(LIFETIME_DEFAULT);
    whole.saturating_sub(MARGIN_MAX.min(whole / 4)).min(LIFETIME_MAX)
}

/// When the signature of a URL ends, in seconds since 1970.
fn expiry(url: &Url) -> Option<u64> {
    let get = |name: &str| url.query_pairs().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let signed = |date: &str, expires: &str| date::iso(&get(date)?)?.checked_add(get(expires)?.parse().ok()?);
    signed("X-Amz-Date", "X-Amz-Expires")
        .or_else(|| signed("X-Goog-Date", "X-Goog-Expires"))
        .or_else(|| get("Expires")?.parse().ok())
        .or_else(|| date::iso(&get("se")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-02T03:04:05Z
    const NOW: u64 = 1_767_323_045;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn lifetimes() {
        let check = |query: &str, max_age, seconds| {
            let url = url(&format!("https://s3.example/blob?{query}"));
            assert_eq!(lifetime(&url, max_age, NOW), Duration::from_secs(seconds), "{query}");
        };
        let age = |seconds| Some(Duration::from_secs(seconds));
        check("", None, 45);
        check("", age(1000), 970);
        check("", age(0), 0);
        check("X-Amz-Date=20260102T030405Z&X-Amz-Expires=1200", None, 1170);
        check("x-amz-expires=1200&x-amz-date=20260102T025405Z", age(5), 570);
        check("X-Goog-Date=20260102T030405Z&X-Goog-Expires=40", None, 30);
        check(&format!("Expires={}", NOW + 600), None, 570);
        check(&format!("Expires={}", NOW - 600), None, 0);
        check("se=2026-01-02T03%3A14%3A05Z", None, 570);
        check("X-Amz-Date=x&X-Amz-Expires=-1&Expires=soon", None, 45);
        check("X-Amz-Date=20260102T030405Z&X-Amz-Expires=18446744073709551615", None, 45);
        check("X-Amz-Date=20260102T030405Z&X-Amz-Expires=604800", None, 3600);
    }

    #[test]
    fn remembered_until_expired_or_forgotten() {
        let (redirects, now) = (Redirects::default(), Instant::now());
        let (old, new) = (url("https://a.example/1"), url("https://a.example/2"));
        let until = now + Duration::from_secs(9);
        redirects.remember("b", old.clone(), until, now);
        assert_eq!(redirects.get("b", now), Some(old.clone()));
        assert_eq!(redirects.get("b", until), None);
        redirects.remember("b", new.clone(), until, now);
        redirects.forget("b", &old);
        assert_eq!(redirects.get("b", now), Some(new.clone()));
        redirects.forget("b", &new);
        assert_eq!(redirects.get("b", now), None);
    }

    #[test]
    fn memory_is_bounded() {
        let (redirects, now) = (Redirects::default(), Instant::now());
        for i in 0..REMEMBERED_MAX + 10 {
            redirects.remember(&i.to_string(), url("https://a.example/1"), now + Duration::from_secs(9), now);
        }
        assert_eq!(redirects.known.lock().unwrap().len(), REMEMBERED_MAX);
        let later = now + Duration::from_secs(10);
        redirects.remember("late", url("https://a.example/1"), later + Duration::from_secs(1), later);
        assert_eq!(redirects.known.lock().unwrap().len(), 1);
    }
}
