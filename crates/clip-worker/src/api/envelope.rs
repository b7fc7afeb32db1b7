//! What all requests have: an id, a span, a deadline, and problems as answers.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use control::{Code, Problem, REQUEST_ID, REQUEST_ID_BYTES_MAX};
use tracing::Instrument;

use crate::worker::Worker;

/// How long a request may take until its answer begins: opening an archive in S3 is tried for a while.
const DEADLINE: Duration = Duration::from_secs(75);

/// The id of the request.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub String);

/// A request that failed; its answer is made outside of the handlers, where the id is known.
#[derive(Debug)]
pub(super) struct Refused(Problem);

/// What handlers return.
pub(super) type Answer<T> = Result<T, Refused>;

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused(problem)
    }
}

impl From<jobs::Error> for Refused {
    fn from(error: jobs::Error) -> Refused {
        Refused(crate::failure::of_queue(error))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

pub(super) async fn no_such_endpoint() -> Refused {
    Problem::new(Code::NoSuchEndpoint, "there is no such endpoint; /api/v1/openapi.json describes those that there are").into()
}

/// Around every request.
pub(super) async fn wrap(State(worker): State<Arc<Worker>>, mut request: Request, next: Next) -> Response {
    let (id, begun) = (request_id(&request), Instant::now());
    let route = route(&request);
    let span = tracing::info_span!("request", id, method = %request.method(), path = request.uri().path());
    request.extensions_mut().insert(RequestId(id.clone()));
    async {
        let answered = tokio::time::timeout(DEADLINE, next.run(request)).await;
        let late = || Refused(Problem::new(Code::Timeout, format!("no answer within {} s", DEADLINE.as_secs()))).into_response();
        let mut response = spoken(answered.unwrap_or_else(|_| late()), &id);
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let (status, millis) = (response.status().as_u16(), begun.elapsed().as_millis() as u64);
        match status {
            500.. => tracing::warn!(status, millis, "answered"),
            _ => tracing::debug!(status, millis, "answered"),
        }
        *worker.answers.lock().unwrap_or_else(PoisonError::into_inner).entry((route, status)).or_default() += 1;
        response
    }
    .instrument(span)
    .await
}

/// What is counted: of the routes that there are, and of the methods that they have, so that nobody can make up more of them.
fn route(request: &Request) -> String {
    let method = [Method::GET, Method::POST, Method::PUT, Method::DELETE].into_iter().find(|method| method == request.method());
    let path = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    format!("{} {path}", method.as_ref().map_or("other", Method::as_str))
}

/// The client's own, if it is one that can be written anywhere.
fn request_id(request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let fits = |id: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    given.filter(fits).map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

/// Failures as problem details, also those that axum found by itself.
fn spoken(mut response: Response, id: &str) -> Response {
    let status = response.status();
    if status.is_success() || status.is_informational() || status.is_redirection() {
        return response;
    }
    let mut problem = response.extensions_mut().remove::<Problem>().unwrap_or_else(|| unspoken(status));
    problem.request_id = Some(id.to_owned());
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut spoken = (status, Body::from(body)).into_response();
    spoken.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    for name in [header::ALLOW, header::WWW_AUTHENTICATE, header::RETRY_AFTER] {
        if let Some(value) = response.headers_mut().remove(&name) {
            spoken.headers_mut().insert(name, value);
        }
    }
    spoken
}

/// A status without a problem: of axum's own.
fn unspoken(status: StatusCode) -> Problem {
    let code = match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Code::NoSuchEndpoint,
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        status if status.is_client_error() => Code::InvalidRequest,
        _ => Code::Internal,
    };
    Problem { status: status.as_u16(), ..Problem::new(code, status.canonical_reason().unwrap_or("the request failed").to_lowercase()) }
}
