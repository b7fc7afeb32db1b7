//! What a pull is: its payload in the queue, and the work itself.

use std::sync::Arc;

use anyhow::{Context, Result};
use config::ClipVersion;
use control::PullRequest;
use image::Progress;
use jobs::NewJob;
use node::{Pull, Pulled};
use serde::{Deserialize, Serialize};

use crate::worker::{Current, Worker};

/// The kind of these jobs.
pub(crate) const KIND: &str = "pull";

/// Digits of an image's id here.
pub(crate) const ID_DIGITS: usize = 32;

/// What a pull needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Payload {
    pub image: String,
    pub platform: Option<String>,
    pub clip_version: String,
    pub force: bool,
}

/// The job that a request asks for, by the configuration of now.
///
/// # Errors
/// A name that is no image's, a platform or version that there is not.
pub(crate) fn job(request: PullRequest, current: &Current) -> Result<NewJob> {
    let _: image::ImageName = request.image.parse()?;
    if let Some(platform) = &request.platform {
        let _: image::Platform = platform.parse().map_err(|error| anyhow::anyhow!("{error}")).context("platform")?;
    }
    let clip_version = match request.clip_version.as_deref() {
        None => current.clip_version(),
        Some("v1" | "1") => "v1",
        Some("v2" | "2") => "v2",
        Some(other) => anyhow::bail!("invalid clip version '{}': valid options are v1, v2", other.escape_debug()),
    };
    let payload = Payload { image: request.image, platform: request.platform, clip_version: clip_version.into(), force: request.force };
    let json = serde_json::to_value(&payload).context("write down the job")?;
    Ok(NewJob {
        priority: request.priority.clamp(-jobs::PRIORITY_MAX, jobs::PRIORITY_MAX),
        attempts_max: current.worker().attempts,
        ..NewJob::new(KIND, payload.id(), json)
    })
}

impl Payload {
    /// Names image, platform and version, whatever the tag points to at the time.
    pub fn id(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in [self.image.as_str(), self.platform.as_deref().unwrap_or_default(), &self.clip_version] {
            hasher.update(part.as_bytes()).update(b"\0");
        }
        hasher.finalize().to_hex()[..ID_DIGITS].to_owned()
    }

    /// Makes the archive, unless the store has it.
    pub async fn run(self, worker: &Worker, progress: Arc<Progress>) -> Result<Pulled> {
        let current = worker.current();
        let clip_version = if self.clip_version == "v2" { ClipVersion::V2 } else { ClipVersion::V1 };
        let pull = Pull {
            name: self.image.parse()?,
            platform: self.platform.as_deref().map(str::parse).transpose().map_err(|error| anyhow::anyhow!("{error}"))?,
            force: self.force,
            service: config::ImageService { clip_version, ..current.settings.image_service().clone() },
            layer_dir: worker.layer_dir.clone(),
        };
        pull.run(current.settings.store().await?, &current.registries, progress).await
    }
}
