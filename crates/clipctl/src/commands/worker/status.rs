//! `clipctl worker status` and `version`.

use std::process::ExitCode;

use anyhow::Result;
use control::{Status, Version};

use super::Asked;
use crate::table::fields;
use crate::time;

pub(super) fn status(asked: &Asked) -> Result<ExitCode> {
    let status: Status = asked.worker.wait(asked.worker.client.get("/status", &[]))?;
    asked.print(&status, || text(&status))
}

pub(super) fn version(asked: &Asked) -> Result<ExitCode> {
    let version: Version = asked.worker.wait(asked.worker.client.version())?;
    asked.print(&version, || format!("{} {} (archives: {})\n", version.name, version.version, version.archive_versions.join(", ")))
}

fn text(status: &Status) -> String {
    let jobs = &status.jobs;
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    fields(&[
        ("worker", status.worker.clone()),
        ("version", status.version.clone()),
        ("pid", status.pid.to_string()),
        ("up", time::lasted(i64::try_from(status.uptime_seconds).unwrap_or(i64::MAX))),
        ("stopping", yes(status.stopping)),
        ("mounts", status.mounts.to_string()),
        ("mounts are kept", yes(status.mounts_are_kept)),
        (
            "jobs",
            format!(
                "{} pending, {} building, {} success, {} failed, {} cancelled",
                jobs.pending, jobs.building, jobs.success, jobs.failed, jobs.cancelled
            ),
        ),
        ("new archives", status.clip_version.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use control::JobCounts;

    use super::*;

    #[test]
    fn people_see_all_of_it() {
        let status = Status {
            worker: "node-1".into(),
            version: "0.1.0".into(),
            pid: 7,
            uptime_seconds: 7300,
            stopping: false,
            mounts_are_kept: true,
            jobs: JobCounts { pending: 1, building: 2, success: 3, failed: 4, cancelled: 5 },
            mounts: 6,
            clip_version: "v2".into(),
        };
        let expected = "\
worker           node-1
version          0.1.0
pid              7
up               2h
stopping         no
mounts           6
mounts are kept  yes
jobs             1 pending, 2 building, 3 success, 4 failed, 5 cancelled
new archives     v2
";
        assert_eq!(text(&status), expected);
    }
}
