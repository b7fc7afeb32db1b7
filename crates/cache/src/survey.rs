//! What is in the cache, stream by stream: for people, and for who decides what to pin or prune.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use crate::Error;
use crate::cache::{Cache, SPANS_FILE};
use crate::evict::stream_dirs;
use crate::key;
use crate::pins;
use crate::record::{State, Tick};
use crate::table::Table;

/// Most streams that a survey lists: more than a node has layers, and a few megabytes.
pub const SURVEY_STREAMS_MAX: usize = 10_000;

/// What is in the cache. Taken while others read and write: parts of it may be some milliseconds apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Bytes held, as the shared total has it: what the limit is compared with. An estimate that every eviction corrects.
    pub bytes: u64,
    /// Bytes held, as the records say, in whole blocks.
    pub bytes_counted: u64,
    /// Those of `bytes_counted` that no eviction frees.
    pub bytes_pinned: u64,
    /// The limit of this process.
    pub bytes_max: u64,
    /// The streams, last used first: at most [`SURVEY_STREAMS_MAX`] that are here, and those that are pinned and not here.
    pub streams: Vec<StreamSurvey>,
    /// Streams that are not listed; their bytes are counted.
    pub streams_left_out: u64,
}

/// One stream. One that is pinned but not here has nothing but key and pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSurvey {
    /// Its key: see [`key_hex`](crate::key_hex).
    pub key: [u8; 32],
    /// Its uncompressed size in bytes, most of which may not be here.
    pub bytes_whole: u64,
    /// Bytes that are here, in whole blocks, those included that are being written or are of no use any more.
    pub bytes: u64,
    /// Spans that it has.
    pub spans: u32,
    /// Spans that can be read here, verified or not.
    pub spans_present: u32,
    /// The names that pin it, in order; none: it can be evicted.
    pub pins: Vec<String>,
    /// When one of its spans was last read or put, to the second; None if none is here.
    pub used_at: Option<SystemTime>,
}

impl StreamSurvey {
    fn absent(key: [u8; 32], pins: Vec<String>) -> Self {
        Self { key, bytes_whole: 0, bytes: 0, spans: 0, spans_present: 0, pins, used_at: None }
    }
}

impl Cache {
    /// Looks at every record of every stream: milliseconds per hundred thousand spans. Takes no lock, changes nothing.
    ///
    /// # Errors
    ///
    /// `Io` if a directory cannot be listed. A stream that cannot be opened is passed over.
    pub fn survey(&self) -> Result<Survey, Error> {
        let shared = self.shared();
        let mut pins: BTreeMap<[u8; 32], Vec<String>> = BTreeMap::new();
        for pin in pins::list(&shared.paths)? {
            pins.entry(pin.key).or_default().push(pin.name);
        }
        let (bytes, bytes_max) = (shared.ledger.bytes(), shared.room.bytes_max);
        let mut survey = Survey { bytes, bytes_counted: 0, bytes_pinned: 0, bytes_max, streams: Vec::new(), streams_left_out: 0 };
        for dir in stream_dirs(&shared.paths)? {
            let Some(key) = key::of_dir(&dir) else { continue };
            let Some((mut stream, bytes_readable)) = look(&dir, key) else { continue };
            stream.pins = pins.remove(&key).unwrap_or_default();
            survey.bytes_counted += stream.bytes;
            survey.bytes_pinned += if stream.pins.is_empty() { 0 } else { bytes_readable };
            if survey.streams.len() < SURVEY_STREAMS_MAX {
                survey.streams.push(stream);
            } else {
                survey.streams_left_out += 1;
            }
        }
        survey.streams.extend(pins.into_iter().map(|(key, names)| StreamSurvey::absent(key, names)));
        survey.streams.sort_by_key(|stream| (Reverse(stream.used_at), stream.key));
        Ok(survey)
    }
}

/// What the records of a stream say, and how many of its bytes are those of readable spans.
fn look(dir: &Path, key: [u8; 32]) -> Option<(StreamSurvey, u64)> {
    let table = Table::open(&dir.join(SPANS_FILE)).ok()?;
    let mut stream = StreamSurvey::absent(key, Vec::new());
    (stream.bytes_whole, stream.spans) = (table.layout().size, table.layout().spans);
    let (mut bytes_readable, mut used_at) = (0, None);
    for cell in table.cells() {
        let seen = cell.load();
        if seen.state() == State::Absent {
            continue;
        }
        let charge = cell.extent().charge();
        stream.bytes += charge;
        if seen.readable() {
            stream.spans_present += 1;
            bytes_readable += charge;
            used_at = used_at.max(Some(seen.used_at()));
        }
    }
    stream.used_at = used_at.and_then(Tick::time);
    Some((stream, bytes_readable))
}
