//! `/cache`.

use std::sync::Arc;

use ::cache::Cache;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use control::{CacheStream, CacheUsage, Code, Freed, PinRequest, Problem, PruneRequest};
use node::Located;

use super::envelope::Answer;
use super::given::Given;
use crate::images;
use crate::worker::Worker;

/// What the cache holds.
#[utoipa::path(get, path = "/cache", tag = "cache", responses((status = 200, body = CacheUsage), (status = 503, body = Problem)))]
pub(super) async fn usage(State(worker): State<Arc<Worker>>) -> Answer<Json<CacheUsage>> {
    Ok(Json(survey(&worker).await?))
}

/// Evicts what was used least recently.
#[utoipa::path(post, path = "/cache/prune", tag = "cache", request_body = PruneRequest, responses((status = 200, body = Freed), (status = 503, body = Problem)))]
pub(super) async fn prune(State(worker): State<Arc<Worker>>, Given(request): Given<PruneRequest>) -> Answer<Json<Freed>> {
    let freed = at(&worker, move |cache| cache.prune(request.keep_bytes)).await?;
    Ok(Json(Freed { bytes: freed.bytes, spans: freed.spans }))
}

/// Pins an image: what is cached of it, now and later, is not evicted.
#[utoipa::path(post, path = "/cache/pins", tag = "cache", request_body = PinRequest, responses(
    (status = 200, body = CacheUsage), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn pin(State(worker): State<Arc<Worker>>, Given(request): Given<PinRequest>) -> Answer<Json<CacheUsage>> {
    let (name, keys) = streams(&worker, &request.image).await?;
    at(&worker, move |cache| keys.iter().try_for_each(|key| cache.pin(key, &name))).await?;
    Ok(Json(survey(&worker).await?))
}

/// Unpins an image.
#[utoipa::path(delete, path = "/cache/pins/{image}", tag = "cache", params(("image" = String, Path)), responses(
    (status = 204), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn unpin(State(worker): State<Arc<Worker>>, Path(image): Path<String>) -> Answer<StatusCode> {
    // By the pins themselves: the image may be gone from the store.
    let name = match images::archive(&worker, &image).await {
        Ok(archive) => archive.id,
        Err(_) => image.clone(),
    };
    let unpinned = at(&worker, move |cache| {
        let mut unpinned = 0;
        for pin in cache.pins()?.into_iter().filter(|pin| pin.name == name) {
            unpinned += usize::from(cache.unpin(&pin.key, &pin.name)?);
        }
        Ok(unpinned)
    });
    match unpinned.await? {
        0 => Err(Problem::new(Code::NotFound, format!("image {} is not pinned", image.escape_debug())).into()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

async fn survey(worker: &Worker) -> Result<CacheUsage, Problem> {
    let survey = at(worker, Cache::survey).await?;
    let streams = survey.streams.into_iter().map(|stream| CacheStream {
        key: ::cache::key_hex(&stream.key),
        bytes_whole: stream.bytes_whole,
        bytes: stream.bytes,
        pins: stream.pins,
    });
    Ok(CacheUsage {
        directory: worker.cache_dir.display().to_string(),
        bytes: survey.bytes,
        bytes_pinned: survey.bytes_pinned,
        bytes_max: survey.bytes_max,
        streams: streams.collect(),
    })
}

/// The id of an image's archive, and the keys of its streams.
async fn streams(worker: &Worker, image: &str) -> Result<(String, Vec<[u8; 32]>), Problem> {
    let archive = images::archive(worker, image).await?;
    let place = images::place(worker, &archive.id).await?;
    let located = Located::at(&place, &worker.cache_dir, &worker.current().settings).await;
    let located = located.map_err(|error| Problem::new(Code::ArchiveUnusable, node::explain(&error)).of_version(&archive.version))?;
    let keys = (0..).zip(located.archive.streams()).map(|(id, _)| located.archive.spans(::archive::StreamId(id)).key());
    Ok((archive.id, keys.collect()))
}

/// Does something with the cache where it may block.
async fn at<T: Send + 'static>(
    worker: &Worker,
    work: impl FnOnce(&Cache) -> Result<T, ::cache::Error> + Send + 'static,
) -> Result<T, Problem> {
    let gone = || Problem::new(Code::Unavailable, format!("there is no cache: {} cannot be written", worker.cache_dir.display()));
    let cache = worker.cache.clone().ok_or_else(gone)?;
    match tokio::task::spawn_blocking(move || work(&cache)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            let code = match error {
                ::cache::Error::TooManyPins { .. } => Code::Conflict,
                ::cache::Error::BadPinName { .. } => Code::InvalidRequest,
                _ => Code::Unavailable,
            };
            Err(Problem::new(code, node::explain(&error.into())))
        }
        Err(error) => Err(Problem::new(Code::Internal, error.to_string())),
    }
}
