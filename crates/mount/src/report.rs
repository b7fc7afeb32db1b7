//! The one place where failed requests reach the log: with inode and offset, and not more often than a person can read.
//!
//! A registry that is down fails every read of every process. The first lines of each second tell what happens; of the rest only the number is told.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::errno::Failure;
use crate::ops::Ops;

/// Lines per window: enough to see that several files are concerned, too few to fill a journal.
const LINES_MAX: u32 = 5;
const WINDOW: Duration = Duration::from_secs(1);

/// Where in the mount a request failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// What the kernel asked for: "read", "lookup".
    pub(crate) operation: &'static str,
    /// The inode number of the request.
    pub(crate) ino: u64,
    /// The offset in the file or directory; 0 where it means nothing.
    pub(crate) offset: u64,
}

/// Reports failures of one mount.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    limit: Mutex<Limit>,
}

impl Reporter {
    /// Counts and logs a failure, if it is a fault of the mount, and gives the errno of the reply.
    pub(crate) fn report(&self, ops: &Ops, place: Place, failure: &Failure) -> fuser::Errno {
        if failure.is_fault() {
            ops.faults.count();
            self.log(place, failure);
        }
        failure.errno()
    }

    fn log(&self, place: Place, failure: &Failure) {
        let Place { operation, ino, offset } = place;
        if failure.is_told() {
            tracing::debug!(operation, ino, offset, error = %Chain(failure), "request failed");
            return;
        }
        let verdict = self.limit.lock().map_or(Verdict::Silent, |mut limit| limit.ask(Instant::now()));
        if let Verdict::Speak { suppressed } = verdict {
            tracing::error!(operation, ino, offset, suppressed, error = %Chain(failure), "request failed");
        }
    }
}

/// An error with its causes, on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        // A variant that shows its source in its own message (`{0}`) must not say it twice.
        let mut said = self.0.to_string();
        let mut next = self.0.source();
        while let Some(error) = next {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            next = error.source();
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Speak { suppressed: u64 },
    Silent,
}

#[derive(Debug, Default)]
struct Limit {
    window_start: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl Limit {
    fn ask(&mut self, now: Instant) -> Verdict {
        if self.window_start.is_none_or(|start| now.duration_since(start) >= WINDOW) {
            self.window_start = Some(now);
            self.lines = 0;
        }
        if self.lines == LINES_MAX {
            self.suppressed += 1;
            return Verdict::Silent;
        }
        self.lines += 1;
        Verdict::Speak { suppressed: std::mem::take(&mut self.suppressed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_a_little_and_tells_what_it_kept_back() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        let spoken = (0..100).filter(|_| limit.ask(start) != Verdict::Silent).count();
        assert_eq!(spoken, 5);
        assert_eq!(limit.ask(start + WINDOW), Verdict::Speak { suppressed: 95 });
        assert_eq!(limit.ask(start + WINDOW), Verdict::Speak { suppressed: 0 });
    }

    #[test]
    fn only_faults_are_counted() {
        let (reporter, ops) = (Reporter::default(), Ops::default());
        let place = Place { operation: "read", ino: 36, offset: 0 };
        reporter.report(&ops, place, &Failure::NotFound);
        reporter.report(&ops, place, &Failure::QueueFull { waiting: 9 });
        assert_eq!(ops.snapshot().faults, 1);
    }
}
