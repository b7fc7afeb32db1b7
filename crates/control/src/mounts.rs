//! Mounts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks for a mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MountRequest {
    /// The archive: a path, `s3://bucket/key`, or an id of the store or its beginning. Either this or `image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// An image that was pulled, by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// An absolute path below one of the worker's `mountRoots`. Its last part is made if it is not there.
    #[schema(example = "/mnt/python")]
    pub mountpoint: String,
    /// The profile to start with. There are none yet: only null is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Mount also on a directory that is not empty.
    #[serde(default)]
    pub nonempty: bool,
    /// Ignore set-user-id bits and device nodes.
    #[serde(default)]
    pub nosuid: bool,
}

/// How a mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MountState {
    /// It is served.
    Serving,
    /// Its worker was replaced, and its archive is being opened again: programs wait.
    Resuming,
    /// It is being unmounted.
    Leaving,
}

/// What passed through a mount since this worker began to serve it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Figures {
    /// Requests of the kernel.
    pub operations: u64,
    /// Bytes that programs read, those from the page cache not among them.
    pub read_bytes: u64,
    /// Reads that had to wait.
    pub misses: u64,
    /// Reads that failed.
    pub errors: u64,
    /// Requests to the backend.
    pub backend_requests: u64,
    /// Bytes from the backend.
    pub backend_bytes: u64,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mount {
    /// Its name.
    pub id: String,
    /// Where it is.
    pub mountpoint: String,
    /// Where its archive is.
    pub archive: String,
    /// The image that it was asked for by, or that the archive was made from, if that is known.
    pub image: Option<String>,
    /// `v1` or `v2`.
    pub version: String,
    /// How it is.
    pub state: MountState,
    /// When it was mounted, in milliseconds since 1970.
    pub created_ms: i64,
    /// How often it has been taken over by a new worker.
    pub resumed: u32,
    /// The request that it was mounted by.
    pub request_id: Option<String>,
    /// What passed through it.
    pub figures: Figures,
}

/// All mounts of the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mounts {
    /// By mountpoint.
    pub mounts: Vec<Mount>,
}
