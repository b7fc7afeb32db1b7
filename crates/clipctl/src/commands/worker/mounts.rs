//! `clipctl worker mounts`.

use std::process::ExitCode;

use anyhow::Result;
use control::{Mount, MountState, Mounts};

use super::Asked;
use crate::table::Column::{Left, Right};
use crate::table::table;
use crate::{size, time};

pub(super) fn list(asked: &Asked) -> Result<ExitCode> {
    let mounts: Mounts = asked.worker.wait(asked.worker.client.get("/mounts", &[]))?;
    asked.print(&mounts, || text(&mounts.mounts, time::now_ms()))
}

fn text(mounts: &[Mount], now_ms: i64) -> String {
    let rows: Vec<[String; 7]> = mounts.iter().map(|mount| row(mount, now_ms)).collect();
    let columns =
        [Left("MOUNTPOINT"), Left("STATE"), Left("VERSION"), Right("AGE"), Right("READ"), Right("FETCHED"), Left("IMAGE OR ARCHIVE")];
    table(&columns, &rows)
}

fn row(mount: &Mount, now_ms: i64) -> [String; 7] {
    let state = match mount.state {
        MountState::Serving => "serving",
        MountState::Resuming => "resuming",
        MountState::Leaving => "leaving",
    };
    [
        mount.mountpoint.clone(),
        state.into(),
        mount.version.clone(),
        time::lasted((now_ms - mount.created_ms) / 1000),
        size::human(mount.figures.read_bytes),
        size::human(mount.figures.backend_bytes),
        mount.image.as_ref().unwrap_or(&mount.archive).clone(),
    ]
}

#[cfg(test)]
mod tests {
    use control::Figures;

    use super::*;

    #[test]
    fn one_line_for_each() {
        let mount = Mount {
            id: "m".into(),
            mountpoint: "/mnt/python".into(),
            archive: "/var/lib/clip/a.clip".into(),
            image: None,
            version: "v2".into(),
            state: MountState::Serving,
            created_ms: 0,
            resumed: 1,
            request_id: None,
            figures: Figures { read_bytes: 2048, backend_bytes: 1024, ..Figures::default() },
        };
        let expected = "\
MOUNTPOINT   STATE    VERSION  AGE     READ  FETCHED  IMAGE OR ARCHIVE
/mnt/python  serving  v2        5s  2.0 KiB  1.0 KiB  /var/lib/clip/a.clip
";
        assert_eq!(text(&[mount], 5_000), expected);
    }
}
