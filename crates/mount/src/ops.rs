//! Counters of what the kernel asked for. Lock-free: every request touches one or two of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(crate) fn count(&self) {
        self.add(1);
    }

    /// `n` more.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The counters of one mount.
        #[derive(Debug, Default)]
        pub(crate) struct Ops {
            $($(#[$doc])* pub(crate) $name: Counter,)*
        }

        /// The counters at one moment, since the mount began. Not a consistent cut: requests go on meanwhile.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct OpsSnapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Ops {
            /// The counters now.
            pub(crate) fn snapshot(&self) -> OpsSnapshot {
                OpsSnapshot { $($name: self.$name.get(),)* }
            }
        }
    };
}

impl OpsSnapshot {
    /// Requests of the kernel, of all kinds.
    pub fn requests(&self) -> u64 {
        self.lookup + self.getattr + self.readlink + self.readdir + self.xattr + self.lseek + self.statfs + self.read
    }
}

counters! {
    /// Names looked up.
    lookup,
    /// Of those, names that do not exist (each is asked once, then the kernel remembers).
    lookup_negative,
    /// Attributes asked for, outside of lookup and readdirplus.
    getattr,
    /// Symbolic links read.
    readlink,
    /// Replies to readdir and readdirplus (a long directory takes several).
    readdir,
    /// Extended attributes read or listed.
    xattr,
    /// Searches for data or holes (SEEK_DATA, SEEK_HOLE).
    lseek,
    /// statfs.
    statfs,
    /// Reads of file data.
    read,
    /// Bytes of file data asked for, after cutting at the end of the file.
    read_bytes,
    /// Of the reads, those that had to leave the FUSE thread because not everything was near.
    read_far,
    /// Requests answered with an error that is a fault of the mount, not of the program.
    faults,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_holds_what_was_counted() {
        let ops = Ops::default();
        ops.read.count();
        ops.read.count();
        ops.read_bytes.add(4096);
        let expected = OpsSnapshot { read: 2, read_bytes: 4096, ..OpsSnapshot::default() };
        assert_eq!(ops.snapshot(), expected);
    }
}
