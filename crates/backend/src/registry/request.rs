//! The one way of a request to a registry: permission, redirects, one renewal, and what the answer's status means.
//!
//! The `Authorization` header goes to the registry's own origin (scheme, host and port) and nowhere else.

use std::ops::Range;

use reqwest::{
    Method, Response, StatusCode, Url,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, HeaderValue, LOCATION, RANGE},
};

use super::{
    auth::Auth,
    headers,
    http::{self, Http, header},
    redirect, unix_now,
};
use crate::{Error, Repository};

/// Redirects followed for one request. Registries need one or two.
const HOPS_MAX: usize = 5;

/// What to ask for.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) repository: &'a Repository,
    /// `manifests` or `blobs`.
    pub(super) kind: Kind,
    /// The tag or digest.
    pub(super) target: &'a str,
    pub(super) range: Option<Range<u64>>,
    /// For messages.
    pub(super) what: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest,
    Blob,
}

/// Everything that a manifest can be, so that the registry converts nothing.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A success (2xx) and where it came from.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response,
    /// If another server gave the answer: its URL, and how long that may be used again.
    pub(super) redirected: Option<(Url, std::time::Duration)>,
}

/// Asks the registry, once more with a new grant if it refuses the first.
pub(super) async fn send(http: &Http, auth: &Auth, ask: &Ask<'_>) -> Result<Answer, Error> {
    let url = url(http, ask)?;
    let mut grant = auth.current(ask.repository).await?;
    let mut answer = follow(http, ask, &url, grant.as_ref().and_then(|grant| grant.header())).await?;
    if answer.redirected.is_none() && is_refusal(ask.kind, answer.response.status()) {
        let challenge = headers::challenge(answer.response.headers());
        if let Some(renewed) = auth.renew(ask.repository, grant.as_ref(), challenge).await? {
            answer = follow(http, ask, &url, renewed.header()).await?;
            grant = Some(renewed);
        }
    }
    if answer.response.status().is_success() {
        return Ok(answer);
    }
    let hint = || Auth::hint(ask.repository, grant.as_ref());
    Err(http::status_error(ask.what, answer.response, hint).await)
}

/// Asks a remembered URL, with no credentials. Gives any answer, also refusals.
pub(super) async fn send_direct(http: &Http, ask: &Ask<'_>, url: Url) -> Result<Response, Error> {
    send_once(http, ask, url, None).await
}

fn url(http: &Http, ask: &Ask<'_>) -> Result<Url, Error> {
    let kind = if ask.kind == Kind::Manifest { "manifests" } else { "blobs" };
    let host = ask.repository.api_host();
    let text = format!("{}://{host}/v2/{}/{kind}/{}", http.scheme(host), ask.repository.name(), ask.target);
    text.parse().map_err(|_| Error::InvalidReference {
        reference: format!("{}/{}", ask.repository, ask.target),
        reason: "it makes no URL".to_owned(),
    })
}

/// Some registries say 403 instead of 401 when a token for a blob has expired.
fn is_refusal(kind: Kind, status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED || (status == StatusCode::FORBIDDEN && kind == Kind::Blob)
}

async fn follow(http: &Http, ask: &Ask<'_>, registry: &Url, authorization: Option<&HeaderValue>) -> Result<Answer, Error> {
    let mut url = registry.clone();
    let mut max_age = None;
    for _ in 0..=HOPS_MAX {
        let own = url.origin() == registry.origin();
        let response = send_once(http, ask, url.clone(), authorization.filter(|_| own)).await?;
        if !is_redirect(response.status()) {
            let redirected = (!own).then(|| {
                let lifetime = redirect::lifetime(&url, max_age, unix_now());
                (url, lifetime)
            });
            return Ok(Answer { response, redirected });
        }
        let next = header(response.headers(), LOCATION.as_str()).and_then(|text| url.join(text).ok());
        let next = next.ok_or_else(|| Error::protocol(ask.what, "a redirect to nowhere"))?;
        if !http.may_follow(&url, &next) {
            let detail = format!(
                "a redirect to {}://{}, which is not encrypted; allow plain HTTP if that is meant",
                next.scheme(),
                next.host_str().unwrap_or_default()
            );
            return Err(Error::protocol(ask.what, detail));
        }
        max_age = header(response.headers(), CACHE_CONTROL.as_str()).and_then(headers::max_age);
        url = next;
    }
    Err(Error::protocol(ask.what, format!("more than {HOPS_MAX} redirects")))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

async fn send_once(http: &Http, ask: &Ask<'_>, url: Url, authorization: Option<&HeaderValue>) -> Result<Response, Error> {
    let mut request = http.client(&url)?.request(ask.method.clone(), url);
    request = match (ask.kind, &ask.range) {
        (Kind::Manifest, _) => request.header(ACCEPT, MANIFEST_TYPES),
        // A proxy that compressed on the way would move all offsets.
        (Kind::Blob, None) => request.header(ACCEPT_ENCODING, "identity"),
        (Kind::Blob, Some(range)) => {
            request.header(ACCEPT_ENCODING, "identity").header(RANGE, format!("bytes={}-{}", range.start, range.end - 1))
        }
    };
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.send().await.map_err(|error| http::transport_error(ask.what, error))
}
