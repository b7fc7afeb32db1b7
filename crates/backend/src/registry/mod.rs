//! OCI registries, read only: manifests and blobs over HTTP, with whatever it takes to be let in.
//!
//! | File | Idea |
//! |---|---|
//! | `request` | the one way of a request: permission, redirects, renewal, status |
//! | `blob` | ranged reads of one blob, and what an answer's head must say |
//! | `auth` | grants: tokens and passwords, shared and renewed |
//! | `redirect` | remembered storage URLs |
//! | `http` | the connections and their failures |
//! | `headers`, `date` | parsing, pure |
//!
//! A [`Registry`] serves all hosts: connections, grants, URLs and limits are kept by host or repository inside.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use reqwest::{
    Method, Response,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use tokio::sync::Semaphore;

mod auth;
mod blob;
mod date;
mod headers;
mod http;
mod redirect;
mod request;
#[cfg(test)]
mod tests;

pub use blob::RegistryBlob;
pub use headers::{content_range, retry_after};

use self::{
    auth::Auth,
    http::{Http, header},
    redirect::Redirects,
    request::{Ask, Kind},
};
use crate::{Blob, Counted, Credentials, Error, Limit, Reference, Repository, Retry, RetryPolicy, Traffic};

/// The largest manifest that is read, in bytes. The specification asks registries to take 4 MiB.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// How registries are spoken to: with or without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Plain HTTP to this machine (`localhost`, `127.0.0.0/8`, `::1`), HTTPS to all others.
    #[default]
    Auto,
    /// Plain HTTP to all registries.
    Http,
    /// HTTPS to all registries.
    Https,
}

/// How to reach registries.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Whether to use TLS.
    pub transport: Transport,
    /// A PEM file of certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Trusts any certificate. For tests of a user's own registry only.
    pub insecure_skip_tls_verify: bool,
    /// The longest wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// The longest wait for an answer to begin, and then for each next piece of it.
    pub read_timeout: Duration,
    /// Requests in flight at once to one registry, bodies under way among them. At least 1.
    pub requests_in_flight_max: usize,
    /// How what fails is tried again.
    pub retry: RetryPolicy,
    /// Who asks.
    pub credentials: Credentials,
}

impl Default for RegistryOptions {
    /// 32 requests keep a link of 1 Gbit/s full with reads of 1 MiB over 250 ms, and are what registries bear from one client.
    fn default() -> Self {
        Self {
            transport: Transport::Auto,
            ca_file: None,
            insecure_skip_tls_verify: false,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(20),
            requests_in_flight_max: 32,
            retry: RetryPolicy::default(),
            credentials: Credentials::default(),
        }
    }
}

/// All registries, through one set of connections. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<Inner>,
    traffic: Arc<Traffic>,
}

