//! Events: written in the order in which they become visible, and read by their numbers.
//!
//! PostgreSQL's sequences hand out numbers before the commit: a reader could see 8, remember it, and miss 7, which commits later. Here the number
//! comes from a row ([`lock_counter`]) that a writer has until he commits. Who writes events does so last in his transaction, after all
//! other rows that he needs: nobody waits for a row while he has the counter, so there are no deadlocks.

use crate::database::{Transaction, Value};
use crate::rows::{self, EVENT};
use crate::{Error, Event, Job, JobId, NewEvent, Queue, Transition};

/// Most events that are read at once.
pub const EVENTS_PER_READ_MAX: u32 = 1_000;

/// An event with all that is stored of it.
struct Entry {
    event: NewEvent,
    data: String,
    job: Option<JobId>,
}

impl Queue {
    /// Writes an event that belongs to no transition, and returns its number.
    ///
    /// # Errors
    /// [`Error::Invalid`], and those of the database.
    pub async fn publish(&self, event: &NewEvent) -> Result<u64, Error> {
        let entry = Entry { data: event.check()?, event: event.clone(), job: None };
        self.within(async {
            let mut transaction = self.database().begin().await?;
            let last = self.append(&mut transaction, &[entry]).await?;
            self.commit(transaction).await?;
            Ok(last)
        })
        .await
    }

    /// The events after number `seq`, in order: at most `limit`, and never more than [`EVENTS_PER_READ_MAX`]. If the first is not the next one,
    /// those between are not kept any more.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn events_after(&self, seq: u64, limit: u32) -> Result<Vec<Event>, Error> {
        let statement = format!("SELECT {EVENT} FROM clip_events WHERE seq > $1 ORDER BY seq LIMIT $2");
        let values = [stored(seq).into(), limit.min(EVENTS_PER_READ_MAX).into()];
        let found = self.within(async { self.database().read(&statement, &values).await }).await?;
        found.iter().map(rows::event).collect()
    }

    /// The number of the last event, 0 before the first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn last_seq(&self) -> Result<u64, Error> {
        let found = self.within(async { self.database().read("SELECT max(last) AS last FROM clip_event_counter", &[]).await }).await?;
        found.first().map_or(Ok(0), |row| row.narrow("last"))
    }

    /// Writes the events that the narrator makes of what happened: the last thing in a transaction.
    pub(crate) async fn narrate(&self, transaction: &mut Transaction, happened: &[(Transition, &Job)]) -> Result<(), Error> {
        let mut entries = Vec::new();
        for &(transition, job) in happened {
            for event in self.options().narrator.narrate(transition, job) {
                let event = NewEvent { key: event.key.or_else(|| Some(job.key.clone())), ..event };
                entries.push(Entry { data: event.check()?, event, job: Some(job.id) });
            }
        }
        if entries.is_empty() { Ok(()) } else { self.append(transaction, &entries).await.map(drop) }
    }

    /// Appends events, and takes away those that are too many then. Returns the number of the last.
    async fn append(&self, transaction: &mut Transaction, entries: &[Entry]) -> Result<u64, Error> {
        let now = transaction.now_ms().await?;
        let count = [stored(entries.len() as u64).into()];
        let counted = transaction.only_row("UPDATE clip_event_counter SET last = last + $1 RETURNING last", &count).await?;
        let last = counted.int("last")?;
        for (entry, seq) in entries.iter().zip(last - entries.len() as i64 + 1..) {
            let job = entry.job.map(|id| id.to_string());
            let event = &entry.event;
            let values: [Value<'_>; 6] =
                [seq.into(), now.into(), (&event.name).into(), (&job).into(), (&event.key).into(), (&entry.data).into()];
            transaction.run("INSERT INTO clip_events (seq, time, name, job, key, data) VALUES ($1, $2, $3, $4, $5, $6)", &values).await?;
        }
        let gone = last - i64::from(self.options().events_max);
        transaction.run("DELETE FROM clip_events WHERE seq <= $1", &[gone.into()]).await?;
        counted.narrow("last")
    }
}

/// Has the counter of events until the transaction ends: who also has it comes before or after, not between.
pub(crate) async fn lock_counter(transaction: &mut Transaction) -> Result<(), Error> {
    let statement = format!("SELECT last FROM clip_event_counter{}", transaction.dialect().for_update());
    transaction.only_row(&statement, &[]).await.map(drop)
}

/// A number as the database has it. What is beyond its range is beyond every number that it has.
pub(crate) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
