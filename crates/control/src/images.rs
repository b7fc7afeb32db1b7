//! Images: what is asked for, and what the store has.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{JobError, Progress, State};

/// Asks for an image's archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    /// The image, as `clipctl pull` takes it.
    #[schema(example = "python:3.12", max_length = 2048)]
    pub image: String,
    /// Which of its platforms, `os/arch[/variant]`; by default the worker's machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "linux/amd64")]
    pub platform: Option<String>,
    /// Version of the archive, `v1` or `v2`; by default as the worker is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "v2")]
    pub clip_version: Option<String>,
    /// Make it anew, also if the store has it.
    #[serde(default)]
    pub force: bool,
    /// -100 to 100, the higher first.
    #[serde(default)]
    #[schema(minimum = -100, maximum = 100)]
    pub priority: i32,
}

/// A pull that was accepted: it will be done, whatever happens to the worker meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// Names image, platform and version; see [`Image::id`].
    pub id: String,
    /// The job that does it.
    pub job: String,
    /// Whether the job is new; else one for the same was unfinished.
    pub is_new: bool,
}

/// An image that was asked for, or that the store has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Its name here: 32 digits for what was asked for (image, platform, version), which stays the same when the tag moves; the archive's 64 digits
    /// for what only the store knows. Both can be mounted.
    pub id: String,
    /// The image, as it was asked for.
    pub image: String,
    /// How far its latest job is.
    pub status: State,
    /// Its latest job.
    pub job: Option<String>,
    /// How far that is, while it is at work.
    pub progress: Option<Progress>,
    /// Why it failed, or why its last attempt did.
    pub error: Option<JobError>,
    /// The archive, once there is one.
    pub archive: Option<Stored>,
}

/// An archive in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stored {
    /// Its id, 64 digits: derived from what is in it.
    pub id: String,
    /// The image, as it was named when the archive was made.
    pub image: String,
    /// Digest of the image's manifest.
    pub manifest: String,
    /// What it is for.
    pub platform: String,
    /// `v1` or `v2`.
    pub version: String,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Bytes of the files in it.
    pub file_bytes: u64,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Why it is v1, where v2 was asked for.
    pub fallback: Option<String>,
}

/// Images, the latest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Images {
    /// At most 1,000.
    pub images: Vec<Image>,
}
