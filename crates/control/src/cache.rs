//! The node's cache.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the cache holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheUsage {
    /// Where it is.
    pub directory: String,
    /// Bytes held.
    pub bytes: u64,
    /// Bytes of pinned streams.
    pub bytes_pinned: u64,
    /// Most bytes that it may hold.
    pub bytes_max: u64,
    /// Its streams, at most 10,000.
    pub streams: Vec<CacheStream>,
}

/// A stream (a layer, or the data of a v1 archive) in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheStream {
    /// Its key.
    pub key: String,
    /// Bytes of all of it.
    pub bytes_whole: u64,
    /// Bytes held.
    pub bytes: u64,
    /// Ids of the archives that it is pinned for.
    pub pins: Vec<String>,
}

/// Pins an image: what is cached of it is not evicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PinRequest {
    /// The image, by its id.
    pub image: String,
}

/// Evicts what was used least recently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// Bytes that may stay; what is pinned stays in any case.
    #[serde(default)]
    pub keep_bytes: u64,
}

/// What was evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Freed {
    /// Bytes.
    pub bytes: u64,
    /// Spans.
    pub spans: u64,
}
