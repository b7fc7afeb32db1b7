//! Jobs at work: claimed one after the other, as many at a time as the configuration says, kept alive by heartbeats, and brought to their end or to a safe point.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use control::Progress as Shown;
use image::Progress;
use jobs::{Beat, Claim, Failure, Level, Outcome, Queue};
use node::Pulled;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::failure;
use crate::pulls::{KIND, Payload};
use crate::worker::Worker;

/// How often a job's progress is written down and its heart beats; the lease is thirty times as long.
const BEAT: Duration = Duration::from_secs(1);
/// How often the queue is looked at for what other workers put into it.
const LOOK: Duration = Duration::from_secs(2);
/// How often claims of the dead are taken over, and old jobs forgotten.
const TIDY: Duration = Duration::from_secs(10);
/// How long the queue may be away before it is asked again.
const AWAY: Duration = Duration::from_millis(500);
/// How long a job that is done waits for the database; then its lease has ended, and it is somebody else's.
const FINISH_PATIENCE: Duration = Duration::from_secs(60);
/// How long what was uploaded may take to be taken away.
const TAKEN_AWAY: Duration = Duration::from_secs(10);

/// Works until the worker stops; then waits for what is at work, at most until `deadline` has passed since, and gives back what is not done.
pub(crate) async fn run(worker: Arc<Worker>, queue: Queue) {
    let permits = Arc::new(Semaphore::new(worker.current().worker().jobs as usize));
    let (mut at_work, mut changes) = (JoinSet::new(), queue.changes());
    while !worker.is_stopping() {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
        match queue.claim(&worker.name).await {
            Ok(Some(claim)) => {
                let (worker, queue) = (Arc::clone(&worker), queue.clone());
                at_work.spawn(async move {
                    Work { worker: &worker, queue: &queue, claim: &claim }.run().await;
                    drop(permit);
                });
            }
            Ok(None) => {
                drop(permit);
                tokio::select! {
                    _ = changes.changed() => {}
                    () = tokio::time::sleep(LOOK) => {}
                    () = worker.stopping() => {}
                }
            }
            Err(error) => {
                tracing::warn!(error = %error, "no job can be claimed");
                drop(permit);
                tokio::time::sleep(AWAY).await;
            }
        }
        while at_work.try_join_next().is_some() {}
    }
    while at_work.join_next().await.is_some() {}
}

/// Takes over what the dead have left, and forgets what is old, until the worker stops.
pub(crate) async fn tidy(worker: Arc<Worker>, queue: Queue) {
    while !worker.is_stopping() {
        match queue.recover().await {
            Ok(recovered) if recovered.pending + recovered.failed + recovered.cancelled > 0 => {
                tracing::info!(?recovered, "jobs of dead workers");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %error, "jobs of dead workers cannot be looked for"),
        }
        if let Err(error) = queue.prune().await {
            tracing::warn!(error = %error, "old jobs cannot be forgotten");
        }
        tokio::select! {
            () = tokio::time::sleep(TIDY) => {}
            () = worker.stopping() => {}
        }
    }
}

/// How an attempt ended.
enum End {
    Done(Result<Pulled>),
    Cancelled,
    /// Somebody else has the job now.
    Lost,
    /// The worker stops.
    GivenBack,
}

/// One job, from its claim to its end.
struct Work<'a> {
    worker: &'a Worker,
    queue: &'a Queue,
    claim: &'a Claim,
}

