//! For tests: what every [`Blob`] must hold, whichever source or wrapper it is.
//!
//! Gives the first broken promise as text instead of panicking, so that it can run against a live registry too.

use std::{fmt, ops::Range};

use futures_util::{StreamExt, future::try_join_all};

use crate::{Blob, Error, read_all};

/// Requests that are in flight at once in the concurrent part.
const CONCURRENT: u64 = 16;

/// `length` bytes that differ from their neighbours and do not repeat soon, the same on every call.
pub fn content(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Checks that `blob` serves exactly `content`, which should have at least a few hundred bytes.
///
/// # Errors
/// The first promise that is broken, in words.
pub async fn check(blob: &dyn Blob, content: &[u8]) -> Result<(), String> {
    let size = content.len() as u64;
    expect(blob.size() == size, "size is that of the content")?;
    expect(!blob.name().is_empty(), "a blob has a name")?;
    for range in [0..size, 0..1, size - 1..size, 1..2, size / 3..size / 2, size / 2..size] {
        check_body(blob, content, range).await?;
    }
    check_concurrent(blob, content).await?;
    check_dropped(blob, content).await?;
    check_bad_ranges(blob, size).await
}

/// A body begins at or before the range, is contiguous and right, and covers the range.
async fn check_body(blob: &dyn Blob, content: &[u8], range: Range<u64>) -> Result<(), String> {
    let mut body = blob.get(range.clone()).await.map_err(words)?;
    expect(body.offset <= range.start, "a body begins at or before the range")?;
    let mut at = body.offset as usize;
    while let Some(chunk) = body.stream.next().await {
        let chunk = chunk.map_err(words)?;
        let same = content.get(at..at + chunk.len()).is_some_and(|part| part == chunk);
        expect(same, format_args!("bytes at {at} of {range:?} are those of the content"))?;
        at += chunk.len();
    }
    expect(at as u64 >= range.end, format_args!("the body of {range:?} reaches its end, not only {at}"))
}

async fn check_concurrent(blob: &dyn Blob, content: &[u8]) -> Result<(), String> {
    let size = content.len() as u64;
    let reads = (0..CONCURRENT).map(|i| async move {
        let range = size * i / (CONCURRENT * 2)..size * (i + CONCURRENT) / (CONCURRENT * 2);
        let bytes = read_all(blob, range.clone(), size).await.map_err(words)?;
        expect(bytes == content[range.start as usize..range.end as usize], format_args!("concurrent read of {range:?} is right"))
    });
    try_join_all(reads).await.map(drop)
}

/// A body that is dropped half way leaves the blob usable.
async fn check_dropped(blob: &dyn Blob, content: &[u8]) -> Result<(), String> {
    for _ in 0..CONCURRENT {
        let mut body = blob.get(0..content.len() as u64).await.map_err(words)?;
        body.stream.next().await.ok_or("a body is not empty")?.map_err(words)?;
    }
    check_body(blob, content, 0..content.len() as u64).await
}

async fn check_bad_ranges(blob: &dyn Blob, size: u64) -> Result<(), String> {
    for range in [0..0, size..size, 0..size + 1, size..size + 1, size..0, 0..u64::MAX] {
        let refused = matches!(blob.get(range.clone()).await, Err(Error::Range { .. }));
        expect(refused, format_args!("range {range:?} is refused"))?;
    }
    Ok(())
}

fn expect(holds: bool, promise: impl fmt::Display) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("broken: {promise}")) }
}

fn words(error: impl fmt::Debug) -> String {
    format!("unexpected error: {error:?}")
}
