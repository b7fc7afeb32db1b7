//! What happened.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that happened: `image.queued`, `image.cached` (it was there already), `image.built`, `image.failed`, `image.cancelled`, `mount.ready`,
/// `mount.gone`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number; they ascend without gaps.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// What happened.
    pub event: String,
    /// The image, as it was asked for.
    pub image: Option<String>,
    /// The image's id here.
    pub image_id: Option<String>,
    /// `v1` or `v2`.
    pub version: Option<String>,
    /// How long it took, or lasted, in milliseconds.
    pub duration_ms: Option<i64>,
    /// The request that led to it.
    pub request_id: Option<String>,
    /// The job that it happened to.
    pub job: Option<String>,
    /// The mountpoint that it happened to.
    pub mountpoint: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}
