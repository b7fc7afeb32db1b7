//! Claiming an image that is about to be made, so that two who want it at once do the work once.
//!
//! In a directory a claim is a lock on a file, which ends with its process. In a bucket it is an object that only one can have put there, and that
//! its holder writes anew every [`REFRESH`]; one that does not change for [`LEASE`] is of a node that has died, and is taken away. A claim saves work and
//! nothing else: archives are published whole and under their contents' name, whoever makes them.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use s3::{Bucket, Condition, Put};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

use crate::Error;

/// How often the holder of an object says that it lives.
const REFRESH: Duration = Duration::from_secs(15);
/// When a holder that says nothing is dead: some refreshes may be lost.
const LEASE: Duration = Duration::from_secs(60);
/// How often one who waits looks.
const LOOK: Duration = Duration::from_millis(500);
/// Longest wait. Nothing that is still being made after that is worth waiting for.
const WAIT_MAX: Duration = Duration::from_secs(2 * 3600);
/// Longest that giving up an object may take.
const GIVE_UP_MAX: Duration = Duration::from_secs(5);
/// Bytes of a claim's object.
const CLAIM_BYTES_MAX: u64 = 4096;

/// The right to make an image, while it lives.
#[derive(Debug)]
pub struct Claim {
    _held: Held,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for what their end does")]
enum Held {
    /// The lock ends with the file.
    Lock(File),
    Object(ObjectClaim),
    /// The server knows no conditions: everybody may.
    Nothing,
}

/// An object that is kept fresh. Dropped, it is taken away.
#[derive(Debug)]
struct ObjectClaim {
    bucket: Bucket,
    key: String,
    refreshing: JoinHandle<()>,
}

impl Drop for ObjectClaim {
    fn drop(&mut self) {
        self.refreshing.abort();
        let (bucket, key) = (self.bucket.clone(), std::mem::take(&mut self.key));
        let give_up = async move {
            match tokio::time::timeout(GIVE_UP_MAX, bucket.delete(&key)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "give up a claim"),
                Err(_) => tracing::warn!(claim = key, "give up a claim: no answer; who waits for it waits for its lease to end"),
            }
        };
        let Ok(runtime) = Handle::try_current() else { return };
        // Waited for: the process may end behind it, and whoever waits for the claim would wait for the lease.
        match runtime.runtime_flavor() {
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(|| runtime.block_on(give_up)),
            _ => drop(runtime.spawn(give_up)),
        }
    }
}

/// Waits for the lock on the file at `path`.
pub(crate) async fn local(path: &Path) -> Result<Claim, Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(Error::io(path))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Claim { _held: Held::Lock(file) }),
            Err(std::fs::TryLockError::WouldBlock) => wait(start, &path.display().to_string()).await?,
            Err(std::fs::TryLockError::Error(source)) => return Err(Error::io(path)(source)),
        }
    }
}

/// Waits until the object `key` is ours.
pub(crate) async fn object(bucket: &Bucket, key: &str) -> Result<Claim, Error> {
    let start = Instant::now();
    let mut seen: Option<(Vec<u8>, Instant)> = None;
    loop {
        match bucket.put_small(key, saying(), Condition::Absent).await? {
            Put::Stored => return Ok(Claim { _held: Held::Object(ObjectClaim::keep(bucket, key)) }),
            Put::StoredUnconditionally => return Ok(Claim { _held: Held::Nothing }),
            Put::Exists => {}
        }
        let now = match bucket.get_small(key, CLAIM_BYTES_MAX).await {
            Ok(now) => now.to_vec(),
            // Given up in between.
            Err(backend::Error::NotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        match &seen {
            Some((before, since)) if *before == now && since.elapsed() >= LEASE => {
                tracing::warn!(claim = key, "its holder has said nothing for {} s; it is taken over", LEASE.as_secs());
                bucket.delete(key).await?;
                seen = None;
            }
            Some((before, _)) if *before == now => {}
            _ => seen = Some((now, Instant::now())),
        }
        wait(start, key).await?;
    }
}

impl ObjectClaim {
    fn keep(bucket: &Bucket, key: &str) -> ObjectClaim {
        let (to, name) = (bucket.clone(), key.to_owned());
        let refreshing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(REFRESH).await;
                if let Err(error) = to.put_small(&name, saying(), Condition::None).await {
                    tracing::warn!(%error, "refresh a claim");
                }
            }
        });
        ObjectClaim { bucket: bucket.clone(), key: key.to_owned(), refreshing }
    }
}

async fn wait(start: Instant, what: &str) -> Result<(), Error> {
    if start.elapsed() > WAIT_MAX {
        return Err(Error::Busy { what: what.into() });
    }
    tokio::time::sleep(LOOK).await;
    Ok(())
}

/// What a claim says: never the same twice.
fn saying() -> bytes::Bytes {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    format!("{} {} {now} {}\n", host.trim(), std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_is_held_by_one_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks/x");
        let claim = local(&path).await.unwrap();
        let second = tokio::spawn({
            let path = path.clone();
            async move { local(&path).await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!second.is_finished());
        drop(claim);
        tokio::time::timeout(Duration::from_secs(5), second).await.unwrap().unwrap().unwrap();
    }

    #[test]
    fn what_a_claim_says_changes() {
        assert_ne!(saying(), saying());
    }
}
