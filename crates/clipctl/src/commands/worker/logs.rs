//! `clipctl worker logs`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use control::{Job, Log, LogLine, State, segment};

use super::Asked;
use crate::worker::Following;
use crate::worker_args::LogsArgs;
use crate::{output, time};

pub(super) fn run(args: &LogsArgs, asked: &Asked) -> Result<ExitCode> {
    if args.follow {
        return asked.worker.wait(follow(&args.job, asked));
    }
    let log = asked.worker.wait(whole(&args.job, asked))?;
    if log.dropped > 0 && !asked.json {
        eprintln!("clipctl: {} lines before these are not kept any more", log.dropped);
    }
    asked.print(&log, || log.lines.iter().map(text).collect())
}

/// The log so far: the worker hands it out in parts.
async fn whole(job: &str, asked: &Asked) -> Result<Log> {
    let (path, mut whole) = (format!("/jobs/{}/log", segment(job)), Log { dropped: 0, lines: Vec::new() });
    loop {
        let last = whole.lines.last().map_or(0, |line| line.seq);
        let part: Log = asked.worker.client.get(&path, &[("after", &last.to_string()), ("limit", "500")]).await?;
        if whole.lines.is_empty() {
            whole.dropped = part.dropped;
        }
        // Whoever answers the same again and again is not asked for ever.
        match part.lines.last() {
            Some(line) if line.seq > last => whole.lines.extend(part.lines),
            _ => return Ok(whole),
        }
    }
}

/// Prints the log as it grows, to the end of the job.
async fn follow(job: &str, asked: &Asked) -> Result<ExitCode> {
    let mut stream = Following::new(&asked.worker.client, format!("/jobs/{}/log/stream", segment(job)), Some(0));
    loop {
        let frame = stream.next().await?;
        match frame.event.as_deref() {
            Some("line") if asked.json => output::print(&format!("{}\n", parse::<serde_json::Value>(&frame.data)?))?,
            Some("line") => output::print(&text(&parse(&frame.data)?))?,
            Some("end") => return end(&parse(&frame.data)?),
            _ => {}
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(data: &str) -> Result<T> {
    serde_json::from_str(data).context("the worker's stream says something else")
}

/// Says how the job ended, unless it ended well.
fn end(job: &Job) -> Result<ExitCode> {
    if job.state == State::Success {
        return Ok(ExitCode::SUCCESS);
    }
    let reason = job.error.as_ref().map(|error| format!(": {}", error.message)).unwrap_or_default();
    eprintln!("clipctl: {}", output::printable(&format!("job {} {}{reason}", job.id, job.state)));
    Ok(ExitCode::FAILURE)
}

fn text(line: &LogLine) -> String {
    format!("{} {:<5} {}\n", time::utc_ms(line.time_ms), output::printable(&line.level), output::printable(&line.line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = LogLine { seq: 1, time_ms: 1_700_000_000_123, level: "warn".into(), line: "a\x1b[2J".into() };
        assert_eq!(text(&line), "2023-11-14T22:13:20Z warn  a\\x1b[2J\n");
    }
}
