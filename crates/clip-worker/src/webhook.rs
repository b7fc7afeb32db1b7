//! Tells a web server what happened: each event in turn, until the server has taken it.
//!
//! How far it got is written down, so each event arrives at least once, also over the death of the worker. Workers that share a queue tell all of its events
//! each: configure the webhook on one of them, or let the receiver go by `seq`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jobs::{Event, Queue};

use crate::tell;
use crate::worker::Worker;

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the database is asked for what other workers have done.
const LOOK: Duration = Duration::from_secs(2);
/// Attempts for one event, over about ten minutes; then it is given up, with a line in the log, and the next one is tried.
const ATTEMPTS_MAX: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(120);
/// Events that are read at once.
const AT_ONCE: u32 = 100;

/// Tells until the worker stops. Without a webhook in the configuration it does nothing.
pub(crate) async fn run(worker: Arc<Worker>, queue: Queue) {
    tokio::select! {
        () = follow(&worker, &queue) => {}
        () = worker.stopping() => {}
    }
}

async fn follow(worker: &Worker, queue: &Queue) {
    if worker.current().worker().webhook.is_none() {
        return;
    }
    let client = match reqwest::Client::builder().timeout(PATIENCE).build() {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "no webhook"),
    };
    let (mark, mut changes) = (Mark(worker.current().worker().state_dir.join("webhook.seq")), queue.changes());
    let mut seq = match mark.read() {
        Some(seq) => seq,
        // A new one hears of what happens from now on.
        None => queue.last_seq().await.unwrap_or_default(),
    };
    loop {
        for event in queue.events_after(seq, AT_ONCE).await.unwrap_or_default() {
            deliver(worker, &client, &event).await;
            seq = event.seq;
            if let Err(error) = mark.write(seq) {
                tracing::warn!(%error, "how far the webhook got is not written down");
            }
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn deliver(worker: &Worker, client: &reqwest::Client, event: &Event) {
    let mut pause = PAUSE;
    for attempt in 1..=ATTEMPTS_MAX {
        match post(worker, client, event).await {
            Ok(()) => return,
            Err(error) if attempt == ATTEMPTS_MAX => tracing::error!(seq = event.seq, error = node::explain(&error), "webhook: given up"),
            Err(error) => {
                tracing::warn!(seq = event.seq, attempt, error = node::explain(&error), "webhook: will be tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

async fn post(worker: &Worker, client: &reqwest::Client, event: &Event) -> Result<()> {
    let current = worker.current();
    let url = current.worker().webhook.as_deref().context("it was taken out of the configuration")?;
    let body = serde_json::to_vec(&tell::shown(event)).context("write down the event")?;
    let mut request = client.post(url).header("content-type", "application/json").body(body);
    if let Some(token) = &current.worker().webhook_token {
        request = request.bearer_auth(token.expose());
    }
    let status = request.send().await.map_err(reqwest::Error::without_url)?.status();
    if !status.is_success() {
        bail!("the server answers {status}");
    }
    Ok(())
}

/// How far it got.
struct Mark(PathBuf);

impl Mark {
    fn read(&self) -> Option<u64> {
        std::fs::read_to_string(&self.0).ok()?.trim().parse().ok()
    }

    fn write(&self, seq: u64) -> std::io::Result<()> {
        let next = self.0.with_extension("next");
        std::fs::write(&next, seq.to_string())?;
        std::fs::rename(&next, &self.0)
    }
}
