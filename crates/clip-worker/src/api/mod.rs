//! The HTTP API (axum), below `/api/v1`, and what watchers of machines ask at the root.
//!
//! | File | Idea |
//! |---|---|
//! | `listen` | sockets, TLS, connections |
//! | `tls` | certificates of the TCP listener |
//! | `envelope` | what all requests have: an id, a span, a deadline, problems as answers |
//! | `given` | bodies and queries, with problems for what is wrong with them |
//! | `access` | who may ask what |
//! | `images`, `jobs`, `mounts`, `cache`, `service` | the endpoints |
//! | `follow` | server-sent events |
//! | `health`, `metrics` | for watchers |

mod access;
mod cache;
mod envelope;
mod follow;
mod given;
mod health;
mod images;
mod jobs;
mod listen;
mod metrics;
mod mounts;
mod service;
mod tls;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Json, Router, middleware};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use listen::{Listeners, SOCKET_NAME, serve};
pub(crate) use tls::check;

use crate::worker::Worker;

/// Largest body of a request, in bytes: names and paths.
const BODY_BYTES_MAX: usize = 64 << 10;

#[derive(OpenApi)]
#[openapi(info(
    title = "clip-worker",
    version = "1",
    description = "Pulls images into archives, mounts them, and keeps a node's cache. Errors are problem details (RFC 9457) with a stable `code`. \
                   Every answer has the header `x-request-id`: the one of the request, or a new one.",
    license(name = "Apache-2.0")
))]
struct Document;

/// All of it.
pub(crate) fn router(worker: &Arc<Worker>) -> Router {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .nest(control::PREFIX, endpoints())
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::metrics))
        .routes(routes!(service::version))
        .split_for_parts();
    let document = Arc::new(document);
    router
        .route(&format!("{}/openapi.json", control::PREFIX), get(move || async move { Json(document.as_ref().clone()) }))
        .fallback(envelope::no_such_endpoint)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(worker), access::check))
        .layer(middleware::from_fn_with_state(Arc::clone(worker), envelope::wrap))
        .with_state(Arc::clone(worker))
}

fn endpoints() -> OpenApiRouter<Arc<Worker>> {
    OpenApiRouter::new()
        .routes(routes!(images::list, images::pull))
        .routes(routes!(images::show, images::remove))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::log))
        .routes(routes!(follow::log))
        .routes(routes!(follow::events))
        .routes(routes!(mounts::list, mounts::mount))
        .routes(routes!(mounts::show, mounts::unmount))
        .routes(routes!(cache::usage))
        .routes(routes!(cache::prune))
        .routes(routes!(cache::pin))
        .routes(routes!(cache::unpin))
        .routes(routes!(service::status))
        .routes(routes!(service::version_below))
        .routes(routes!(service::set_log_level))
}
