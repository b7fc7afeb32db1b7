//! Asking a worker, over its unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use reqwest::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Frame, Frames, PREFIX, Problem, Version};

/// How long an answer may take to come whole: longer than the worker takes at most. A stream may be silent as long; the worker says something sooner.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long the worker may take to say which version it is: it need not ask anybody for that.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
/// What a worker calls itself.
const NAME: &str = "clip-worker";
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Asking a worker failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The worker said no.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// There is no worker, or the connection to it broke: start it, or do without it (`--no-worker`).
    #[error("the worker at {} cannot be asked", socket.display())]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        source: reqwest::Error,
    },
    /// What answers is no worker.
    #[error("what answers at {} is no clip-worker: {detail}", socket.display())]
    Odd {
        /// Its socket.
        socket: PathBuf,
        /// What it said.
        detail: String,
    },
}

impl Error {
    /// The problem, if the worker named one.
    pub fn problem(&self) -> Option<&Problem> {
        if let Error::Problem(problem) = self { Some(problem) } else { None }
    }
}

/// A way to a worker. Cloning shares its connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

impl Client {
    /// A way to the worker that listens at `socket`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Unreachable`] where no client can be set up.
    pub fn new(socket: &Path) -> Result<Client, Error> {
        let socket = socket.to_owned();
        let built = reqwest::Client::builder().unix_socket(socket.clone()).no_proxy().read_timeout(PATIENCE).build();
        match built {
            Ok(http) => Ok(Client { http, socket }),
            Err(source) => Err(Error::Unreachable { socket, source }),
        }
    }

    /// Which worker answers. Where none does, this fails soon: it is the first thing to ask.
    ///
    /// # Errors
    /// As the variants of [`Error`] say.
    pub async fn version(&self) -> Result<Version, Error> {
        let request = self.http.get(url("/version")).timeout(PROBE_PATIENCE);
        let version: Version = self.read(self.send(request).await?).await?;
        if version.name == NAME { Ok(version) } else { Err(self.odd(&format!("it calls itself '{}'", version.name))) }
    }

    /// GET.
    ///
    /// # Errors
    /// As the variants of [`Error`] say.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, Error> {
        let request = self.http.get(url(path)).query(query).timeout(PATIENCE);
        self.read(self.send(request).await?).await
    }

    /// POST of a document.
    ///
    /// # Errors
    /// As the variants of [`Error`] say.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        self.with_body(Method::POST, path, body).await
    }

    /// PUT of a document.
    ///
    /// # Errors
    /// As the variants of [`Error`] say.
    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        self.with_body(Method::PUT, path, body).await
    }

    /// DELETE. There is nothing to be read.
    ///
    /// # Errors
    /// As the variants of [`Error`] say.
    pub async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<(), Error> {
        self.send(self.http.delete(url(path)).query(query).timeout(PATIENCE)).await.map(drop)
    }

    /// A stream of server-sent events, until the worker ends it or the connection breaks.
    ///
    /// # Errors
    /// As the variants of [`Error`] say; the same for its items.
    pub async fn follow(&self, path: &str, query: &[(&str, &str)]) -> Result<impl Stream<Item = Result<Frame, Error>> + use<>, Error> {
        let response = self.send(self.http.get(url(path)).query(query)).await?;
        let (client, mut frames) = (self.clone(), Frames::default());
        let pieces = response.bytes_stream().map(move |piece| {
            let piece = piece.map_err(|source| client.unreachable(source))?;
            frames.push(&piece).ok_or_else(|| client.odd("an event without end"))
        });
        Ok(pieces.flat_map(|piece| match piece {
            Ok(frames) => stream::iter(frames.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        }))
    }

    async fn with_body<T: DeserializeOwned>(&self, method: Method, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let body = serde_json::to_vec(body).map_err(|error| self.odd(&error.to_string()))?;
        let request = self.http.request(method, url(path)).header("content-type", "application/json").body(body);
        self.read(self.send(request.timeout(PATIENCE)).await?).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        match self.read::<Problem>(response).await {
            Ok(problem) => Err(Error::Problem(Box::new(problem))),
            Err(Error::Odd { .. }) => Err(self.odd(&format!("status {status} without a reason"))),
            Err(error) => Err(error),
        }
    }

    async fn read<T: DeserializeOwned>(&self, mut response: Response) -> Result<T, Error> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|source| self.unreachable(source))? {
            body.extend_from_slice(&piece);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(self.odd("an answer without end"));
            }
        }
        serde_json::from_slice(&body).map_err(|error| self.odd(&format!("it answers something else ({error})")))
    }

    fn unreachable(&self, source: reqwest::Error) -> Error {
        Error::Unreachable { socket: self.socket.clone(), source: source.without_url() }
    }

    fn odd(&self, detail: &str) -> Error {
        Error::Odd { socket: self.socket.clone(), detail: detail.into() }
    }
}

/// A name as one segment of a path: whatever somebody takes for an id, it stays one.
pub fn segment(name: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    name.bytes().map(escaped).collect()
}

/// The host has no meaning on a unix socket.
fn url(path: &str) -> String {
    format!("http://worker{PREFIX}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments() {
        assert_eq!(segment("0a-Z_9"), "0a-Z_9");
        assert_eq!(segment("a/b?c#ä"), "a%2Fb%3Fc%23%C3%A4");
    }
}
