//! One fetch per span, however many readers wait for it.
//!
//! Whoever comes first gets a [`Ticket`] and must fetch; the others get a [`Waiter`] on the same outcome. The entry goes away when the ticket is
//! completed or dropped: results are for those who waited, the cache is for the rest, and an error is not remembered. A ticket that is dropped without an
//! outcome (its task was stopped) wakes the waiters with [`Lost`], and they start over.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, watch};

use crate::Error;

/// Which span: stream and number.
pub(crate) type Key = (u16, u32);

/// A decoded, verified span, and the memory it was granted; freed when the last waiter has copied from it.
#[derive(Debug)]
pub(crate) struct Piece {
    pub bytes: Vec<u8>,
    pub _memory: OwnedSemaphorePermit,
}

type Outcome = Result<Arc<Piece>, Error>;

/// A span that is being fetched.
#[derive(Debug)]
struct Slot {
    outcome: watch::Sender<Option<Outcome>>,
    /// Somebody has come to wait for it.
    wanted: Arc<Notify>,
}

/// The fetch was stopped before it had an outcome.
#[derive(Debug)]
pub(crate) struct Lost;

/// All fetches that are under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    slots: Mutex<HashMap<Key, Slot>>,
}

impl Flights {
    /// Waits for the span's fetch; the ticket is there for who must perform it.
    pub fn join(self: &Arc<Self>, key: Key) -> (Waiter, Option<Ticket>) {
        match self.lock().entry(key) {
            Entry::Occupied(slot) => {
                slot.get().wanted.notify_one();
                (Waiter(slot.get().outcome.subscribe()), None)
            }
            Entry::Vacant(vacant) => {
                let (slot, ticket) = self.begin(key, false);
                (Waiter(vacant.insert(slot).outcome.subscribe()), Some(ticket))
            }
        }
    }

    /// A ticket without a waiter, for spans that pass by; None if someone fetches the span already.
    pub fn lead(self: &Arc<Self>, key: Key) -> Option<Ticket> {
        self.claim(key, false)
    }

    /// A ticket for a span that somebody may want next; None if someone fetches it already.
    pub fn guess(self: &Arc<Self>, key: Key) -> Option<Ticket> {
        self.claim(key, true)
    }

    fn claim(self: &Arc<Self>, key: Key, is_guess: bool) -> Option<Ticket> {
        let mut slots = self.lock();
        let Entry::Vacant(vacant) = slots.entry(key) else { return None };
        let (slot, ticket) = self.begin(key, is_guess);
        vacant.insert(slot);
        Some(ticket)
    }

    fn begin(self: &Arc<Self>, key: Key, is_guess: bool) -> (Slot, Ticket) {
        let wanted = Arc::new(Notify::new());
        let ticket = Ticket { key, flights: Arc::clone(self), wanted: Arc::clone(&wanted), is_guess, completed: false };
        (Slot { outcome: watch::Sender::new(None), wanted }, ticket)
    }

    /// Number of fetches under way.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        // The map is never left half changed.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The duty to fetch one span. There is one per entry of the table: who ends it removes the entry.
#[derive(Debug)]
pub(crate) struct Ticket {
    key: Key,
    flights: Arc<Flights>,
    wanted: Arc<Notify>,
    /// Fetched because it may be wanted, not because it was.
    pub is_guess: bool,
    completed: bool,
}

impl Ticket {
    /// Hands the outcome to all who wait. What is worth keeping is in the cache by now: whoever comes later looks there.
    pub fn complete(mut self, outcome: Outcome) {
        self.completed = true;
        let slot = self.flights.lock().remove(&self.key);
        if let Some(slot) = slot {
            slot.outcome.send_replace(Some(outcome));
        }
    }

    /// True if anyone waits.
    pub fn is_awaited(&self) -> bool {
        self.flights.lock().get(&self.key).is_some_and(|slot| slot.outcome.receiver_count() > 0)
    }

    /// Returns when somebody waits, perhaps never.
    pub async fn awaited(&self) {
        while !self.is_awaited() {
            self.wanted.notified().await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // After `complete` an entry of that key is someone else's.
        if !self.completed {
            self.flights.lock().remove(&self.key);
        }
    }
}

/// Waits for one span.
#[derive(Debug)]
pub(crate) struct Waiter(watch::Receiver<Option<Outcome>>);

impl Waiter {
    /// The outcome, when it is there. May be dropped at any time.
    pub async fn outcome(mut self) -> Result<Outcome, Lost> {
        match self.0.wait_for(Option::is_some).await {
            Ok(value) => value.clone().ok_or(Lost),
            Err(_) => Err(Lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn followers_share_the_outcome_and_nobody_else_gets_it() {
        let flights = Arc::new(Flights::default());
        let (first, ticket) = flights.join((0, 7));
        let (second, none) = flights.join((0, 7));
        let ticket = ticket.unwrap();
        assert!(none.is_none() && ticket.is_awaited() && flights.lead((0, 7)).is_none());
        ticket.complete(Err(Error::Closed));
        assert!(matches!(first.outcome().await, Ok(Err(Error::Closed))));
        assert!(matches!(second.outcome().await, Ok(Err(Error::Closed))));
        assert_eq!(flights.len(), 0);
        assert!(flights.lead((0, 7)).is_some(), "an error is not remembered");
    }

    #[tokio::test]
    async fn a_dropped_ticket_wakes_those_who_wait() {
        let flights = Arc::new(Flights::default());
        let (waiter, ticket) = flights.join((0, 7));
        let waiting = tokio::spawn(waiter.outcome());
        drop(ticket);
        assert!(matches!(waiting.await.unwrap(), Err(Lost)));
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn a_guess_learns_that_it_has_come_true() {
        let flights = Arc::new(Flights::default());
        let ticket = flights.guess((0, 7)).unwrap();
        assert!(flights.guess((0, 7)).is_none() && !ticket.is_awaited());
        let learns = tokio::spawn(async move { ticket.awaited().await });
        tokio::task::yield_now().await;
        assert!(!learns.is_finished());
        let (_waiter, none) = flights.join((0, 7));
        assert!(none.is_none());
        learns.await.unwrap();
    }

    #[tokio::test]
    async fn a_ticket_nobody_waits_for_says_so() {
        let flights = Arc::new(Flights::default());
        let (waiter, ticket) = flights.join((0, 7));
        drop(waiter);
        assert!(!ticket.unwrap().is_awaited());
    }
}
