//! What `clipctl pull` asks of a worker: a job, followed to its end.

use std::cell::OnceCell;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use control::{Accepted, Image, Job, LogLine, Progress, PullRequest, State, segment};
use image::ImageName;
use indicatif::ProgressBar;
use node::Pulled;
use serde::de::DeserializeOwned;
use store::Record;

use super::{Following, Worker};
use crate::{long_work, output};

impl Worker {
    /// Has an image pulled. A signal ends the waiting, not the job.
    pub fn pull(&self, request: &PullRequest, hidden: bool) -> Result<Pulled> {
        let job = OnceCell::new();
        let bar = long_work::bar(hidden);
        let done = self.wait(async {
            tokio::select! {
                done = self.pulled(request, &job, &bar) => done,
                stopped = long_work::signalled() => Err(stopped.err().unwrap_or_else(|| left(job.get()))),
            }
        });
        bar.finish_and_clear();
        done
    }

    async fn pulled(&self, request: &PullRequest, job: &OnceCell<String>, bar: &ProgressBar) -> Result<Pulled> {
        let accepted: Accepted = self.client.post("/images", request).await?;
        tracing::info!(job = accepted.job, is_new = accepted.is_new, "the worker has the job");
        let id = job.get_or_init(|| accepted.job);
        let job = self.ended(id, bar).await?;
        let image: Image = self.client.get(&format!("/images/{}", segment(&accepted.id)), &[]).await?;
        pulled(image, &job)
    }

    /// Follows a job to its end, which must be a good one.
    async fn ended(&self, job: &str, bar: &ProgressBar) -> Result<Job> {
        let mut stream = Following::new(&self.client, format!("/jobs/{}/log/stream", segment(job)), Some(0));
        loop {
            let frame = stream.next().await.with_context(|| format!("follow job {job}"))?;
            match frame.event.as_deref() {
                Some("progress") => draw(bar, &document(&frame.data)?),
                Some("line") => say(&document(&frame.data)?),
                Some("end") => return outcome(document(&frame.data)?),
                // A later worker may have more to say.
                _ => {}
            }
        }
    }
}

/// The request for an image. Files are named so that a process in another directory finds them.
pub(crate) fn name_for_worker(name: &ImageName, given: &str) -> Result<String> {
    let absolute = |path: &Path| {
        let path = std::path::absolute(path).with_context(|| format!("resolve {}", path.display()))?;
        if path.to_string_lossy().contains(':') {
            bail!("{} has a colon in it, after which a tag is expected: --no-worker pulls it", path.display());
        }
        Ok(path)
    };
    Ok(match name.clone() {
        ImageName::Registry(_) => given.to_owned(),
        ImageName::Layout { dir, tag } => ImageName::Layout { dir: absolute(&dir)?, tag }.to_string(),
        ImageName::OciArchive { file, tag } => ImageName::OciArchive { file: absolute(&file)?, tag }.to_string(),
        ImageName::DockerArchive { file, tag } => ImageName::DockerArchive { file: absolute(&file)?, tag }.to_string(),
    })
}

/// What an event says.
fn document<T: DeserializeOwned>(data: &str) -> Result<T> {
    serde_json::from_str(data).context("the worker's stream says something else")
}

fn draw(bar: &ProgressBar, now: &Progress) {
    long_work::draw(bar, &output::printable(&now.phase), (now.layers, now.layers_total), (now.bytes, now.bytes_total));
}

/// What the job logs is logged here as well, as if the work were done here. Its failure is told at its end.
fn say(line: &LogLine) {
    let text = output::printable(&line.line);
    match line.level.as_str() {
        "warn" | "error" => tracing::warn!("{text}"),
        "info" => tracing::info!("{text}"),
        _ => tracing::debug!("{text}"),
    }
}

