//! A stream of the worker's events, followed over its restarts: jobs and events are durable, and every event has a number to go on after.

use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use control::{Client, Code, Error, Frame};
use futures_util::{Stream, StreamExt};

/// How long a worker may be away: longer than systemd takes to start it again.
const AWAY: Duration = Duration::from_secs(60);
/// Between two attempts to reach it.
const AGAIN: Duration = Duration::from_millis(500);
/// A connection that has lasted so long was a good one, also if nothing happened meanwhile.
const STEADY: Duration = Duration::from_secs(10);

type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Error>> + Send>>;

/// A stream that is being followed.
pub(crate) struct Following<'a> {
    client: &'a Client,
    path: String,
    /// The number of the last event that had one.
    after: Option<u64>,
    open: Option<(Frames, Instant)>,
    outage: Outage,
}

impl<'a> Following<'a> {
    /// The stream at `path`, from behind the event of that number, or as the worker sees fit. Nothing is asked yet.
    pub fn new(client: &'a Client, path: String, after: Option<u64>) -> Following<'a> {
        Following { client, path, after, open: None, outage: Outage::default() }
    }

    /// The next event. An error is final: the worker has refused, or has been away for too long.
    pub async fn next(&mut self) -> Result<Frame> {
        loop {
            let broken = match self.attempt().await {
                Ok(frame) => {
                    self.outage.over();
                    self.after = frame.id.as_deref().and_then(|id| id.parse().ok()).or(self.after);
                    return Ok(frame);
                }
                Err(Broken::ForGood(error)) => return Err(error),
                Err(Broken::ForNow(error)) => error,
            };
            if self.open.take().is_some_and(|(_, since)| since.elapsed() > STEADY) {
                self.outage.over();
            }
            if !self.outage.may_last(Instant::now()) {
                return Err(broken).with_context(|| format!("the worker has been away for {} s", AWAY.as_secs()));
            }
            tracing::debug!("{broken:#}; the worker is asked again");
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn attempt(&mut self) -> Result<Frame, Broken> {
        if self.open.is_none() {
            let after = self.after.map(|seq| seq.to_string());
            let query: Vec<(&str, &str)> = after.iter().map(|seq| ("after", seq.as_str())).collect();
            let asked = tokio::time::timeout(AWAY, self.client.follow(&self.path, &query)).await;
            let frames = asked.map_err(|_| Broken::ForNow(anyhow!("the worker does not answer")))??;
            self.open = Some((Box::pin(frames), Instant::now()));
        }
        let frame = match &mut self.open {
            Some((frames, _)) => frames.next().await,
            None => None,
        };
        Ok(frame.ok_or_else(|| Broken::ForNow(anyhow!("the worker has closed the connection")))??)
    }
}

/// How a stream broke.
enum Broken {
    /// Another attempt may go better: the worker is being restarted.
    ForNow(anyhow::Error),
    /// It would end in the same way.
    ForGood(anyhow::Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        let passes = match &error {
            Error::Unreachable { .. } => true,
            Error::Problem(problem) => matches!(problem.code, Code::Stopping | Code::Unavailable | Code::Timeout),
            Error::Odd { .. } => false,
        };
        if passes { Broken::ForNow(error.into()) } else { Broken::ForGood(error.into()) }
    }
}

/// How long the worker has been away.
#[derive(Default)]
struct Outage {
    since: Option<Instant>,
}

impl Outage {
    /// The worker is there.
    fn over(&mut self) {
        self.since = None;
    }

    /// The worker is not there. Whether that is bearable yet.
    fn may_last(&mut self, now: Instant) -> bool {
        now.duration_since(*self.since.get_or_insert(now)) < AWAY
    }
}

#[cfg(test)]
mod tests {
    use control::Problem;

    use super::*;

    #[test]
    fn an_outage_is_borne_for_a_while() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        assert!(outage.may_last(start) && outage.may_last(start + AWAY / 2) && !outage.may_last(start + AWAY));
        outage.over();
        assert!(outage.may_last(start + AWAY));
    }

    #[test]
    fn what_passes_and_what_does_not() {
        let passes = |code| matches!(Broken::from(Error::Problem(Box::new(Problem::new(code, "x")))), Broken::ForNow(_));
        assert!(passes(Code::Stopping) && passes(Code::Unavailable));
        assert!(!passes(Code::NotFound) && !passes(Code::Other));
    }
}
