//! Images as the API shows them: what was asked for (jobs) and what the store has (records), as one list.

use std::collections::HashSet;

use control::{Code, Image, JobError, Problem, State, Stored};
use jobs::{Filter, Job};
use store::{ImageId, Place, Record};

use crate::failure::of_queue;
use crate::pulls::{ID_DIGITS, KIND, Payload};
use crate::worker::Worker;

/// Most images of a list.
const IMAGES_MAX: usize = 1000;
/// Jobs that are looked through for them.
const JOBS_MAX: u32 = 500;

/// The archive of an image, by its id here, or by the archive's own id or the beginning of that.
pub(crate) async fn archive(worker: &Worker, id: &str) -> Result<Stored, Problem> {
    if id.len() == ID_DIGITS
        && let Some(image) = of_job(worker, id).await?
    {
        return image.archive.ok_or_else(|| {
            let why = image.error.map(|error| format!(": {}", error.message)).unwrap_or_default();
            Problem::new(Code::NotFound, format!("image {id} has no archive, it is {}{why}", image.status))
        });
    }
    let store = worker.current().settings.store().await.map_err(|error| unavailable(&error))?;
    let record = store.resolve(id).await.map_err(|error| refused(&error))?;
    Ok(stored(record))
}

/// Where the archive with that id lies.
pub(crate) async fn place(worker: &Worker, archive: &str) -> Result<Place, Problem> {
    let store = worker.current().settings.store().await.map_err(|error| unavailable(&error))?;
    archive.parse::<ImageId>().and_then(|id| store.place(&id)).map_err(|error| refused(&error))
}

/// An image by its id.
pub(crate) async fn show(worker: &Worker, id: &str) -> Result<Image, Problem> {
    if id.len() == ID_DIGITS
        && let Some(image) = of_job(worker, id).await?
    {
        return Ok(image);
    }
    Ok(of_store(archive(worker, id).await?))
}

/// All images, the latest first.
pub(crate) async fn list(worker: &Worker) -> Result<Vec<Image>, Problem> {
    let filter = Filter { kind: Some(KIND.into()), ..Filter::default() };
    let jobs = worker.queue().map_err(of_queue)?.list(&filter, JOBS_MAX).await.map_err(of_queue)?;
    let store = worker.current().settings.store().await.map_err(|error| unavailable(&error))?;
    let mut records = store.list().await.map_err(|error| refused(&error))?;
    records.reverse();
    let there: HashSet<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let (mut images, mut seen) = (Vec::new(), HashSet::new());
    for job in jobs {
        if !seen.insert(job.key.clone()) {
            continue;
        }
        let image = from_job(&job);
        // One that was made and removed is no image any more.
        let is_removed = image.archive.as_ref().is_some_and(|archive| !there.contains(archive.id.as_str()));
        if !is_removed {
            images.push(image);
        }
    }
    let known: HashSet<String> = images.iter().filter_map(|image| image.archive.as_ref().map(|archive| archive.id.clone())).collect();
    images.extend(records.into_iter().filter(|record| !known.contains(&record.id)).map(|record| of_store(stored(record))));
    images.truncate(IMAGES_MAX);
    Ok(images)
}

/// Removes an image from the store. One that is mounted here stays, unless `force`.
pub(crate) async fn remove(worker: &Worker, id: &str, force: bool) -> Result<(), Problem> {
    let archive = archive(worker, id).await?;
    let place = place(worker, &archive.id).await?;
    if !force && worker.mounts.has_archive(&place.to_string()) {
        return Err(Problem::new(Code::Busy, format!("image {id} is mounted; unmount it first, or use force")));
    }
    let store = worker.current().settings.store().await.map_err(|error| unavailable(&error))?;
    let removed = async { store.remove(&archive.id.parse()?).await }.await.map_err(|error: store::Error| refused(&error))?;
    if removed { Ok(()) } else { Err(Problem::new(Code::NotFound, format!("image {id} is not in the store"))) }
}

/// The image of a job's key, by the latest job; and its archive by the latest that succeeded.
async fn of_job(worker: &Worker, id: &str) -> Result<Option<Image>, Problem> {
    let filter = Filter { kind: Some(KIND.into()), key: Some(id.into()), ..Filter::default() };
    let Some(latest) = worker.queue().map_err(of_queue)?.list(&filter, 1).await.map_err(of_queue)?.pop() else { return Ok(None) };
    let mut image = from_job(&latest);
    if image.archive.is_none() {
        let filter = Filter { states: vec![jobs::State::Success], ..filter };
        image.archive =
            worker.queue().map_err(of_queue)?.list(&filter, 1).await.map_err(of_queue)?.pop().and_then(|job| from_job(&job).archive);
    }
    if let Some(archive) = &image.archive {
        let store = worker.current().settings.store().await.map_err(|error| unavailable(&error))?;
        let id: ImageId = archive.id.parse().map_err(|error: store::Error| refused(&error))?;
        if store.find(&id).await.map_err(|error| refused(&error))?.is_none() {
            image.archive = None;
        }
    }
    Ok(Some(image))
}

fn from_job(job: &Job) -> Image {
    let name = serde_json::from_value::<Payload>(job.payload.clone()).map(|payload| payload.image).unwrap_or_default();
    let record = job.result.as_ref().and_then(|result| record(result.clone()));
    let status = state(job.state);
    Image {
        id: job.key.clone(),
        image: name,
        status,
        job: Some(job.id.to_string()),
        progress: job.progress.clone().filter(|_| status == State::Building).and_then(|progress| serde_json::from_value(progress).ok()),
        error: job.error.as_ref().filter(|_| status != State::Success).map(shown_error),
        archive: record.map(stored),
    }
}

/// A record as a pull's result has it, with more beside it.
fn record(mut result: serde_json::Value) -> Option<Record> {
    result.as_object_mut()?.remove("cached");
    serde_json::from_value(result).ok()
}

fn of_store(stored: Stored) -> Image {
    Image {
        id: stored.id.clone(),
        image: stored.image.clone(),
        status: State::Success,
        job: None,
        progress: None,
        error: None,
        archive: Some(stored),
    }
}

fn stored(record: Record) -> Stored {
    let Record { id, image, manifest, platform, version, archive_bytes, file_bytes, created, fallback } = record;
    Stored { id, image, manifest, platform, version, archive_bytes, file_bytes, created, fallback }
}

pub(crate) fn state(state: jobs::State) -> State {
    match state {
        jobs::State::Pending => State::Pending,
        jobs::State::Building => State::Building,
        jobs::State::Success => State::Success,
        jobs::State::Failed => State::Failed,
        jobs::State::Cancelled => State::Cancelled,
    }
}

pub(crate) fn shown_error(failure: &jobs::Failure) -> JobError {
    JobError { code: failure.code.clone(), message: failure.message.clone(), is_transient: failure.is_transient }
}

fn unavailable(error: &anyhow::Error) -> Problem {
    Problem::new(Code::Unavailable, format!("the store: {}", node::explain(error)))
}

fn refused(error: &store::Error) -> Problem {
    let code = match error {
        store::Error::NoSuchImage { .. } => Code::NotFound,
        store::Error::Ambiguous { .. } => Code::Conflict,
        store::Error::Id(_) => Code::InvalidRequest,
        _ => Code::Unavailable,
    };
    Problem::new(code, error.to_string())
}