#[derive(Debug)]
struct Inner {
    http: Arc<Http>,
    auth: Auth,
    redirects: Redirects,
    retry: RetryPolicy,
    requests_in_flight_max: usize,
    /// By API host. Holds as many as the archives and users name, some dozens.
    limits: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A manifest as the registry gave it. Its digest is not verified.
#[derive(Debug, Clone)]
pub struct RawManifest {
    /// The bytes that the digest is of.
    pub bytes: Bytes,
    /// `Content-Type` without parameters; empty if there was none.
    pub media_type: String,
    /// `Docker-Content-Digest`, if there was one: a claim of the registry.
    pub digest: Option<String>,
}

impl Registry {
    /// Prepares to reach registries; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::InvalidOption`] for a CA file that cannot be used or a limit of 0, [`Error::Tls`] where
    /// there are no trusted certificates at all.
    pub fn new(options: RegistryOptions) -> Result<Self, Error> {
        let requests_in_flight_max = options.requests_in_flight_max;
        if !(1..=Semaphore::MAX_PERMITS).contains(&requests_in_flight_max) {
            return Err(Error::InvalidOption { option: "requests in flight", reason: format!("{requests_in_flight_max} is not usable") });
        }
        let http = Arc::new(Http::new(&options)?);
        let inner = Inner {
            auth: Auth::new(http.clone(), options.credentials),
            http,
            redirects: Redirects::default(),
            retry: options.retry,
            requests_in_flight_max,
            limits: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner), traffic: Arc::default() })
    }

    /// The same connections, logins and limits, with counters of their own: for one of several mounts.
    pub fn counted_apart(&self) -> Self {
        Self { inner: self.inner.clone(), traffic: Arc::default() }
    }

    /// The blob `digest` of `size` bytes, with retries and resuming, limited and counted: what a mount reads from.
    pub fn open(&self, repository: &Repository, digest: &str, size: u64) -> Arc<dyn Blob> {
        let traffic = &self.traffic;
        let counted = Counted::new(self.blob(repository, digest, size), traffic.clone());
        let limited = Limit::new(counted, self.inner.limit(repository));
        Arc::new(Retry::new(limited, self.inner.retry.clone(), traffic.clone()))
    }

    /// The same blob bare: each `get` is one attempt.
    pub fn blob(&self, repository: &Repository, digest: &str, size: u64) -> RegistryBlob {
        RegistryBlob::new(self.inner.clone(), repository.clone(), digest.to_owned(), size)
    }

    /// The manifest or index that `reference` names, by its digest if it has one. The caller verifies that.
    ///
    /// # Errors
    /// As the variants of [`Error`] say; [`Error::Protocol`] also where an HTML page answers.
    pub async fn manifest(&self, reference: &Reference) -> Result<RawManifest, Error> {
        let what = format!("manifest {reference}");
        let ask = Ask {
            method: Method::GET,
            repository: reference.repository(),
            kind: Kind::Manifest,
            target: reference.target(),
            range: None,
            what: &what,
        };
        let manifest = self.fetch(&ask, |response| read_manifest(&ask, response)).await?;
        self.traffic.count_bytes(manifest.bytes.len());
        Ok(manifest)
    }

    /// A whole small blob, such as an image's config, of at most `limit_bytes`. The caller verifies its digest.
    ///
    /// # Errors
    /// [`Error::TooLarge`], and as the variants of [`Error`] say.
    pub async fn fetch_blob(&self, repository: &Repository, digest: &str, limit_bytes: u64) -> Result<Bytes, Error> {
        let what = format!("{digest} from {repository}");
        let ask = Ask { method: Method::GET, repository, kind: Kind::Blob, target: digest, range: None, what: &what };
        let bytes = self.fetch(&ask, |response| read_blob(&ask, response, limit_bytes)).await?;
        self.traffic.count_bytes(bytes.len());
        Ok(bytes)
    }

    /// The size in bytes of a blob, which shows that it is there and may be read.
    ///
    /// # Errors
    /// [`Error::NotFound`], and as the other variants of [`Error`] say.
    pub async fn head_blob(&self, repository: &Repository, digest: &str) -> Result<u64, Error> {
        let what = format!("{digest} from {repository}");
        let ask = Ask { method: Method::HEAD, repository, kind: Kind::Blob, target: digest, range: None, what: &what };
        self.fetch(&ask, |response| read_length(&ask, response)).await
    }

    /// What passed through here, all hosts together.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Asks and reads the answer whole, with retries, within the limit, counted: for all that is not a [`Blob`].
    async fn fetch<T, F: Future<Output = Result<T, Error>>>(&self, ask: &Ask<'_>, read: impl Fn(Response) -> F) -> Result<T, Error> {
        let limit = self.inner.limit(ask.repository);
        let once = || async {
            let _permit = limit.acquire().await.map_err(|closed| Error::unavailable(ask.what, closed))?;
            let begun = Instant::now();
            self.traffic.count_request();
            let answer = request::send(&self.inner.http, &self.inner.auth, ask).await?;
            self.traffic.count_first_byte(begun);
            read(answer.response).await
        };
        let counted = || async { once().await.inspect_err(|_| self.traffic.count_error()) };
        // Boxed: the future of a request is large, and it is kept here only once.
        self.inner.retry.run(&self.traffic, ask.what, || Box::pin(counted())).await
    }
}

impl Inner {
    fn limit(&self, repository: &Repository) -> Arc<Semaphore> {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(self.requests_in_flight_max));
        limits.entry(repository.api_host().to_owned()).or_insert_with(new).clone()
    }
}

async fn read_manifest(ask: &Ask<'_>, response: Response) -> Result<RawManifest, Error> {
    let content_type = header(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
    refuse_html(ask, content_type)?;
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
    let digest = header(response.headers(), "docker-content-digest").map(str::to_owned);
    let bytes = http::read_bounded(ask.what, response, MANIFEST_BYTES_MAX).await?;
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::protocol(ask.what, format!("{} bytes that are no JSON instead of a manifest", bytes.len())));
    }
    Ok(RawManifest { bytes, media_type, digest })
}

async fn read_blob(ask: &Ask<'_>, response: Response, limit_bytes: u64) -> Result<Bytes, Error> {
    refuse_html(ask, header(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default())?;
    http::read_bounded(ask.what, response, limit_bytes).await
}

async fn read_length(ask: &Ask<'_>, response: Response) -> Result<u64, Error> {
    let length = header(response.headers(), CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
    length.ok_or_else(|| Error::protocol(ask.what, "no Content-Length"))
}

fn refuse_html(ask: &Ask<'_>, content_type: &str) -> Result<(), Error> {
    if !headers::is_html(content_type) {
        return Ok(());
    }
    let host = ask.repository.host();
    Err(Error::protocol(ask.what, format!("an HTML page; is {host} a registry, and is no proxy or login page before it?")))
}

/// Wall time, for dates that servers name. Before 1970 is 1970.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
