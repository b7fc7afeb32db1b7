//! `clipctl worker events`.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use control::{Event, Frame};
use futures_util::StreamExt;

use super::Asked;
use crate::worker::Following;
use crate::worker_args::EventsArgs;
use crate::{output, time};

/// The stream does not say where the present begins: what has happened comes at once, and then nothing for so long.
const QUIET: Duration = Duration::from_secs(1);

pub(super) fn run(args: &EventsArgs, asked: &Asked) -> Result<ExitCode> {
    if args.follow {
        return asked.worker.wait(follow(args, asked));
    }
    let events = asked.worker.wait(so_far(args, asked))?;
    asked.print(&events, || events.iter().map(text).collect())
}

async fn follow(args: &EventsArgs, asked: &Asked) -> Result<ExitCode> {
    let mut stream = Following::new(&asked.worker.client, "/events".into(), args.after);
    loop {
        let event = parse(&stream.next().await?)?;
        output::print(&if asked.json { format!("{}\n", serde_json::to_string(&event)?) } else { text(&event) })?;
    }
}

async fn so_far(args: &EventsArgs, asked: &Asked) -> Result<Vec<Event>> {
    let (now_ms, after) = (time::now_ms(), args.after.unwrap_or(0).to_string());
    let mut frames = pin!(asked.worker.client.follow("/events", &[("after", &after)]).await?);
    let mut events = Vec::new();
    while let Ok(Some(frame)) = tokio::time::timeout(QUIET, frames.next()).await {
        let event = parse(&frame?)?;
        // Where something always happens, it is never quiet.
        if event.time_ms > now_ms {
            break;
        }
        events.push(event);
    }
    Ok(events)
}

fn parse(frame: &Frame) -> Result<Event> {
    serde_json::from_str(&frame.data).context("the worker's stream says something else")
}

fn text(event: &Event) -> String {
    let mut out = format!("{:>6} {} {:<15}", event.seq, time::utc_ms(event.time_ms), event.event);
    let told = [&event.mountpoint, &event.image, &event.version].into_iter().flatten().cloned();
    let lasted = event.duration_ms.map(|ms| format!("{:.1} s", ms as f64 / 1000.0));
    let error = event.error.as_ref().map(|error| format!("({error})"));
    for word in told.chain(lasted).chain(error) {
        out += &format!(" {word}");
    }
    output::printable(&out) + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines() {
        let check = |document| text(&serde_json::from_value(document).unwrap());
        let built = json!({"seq": 7, "time_ms": 1_700_000_000_000_i64, "event": "image.built", "image": "python", "version": "v2", "duration_ms": 1250});
        assert_eq!(check(built), "     7 2023-11-14T22:13:20Z image.built     python v2 1.2 s\n");
        let gone = json!({"seq": 8, "time_ms": 0, "event": "mount.gone", "mountpoint": "/mnt/x", "error": "a\nb"});
        assert_eq!(check(gone), "     8 1970-01-01T00:00:00Z mount.gone      /mnt/x (a\\x0ab)\n");
    }
}
