//! Rows of the tables as what they stand for.

use serde_json::Value as Json;

use crate::database::Row;
use crate::{Error, Event, Failure, Job, LogLine};

/// The columns that a [`Job`] is read from.
pub(crate) const JOB: &str = "id, kind, key, payload, priority, state, attempts, attempts_max, not_before, created, started, finished, \
     worker, cancel_requested, request_id, progress, result, error_code, error_message, error_transient, retry_of";

/// The columns that an [`Event`] is read from.
pub(crate) const EVENT: &str = "seq, time, name, job, key, data";

/// The columns that a [`LogLine`] is read from.
pub(crate) const LOG_LINE: &str = "seq, time, level, line";

pub(crate) fn job(row: &Row) -> Result<Job, Error> {
    Ok(Job {
        id: row.parse("id")?,
        kind: row.text("kind")?,
        key: row.text("key")?,
        payload: row.parse("payload")?,
        priority: row.narrow("priority")?,
        state: row.parse("state")?,
        attempts: row.narrow("attempts")?,
        attempts_max: row.narrow("attempts_max")?,
        not_before_ms: row.int("not_before")?,
        created_ms: row.int("created")?,
        started_ms: row.int_if_any("started")?,
        finished_ms: row.int_if_any("finished")?,
        worker: row.text_if_any("worker")?,
        cancel_requested: row.int("cancel_requested")? != 0,
        request_id: row.text_if_any("request_id")?,
        progress: row.parse_if_any("progress")?,
        result: row.parse_if_any("result")?,
        error: failure(row)?,
        retry_of: row.parse_if_any("retry_of")?,
    })
}

fn failure(row: &Row) -> Result<Option<Failure>, Error> {
    let Some(code) = row.text_if_any("error_code")? else { return Ok(None) };
    Ok(Some(Failure { code, message: row.text("error_message")?, is_transient: row.int("error_transient")? != 0 }))
}

pub(crate) fn event(row: &Row) -> Result<Event, Error> {
    Ok(Event {
        seq: row.narrow("seq")?,
        time_ms: row.int("time")?,
        name: row.text("name")?,
        job: row.parse_if_any("job")?,
        key: row.text_if_any("key")?,
        data: row.parse::<Json>("data")?,
    })
}

pub(crate) fn log_line(row: &Row) -> Result<LogLine, Error> {
    Ok(LogLine { seq: row.narrow("seq")?, time_ms: row.int("time")?, level: row.parse("level")?, line: row.text("line")? })
}
