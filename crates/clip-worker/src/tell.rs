//! What happened, in events: image.queued, image.cached, image.built, image.failed, image.cancelled, mount.ready, mount.gone.

use jobs::{Job, Narrator, NewEvent, Transition};
use serde_json::{Value, json};

use crate::mounts::Record;
use crate::pulls::Payload;

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
