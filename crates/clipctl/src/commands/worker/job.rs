//! `clipctl worker job`, `cancel` and `retry`.

use std::process::ExitCode;

use anyhow::Result;
use control::{Accepted, Job, Progress, segment};
use serde_json::json;

use super::Asked;
use crate::table::fields;
use crate::worker_args::{CancelArgs, JobArgs, RetryArgs};
use crate::{output, size, time};

pub(super) fn show(args: &JobArgs, asked: &Asked) -> Result<ExitCode> {
    let job: Job = asked.worker.wait(asked.worker.client.get(&path(&args.job, ""), &[]))?;
    asked.print(&job, || text(&job))
}

pub(super) fn cancel(args: &CancelArgs, asked: &Asked) -> Result<ExitCode> {
    let job: Job = asked.worker.wait(asked.worker.client.post(&path(&args.job, "/cancel"), &json!({})))?;
    // At work it comes to its next step first.
    let state = if job.state.is_finished() { job.state.to_string() } else { "is being cancelled".into() };
    asked.print(&job, || output::printable(&format!("{} {state}", job.id)) + "\n")
}

pub(super) fn retry(args: &RetryArgs, asked: &Asked) -> Result<ExitCode> {
    let accepted: Accepted = asked.worker.wait(asked.worker.client.post(&path(&args.job, "/retry"), &json!({})))?;
    asked.print(&accepted, || output::printable(&accepted.job) + "\n")
}

fn path(job: &str, below: &str) -> String {
    format!("/jobs/{}{below}", segment(job))
}

/// `layers 3/7, 45 %, 12.0 MiB/s`.
pub(super) fn progress(progress: &Progress) -> String {
    let mut out = progress.phase.clone();
    if progress.layers_total > 0 {
        out += &format!(" {}/{}", progress.layers, progress.layers_total);
    }
    if progress.bytes_total > 0 {
        out += &format!(", {:.0} %", progress.bytes as f64 * 100.0 / progress.bytes_total as f64);
    }
    if progress.rate >= 1.0 {
        out += &format!(", {}/s", size::human(progress.rate as u64));
    }
    out
}

fn text(job: &Job) -> String {
    let when = |ms: Option<i64>| ms.map(time::utc_ms);
    let error =
        job.error.as_ref().map(|error| format!("{} ({}{})", error.message, error.code, if error.is_transient { ", may pass" } else { "" }));
    let known = [
        ("job", Some(job.id.clone())),
        (
            "state",
            Some(format!("{}{}", job.state, if job.cancel_requested && !job.state.is_finished() { ", is being cancelled" } else { "" })),
        ),
        ("kind", Some(job.kind.clone())),
        ("image", Some(job.image.clone())),
        ("image id", Some(job.image_id.clone())),
        ("version", Some(job.clip_version.clone())),
        ("priority", Some(job.priority.to_string())),
        ("attempts", Some(format!("{} of {}", job.attempts, job.attempts_max))),
        ("submitted", Some(time::utc_ms(job.created_ms))),
        ("not before", when(job.not_before_ms)),
        ("started", when(job.started_ms)),
        ("finished", when(job.finished_ms)),
        ("worker", job.worker.clone()),
        ("request", job.request_id.clone()),
        ("retry of", job.retry_of.clone()),
        ("progress", job.progress.as_ref().map(progress)),
        ("error", error),
    ];
    let known: Vec<(&str, String)> = known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    fields(&known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_shown() {
        let job: Job = serde_json::from_value(json!({
            "id": "j1", "kind": "pull", "image_id": "i1", "image": "python", "clip_version": "v2", "state": "building", "priority": 3, "attempts": 1,
            "attempts_max": 5, "created_ms": 1_700_000_000_000_i64, "cancel_requested": true,
            "error": {"code": "registry-unavailable", "message": "no route", "is_transient": true},
        }))
        .unwrap();
        let expected = "\
job        j1
state      building, is being cancelled
kind       pull
image      python
image id   i1
version    v2
priority   3
attempts   1 of 5
submitted  2023-11-14T22:13:20Z
error      no route (registry-unavailable, may pass)
";
        assert_eq!(text(&job), expected);
        assert_eq!(progress(&Progress { phase: "resolve".into(), ..Progress::default() }), "resolve");
    }
}
