//! Server-sent events: what happens, as it happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use control::Problem;
use futures_util::stream::{self, Stream};
use jobs::{JobId, Queue};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::envelope::Answer;
use super::given::Asked;
use super::jobs::{Lines, id_of, no_such_job, shown, shown_line};
use crate::tell;
use crate::worker::Worker;

/// Events under way to a client that reads slowly.
const QUEUE: usize = 64;
/// How often the database is asked for what other workers have done.
const LOOK: Duration = Duration::from_secs(1);
/// How often a silent stream says that it is alive.
const ALIVE: Duration = Duration::from_secs(15);
/// Events or lines that are read at once.
const AT_ONCE: u32 = 100;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    /// Behind this number; 0 for all that are kept. By default those that happen from now on. `Last-Event-ID` stands above it.
    after: Option<u64>,
}

type Sender = mpsc::Sender<Event>;
/// None: the client is gone, or there will be nothing more.
type Going = Option<()>;

/// What happens: images and mounts.
#[utoipa::path(get, path = "/events", tag = "events", params(After), responses(
    (status = 200, content_type = "text/event-stream", body = control::Event), (status = 503, body = Problem)))]
pub(super) async fn events(
    State(worker): State<Arc<Worker>>,
    headers: HeaderMap,
    Asked(After { after }): Asked<After>,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>> {
    let queue = worker.queue()?.clone();
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = match last.or(after) {
        Some(seq) => seq,
        None => queue.last_seq().await?,
    };
    Ok(streamed(move |sender| async move {
        let follow = follow_events(queue, after, &sender);
        tokio::select! {
            _ = follow => {}
            () = worker.stopping() => {}
            () = sender.closed() => {}
        }
    }))
}

async fn follow_events(queue: Queue, mut seq: u64, sender: &Sender) -> Going {
    let mut changes = queue.changes();
    loop {
        // A database that is away is asked again.
        for event in queue.events_after(seq, AT_ONCE).await.unwrap_or_default() {
            seq = event.seq;
            send(sender, &event.name, Some(seq), &tell::shown(&event)).await?;
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// A job's log and progress, as they come, and its end.
#[utoipa::path(get, path = "/jobs/{id}/log/stream", tag = "jobs", params(("id" = String, Path), Lines), responses(
    (status = 200, content_type = "text/event-stream", body = control::LogLine, description = "`line` (LogLine), `progress` (Progress), and at last `end` (Job)"),
    (status = 404, body = Problem)))]
pub(super) async fn log(
    State(worker): State<Arc<Worker>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Asked(lines): Asked<Lines>,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>> {
    let (queue, job) = (worker.queue()?.clone(), id_of(&id)?);
    queue.get(job).await?.ok_or_else(|| no_such_job(&id))?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = last.unwrap_or(lines.after);
    Ok(streamed(move |sender| async move {
        let follow = follow_job(queue, job, after, &sender);
        tokio::select! {
            _ = follow => {}
            () = worker.stopping() => {}
            () = sender.closed() => {}
        }
    }))
}

async fn follow_job(queue: Queue, id: JobId, mut seq: u64, sender: &Sender) -> Going {
    let (mut changes, mut told) = (queue.changes(), None);
    loop {
        // First the job, then its log: what was written before its end is in the log then.
        let job = queue.get(id).await;
        while let Ok(log) = queue.logs_after(id, seq, AT_ONCE).await {
            for line in &log.lines {
                seq = line.seq;
                send(sender, "line", Some(seq), &shown_line(line)).await?;
            }
            if log.lines.is_empty() {
                break;
            }
        }
        // A job that was forgotten meanwhile has ended.
        if let Ok(job) = job {
            let job = shown(&job?);
            if job.progress.is_some() && job.progress != told {
                told.clone_from(&job.progress);
                send(sender, "progress", None, &told).await?;
            }
            if job.state.is_finished() {
                send(sender, "end", None, &job).await?;
                return None;
            }
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn send(sender: &Sender, name: &str, seq: Option<u64>, data: &impl Serialize) -> Going {
    let event = Event::default().event(name).json_data(data).ok()?;
    let event = match seq {
        Some(seq) => event.id(seq.to_string()),
        None => event,
    };
    sender.send(event).await.ok()
}

/// A stream that `work` writes, in a task that ends with the client.
fn streamed<F: Future<Output = ()> + Send + 'static>(work: impl FnOnce(Sender) -> F) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(work(sender));
    let events = stream::unfold(receiver, async |mut receiver| Some((Ok(receiver.recv().await?), receiver)));
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE))
}