/// The job, if it succeeded.
fn outcome(job: Job) -> Result<Job> {
    match (job.state, &job.error) {
        (State::Success, _) => Ok(job),
        (State::Cancelled, _) => bail!("job {} was cancelled", job.id),
        (_, Some(error)) => Err(anyhow!("{}", error.message)),
        (state, None) => bail!("job {} ended {state}, and does not say why", job.id),
    }
}

/// As if it had been pulled here.
fn pulled(image: Image, job: &Job) -> Result<Pulled> {
    let archive = image.archive.with_context(|| format!("job {} succeeded, but {} is gone again", job.id, image.image))?;
    // The worker does not say so; what was made before it was asked for was there.
    let cached = i64::try_from(archive.created).unwrap_or(i64::MAX) < job.created_ms / 1000;
    Ok(Pulled {
        record: Record {
            id: archive.id,
            image: archive.image,
            manifest: archive.manifest,
            platform: archive.platform,
            version: archive.version,
            archive_bytes: archive.archive_bytes,
            file_bytes: archive.file_bytes,
            created: archive.created,
            fallback: archive.fallback,
        },
        cached,
    })
}

/// What is said at a signal.
fn left(job: Option<&String>) -> anyhow::Error {
    match job {
        Some(job) => anyhow!("stopped by a signal; the worker goes on with job {job} (clipctl worker cancel {job} cancels it)"),
        None => anyhow!("stopped by a signal; the worker may have the job all the same (clipctl worker jobs lists it)"),
    }
}

#[cfg(test)]
mod tests {
    use control::{JobError, Stored};
    use serde_json::json;

    use super::*;

    fn job(state: &str, error: Option<&JobError>) -> Job {
        serde_json::from_value(json!({
            "id": "j", "kind": "pull", "image_id": "i", "image": "x", "clip_version": "v1", "state": state, "priority": 0, "attempts": 1,
            "attempts_max": 5, "created_ms": 5_000, "cancel_requested": false, "error": error,
        }))
        .unwrap()
    }

    #[test]
    fn names_of_files_are_absolute() {
        let name = |given: &str| name_for_worker(&given.parse().unwrap(), given).map_err(|error| error.to_string());
        let here = std::env::current_dir().unwrap();
        assert_eq!(name("python"), Ok("python".into()));
        assert_eq!(name("oci:layout:tag"), Ok(format!("oci:{}/layout:tag", here.display())));
        assert_eq!(name("docker-archive:./x.tar:app:1"), Ok(format!("docker-archive:{}/x.tar:app:1", here.display())));
        assert_eq!(name("oci-archive:/x.tar"), Ok("oci-archive:/x.tar".into()));
    }

    #[test]
    fn ends_of_jobs() {
        assert!(outcome(job("success", None)).is_ok());
        let failed = JobError { code: "registry-unavailable".into(), message: "no route".into(), is_transient: true };
        let said = |job| outcome(job).unwrap_err().to_string();
        assert_eq!(said(job("failed", Some(&failed))), "no route");
        assert_eq!(said(job("cancelled", Some(&failed))), "job j was cancelled");
        assert!(said(job("failed", None)).contains("ended failed"));
    }

    #[test]
    fn what_was_there_before_is_cached() {
        let stored = |created| Stored {
            image: "x".into(),
            id: "a".into(),
            manifest: "sha256:x".into(),
            platform: "linux/amd64".into(),
            version: "v1".into(),
            archive_bytes: 1,
            file_bytes: 2,
            created,
            fallback: None,
        };
        let image =
            |archive| Image { id: "i".into(), image: "x".into(), status: State::Success, job: None, progress: None, error: None, archive };
        let job = job("success", None);
        assert!(pulled(image(Some(stored(4))), &job).unwrap().cached && !pulled(image(Some(stored(5))), &job).unwrap().cached);
        assert!(pulled(image(None), &job).is_err());
        // The same document as without a worker.
        let document = serde_json::to_value(pulled(image(Some(stored(4))), &job).unwrap()).unwrap();
        assert_eq!((&document["id"], &document["image"], &document["cached"]), (&json!("a"), &json!("x"), &json!(true)));
    }
}
