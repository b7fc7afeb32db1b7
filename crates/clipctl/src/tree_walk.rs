//! Finding one's way in an archive's tree without mounting it. The tree may be hostile: nothing here trusts it to be one.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use archive::{Index, Nid, Node, NodeKind};

/// Symlinks that one path may go through, as in Linux.
const LINKS_MAX: usize = 40;
/// Deepest directory that is walked into. PATH_MAX allows 2,048; images with deeper ones exist only as tests.
const DEPTH_MAX: usize = 100_000;

/// The node at `path`, symlinks followed inside the image.
pub(crate) fn resolve(index: &Index, path: &[u8]) -> Result<Node> {
    let shown = || crate::output::name(path);
    let mut node = index.node(index.root())?;
    let mut ahead: Vec<Vec<u8>> = path.split(|b| *b == b'/').rev().map(<[u8]>::to_vec).collect();
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        if part.is_empty() || part == b"." {
            continue;
        }
        if node.kind != NodeKind::Directory {
            bail!("{}: not a directory on the way", shown());
        }
        let nid = index.lookup(&node, &part)?.with_context(|| format!("{}: no such file in the image", shown()))?;
        let next = index.node(nid)?;
        if next.kind != NodeKind::Symlink {
            node = next;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            bail!("{}: too many symbolic links on the way", shown());
        }
        let target = index.read_link(&next)?;
        if target.starts_with(b"/") {
            node = index.node(index.root())?;
        }
        ahead.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
    }
    Ok(node)
}

/// A step of a walk.
#[derive(Debug)]
pub(crate) enum Step {
    /// An entry: its name, and its node. A directory is entered next.
    Entry(Vec<u8>, Node),
    /// All of the directory entered last was seen.
    Leave,
}

/// Walks everything below a directory, depth first, entries sorted by name. A directory that is reached twice is an error: in a tree
/// that cannot be, and it might be a loop.
pub(crate) struct Walk<'a> {
    index: &'a Index,
    /// Open directories: node and cookie.
    stack: Vec<(Node, u64)>,
    seen: HashSet<Nid>,
}

impl<'a> Walk<'a> {
    pub fn new(index: &'a Index, top: Node) -> Walk<'a> {
        Walk { index, seen: HashSet::from([top.nid]), stack: vec![(top, 0)] }
    }

    fn step(&mut self) -> Result<Option<Step>> {
        loop {
            let Some((dir, cookie)) = self.stack.last_mut() else { return Ok(None) };
            let Some(entry) = self.index.read_dir(dir, *cookie)?.next().transpose()? else {
                self.stack.pop();
                return Ok(Some(Step::Leave));
            };
            *cookie = entry.cookie;
            if entry.name == b"." || entry.name == b".." {
                continue;
            }
            let node = self.index.node(entry.nid)?;
            if node.kind != entry.kind {
                bail!("{}: its entry and its node differ in type", crate::output::name(entry.name));
            }
            if node.kind == NodeKind::Directory {
                if !self.seen.insert(node.nid) || self.stack.len() >= DEPTH_MAX {
                    bail!("{}: a directory that is reached twice, or lies too deep", crate::output::name(entry.name));
                }
                self.stack.push((node.clone(), 0));
            }
            return Ok(Some(Step::Entry(entry.name.to_vec(), node)));
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.stack.clear();
        }
        step.transpose()
    }
}
