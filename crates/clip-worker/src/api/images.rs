//! `/images`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::{Extension, Json};
use control::{Accepted, Code, Image, Images, Problem, PullRequest};
use serde::Deserialize;
use utoipa::IntoParams;

use super::envelope::{Answer, RequestId};
use super::given::{Asked, Given};
use crate::worker::Worker;
use crate::{images, pulls};

/// Whether to go on where that takes something away from somebody.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Force {
    /// Also if it is in use.
    #[serde(default)]
    pub force: bool,
}

/// Images that were asked for, and those that the store has besides; the latest first.
#[utoipa::path(get, path = "/images", tag = "images", responses((status = 200, body = Images)))]
pub(super) async fn list(State(worker): State<Arc<Worker>>) -> Answer<Json<Images>> {
    Ok(Json(Images { images: images::list(&worker).await? }))
}

/// Asks for an image's archive. It is accepted when it is on disk: it will be done, whatever happens to the worker.
#[utoipa::path(post, path = "/images", tag = "images", request_body = PullRequest, responses(
    (status = 202, body = Accepted), (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn pull(
    State(worker): State<Arc<Worker>>,
    Extension(RequestId(id)): Extension<RequestId>,
    Given(request): Given<PullRequest>,
) -> Answer<(StatusCode, [(HeaderName, String); 1], Json<Accepted>)> {
    if worker.is_stopping() {
        return Err(Problem::new(Code::Stopping, "the worker is stopping and takes no new work").into());
    }
    if request.image.len() > 2048 {
        return Err(Problem::new(Code::InvalidRequest, "image: longer than 2048 bytes").into());
    }
    let job = pulls::job(request, &worker.current()).map_err(|error| Problem::new(Code::InvalidRequest, node::explain(&error)))?;
    let submitted = worker.queue()?.submit(&jobs::NewJob { request_id: Some(id), ..job }).await?;
    let accepted = Accepted { id: submitted.job.key.clone(), job: submitted.job.id.to_string(), is_new: submitted.is_new };
    let location = format!("{}/images/{}", control::PREFIX, accepted.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(accepted)))
}

/// An image, by its id or its archive's, or the beginning of that.
#[utoipa::path(get, path = "/images/{id}", tag = "images", params(("id" = String, Path)), responses((status = 200, body = Image), (status = 404, body = Problem)))]
pub(super) async fn show(State(worker): State<Arc<Worker>>, Path(id): Path<String>) -> Answer<Json<Image>> {
    Ok(Json(images::show(&worker, &id).await?))
}

/// Removes an image's archive from the store.
#[utoipa::path(delete, path = "/images/{id}", tag = "images", params(("id" = String, Path), Force), responses(
    (status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn remove(
    State(worker): State<Arc<Worker>>,
    Path(id): Path<String>,
    Asked(Force { force }): Asked<Force>,
) -> Answer<StatusCode> {
    images::remove(&worker, &id, force).await?;
    Ok(StatusCode::NO_CONTENT)
}
