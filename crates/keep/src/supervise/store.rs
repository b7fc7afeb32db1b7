//! What is kept.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::time::Timespec;

/// Bytes of all names together. They are passed in one variable of the environment, and execve(2) refuses one of 128 KiB: the child could never start again.
const NAMES_BYTES_MAX: usize = 64 << 10;

/// Descriptors with their names, in the order in which they came.
#[derive(Debug)]
pub(super) struct Store {
    kept: Vec<Kept>,
    descriptors_max: usize,
}

#[derive(Debug)]
struct Kept {
    name: String,
    descriptor: OwnedFd,
    /// It is dropped when it has hung up.
    watched: bool,
}

impl Store {
    pub(super) fn new(descriptors_max: usize) -> Store {
        Store { kept: Vec::new(), descriptors_max }
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Keeps descriptors; those beyond the limit are closed, and the log tells.
    pub(super) fn add(&mut self, name: &str, descriptors: Vec<OwnedFd>, watched: bool) {
        if descriptors.is_empty() {
            tracing::warn!(name, "told to keep a descriptor, and none came");
        }
        for descriptor in descriptors {
            let names_bytes: usize = self.kept.iter().map(|kept| kept.name.len() + 1).sum();
            if self.kept.len() >= self.descriptors_max || names_bytes + name.len() >= NAMES_BYTES_MAX {
                tracing::warn!(name, kept = self.kept.len(), "the store is full: a descriptor is refused");
                return;
            }
            self.kept.push(Kept { name: name.to_owned(), descriptor, watched });
        }
    }

    /// Closes all of this name.
    pub(super) fn remove(&mut self, name: &str) {
        self.kept.retain(|kept| kept.name != name);
    }

    /// True if [`Store::sweep`] has something to look at.
    pub(super) fn is_watching(&self) -> bool {
        self.kept.iter().any(|kept| kept.watched)
    }

    /// Closes the watched ones that have hung up or failed: pipes and sockets without a peer, /dev/fuse without a mount.
    pub(super) fn sweep(&mut self) {
        self.kept.retain(|kept| {
            let stays = !kept.watched || !has_hung_up(&kept.descriptor);
            if !stays {
                tracing::debug!(name = kept.name, "a kept descriptor has hung up: closed");
            }
            stays
        });
    }

    /// All names and descriptors.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.kept.iter().map(|kept| (kept.name.as_str(), kept.descriptor.as_fd()))
    }
}

/// poll(2) reports these without being asked for them. Files of a disk are always fine.
fn has_hung_up(descriptor: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(descriptor, PollFlags::empty())];
    let answered = rustix::event::poll(&mut asked, Some(&Timespec::default()));
    answered.is_ok() && asked[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        let (reader, writer) = std::io::pipe().unwrap();
        (reader.into(), writer.into())
    }

    fn names(store: &Store) -> Vec<&str> {
        store.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn keeps_up_to_its_limit_and_forgets_by_name() {
        let mut store = Store::new(3);
        let ((a, b), (c, d)) = (pipe(), pipe());
        store.add("one", vec![a], false);
        store.add("two", vec![b, c, d], false);
        store.add("none", Vec::new(), false);
        assert_eq!(names(&store), ["one", "two", "two"]);
        store.remove("two");
        store.remove("never was");
        assert_eq!(names(&store), ["one"]);
    }

    #[test]
    fn what_has_hung_up_goes_if_it_is_watched() {
        let mut store = Store::new(9);
        let ((a, a_writer), (b, b_writer), (c, _c_writer)) = (pipe(), pipe(), pipe());
        store.add("watched", vec![a], true);
        store.add("not watched", vec![b], false);
        store.add("alive", vec![c], true);
        drop((a_writer, b_writer));
        store.sweep();
        assert_eq!(names(&store), ["not watched", "alive"]);
        assert!(store.is_watching());
    }

    #[test]
    fn names_stay_below_what_exec_can_pass() {
        let mut store = Store::new(usize::MAX);
        let (reader, _writer) = pipe();
        for _ in 0..300 {
            store.add(&"x".repeat(255), vec![reader.try_clone().unwrap()], false);
        }
        assert!((200..=256).contains(&store.len()), "{}", store.len());
    }
}
