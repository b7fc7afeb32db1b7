//! `clipctl diff`.

use std::collections::{HashMap, HashSet};
use std::process::ExitCode;

use ::archive::{Index, Nid, Node, NodeKind, Source};
use anyhow::{Result, bail};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::cli::DiffArgs;
use crate::invocation::{Invocation, runtime};
use crate::{output, size};
use node::Opened;

/// Bytes that are compared at a time.
const READ_BYTES: usize = 1 << 20;
/// Bytes that are passed over at a time where both have nothing but holes: some files have terabytes of them.
const HOLE_BYTES: u64 = 1 << 30;
/// Differences that are told: who has more has seen enough.
const DIFFERENCES_MAX: usize = 10_000;

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Comparison {
    same: bool,
    /// Whether there are more differences than are listed.
    more: bool,
    nodes: u64,
    bytes: u64,
    differences: Vec<Difference>,
}

/// A difference between the two trees.
#[derive(Debug, Serialize)]
struct Difference {
    path: String,
    /// What differs: `name`, `type`, `mode`, `content`…
    what: &'static str,
    a: String,
    b: String,
}

pub(super) fn run(args: &DiffArgs, call: &Invocation) -> Result<ExitCode> {
    let runtime = runtime()?;
    let open = |path| call.opened(path, &args.cache, &args.registry, &runtime, read::ReadOptions::default());
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let mut differ =
        Differ { a: &a, b: &b, content: !args.metadata, runtime: &runtime, links: HashMap::new(), found: Comparison::default() };
    differ.trees()?;
    let mut found = differ.found;
    found.same = found.differences.is_empty();
    if call.global.json {
        output::json(&found)?;
    } else {
        output::print(&told(&found))?;
    }
    Ok(if found.same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(found: &Comparison) -> String {
    let line = |d: &Difference| format!("{}: {}: {} / {}\n", d.path, d.what, d.a, d.b);
    let mut out: String = found.differences.iter().map(line).collect();
    match (found.same, found.more) {
        (true, _) => out.push_str(&format!("the same: {} nodes, {}\n", found.nodes, size::human(found.bytes))),
        (false, true) => out.push_str("and more\n"),
        (false, false) => {}
    }
    out
}

/// Compares two trees, directory by directory.
struct Differ<'a> {
    a: &'a Opened,
    b: &'a Opened,
    content: bool,
    runtime: &'a Runtime,
    /// Which node of `b` stands for one of `a` with several names.
    links: HashMap<Nid, Nid>,
    found: Comparison,
}

impl Differ<'_> {
    fn trees(&mut self) -> Result<()> {
        let (a, b) = (self.a.archive.index(), self.b.archive.index());
        let (top_a, top_b) = (a.node(a.root())?, b.node(b.root())?);
        let mut seen = HashSet::from([top_a.nid]);
        self.nodes(b"/", &top_a, &top_b)?;
        let mut ahead = vec![(Vec::new(), top_a, top_b)];
        while let Some((path, a, b)) = ahead.pop() {
            if self.found.differences.len() >= DIFFERENCES_MAX {
                self.found.more = true;
                break;
            }
            for (path, a, b) in self.directories(&path, &a, &b)? {
                if !seen.insert(a.nid) {
                    bail!("{}: a directory that is reached twice", output::name(&path));
                }
                ahead.push((path, a, b));
            }
        }
        Ok(())
    }

    /// Compares what two directories hold; returns the directories that both have, the last one first.
    fn directories(&mut self, path: &[u8], a: &Node, b: &Node) -> Result<Vec<(Vec<u8>, Node, Node)>> {
        let (index_a, index_b) = (self.a.archive.index(), self.b.archive.index());
        let (of_a, of_b) = (entries(index_a, a)?, entries(index_b, b)?);
        let mut common = Vec::new();
        for (name, nid) in of_a.iter().filter(|(name, _)| !of_b.contains_key(*name)) {
            self.differs(&join(path, name), "name", kind(index_a.node(*nid)?.kind), "missing");
        }
        for (name, nid) in of_b {
            let path = join(path, &name);
            let node_b = index_b.node(nid)?;
            let Some(nid) = of_a.get(&name) else {
                self.differs(&path, "name", "missing", kind(node_b.kind));
                continue;
            };
            let node_a = index_a.node(*nid)?;
            self.nodes(&path, &node_a, &node_b)?;
            if (node_a.kind, node_b.kind) == (NodeKind::Directory, NodeKind::Directory) {
                common.push((path, node_a, node_b));
            }
        }
        common.reverse();
        Ok(common)
    }

    /// Compares two nodes of the same name.
    fn nodes(&mut self, path: &[u8], a: &Node, b: &Node) -> Result<()> {
        let known = self.found.differences.len();
        if a.kind != b.kind {
            self.differs(path, "type", kind(a.kind), kind(b.kind));
            return Ok(());
        }
        let has_names = a.kind != NodeKind::Directory && a.nlink > 1;
        if let Some(before) = has_names.then(|| self.links.insert(a.nid, b.nid)).flatten() {
            if before == b.nid {
                return Ok(());
            }
            self.differs(path, "hard links", "one node", "several nodes");
        }
        self.found.nodes += 1;
        self.attributes(path, a, b)?;
        let (index_a, index_b) = (self.a.archive.index(), self.b.archive.index());
        if a.kind == NodeKind::Symlink {
            let (target_a, target_b) = (index_a.read_link(a)?, index_b.read_link(b)?);
            if target_a != target_b {
                self.differs(path, "target", output::name(&target_a), output::name(&target_b));
            }
        }
        if self.content && a.kind == NodeKind::File && self.found.differences.len() == known {
            self.contents(path, a, b)?;
        }
        Ok(())
    }

    fn attributes(&mut self, path: &[u8], a: &Node, b: &Node) -> Result<()> {
        let time = |node: &Node| format!("{}.{:09}", node.mtime, node.mtime_nsec);
        let rdev = |node: &Node| format!("{}:{}", node.rdev.major, node.rdev.minor);
        // How large a directory is says how it is stored.
        let bytes = |node: &Node| if node.kind == NodeKind::Directory { String::new() } else { node.size.to_string() };
        for (what, a, b) in [
            ("mode", format!("{:04o}", a.mode), format!("{:04o}", b.mode)),
            ("owner", a.uid.to_string(), b.uid.to_string()),
            ("group", a.gid.to_string(), b.gid.to_string()),
            ("size", bytes(a), bytes(b)),
            ("links", a.nlink.to_string(), b.nlink.to_string()),
            ("time", time(a), time(b)),
            ("device", rdev(a), rdev(b)),
        ] {
            if a != b {
                self.differs(path, what, a, b);
            }
        }
        let (xattrs_a, xattrs_b) = (sorted_xattrs(self.a.archive.index(), a)?, sorted_xattrs(self.b.archive.index(), b)?);
        if xattrs_a != xattrs_b {
            let names = |xattrs: &archive::Xattrs| xattrs.iter().map(|(name, _)| output::name(name)).collect::<Vec<_>>().join(",");
            self.differs(path, "extended attributes", names(&xattrs_a), names(&xattrs_b));
        }
        Ok(())
    }

    fn contents(&mut self, path: &[u8], a: &Node, b: &Node) -> Result<()> {
        let mut at = 0;
        while at < a.size {
            let ahead = at..a.size.min(at + HOLE_BYTES);
            if is_hole(self.a.archive.index(), a, &ahead)? && is_hole(self.b.archive.index(), b, &ahead)? {
                at = ahead.end;
                continue;
            }
            // Both at a time: the two need not come from the same place.
            let (reader_a, reader_b) = (&self.a.reader, &self.b.reader);
            let both = async { tokio::try_join!(reader_a.read(a, at, READ_BYTES), reader_b.read(b, at, READ_BYTES)) };
            let (bytes_a, bytes_b) = self.runtime.block_on(both)?;
            if bytes_a != bytes_b {
                let first = bytes_a.iter().zip(bytes_b.iter()).position(|(a, b)| a != b).unwrap_or(0);
                let byte = |bytes: &[u8]| bytes.get(first).map_or_else(|| "nothing".to_owned(), |byte| format!("{byte:#04x}"));
                let at = format!("at {}", at + first as u64);
                self.differs(path, "content", format!("{} {at}", byte(&bytes_a)), format!("{} {at}", byte(&bytes_b)));
                return Ok(());
            }
            at += bytes_a.len() as u64;
        }
        self.found.bytes += a.size;
        Ok(())
    }

    fn differs(&mut self, path: &[u8], what: &'static str, a: impl Into<String>, b: impl Into<String>) {
        self.found.differences.push(Difference { path: output::name(path), what, a: a.into(), b: b.into() });
    }
}

fn is_hole(index: &Index, file: &Node, range: &std::ops::Range<u64>) -> Result<bool> {
    Ok(index.extents(file, range.clone())?.iter().all(|extent| extent.source == Source::Hole))
}

/// The names of a directory, sorted, with their nodes.
fn entries(index: &Index, dir: &Node) -> Result<std::collections::BTreeMap<Vec<u8>, Nid>> {
    let mut found = std::collections::BTreeMap::new();
    for entry in index.read_dir(dir, 0)? {
        let entry = entry?;
        if entry.name != b"." && entry.name != b".." {
            found.insert(entry.name.to_vec(), entry.nid);
        }
    }
    Ok(found)
}

fn sorted_xattrs(index: &Index, node: &Node) -> Result<archive::Xattrs> {
    let mut xattrs = index.xattrs(node)?;
    xattrs.sort_unstable();
    Ok(xattrs)
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    [path, b"/", name].concat()
}

fn kind(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "file",
        NodeKind::Directory => "directory",
        NodeKind::Symlink => "symlink",
        NodeKind::CharDevice => "character device",
        NodeKind::BlockDevice => "block device",
        NodeKind::Fifo => "FIFO",
        NodeKind::Socket => "socket",
    }
}
