//! `/jobs`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use control::{Accepted, Code, Job, Jobs, Log, LogLine, Problem};
use jobs::{Cancel, Filter, JobId, Retry};
use serde::Deserialize;
use utoipa::IntoParams;

use super::envelope::Answer;
use super::given::Asked;
use crate::images;
use crate::pulls::Payload;
use crate::worker::Worker;

/// Most jobs, or lines, of one answer if nothing is said.
const LIMIT_DEFAULT: u32 = 100;

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// In these states, with commas between them.
    state: Option<String>,
    /// Of this image.
    image: Option<String>,
    /// At most so many, up to 500.
    limit: Option<u32>,
    /// Older than this job.
    before: Option<String>,
}

/// Which lines of a log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Lines {
    /// Behind this one.
    #[serde(default)]
    pub after: u64,
    /// At most so many, up to 500.
    pub limit: Option<u32>,
}

/// Jobs, the latest first.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(Which), responses((status = 200, body = Jobs), (status = 422, body = Problem)))]
pub(super) async fn list(State(worker): State<Arc<Worker>>, Asked(which): Asked<Which>) -> Answer<Json<Jobs>> {
    let states = which.state.as_deref().unwrap_or_default().split(',').filter(|state| !state.is_empty()).map(str::parse);
    let filter = Filter {
        states: states.collect::<Result<_, jobs::Error>>()?,
        key: which.image,
        before: which.before.as_deref().map(str::parse).transpose()?,
        ..Filter::default()
    };
    let jobs = worker.queue()?.list(&filter, which.limit.unwrap_or(LIMIT_DEFAULT)).await?;
    Ok(Json(Jobs { jobs: jobs.iter().map(shown).collect() }))
}

/// A job.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path)), responses((status = 200, body = Job), (status = 404, body = Problem)))]
pub(super) async fn show(State(worker): State<Arc<Worker>>, Path(id): Path<String>) -> Answer<Json<Job>> {
    let job = worker.queue()?.get(id_of(&id)?).await?;
    Ok(Json(shown(&job.ok_or_else(|| no_such_job(&id))?)))
}

/// Cancels a job: at once where it waits; where it is at work, its worker stops it within a second or two and takes away what it has begun.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path)), responses(
    (status = 200, body = Job), (status = 404, body = Problem), (status = 409, body = Problem, description = "It is finished")))]
pub(super) async fn cancel(State(worker): State<Arc<Worker>>, Path(id): Path<String>) -> Answer<Json<Job>> {
    match worker.queue()?.cancel(id_of(&id)?).await? {
        Cancel::Done(job) | Cancel::Requested(job) => Ok(Json(shown(&job))),
        Cancel::Finished(job) => Err(Problem::new(Code::Conflict, format!("job {id} is finished: {}", job.state)).into()),
        Cancel::NoSuchJob => Err(no_such_job(&id).into()),
    }
}

/// Does a job again that failed or was cancelled, as a new job.
#[utoipa::path(post, path = "/jobs/{id}/retry", tag = "jobs", params(("id" = String, Path)), responses(
    (status = 202, body = Accepted), (status = 404, body = Problem), (status = 409, body = Problem, description = "It did not fail")))]
pub(super) async fn retry(State(worker): State<Arc<Worker>>, Path(id): Path<String>) -> Answer<(StatusCode, Json<Accepted>)> {
    match worker.queue()?.retry(id_of(&id)?).await? {
        Retry::Submitted(submitted) => {
            let job = submitted.job;
            let accepted = Accepted { id: job.key, job: job.id.to_string(), is_new: submitted.is_new };
            Ok((StatusCode::ACCEPTED, Json(accepted)))
        }
        Retry::NotFailed(job) => Err(Problem::new(Code::Conflict, format!("job {id} is {}: there is nothing to repeat", job.state)).into()),
        Retry::NoSuchJob => Err(no_such_job(&id).into()),
    }
}

/// A job's log.
#[utoipa::path(get, path = "/jobs/{id}/log", tag = "jobs", params(("id" = String, Path), Lines), responses((status = 200, body = Log), (status = 404, body = Problem)))]
pub(super) async fn log(State(worker): State<Arc<Worker>>, Path(id): Path<String>, Asked(lines): Asked<Lines>) -> Answer<Json<Log>> {
    let (queue, job) = (worker.queue()?, id_of(&id)?);
    queue.get(job).await?.ok_or_else(|| no_such_job(&id))?;
    let log = queue.logs_after(job, lines.after, lines.limit.unwrap_or(LIMIT_DEFAULT)).await?;
    Ok(Json(Log { dropped: log.dropped, lines: log.lines.iter().map(shown_line).collect() }))
}

pub(super) fn id_of(id: &str) -> Result<JobId, Problem> {
    id.parse().map_err(|_| no_such_job(id))
}

pub(super) fn no_such_job(id: &str) -> Problem {
    Problem::new(Code::NotFound, format!("there is no job {}", id.escape_debug()))
}

pub(super) fn shown_line(line: &jobs::LogLine) -> LogLine {
    LogLine { seq: line.seq, time_ms: line.time_ms, level: line.level.as_str().into(), line: line.line.clone() }
}

/// A job, for people.
pub(super) fn shown(job: &jobs::Job) -> Job {
    let payload = serde_json::from_value::<Payload>(job.payload.clone()).ok();
    Job {
        id: job.id.to_string(),
        kind: job.kind.clone(),
        image_id: job.key.clone(),
        image: payload.as_ref().map(|payload| payload.image.clone()).unwrap_or_default(),
        clip_version: payload.map(|payload| payload.clip_version).unwrap_or_default(),
        state: images::state(job.state),
        priority: job.priority,
        attempts: job.attempts,
        attempts_max: job.attempts_max,
        not_before_ms: (job.not_before_ms > 0 && job.state == jobs::State::Pending).then_some(job.not_before_ms),
        created_ms: job.created_ms,
        started_ms: job.started_ms,
        finished_ms: job.finished_ms,
        worker: job.worker.clone(),
        cancel_requested: job.cancel_requested,
        request_id: job.request_id.clone(),
        progress: job.progress.clone().and_then(|progress| serde_json::from_value(progress).ok()),
        error: job.error.as_ref().map(images::shown_error),
        retry_of: job.retry_of.map(|id| id.to_string()),
    }
}
