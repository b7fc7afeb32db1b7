//! The connections: one pool for all registries, and how its failures are told apart.
//!
//! Redirects are never followed here: `request` does that, because it knows to whom the credentials belong.

use std::{
    error::Error as _,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use reqwest::{Certificate, Client, ClientBuilder, Response, StatusCode, Url, header::HeaderMap, header::RETRY_AFTER};

use super::{RegistryOptions, Transport, headers, unix_now};
use crate::{
    Error,
    error::{Cause, Source},
};

/// Bytes of an error's body that are read for its message.
const COMPLAINT_BYTES_MAX: u64 = 4096;
/// A CA bundle of a whole operating system is some hundred KiB.
const CA_BYTES_MAX: u64 = 16 << 20;
/// Idle connections are kept for about as long as servers keep them.
const IDLE: Duration = Duration::from_secs(60);
/// An HTTP/2 window that lets one stream fill 1 Gbit/s over 20 ms; the default of 64 KiB would allow 26 Mbit/s.
const HTTP2_STREAM_WINDOW: u32 = 4 << 20;
/// The window of a connection has room for as many stream windows: a body that is not read for a while (its reader waits for memory) must
/// not take the room of one that is.
const HTTP2_STREAMS_MAX: usize = 256;

/// Connections to everywhere. Each client is made when it is first needed: it reads all certificates that the system trusts, which takes
/// longer than all else that a mount does.
#[derive(Debug)]
pub(super) struct Http {
    options: RegistryOptions,
    certificates: Vec<Certificate>,
    /// Goes through the proxy that the environment names, if it names one.
    outside: OnceLock<Result<Client, Error>>,
    /// For this machine, where no proxy makes sense.
    inside: OnceLock<Result<Client, Error>>,
}

impl Http {
    pub(super) fn new(options: &RegistryOptions) -> Result<Self, Error> {
        let certificates = certificates(options)?;
        Ok(Self { options: options.clone(), certificates, outside: OnceLock::new(), inside: OnceLock::new() })
    }

    pub(super) fn client(&self, url: &Url) -> Result<&Client, Error> {
        if url.host_str().is_some_and(is_loopback) { self.inside() } else { self.made(&self.outside, |builder| builder) }
    }

    pub(super) fn inside(&self) -> Result<&Client, Error> {
        self.made(&self.inside, ClientBuilder::no_proxy)
    }

    fn made<'a>(
        &self,
        client: &'a OnceLock<Result<Client, Error>>,
        adjust: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<&'a Client, Error> {
        let make = || {
            let client = adjust(builder(&self.options, self.certificates.clone())).build();
            client.map_err(|error| Error::Tls { what: "set up TLS".to_owned(), source: Arc::new(error) })
        };
        client.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    /// The scheme for a registry's `host`, which may have a port.
    pub(super) fn scheme(&self, host: &str) -> &'static str {
        match self.options.transport {
            Transport::Https => "https",
            Transport::Auto if !is_loopback(without_port(host)) => "https",
            Transport::Auto | Transport::Http => "http",
        }
    }

    /// Whether `to` may be asked on behalf of `from`: from encrypted to plain only within this machine or if allowed.
    pub(super) fn may_follow(&self, from: &Url, to: &Url) -> bool {
        match (from.scheme(), to.scheme()) {
            (_, "https") | ("http", "http") => true,
            (_, "http") => self.options.transport == Transport::Http || to.host_str().is_some_and(is_loopback),
            _ => false,
        }
    }
}

fn builder(options: &RegistryOptions, certificates: Vec<Certificate>) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("clip/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.read_timeout)
        .pool_idle_timeout(IDLE)
        .http2_initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .http2_initial_connection_window_size(HTTP2_STREAM_WINDOW * options.requests_in_flight_max.clamp(1, HTTP2_STREAMS_MAX) as u32)
        .tls_certs_merge(certificates)
        .tls_danger_accept_invalid_certs(options.insecure_skip_tls_verify)
}

fn certificates(options: &RegistryOptions) -> Result<Vec<Certificate>, Error> {
    let Some(path) = &options.ca_file else { return Ok(Vec::new()) };
    let io = |source| Error::Io { path: path.clone(), source: Arc::new(source) };
    let invalid = |reason: String| Error::InvalidOption { option: "CA file", reason: format!("{}: {reason}", path.display()) };
    if std::fs::metadata(path).map_err(io)?.len() > CA_BYTES_MAX {
        return Err(invalid(format!("larger than {CA_BYTES_MAX} bytes")));
    }
    let pem = std::fs::read(path).map_err(io)?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| invalid(error.to_string()))?;
    if certificates.is_empty() {
        return Err(invalid("holds no PEM certificate".to_owned()));
    }
    Ok(certificates)
}

/// Whether `host` (without port; IPv6 with or without brackets) is this machine.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((bare, port)) if !bare.contains(':') || bare.ends_with(']') => {
            if port.bytes().all(|byte| byte.is_ascii_digit()) {
                bare
            } else {
                host
            }
        }
        _ => host,
    }
}

