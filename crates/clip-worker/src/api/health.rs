//! For watchers of machines: is it alive, is it ready.

use std::sync::Arc;

use axum::extract::State;
use control::{Code, MountState, Problem};

use super::envelope::Answer;
use crate::worker::Worker;

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = String)))]
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// It takes work: its queue answers, the mounts of its predecessor are served, and it is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = String), (status = 503, body = Problem)))]
pub(super) async fn ready(State(worker): State<Arc<Worker>>) -> Answer<&'static str> {
    if worker.is_stopping() {
        return Err(Problem::new(Code::Stopping, "the worker is stopping").into());
    }
    worker.queue()?.last_seq().await?;
    let resuming = worker.mounts.list().iter().filter(|mount| mount.state == MountState::Resuming).count();
    match resuming {
        0 => Ok("ready\n"),
        n => Err(Problem::new(Code::Unavailable, format!("{n} mounts of the worker before wait to be served again")).into()),
    }
}
