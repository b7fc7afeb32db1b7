//! What a child has said about itself, and what is due when. Decides; does nothing.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Options;
use crate::message::Message;

/// How long a child that hangs may take to end after SIGABRT (it may write a core dump) before SIGKILL.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);

/// The life of one child.
#[derive(Debug)]
pub(super) struct Life {
    ready: bool,
    /// When it must have said READY=1.
    ready_until: Option<Instant>,
    /// How long it may be silent.
    watchdog: Option<Duration>,
    petted: Instant,
    /// It asked to be killed (WATCHDOG=trigger).
    triggered: bool,
    stop_within: Duration,
    /// It was told to end; when it is killed.
    killed_at: Option<Instant>,
}

/// What the clock demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Signal { signal: Signal, why: &'static str },
}

impl Life {
    pub(super) fn new(now: Instant, options: &Options) -> Life {
        Life {
            ready: false,
            ready_until: options.ready_within.and_then(|limit| now.checked_add(limit)),
            watchdog: options.watchdog,
            petted: now,
            triggered: false,
            stop_within: options.stop_within,
            killed_at: None,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(super) fn hear(&mut self, message: &Message<'_>, now: Instant) {
        if message.says("READY") {
            self.ready = true;
            self.petted = now;
        }
        match message.get("WATCHDOG") {
            Some("1") => self.petted = now,
            Some("trigger") => self.triggered = true,
            _ => {}
        }
        if let Some(limit_us) = message.get("WATCHDOG_USEC").and_then(|limit| limit.parse().ok()) {
            self.watchdog = (limit_us > 0).then(|| Duration::from_micros(limit_us));
            self.petted = now;
        }
    }

    /// It was told to end, and has so long. Who was told before gets no more time.
    pub(super) fn end(&mut self, now: Instant, patience: Duration) {
        // A time beyond what the clock can tell is never.
        let kill = now.checked_add(patience);
        self.killed_at = self.killed_at.or(kill);
    }

    /// When to ask again for what is due; None: not before something happens.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.killed_at {
            Some(kill) => Some(kill),
            None => self.ready_until.filter(|_| !self.ready).into_iter().chain(self.silent_until()).min(),
        }
    }

    /// Each demand is made once; a child that does not end of SIGKILL cannot be helped, and gets it again.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        if let Some(kill) = self.killed_at {
            if now < kill {
                return Due::Nothing;
            }
            self.killed_at = now.checked_add(ABORT_PATIENCE);
            return Due::Signal { signal: Signal::KILL, why: "the child does not end: killed" };
        }
        if self.triggered || self.silent_until().is_some_and(|until| now >= until) {
            self.end(now, ABORT_PATIENCE);
            return Due::Signal { signal: Signal::ABORT, why: "the child does not pet its watchdog: aborted" };
        }
        if !self.ready && self.ready_until.is_some_and(|until| now >= until) {
            self.end(now, self.stop_within);
            return Due::Signal { signal: Signal::TERM, why: "the child does not become ready: stopped" };
        }
        Due::Nothing
    }

    /// The watchdog watches who is ready, as systemd's does.
    fn silent_until(&self) -> Option<Instant> {
        self.watchdog.filter(|_| self.ready).and_then(|limit| self.petted.checked_add(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn life(now: Instant) -> Life {
        let options =
            Options { watchdog: Some(2 * SECOND), ready_within: Some(10 * SECOND), stop_within: 30 * SECOND, ..Options::default() };
        Life::new(now, &options)
    }

    fn hear(life: &mut Life, text: &str, now: Instant) {
        life.hear(&Message::parse(text.as_bytes()).unwrap(), now);
    }

    fn signal(due: Due) -> Option<Signal> {
        match due {
            Due::Nothing => None,
            Due::Signal { signal, .. } => Some(signal),
        }
    }

    #[test]
    fn who_pets_lives_and_who_stops_dies() {
        let start = Instant::now();
        let mut life = life(start);
        assert_eq!(life.next(), Some(start + 10 * SECOND));
        hear(&mut life, "READY=1", start + 5 * SECOND);
        assert_eq!(life.next(), Some(start + 7 * SECOND));
        hear(&mut life, "WATCHDOG=1", start + 6 * SECOND);
        assert_eq!(life.due(start + 7 * SECOND), Due::Nothing);
        assert_eq!(signal(life.due(start + 8 * SECOND)), Some(Signal::ABORT));
        assert_eq!(life.next(), Some(start + 13 * SECOND));
        hear(&mut life, "WATCHDOG=1", start + 9 * SECOND);
        assert_eq!(life.due(start + 12 * SECOND), Due::Nothing);
        assert_eq!(signal(life.due(start + 13 * SECOND)), Some(Signal::KILL));
    }

    #[test]
    fn who_is_never_ready_is_stopped() {
        let start = Instant::now();
        let mut life = life(start);
        assert_eq!(signal(life.due(start + 10 * SECOND)), Some(Signal::TERM));
        assert_eq!(signal(life.due(start + 40 * SECOND)), Some(Signal::KILL));
        assert!(!life.is_ready());
    }

    #[test]
    fn who_was_told_to_end_gets_no_more_time_by_being_told_again() {
        let start = Instant::now();
        let mut life = life(start);
        life.end(start, 3 * SECOND);
        life.end(start + SECOND, 3 * SECOND);
        assert_eq!(life.next(), Some(start + 3 * SECOND));
        assert_eq!(life.due(start + 2 * SECOND), Due::Nothing);
        assert_eq!(signal(life.due(start + 3 * SECOND)), Some(Signal::KILL));
    }

    #[test]
    fn the_child_can_set_and_trigger_its_watchdog() {
        let start = Instant::now();
        let mut life = life(start);
        hear(&mut life, "READY=1\nWATCHDOG_USEC=500000", start);
        assert_eq!(life.next(), Some(start + SECOND / 2));
        hear(&mut life, "WATCHDOG_USEC=0", start);
        assert_eq!(life.next(), None);
        hear(&mut life, "WATCHDOG_USEC=18446744073709551615", start);
        hear(&mut life, "WATCHDOG_USEC=99999999999999999999", start);
        assert_eq!(life.due(start + 100 * SECOND), Due::Nothing);
        hear(&mut life, "WATCHDOG=trigger", start);
        assert_eq!(signal(life.due(start)), Some(Signal::ABORT));
    }
}
