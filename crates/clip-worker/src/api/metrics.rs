//! `/metrics`, for Prometheus. Every figure is made when it is asked for, from counters that are kept anyway.
//!
//! Names are stable. `clip_mount_*` are of one mount each and end with it; the counters of a mount begin anew with each worker.

use std::sync::{Arc, PoisonError};

use axum::extract::State;
use axum::http::{HeaderName, header};
use control::Problem;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::envelope::Answer;
use crate::worker::Worker;

type Labels = Vec<(&'static str, String)>;

/// Figures of the worker, as Prometheus reads them (OpenMetrics text).
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, body = String), (status = 503, body = Problem)))]
pub(super) async fn metrics(State(worker): State<Arc<Worker>>) -> Answer<([(HeaderName, &'static str); 1], String)> {
    let mut registry = Registry::with_prefix("clip");
    of_jobs(&mut registry, &worker).await;
    of_mounts(&mut registry, &worker);
    of_requests(&mut registry, &worker);
    if let Some(cache) = &worker.cache {
        let usage = cache.usage();
        gauge(&mut registry, "cache_bytes", "Bytes held in the cache", usage.bytes);
        gauge(&mut registry, "cache_bytes_max", "Most bytes that the cache may hold", usage.bytes_max);
        counter(&mut registry, "cache_evicted_bytes", "Bytes that this worker evicted", usage.evicted_bytes);
    }
    gauge(&mut registry, "uptime_seconds", "Seconds since the worker was started", worker.started.elapsed().as_secs());
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = encode(&mut text, &registry);
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

/// A database that is away has no figures; the others are still wanted.
async fn of_jobs(registry: &mut Registry, worker: &Worker) {
    let Ok(queue) = worker.queue() else { return };
    let Ok(counts) = queue.counts().await else { return };
    let jobs = Family::<Labels, Gauge>::default();
    for (state, count) in [
        ("pending", counts.pending),
        ("building", counts.building),
        ("success", counts.success),
        ("failed", counts.failed),
        ("cancelled", counts.cancelled),
    ] {
        jobs.get_or_create(&vec![("state", state.into())]).set(number(count));
    }
    registry.register("jobs", "Jobs of the queue, by state", jobs);
}

fn of_mounts(registry: &mut Registry, worker: &Worker) {
    let mounts = worker.mounts.list();
    gauge(registry, "mounts", "Mounts of this worker", mounts.len() as u64);
    type Figure = fn(&control::Figures) -> u64;
    let figures: [(&str, &str, Figure); 6] = [
        ("mount_operations", "Requests of the kernel", |figures| figures.operations),
        ("mount_read_bytes", "Bytes that programs read, those from the page cache not among them", |figures| figures.read_bytes),
        ("mount_misses", "Reads that had to wait", |figures| figures.misses),
        ("mount_errors", "Reads that failed", |figures| figures.errors),
        ("mount_backend_requests", "Requests to the backend", |figures| figures.backend_requests),
        ("mount_backend_bytes", "Bytes from the backend", |figures| figures.backend_bytes),
    ];
    for (name, help, figure) in figures {
        let family = Family::<Labels, Counter>::default();
        for mount in &mounts {
            family.get_or_create(&vec![("mountpoint", mount.mountpoint.clone())]).inc_by(figure(&mount.figures));
        }
        registry.register(name, help, family);
    }
}

fn of_requests(registry: &mut Registry, worker: &Worker) {
    let family = Family::<Labels, Counter>::default();
    for ((route, status), count) in &*worker.answers.lock().unwrap_or_else(PoisonError::into_inner) {
        family.get_or_create(&vec![("route", route.clone()), ("status", status.to_string())]).inc_by(*count);
    }
    registry.register("api_requests", "Requests to the API, by route and status", family);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(number(value));
    registry.register(name, help, gauge);
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
