//! How to reach S3: where, as whom, and how patiently.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use backend::{Error, RetryPolicy};

/// The region of requests when nothing names one. S3-compatible servers take any; Amazon says which it should have been.
pub const REGION_DEFAULT: &str = "us-east-1";

/// How to reach S3.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// `https://host[:port]`, or `http://` for one without TLS, of a server that is not Amazon's. `None` is what
    /// `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or the profile say, else Amazon's for the region.
    pub endpoint: Option<String>,
    /// `None` is what the environment or the profile say, else [`REGION_DEFAULT`].
    pub region: Option<String>,
    /// Whether a bucket is named in the path (`host/bucket/key`) and not in the host (`bucket.host/key`). `None` is yes for
    /// every endpoint but Amazon's: few servers have a DNS name for each bucket.
    pub path_style: Option<bool>,
    /// Who asks.
    pub credentials: Credentials,
    /// A PEM file of certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The longest wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// The longest wait for an answer to begin once all is sent, and then for each next piece of it.
    pub read_timeout: Duration,
    /// Requests in flight at once, bodies and parts under way among them. At least 1.
    pub requests_in_flight_max: usize,
    /// How what fails is tried again.
    pub retry: RetryPolicy,
}

impl Default for S3Options {
    /// 32 requests of 1 MiB fill 1 Gbit/s over 250 ms; S3 itself bears thousands.
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            path_style: None,
            credentials: Credentials::default(),
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(20),
            requests_in_flight_max: 32,
            retry: RetryPolicy::default(),
        }
    }
}

/// Who asks.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Whoever AWS's tools would be: environment, profile, web identity, container, instance.
    #[default]
    DefaultChain,
    /// These keys.
    Static {
        /// The access key's ID.
        access_key: String,
        /// The key that signs.
        secret_key: String,
        /// The token that goes with temporary keys.
        session_token: Option<String>,
    },
    /// Nobody: requests are not signed. For public buckets.
    Anonymous,
}

impl fmt::Debug for Credentials {
    /// The kind alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DefaultChain => "DefaultChain",
            Self::Static { .. } => "Static",
            Self::Anonymous => "Anonymous",
        })
    }
}

/// The endpoint of a server, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    url: String,
    host: String,
}

impl Endpoint {
    /// Reads `http[s]://host[:port][/]`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        // The text itself is not repeated where it may hold a password.
        let invalid = |reason: &str| Error::InvalidOption { option: "S3 endpoint", reason: format!("{reason}; write https://host[:port]") };
        let url = text.strip_suffix('/').unwrap_or(text);
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let authority = rest.ok_or_else(|| invalid("begins with neither https:// nor http://"))?;
        if authority.contains('@') {
            return Err(invalid("credentials do not belong there"));
        }
        let strange = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '?' | '#' | '\\');
        let (host, port) = split_port(authority);
        if host.is_empty() || authority.contains(strange) || port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(invalid("is more or less than a host and a port"));
        }
        Ok(Self { url: url.to_owned(), host: host.trim_matches(['[', ']']).to_ascii_lowercase() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.url.starts_with("http://")
    }

    /// Whether buckets are named in the path unless somebody says otherwise.
    pub(crate) fn path_style(&self) -> bool {
        let amazon = ["amazonaws.com", "amazonaws.com.cn"];
        !amazon.iter().any(|domain| self.host.strip_suffix(domain).is_some_and(|front| front.ends_with('.')))
    }

    /// Whether it is this machine, where no proxy makes sense.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

/// The host, an IPv6 address in its brackets, and what follows the colon behind it.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (text, path_style, plain, loopback) in [
            ("http://127.0.0.1:9000", true, true, true),
            ("http://localhost:9000/", true, true, true),
            ("https://[::1]:9000", true, false, true),
            ("http://[2001:db8::1]", true, true, false),
            ("http://minio:9000", true, true, false),
            ("https://storage.example", true, false, false),
            ("https://s3.eu-west-1.amazonaws.com", false, false, false),
            ("https://s3.cn-north-1.amazonaws.com.cn", false, false, false),
            ("https://notamazonaws.com", true, false, false),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((endpoint.path_style(), endpoint.is_plain(), endpoint.is_loopback()), (path_style, plain, loopback), "{text}");
            assert_eq!(endpoint.url(), text.trim_end_matches('/'));
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_its_secrets() {
        for text in ["", "minio:9000", "ftp://minio", "http://", "http://:80", "https://a b", "https://h:x", "https://h/p", "https://h?q=1"]
        {
            assert!(matches!(Endpoint::parse(text), Err(Error::InvalidOption { .. })), "{text}");
        }
        let error = Endpoint::parse("https://user:hunter2@host").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn credentials_do_not_show() {
        let credentials =
            Credentials::Static { access_key: "AKID".into(), secret_key: "hunter2".into(), session_token: Some("tok".into()) };
        assert_eq!(format!("{credentials:?}"), "Static");
    }
}