impl Work<'_> {
    async fn run(&self) {
        let job = self.claim.job();
        let span = tracing::info_span!("job", id = %job.id, request_id = job.request_id, attempt = job.attempts);
        async {
            tracing::info!(kind = job.kind, "begins");
            let end = self.attempt().await;
            self.settle(end).await;
        }
        .instrument(span)
        .await;
    }

    async fn attempt(&self) -> End {
        let job = self.claim.job();
        let payload = (job.kind == KIND).then(|| serde_json::from_value::<Payload>(job.payload.clone()).ok()).flatten();
        let Some(payload) = payload else {
            return End::Done(Err(anyhow::anyhow!("this version of clip-worker does not know such a job")));
        };
        self.say(Level::Info, &format!("attempt {}: pull {} as {}", job.attempts, payload.image, payload.clip_version)).await;
        let progress = Arc::new(Progress::default());
        let mut work = Box::pin(payload.run(self.worker, Arc::clone(&progress)));
        let (mut beat, mut meter) = (tokio::time::interval(BEAT), Meter::default());
        loop {
            let end = tokio::select! {
                done = &mut work => {
                    self.show(&progress, &mut meter).await;
                    return End::Done(done);
                }
                () = self.worker.stopping() => End::GivenBack,
                _ = beat.tick() => match self.keep_alive(&progress, &mut meter).await {
                    Beat::Go => continue,
                    Beat::CancelRequested => End::Cancelled,
                    Beat::Lost => End::Lost,
                },
            };
            let time = self.worker.current().worker().shutdown_time();
            let patience = if matches!(end, End::GivenBack) { time / 2 } else { Duration::ZERO };
            return stop(work, &progress, patience).await.map_or(end, |pulled| End::Done(Ok(pulled)));
        }
    }

    /// A heartbeat, and what people are shown. A database that is away for a moment stops nothing: the lease is longer.
    async fn keep_alive(&self, progress: &Progress, meter: &mut Meter) -> Beat {
        let beat = self.queue.heartbeat(self.claim).await.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "no heartbeat");
            Beat::Go
        });
        if let Some(phase) = meter.new_phase(progress) {
            self.say(Level::Info, phase).await;
        }
        self.show(progress, meter).await;
        beat
    }

    /// Writes down how far the work is.
    async fn show(&self, progress: &Progress, meter: &mut Meter) {
        if let Ok(shown) = serde_json::to_value(meter.shown(progress)) {
            // The next one comes in a second, and the last one is of no weight.
            let _ = self.queue.progress(self.claim, &shown).await;
        }
    }

    /// Writes down how it ended.
    async fn settle(&self, end: End) {
        let outcome = match end {
            End::Lost => return tracing::warn!("somebody else has it now"),
            End::GivenBack => {
                tracing::info!("given back, as the worker stops");
                if let Err(error) = self.queue.release(self.claim).await {
                    tracing::warn!(error = %error, "it cannot be given back; it will be taken over");
                }
                return;
            }
            End::Cancelled => Outcome::Cancelled,
            End::Done(Ok(pulled)) => self.success(&pulled).await,
            End::Done(Err(error)) => {
                let failure = failure::of_job(&error);
                tracing::warn!(code = failure.code, error = failure.message, "failed");
                self.say(Level::Error, &failure.message).await;
                Outcome::Failed(failure)
            }
        };
        self.finish(outcome).await;
    }

    async fn success(&self, pulled: &Pulled) -> Outcome {
        if let Some(reason) = &pulled.record.fallback {
            self.say(Level::Warn, &format!("fell back to v1: {reason}")).await;
        }
        let what = if pulled.cached { "was there already" } else { "made" };
        self.say(Level::Info, &format!("archive {} {what}", pulled.record.id)).await;
        tracing::info!(archive = pulled.record.id, cached = pulled.cached, "done");
        match serde_json::to_value(pulled) {
            Ok(result) => Outcome::Success(result),
            Err(error) => Outcome::Failed(Failure::new("failed", &error.to_string(), false)),
        }
    }

    /// Tries until the end is written down, or until somebody else would have taken the job over.
    async fn finish(&self, outcome: Outcome) {
        let begun = Instant::now();
        loop {
            match self.queue.finish(self.claim, outcome.clone()).await {
                Ok(_) => return,
                Err(jobs::Error::Unavailable { .. } | jobs::Error::Disk { .. }) if begun.elapsed() < FINISH_PATIENCE => {
                    tokio::time::sleep(AWAY).await;
                }
                Err(error) => return tracing::error!(error = %error, "the end of the job cannot be written down; it will be taken over"),
            }
        }
    }

    /// A line of the job's log. The job is worth more than its log.
    async fn say(&self, level: Level, line: &str) {
        if let Err(error) = self.queue.log(self.claim, &[(level, line)]).await {
            tracing::debug!(error = %error, "no line of log");
        }
    }
}

/// Stops the work. It is dropped, which ends it where it stands, unless the archive is being written: that ends soon by itself, and may have been too late
/// to hold; or unless it is given the time to end by itself. Before, where data is packed, what was uploaded of it is being taken away.
async fn stop(mut work: impl Future<Output = Result<Pulled>> + Unpin, progress: &Progress, patience: Duration) -> Option<Pulled> {
    if let Ok(done) = tokio::time::timeout(patience, &mut work).await {
        return done.ok();
    }
    progress.cancel();
    match progress.snapshot().phase {
        "archive" | "data" => tokio::time::timeout(TAKEN_AWAY, work).await.ok().and_then(Result::ok),
        _ => None,
    }
}

/// From counters to a rate, and to lines about phases.
#[derive(Debug, Default)]
struct Meter {
    phase: &'static str,
    bytes: u64,
    rate: f64,
    at: Option<Instant>,
}

impl Meter {
    /// The phase that began since the last time.
    fn new_phase(&mut self, progress: &Progress) -> Option<&'static str> {
        let phase = progress.snapshot().phase;
        let is_new = phase != self.phase && !phase.is_empty();
        if is_new {
            *self = Meter { phase, ..Meter::default() };
        }
        is_new.then_some(phase)
    }

    fn shown(&mut self, progress: &Progress) -> Shown {
        let now = progress.snapshot();
        if let Some(at) = self.at {
            let seconds = at.elapsed().as_secs_f64().max(0.001);
            let fresh = now.bytes.saturating_sub(self.bytes) as f64 / seconds;
            // Of the last few seconds.
            self.rate = if self.rate == 0.0 { fresh } else { 0.7 * self.rate + 0.3 * fresh };
        }
        (self.at, self.bytes) = (Some(Instant::now()), now.bytes);
        Shown {
            phase: now.phase.into(),
            layers: now.layers,
            layers_total: now.layers_total,
            bytes: now.bytes,
            bytes_total: now.bytes_total,
            rate: self.rate,
        }
    }
}
