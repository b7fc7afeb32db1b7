//! From a request to a mount.

use std::sync::Arc;

use control::{Code, Mount, MountRequest, MountState, Problem};
use node::explain;
use store::Place;
use tokio::runtime::Handle;

use super::record::{self, Record};
use super::roots::{self, Fit};
use super::serve::{self, now_ms};
use crate::worker::Worker;
use crate::{failure, images};

/// What is to be mounted.
struct Wanted {
    place: Place,
    image: Option<String>,
}

/// Mounts what the request asks for. True: it was not there before.
///
/// The work goes on when the one who asked goes away: a mount is never half made.
pub(crate) async fn mount(worker: &Arc<Worker>, request: MountRequest, request_id: &str) -> Result<(Mount, bool), Problem> {
    if worker.is_stopping() {
        return Err(Problem::new(Code::Stopping, "the worker is stopping and takes no new mounts"));
    }
    if request.profile.is_some() {
        return Err(Problem::new(Code::InvalidRequest, "profile: there are no profiles yet; leave it out"));
    }
    let (worker, request_id) = (Arc::clone(worker), request_id.to_owned());
    let span = tracing::Span::current();
    let work = async move {
        let wanted = wanted(&worker, &request).await?;
        make(&worker, &request, wanted, request_id).await
    };
    let done = tokio::spawn(tracing::Instrument::instrument(work, span)).await;
    done.unwrap_or_else(|error| Err(Problem::new(Code::Internal, format!("the mount failed: {error}"))))
}

async fn wanted(worker: &Worker, request: &MountRequest) -> Result<Wanted, Problem> {
    match (&request.archive, &request.image) {
        (Some(archive), None) => named(worker, archive).await,
        (None, Some(image)) => stored(worker, image).await,
        _ => Err(Problem::new(Code::InvalidRequest, "either archive or image is needed, and not both")),
    }
}

/// An archive that is named by a path, a URL, or the id of an image.
async fn named(worker: &Worker, archive: &str) -> Result<Wanted, Problem> {
    if archive.starts_with("s3://") {
        let place = archive.parse().map_err(|error: store::Error| Problem::new(Code::InvalidRequest, format!("archive: {error}")))?;
        return Ok(Wanted { place, image: None });
    }
    if archive.starts_with('/') {
        return Ok(Wanted { place: Place::File(archive.into()), image: None });
    }
    stored(worker, archive).await
}

/// The archive of an image, by its id.
async fn stored(worker: &Worker, image: &str) -> Result<Wanted, Problem> {
    let stored = images::archive(worker, image).await?;
    Ok(Wanted { place: images::place(worker, &stored.id).await?, image: Some(stored.image) })
}

async fn make(worker: &Arc<Worker>, request: &MountRequest, wanted: Wanted, request_id: String) -> Result<(Mount, bool), Problem> {
    let (asked, current) = (request.mountpoint.clone(), worker.current());
    let fit = tokio::task::spawn_blocking(move || roots::fit(&asked, &current.worker().mount_roots)).await;
    let fit = fit.unwrap_or_else(|error| Err(Problem::new(Code::Internal, error.to_string())))?;
    let record = new_record(request, &wanted, &fit, request_id);
    if let Some(there) = worker.mounts.reserve(&record, MountState::Serving)? {
        return match there.archive == record.archive {
            true => Ok((there, false)),
            false => Err(Problem::new(Code::Conflict, format!("{} is mounted on {} already", there.archive, there.mountpoint))),
        };
    }
    match bring_up(worker, record.clone(), &wanted.place).await {
        Ok(mount) => Ok((mount, true)),
        Err(problem) => {
            worker.mounts.forget(&record.id);
            serve::release(worker, &record);
            Err(problem)
        }
    }
}

fn new_record(request: &MountRequest, wanted: &Wanted, fit: &Fit, request_id: String) -> Record {
    Record {
        id: uuid::Uuid::now_v7().simple().to_string(),
        mountpoint: fit.path.clone(),
        archive: wanted.place.to_string(),
        image: wanted.image.clone(),
        version: String::new(),
        created_ms: now_ms(),
        request_id: Some(request_id),
        nosuid: request.nosuid,
        nonempty: request.nonempty,
        made_directory: fit.made,
        resumed: 0,
        boot: record::boot(),
        handover: None,
    }
}

async fn bring_up(worker: &Arc<Worker>, mut record: Record, place: &Place) -> Result<Mount, Problem> {
    let opened = serve::open(worker, place).await.map_err(|error| unusable(&record, &error))?;
    record.version = opened.archive.version().to_string();
    let (mounting, runtime) = (Arc::clone(worker), Handle::current());
    let work = move || {
        // First the record: who dies now leaves a dead mount, and the next worker knows where.
        mounting.mounts.save(&record).map_err(|error| unwritten(&error))?;
        let mounted = serve::start(&mounting, &record, &opened, runtime).map_err(|error| unfit(&record, &error))?;
        if mounted.mountpoint() != record.mountpoint {
            // Dropping it unmounts.
            return Err(Problem::new(Code::MountpointNotAllowed, "the mountpoint was moved meanwhile"));
        }
        record.handover = Some(mounted.handover().clone());
        mounting.mounts.save(&record).map_err(|error| unwritten(&error))?;
        if let Err(error) = serve::give_away(&mounting, &record, &mounted) {
            tracing::error!(error = explain(&error), "nobody keeps this mount: it dies with this worker");
        }
        Ok((record, mounted, opened))
    };
    let done = tokio::task::spawn_blocking(work).await;
    let (record, mounted, opened) = done.unwrap_or_else(|error| Err(Problem::new(Code::Internal, error.to_string())))?;
    serve::settle(worker, &record, mounted, &opened);
    tracing::info!(mountpoint = %record.mountpoint.display(), archive = record.archive, "mounted");
    serve::publish(worker, "mount.ready", &record).await;
    worker.mounts.show(&record.id).ok_or_else(|| Problem::new(Code::Conflict, "it was unmounted at once"))
}

fn unusable(record: &Record, error: &anyhow::Error) -> Problem {
    let (_, is_transient) = failure::kind(error);
    // A file that is not there does not come by waiting.
    let is_missing = |cause: &(dyn std::error::Error + 'static)| {
        use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| matches!(io.kind(), NotFound | PermissionDenied | IsADirectory | NotADirectory))
    };
    let code = if is_transient && !error.chain().any(is_missing) { Code::Unavailable } else { Code::ArchiveUnusable };
    Problem::new(code, format!("archive {}: {}", record.archive, explain(error)))
}

fn unfit(record: &Record, error: &mount::Error) -> Problem {
    let code = match error {
        mount::Error::MountpointBusy { .. } => Code::Conflict,
        mount::Error::FuseDevice { .. } | mount::Error::Session { .. } => Code::Internal,
        _ => Code::MountpointUnfit,
    };
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Problem::new(code, format!("{error}{cause}")).of_version(&record.version)
}

fn unwritten(error: &std::io::Error) -> Problem {
    Problem::new(Code::Unavailable, format!("the mount cannot be written down: {error}"))
}
