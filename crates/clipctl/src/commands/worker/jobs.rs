//! `clipctl worker jobs`.

use std::process::ExitCode;

use anyhow::Result;
use control::{Job, Jobs, State};

use super::Asked;
use crate::table::Column::{Left, Right};
use crate::table::table;
use crate::time;
use crate::worker::resolve;
use crate::worker_args::JobsArgs;

pub(super) fn list(args: &JobsArgs, asked: &Asked) -> Result<ExitCode> {
    let client = &asked.worker.client;
    let jobs: Jobs = asked.worker.wait(async {
        let mut query = vec![("limit", args.limit.to_string())];
        if let Some(given) = &args.image {
            query.push(("image", resolve(client, given).await?));
        }
        if !args.state.is_empty() {
            query.push(("state", args.state.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")));
        }
        query.extend(args.before.iter().map(|job| ("before", job.clone())));
        let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        anyhow::Ok(client.get("/jobs", &query).await?)
    })?;
    asked.print(&jobs, || text(&jobs.jobs, time::now_ms()))
}

fn text(jobs: &[Job], now_ms: i64) -> String {
    let rows: Vec<[String; 6]> = jobs.iter().map(|job| row(job, now_ms)).collect();
    table(&[Left("JOB"), Left("STATE"), Right("TRIES"), Right("AGE"), Left("VERSION"), Left("IMAGE")], &rows)
}

fn row(job: &Job, now_ms: i64) -> [String; 6] {
    let note = match (job.state, &job.progress, &job.error) {
        (State::Building, Some(progress), _) => format!("  ({})", super::job::progress(progress)),
        (_, _, Some(error)) => format!("  ({})", error.message),
        _ => String::new(),
    };
    [
        job.id.clone(),
        job.state.to_string(),
        format!("{}/{}", job.attempts, job.attempts_max),
        time::lasted((now_ms - job.created_ms) / 1000),
        job.clip_version.clone(),
        format!("{}{note}", job.image),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_line_for_each() {
        let job = |state: &str, more: serde_json::Value| -> Job {
            let mut job = json!({
                "id": "j1", "kind": "pull", "image_id": "i", "image": "python", "clip_version": "v2", "state": state, "priority": 0, "attempts": 1,
                "attempts_max": 5, "created_ms": 1000, "cancel_requested": false,
            });
            job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(job).unwrap()
        };
        let progress = json!({"phase": "layers", "layers": 1, "layers_total": 4, "bytes": 25, "bytes_total": 100, "rate": 2048.0});
        let jobs = [
            job("building", json!({"progress": progress})),
            job("failed", json!({"error": {"code": "x", "message": "no\nroute", "is_transient": true}, "attempts": 5})),
        ];
        let expected = "\
JOB  STATE     TRIES   AGE  VERSION  IMAGE
j1   building    1/5  100s  v2       python  (layers 1/4, 25 %, 2.0 KiB/s)
j1   failed      5/5  100s  v2       python  (no\\x0aroute)
";
        assert_eq!(text(&jobs, 101_000), expected);
    }
}
