//! Inode numbers as the kernel sees them, and their only conversion from and to the archive's node ids.
//!
//! An inode number is the EROFS nid of the node, so the server keeps no table and a restarted server knows every number that the kernel holds.
//! FUSE fixes two numbers: the root is 1, and 0 means "no such inode". An archive promises that nid 1 is never a node, so:
//!
//! - the root and 1 change places;
//! - a node with nid 0 (possible in EROFS when the root lies elsewhere) takes the number that the root gave up, which nothing else has.

use archive::Nid;

use crate::errno::Failure;

/// The inode number of the root directory of every FUSE mount.
const FUSE_ROOT: u64 = 1;

/// An inode number of the mount: st_ino, and the node id of FUSE requests. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ino(u64);

impl Ino {
    /// The number as the kernel wants it.
    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

/// The conversion for one archive: it depends on where the root lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InoMap {
    root: Nid,
}

impl InoMap {
    /// The conversion for an archive whose root directory is `root`.
    pub(crate) fn new(root: Nid) -> InoMap {
        InoMap { root }
    }

    /// The inode number of a node. Fails for nid 1, which no valid archive has.
    pub(crate) fn ino(self, nid: Nid) -> Result<Ino, Failure> {
        match nid.0 {
            n if n == self.root.0 => Ok(Ino(FUSE_ROOT)),
            FUSE_ROOT => Err(Failure::NodeReserved),
            0 => Ok(Ino(self.root.0)),
            n => Ok(Ino(n)),
        }
    }

    /// The node behind a number from the kernel. A number that we never gave out is found out by the archive, which checks every nid.
    pub(crate) fn nid(self, number: u64) -> Nid {
        match number {
            FUSE_ROOT => self.root,
            n if n == self.root.0 => Nid(0),
            n => Nid(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_one_and_every_node_comes_back() {
        for root in [36, 2, 0, u64::MAX] {
            let map = InoMap::new(Nid(root));
            assert_eq!(map.ino(Nid(root)).unwrap().get(), 1);
            for nid in [0, 2, 35, 36, 37, 1 << 40, u64::MAX] {
                let ino = map.ino(Nid(nid)).unwrap().get();
                assert_ne!(ino, 0, "nid {nid} with root {root}");
                assert_eq!(map.nid(ino).0, nid, "nid {nid} with root {root}");
            }
        }
    }

    #[test]
    fn numbers_do_not_collide() {
        let map = InoMap::new(Nid(36));
        let mut seen = std::collections::HashSet::new();
        assert!((0..100).filter(|nid| *nid != 1).all(|nid| seen.insert(map.ino(Nid(nid)).unwrap().get())));
    }

    #[test]
    fn reserved_nid_is_refused() {
        assert!(matches!(InoMap::new(Nid(36)).ino(Nid(1)), Err(Failure::NodeReserved)));
    }
}
