//! What happened, in events: image.queued, image.cached, image.built, image.failed, image.cancelled, mount.ready, mount.gone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jobs::{Job, Narrator, NewEvent, Queue, Transition};
use serde_json::{Value, json};

use crate::mounts::Record;
use crate::pulls::Payload;
use crate::worker::Worker;

/// How often a database that is away is tried with what could not be written down.
const CATCH_UP: Duration = Duration::from_millis(500);
/// Most events that wait for it: one for each mount, and then some.
const UNTOLD_MAX: usize = 10_000;

/// Events that could not be written down yet, in order: the database is away, or not open yet.
#[derive(Debug, Default)]
pub(crate) struct Untold(Mutex<VecDeque<NewEvent>>);

impl Untold {
    fn lock(&self) -> MutexGuard<'_, VecDeque<NewEvent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, event: NewEvent) {
        let mut waiting = self.lock();
        if waiting.len() >= UNTOLD_MAX {
            tracing::warn!(name = event.name, "event is not written down: too many wait already");
            return;
        }
        waiting.push_back(event);
    }
}

/// Tells an event now, or as soon as the database is there.
pub(crate) async fn publish(worker: &Worker, event: NewEvent) {
    // Not before those that wait.
    let is_first = worker.untold.lock().is_empty();
    if let (true, Ok(queue)) = (is_first, worker.queue()) {
        match queue.publish(&event).await {
            Ok(_) => return,
            Err(error) => tracing::warn!(%error, name = event.name, "event is not written down yet"),
        }
    }
    worker.untold.keep(event);
}

/// Writes down what could not be written down before, until the worker stops.
pub(crate) async fn catch_up(worker: Arc<Worker>, queue: Queue) {
    while !worker.is_stopping() {
        let next = worker.untold.lock().front().cloned();
        if let Some(event) = next {
            match queue.publish(&event).await {
                Ok(_) => {
                    worker.untold.lock().pop_front();
                    continue;
                }
                // Nobody will ever write this one down.
                Err(error @ jobs::Error::Invalid { .. }) => {
                    tracing::error!(%error, name = event.name, "event is not written down");
                    worker.untold.lock().pop_front();
                    continue;
                }
                Err(error) => tracing::debug!(%error, "events wait"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(CATCH_UP) => {}
            () = worker.stopping() => {}
        }
    }
}

/// Tells the events of jobs.
pub(crate) fn narrator() -> Narrator {
    Narrator::new(|transition, job| of_job(transition, job).into_iter().collect())
}

fn of_job(transition: Transition, job: &Job) -> Option<NewEvent> {
    let was_cached = job.result.as_ref().is_some_and(|result| result["cached"] == true);
    let name = match transition {
        Transition::Submitted => "image.queued",
        Transition::Succeeded if was_cached => "image.cached",
        Transition::Succeeded => "image.built",
        Transition::Failed => "image.failed",
        Transition::Cancelled => "image.cancelled",
        _ => return None,
    };
    let payload: Payload = serde_json::from_value(job.payload.clone()).ok()?;
    let version = job.result.as_ref().and_then(|result| result["version"].as_str()).unwrap_or(&payload.clip_version);
    let duration = job.finished_ms.map(|end| (end - job.created_ms).max(0));
    let error = job.error.as_ref().filter(|_| transition == Transition::Failed).map(|error| &error.message);
    Some(NewEvent::new(
        name,
        json!({ "image": payload.image, "version": version, "duration_ms": duration, "request_id": job.request_id, "error": error }),
    ))
}

/// A mount answers, or is gone.
pub(crate) fn of_mount(name: &str, record: &Record, duration_ms: i64) -> NewEvent {
    let data = json!({
        "image": record.image, "version": record.version, "duration_ms": duration_ms, "request_id": record.request_id,
        "mountpoint": record.mountpoint.to_string_lossy(),
    });
    NewEvent::new(name, data).about(&record.id)
}

/// An event as the API shows it.
pub(crate) fn shown(event: &jobs::Event) -> control::Event {
    let text = |name: &str| event.data[name].as_str().map(str::to_owned);
    control::Event {
        seq: event.seq,
        time_ms: event.time_ms,
        event: event.name.clone(),
        image: text("image"),
        image_id: event.key.clone().filter(|_| event.name.starts_with("image.")),
        version: text("version"),
        duration_ms: event.data.get("duration_ms").and_then(Value::as_i64),
        request_id: text("request_id"),
        job: event.job.map(|job| job.to_string()),
        mountpoint: text("mountpoint"),
        error: text("error"),
    }
}