/// What a failure of the transport means. The URL is taken out of it: its query may hold a signature.
pub(super) fn transport_error(what: &str, error: reqwest::Error) -> Error {
    let what = what.to_owned();
    let error = error.without_url();
    if error.is_timeout() {
        let doing = if error.is_connect() { "connecting" } else { "waiting for data" };
        return Error::Timeout { what, doing: doing.to_owned() };
    }
    let source: Source = Arc::new(error);
    if is_tls(&source) { Error::Tls { what, source } } else { Error::Unavailable { what, retry_after: None, source } }
}

/// Whether TLS is why. The library that knows its type is hidden behind two others, so its words must do.
fn is_tls(source: &Source) -> bool {
    let mut cause = source.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if ["certificate", "corrupt message", "received fatal alert", "HandshakeFailure"].iter().any(|word| text.contains(word)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What an answer that is no success means. `hint` goes into a denial.
pub(super) async fn status_error(what: &str, response: Response, hint: impl FnOnce() -> String) -> Error {
    let status = response.status();
    let retry_after = header(response.headers(), RETRY_AFTER.as_str()).and_then(|text| headers::retry_after(text, unix_now()));
    let host = response.url().host_str().unwrap_or_default().to_owned();
    let complaint = complaint(response).await;
    let answered = format!("{host} answered {status}{complaint}");
    let what = what.to_owned();
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Error::NotFound { what },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Denied { what, hint: format!("{answered}; {}", hint()) },
        StatusCode::TOO_MANY_REQUESTS => Error::RateLimited { what, retry_after },
        StatusCode::REQUEST_TIMEOUT => Error::Unavailable { what, retry_after, source: Arc::new(Cause(answered)) },
        status if status.is_server_error() => Error::Unavailable { what, retry_after, source: Arc::new(Cause(answered)) },
        StatusCode::RANGE_NOT_SATISFIABLE => {
            Error::Protocol { what, detail: format!("{answered}: the blob there is shorter than it should be") }
        }
        _ => Error::Protocol { what, detail: answered },
    }
}

/// What the body of an error says, as `: text` on one line, or nothing.
async fn complaint(response: Response) -> String {
    if headers::is_html(header(response.headers(), "content-type").unwrap_or_default()) {
        return " with an HTML page".to_owned();
    }
    let Ok(body) = read_bounded("", response, COMPLAINT_BYTES_MAX).await else { return String::new() };
    let text = match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(json) => json["errors"][0]["message"].as_str().or(json["message"].as_str()).unwrap_or_default().to_owned(),
        Err(_) => String::new(),
    };
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

/// The whole body, at most `limit_bytes` of it in memory.
pub(super) async fn read_bounded(what: &str, mut response: Response, limit_bytes: u64) -> Result<Bytes, Error> {
    let too_large = || Error::TooLarge { what: what.to_owned(), limit_bytes };
    if response.content_length().is_some_and(|length| length > limit_bytes) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport_error(what, error))? {
        if (body.len() + chunk.len()) as u64 > limit_bytes {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts() {
        for host in ["localhost", "localhost:5000", "127.0.0.1", "127.8.9.1:80", "[::1]", "[::1]:5000", "::1"] {
            assert!(is_loopback(without_port(host)), "{host}");
        }
        for host in ["r.example", "128.0.0.1", "localhost.example:5000", "[::2]:5000", "127.0.0.1.example", ""] {
            assert!(!is_loopback(without_port(host)), "{host}");
        }
    }

    #[test]
    fn schemes_and_downgrades() {
        let http = |transport| Http::new(&RegistryOptions { transport, ..RegistryOptions::default() }).unwrap();
        let auto = http(Transport::Auto);
        assert_eq!((auto.scheme("localhost:5000"), auto.scheme("r.example:5000")), ("http", "https"));
        assert_eq!(http(Transport::Https).scheme("localhost"), "https");
        assert_eq!(http(Transport::Http).scheme("r.example"), "http");
        let url = |text: &str| text.parse::<Url>().unwrap();
        let secure = url("https://r.example");
        assert!(auto.may_follow(&secure, &url("https://s.example")) && auto.may_follow(&secure, &url("http://localhost:1")));
        assert!(!auto.may_follow(&secure, &url("http://s.example")) && !auto.may_follow(&secure, &url("file:///etc/passwd")));
        assert!(http(Transport::Http).may_follow(&secure, &url("http://s.example")));
    }

    #[test]
    fn a_bad_ca_file_is_told_from_a_missing_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |path: &std::path::Path| Http::new(&RegistryOptions { ca_file: Some(path.into()), ..RegistryOptions::default() });
        assert!(matches!(with(file.path()), Err(Error::InvalidOption { .. })));
        assert!(matches!(with(std::path::Path::new("/no/such")), Err(Error::Io { .. })));
    }
}
