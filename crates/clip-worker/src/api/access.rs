//! Who may ask what: everything over the unix socket, whose file mode decides who reaches it; over TCP what the token allows.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use config::Secret;
use control::{Code, Problem};

use super::envelope::Refused;
use crate::worker::Worker;

/// How a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Unix,
    Tcp,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Right {
    None,
    Read,
    Admin,
}

/// Before every request. Whether the worker is alive is no secret.
pub(super) async fn check(State(worker): State<Arc<Worker>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Tcp);
    if peer == Peer::Unix || request.uri().path() == "/healthz" {
        return next.run(request).await;
    }
    let current = worker.current();
    let config = current.worker();
    let right = right(request.headers(), config.read_token.as_ref(), config.admin_token.as_ref());
    let needed = if request.method() == Method::GET || request.method() == Method::HEAD { Right::Read } else { Right::Admin };
    match right {
        Right::None => {
            let mut response = Refused::from(Problem::new(Code::Unauthorized, "send a token: Authorization: Bearer …")).into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        right if right < needed => Refused::from(Problem::new(Code::Forbidden, "this token is for reading only")).into_response(),
        _ => next.run(request).await,
    }
}

/// Both tokens are always compared, in constant time: how long it takes tells nothing.
fn right(headers: &HeaderMap, read: Option<&Secret>, admin: Option<&Secret>) -> Right {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let given = given.map(|token| blake3::hash(token.as_bytes()));
    // Hashes of BLAKE3 compare in constant time, and all have one length.
    let is = |token: Option<&Secret>| token.map(|token| blake3::hash(token.expose().as_bytes())).zip(given).is_some_and(|(a, b)| a == b);
    let (reads, administers) = (is(read), is(admin));
    match (administers, reads) {
        (true, _) => Right::Admin,
        (false, true) => Right::Read,
        (false, false) => Right::None,
    }
}
