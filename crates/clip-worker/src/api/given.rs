//! Bodies and queries of requests, with problems for what is wrong with them.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Json, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use control::{Code, Problem};
use serde::de::DeserializeOwned;

use super::envelope::Refused;

/// The document in a request's body.
pub(super) struct Given<T>(pub T);

/// The query of a request.
pub(super) struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Given<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        match Json::from_request(request, state).await {
            Ok(Json(document)) => Ok(Given(document)),
            Err(rejection) => Err(of_body(&rejection).into()),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Asked(query)),
            Err(rejection) => Err(of_query(&rejection).into()),
        }
    }
}

fn of_body(rejection: &JsonRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::TooLarge, format!("a body has at most {} bytes", super::BODY_BYTES_MAX)),
        _ => Problem::new(Code::InvalidRequest, rejection.body_text()),
    }
}

fn of_query(rejection: &QueryRejection) -> Problem {
    Problem::new(Code::InvalidRequest, rejection.body_text())
}
