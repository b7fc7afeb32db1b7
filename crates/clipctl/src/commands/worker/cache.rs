//! `clipctl worker cache`, `prune`, `pin` and `unpin`.

use std::process::ExitCode;

use anyhow::Result;
use control::{CacheStream, CacheUsage, Freed, PinRequest, PruneRequest, segment};

use super::Asked;
use crate::table::Column::{Left, Right};
use crate::table::{fields, table};
use crate::worker::resolve;
use crate::worker_args::{PinArgs, PruneArgs};
use crate::{output, size};

pub(super) fn show(asked: &Asked) -> Result<ExitCode> {
    let usage: CacheUsage = asked.worker.wait(asked.worker.client.get("/cache", &[]))?;
    asked.print(&usage, || text(&usage))
}

pub(super) fn prune(args: &PruneArgs, asked: &Asked) -> Result<ExitCode> {
    let request = PruneRequest { keep_bytes: args.keep };
    let freed: Freed = asked.worker.wait(asked.worker.client.post("/cache/prune", &request))?;
    asked.print(&freed, || format!("{} freed, {} spans\n", size::human(freed.bytes), freed.spans))
}

pub(super) fn pin(args: &PinArgs, asked: &Asked) -> Result<ExitCode> {
    let client = &asked.worker.client;
    let (image, usage) = asked.worker.wait(async {
        let image = resolve(client, &args.image).await?;
        let usage: CacheUsage = client.post("/cache/pins", &PinRequest { image: image.clone() }).await?;
        anyhow::Ok((image, usage))
    })?;
    asked.print(&usage, || output::printable(&image) + "\n")
}

pub(super) fn unpin(args: &PinArgs, asked: &Asked) -> Result<ExitCode> {
    let client = &asked.worker.client;
    let (image, usage) = asked.worker.wait(async {
        let image = resolve(client, &args.image).await?;
        client.delete(&format!("/cache/pins/{}", segment(&image)), &[]).await?;
        // As `pin` prints it for programs.
        let usage: CacheUsage = client.get("/cache", &[]).await?;
        anyhow::Ok((image, usage))
    })?;
    asked.print(&usage, || output::printable(&image) + "\n")
}

fn text(usage: &CacheUsage) -> String {
    let totals = fields(&[
        ("directory", usage.directory.clone()),
        ("held", size::human(usage.bytes)),
        ("pinned", size::human(usage.bytes_pinned)),
        ("limit", size::human(usage.bytes_max)),
        ("streams", usage.streams.len().to_string()),
    ]);
    if usage.streams.is_empty() {
        return totals;
    }
    let rows: Vec<[String; 4]> = usage.streams.iter().map(row).collect();
    format!("{totals}\n{}", table(&[Left("STREAM"), Right("HELD"), Right("OF"), Right("PINS")], &rows))
}

fn row(stream: &CacheStream) -> [String; 4] {
    [stream.key.clone(), size::human(stream.bytes), size::human(stream.bytes_whole), stream.pins.len().to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_and_streams() {
        let stream = CacheStream { key: "k1".into(), bytes_whole: 2048, bytes: 1024, pins: vec!["a".into()] };
        let mut usage = CacheUsage { directory: "/c".into(), bytes: 1024, bytes_pinned: 0, bytes_max: 1 << 30, streams: vec![stream] };
        let totals = "directory  /c\nheld       1.0 KiB\npinned     0 B\nlimit      1.0 GiB\n";
        let expected = format!("{totals}streams    1\n\nSTREAM     HELD       OF  PINS\nk1      1.0 KiB  2.0 KiB     1\n");
        assert_eq!(text(&usage), expected);
        usage.streams.clear();
        assert_eq!(text(&usage), format!("{totals}streams    0\n"));
    }
}
