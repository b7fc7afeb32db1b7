//! `/mounts`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use control::{Code, Mount, MountRequest, Mounts, Problem};

use super::envelope::{Answer, RequestId};
use super::given::{Asked, Given};
use super::images::Force;
use crate::mounts;
use crate::worker::Worker;

/// All mounts of this worker, with what passed through them.
#[utoipa::path(get, path = "/mounts", tag = "mounts", responses((status = 200, body = Mounts)))]
pub(super) async fn list(State(worker): State<Arc<Worker>>) -> Json<Mounts> {
    Json(Mounts { mounts: worker.mounts.list() })
}

/// Mounts an archive. Where the same one is mounted there already, that is the answer.
#[utoipa::path(post, path = "/mounts", tag = "mounts", request_body = MountRequest, responses(
    (status = 201, body = Mount), (status = 200, body = Mount, description = "It was mounted already"), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn mount(
    State(worker): State<Arc<Worker>>,
    Extension(RequestId(id)): Extension<RequestId>,
    Given(request): Given<MountRequest>,
) -> Answer<(StatusCode, Json<Mount>)> {
    let (mount, is_new) = mounts::mount(&worker, request, &id).await?;
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(mount)))
}

/// A mount.
#[utoipa::path(get, path = "/mounts/{id}", tag = "mounts", params(("id" = String, Path)), responses((status = 200, body = Mount), (status = 404, body = Problem)))]
pub(super) async fn show(State(worker): State<Arc<Worker>>, Path(id): Path<String>) -> Answer<Json<Mount>> {
    let mount = worker.mounts.show(&id);
    Ok(Json(mount.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no mount {}", id.escape_debug())))?))
}

/// Unmounts. A mount in use stays, unless `force`: then it disappears at once, and is served until its last user leaves.
#[utoipa::path(delete, path = "/mounts/{id}", tag = "mounts", params(("id" = String, Path), Force), responses(
    (status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn unmount(
    State(worker): State<Arc<Worker>>,
    Path(id): Path<String>,
    Asked(Force { force }): Asked<Force>,
) -> Answer<StatusCode> {
    mounts::unmount(&worker, &id, force).await?;
    Ok(StatusCode::NO_CONTENT)
}
