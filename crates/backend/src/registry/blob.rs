//! A blob of a registry: one ranged GET per `get`, one attempt each.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE},
};

use super::{
    Inner, headers,
    http::{self, header},
    redirect,
    request::{self, Answer, Ask, Kind},
};
use crate::{Blob, Body, Error, Repository, check_range};

/// A blob in a registry, as it is: no retries, no limit. [`Registry::open`](super::Registry::open) adds those.
#[derive(Debug, Clone)]
pub struct RegistryBlob {
    registry: Arc<Inner>,
    repository: Repository,
    digest: String,
    size: u64,
    name: String,
}

impl RegistryBlob {
    pub(super) fn new(registry: Arc<Inner>, repository: Repository, digest: String, size: u64) -> Self {
        let name = format!("{digest} from {repository}");
        Self { registry, repository, digest, size, name }
    }

    /// Asks where the blob was last found, and the registry if that is not known or no longer right.
    async fn open(&self, range: Range<u64>) -> Result<Response, Error> {
        let ask = Ask {
            method: Method::GET,
            repository: &self.repository,
            kind: Kind::Blob,
            target: &self.digest,
            range: Some(range),
            what: &self.name,
        };
        if let Some(url) = self.registry.redirects.get(&self.name, Instant::now())
            && let Some(response) = self.open_remembered(&ask, url).await?
        {
            return Ok(response);
        }
        let Answer { response, redirected } = request::send(&self.registry.http, &self.registry.auth, &ask).await?;
        if let Some((url, lifetime)) = redirected {
            self.remember(url, lifetime);
        }
        Ok(response)
    }

    /// `None` if the URL has had its time.
    async fn open_remembered(&self, ask: &Ask<'_>, url: Url) -> Result<Option<Response>, Error> {
        let forget = || self.registry.redirects.forget(&self.name, &url);
        // The storage may have moved: a retry must go by the registry.
        let response = request::send_direct(&self.registry.http, ask, url.clone()).await.inspect_err(|_| forget())?;
        if redirect::is_stale(response.status()) {
            tracing::debug!(blob = self.name, status = response.status().as_u16(), "a remembered URL is stale; ask the registry");
            forget();
            return Ok(None);
        }
        if !response.status().is_success() {
            return Err(http::status_error(&self.name, response, String::new).await);
        }
        Ok(Some(response))
    }

    fn remember(&self, url: Url, lifetime: Duration) {
        let now = Instant::now();
        self.registry.redirects.remember(&self.name, url, now + lifetime, now);
    }

    /// Where the body begins and must end, from the answer's head.
    fn extent(&self, response: &Response, range: &Range<u64>) -> Result<Range<u64>, Error> {
        let wrong = |detail: String| Err(Error::protocol(&self.name, detail));
        if headers::is_html(header(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default()) {
            return wrong("an HTML page instead of the blob; is there a proxy or login page before the registry?".to_owned());
        }
        let length = header(response.headers(), CONTENT_LENGTH.as_str()).and_then(|text| text.parse::<u64>().ok());
        let extent = match response.status() {
            StatusCode::PARTIAL_CONTENT => self.partial_extent(response, range)?,
            StatusCode::OK => 0..self.size,
            status => return wrong(format!("{status} to a GET of {range:?}")),
        };
        match length {
            Some(length) if length != extent.end - extent.start => {
                wrong(format!("{length} bytes instead of {extent:?} of {} bytes", self.size))
            }
            _ => Ok(extent),
        }
    }

    /// A server may give less than was asked for (the rest is asked for again), but from where it was asked.
    fn partial_extent(&self, response: &Response, range: &Range<u64>) -> Result<Range<u64>, Error> {
        let text = header(response.headers(), CONTENT_RANGE.as_str()).unwrap_or_default();
        let Some((got, total)) = headers::content_range(text) else {
            return Err(Error::protocol(&self.name, format!("206 with Content-Range '{text}' to a GET of {range:?}")));
        };
        let sound = *got.start() == range.start && *got.end() < range.end && total.is_none_or(|total| total == self.size);
        if !sound {
            let detail = format!("Content-Range '{text}' to a GET of {range:?} of {} bytes", self.size);
            return Err(Error::protocol(&self.name, detail));
        }
        Ok(range.start..got.end() + 1)
    }
}

#[async_trait]
impl Blob for RegistryBlob {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn is_far(&self) -> bool {
        true
    }

    async fn get(&self, range: Range<u64>) -> Result<Body, Error> {
        check_range(&self.name, self.size, &range)?;
        let response = self.open(range.clone()).await?;
        let extent = self.extent(&response, &range)?;
        let transfer = Transfer { name: self.name.clone(), response, at: extent.start, end: extent.end, wanted: range.end };
        let stream = stream::unfold(Some(transfer), |transfer| async {
            let mut transfer = transfer?;
            match transfer.next().await.transpose()? {
                Ok(chunk) => Some((Ok(chunk), Some(transfer))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Body { offset: extent.start, stream: stream.boxed() })
    }
}

/// A body that must end where the head said.
struct Transfer {
    name: String,
    response: Response,
    at: u64,
    end: u64,
    /// Where the range that was asked for ends.
    wanted: u64,
}

impl Transfer {
    async fn next(&mut self) -> Result<Option<bytes::Bytes>, Error> {
        match self.response.chunk().await.map_err(|error| http::transport_error(&self.name, error))? {
            Some(chunk) if chunk.len() as u64 > self.end - self.at => {
                Err(Error::protocol(&self.name, format!("body goes on after {} where it must end", self.end)))
            }
            Some(chunk) => {
                self.at += chunk.len() as u64;
                Ok(Some(chunk))
            }
            None if self.at < self.end.max(self.wanted) => {
                Err(Error::unavailable(&self.name, format!("body ended at {} instead of {}", self.at, self.end.max(self.wanted))))
            }
            None => Ok(None),
        }
    }
}
