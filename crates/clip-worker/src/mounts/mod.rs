//! The worker's mounts, and how they outlive it.
//!
//! | File | Idea |
//! |---|---|
//! | `record` | what is written down of a mount, for the next worker |
//! | `table` | all mounts of this worker, and their records on disk |
//! | `roots` | which mountpoints may be asked for |
//! | `ask` | from a request to a mount |
//! | `serve` | opening an archive and serving it; what happens when a mount ends |
//! | `resume` | a new worker takes over what the former has left |
//! | `end` | unmounting, idle mounts, handing all of them over |
//!
//! The order in which things are written down makes it safe to die anywhere: the record comes before the mount, the descriptor goes to the keeper before the
//! request is answered, and record and descriptor go when the mount is gone.

mod ask;
mod end;
mod record;
mod resume;
mod roots;
mod serve;
mod table;

pub(crate) use ask::mount;
pub(crate) use end::{hand_over, unmount, unmount_all, unmount_idle};
pub(crate) use record::Record;
pub(crate) use resume::take_over;
pub(crate) use table::Table;

/// Most mounts of a worker: a descriptor of each lies with the keeper, and it has four threads.
pub(crate) const MOUNTS_MAX: usize = 2000;
