//! The worker itself: `/status`, `/version`, `/log-level`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control::{Code, JobCounts, LogLevel, Problem, Status, Version};

use super::envelope::Answer;
use super::given::Given;
use crate::worker::Worker;

/// How the worker is.
#[utoipa::path(get, path = "/status", tag = "service", responses((status = 200, body = Status), (status = 503, body = Problem)))]
pub(super) async fn status(State(worker): State<Arc<Worker>>) -> Answer<Json<Status>> {
    let counts = worker.queue()?.counts().await?;
    Ok(Json(Status {
        worker: worker.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_seconds: worker.started.elapsed().as_secs(),
        stopping: worker.is_stopping(),
        mounts_are_kept: worker.keeper.has_manager(),
        jobs: JobCounts {
            pending: counts.pending,
            building: counts.building,
            success: counts.success,
            failed: counts.failed,
            cancelled: counts.cancelled,
        },
        mounts: worker.mounts.ids().len(),
        clip_version: worker.current().clip_version().into(),
    }))
}

/// Which worker answers.
#[utoipa::path(get, path = "/version", tag = "service", responses((status = 200, body = Version)))]
pub(super) async fn version() -> Json<Version> {
    Json(Version {
        name: "clip-worker".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        archive_versions: vec!["v1".into(), "v2".into()],
    })
}

/// Which worker answers.
#[utoipa::path(get, path = "/version", tag = "service", operation_id = "version_v1", responses((status = 200, body = Version)))]
pub(super) async fn version_below() -> Json<Version> {
    version().await
}

/// Changes what is logged, until the worker is started anew or reads its configuration again.
#[utoipa::path(put, path = "/log-level", tag = "service", request_body = LogLevel, responses((status = 200, body = LogLevel), (status = 422, body = Problem)))]
pub(super) async fn set_log_level(State(worker): State<Arc<Worker>>, Given(wanted): Given<LogLevel>) -> Answer<Json<LogLevel>> {
    worker.level.set(&wanted.level).map_err(|error| Problem::new(Code::InvalidRequest, node::explain(&error)))?;
    tracing::info!(level = wanted.level, "level of the log changed");
    Ok(Json(LogLevel { level: worker.level.get() }))
}
