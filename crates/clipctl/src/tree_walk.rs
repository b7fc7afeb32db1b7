//! Finding one's way in an archive's tree without mounting it. The tree may be hostile: nothing here trusts it to be one.

use std::collections::HashSet;

use anyhow::{Result, anyhow, bail};
use archive::{Archive, Index, Nid, Node, NodeKind, Unresolved};

/// Deepest directory that is walked into. PATH_MAX allows 2,048; images with deeper ones exist only as tests.
const DEPTH_MAX: usize = 100_000;

/// The node at `path`, symlinks followed inside the image.
pub(crate) fn resolve(index: &Index, path: &[u8]) -> Result<Node> {
    let shown = || crate::output::name(path);
    index.resolve(&index.node(index.root())?, path)?.map_err(|why| match why {
        Unresolved::NoSuchFile => anyhow!("{}: no such file in the image", shown()),
        Unresolved::NotADirectory => anyhow!("{}: not a directory on the way", shown()),
        Unresolved::TooManyLinks => anyhow!("{}: too many symbolic links on the way", shown()),
    })
}

/// A step of a walk.
#[derive(Debug)]
pub(crate) enum Step {
    /// An entry: its name, and its node. A directory is entered next.
    Entry(Vec<u8>, Node),
    /// All of the directory entered last was seen.
    Leave,
}

/// Walks everything below a directory, depth first, entries sorted by name. What no tree has is an error: a directory that is reached twice (it
/// might be a loop), a name that occurs twice, a `.` or `..` that leads elsewhere (what lies there would be seen by nobody).
pub(crate) struct Walk<'a> {
    archive: &'a Archive,
    stack: Vec<Open>,
    seen: HashSet<Nid>,
}

/// A directory that is being listed.
struct Open {
    dir: Node,
    /// Unknown for the top of a walk that does not begin at the root.
    parent: Option<Nid>,
    cookie: u64,
    /// The name before: the next one is greater.
    last: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub fn new(archive: &'a Archive, top: Node) -> Walk<'a> {
        let root = archive.index().root();
        let parent = (top.nid == root).then_some(root);
        Walk { archive, seen: HashSet::from([top.nid]), stack: vec![Open { dir: top, parent, cookie: 0, last: Vec::new() }] }
    }

    fn step(&mut self) -> Result<Option<Step>> {
        let index = self.archive.index();
        loop {
            let depth = self.stack.len();
            let Some(open) = self.stack.last_mut() else { return Ok(None) };
            let Some(entry) = index.read_dir(&open.dir, open.cookie)?.next().transpose()? else {
                self.stack.pop();
                return Ok(Some(Step::Leave));
            };
            let damaged = |what: &str| {
                let detail = format!("{}: {what}", crate::output::name(entry.name));
                archive::Error::Corrupt { path: self.archive.path().into(), detail }
            };
            open.cookie = entry.cookie;
            if entry.name <= &open.last[..] {
                bail!(damaged("a name that occurs twice, or in the wrong place"));
            }
            entry.name.clone_into(&mut open.last);
            let leads_to = match entry.name {
                b"." => Some(Some(open.dir.nid)),
                b".." => Some(open.parent),
                _ => None,
            };
            if let Some(leads_to) = leads_to {
                if leads_to.is_some_and(|nid| nid != entry.nid) {
                    bail!(damaged("an entry that leads to another directory"));
                }
                continue;
            }
            let node = index.node(entry.nid)?;
            if node.kind != entry.kind {
                bail!(damaged("its entry and its node differ in type"));
            }
            if node.kind == NodeKind::Directory {
                if !self.seen.insert(node.nid) || depth >= DEPTH_MAX {
                    bail!(damaged("a directory that is reached twice, or lies too deep"));
                }
                let parent = Some(open.dir.nid);
                self.stack.push(Open { dir: node.clone(), parent, cookie: 0, last: Vec::new() });
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
