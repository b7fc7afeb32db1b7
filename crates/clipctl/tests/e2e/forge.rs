//! Forged archives: trees that no unpack makes, with all digests right, as who makes a hostile archive would write them.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use archive::header::{HEADER_BYTES, SectionKind};
use archive::{Archive, ArchiveWriter, Attributes, Content, InodeId, Parts, Storage, Tree};

use crate::support::Bench;

fn attributes() -> Attributes {
    Attributes { mode: 0o755, uid: 0, gid: 0, mtime: 0, mtime_nsec: 0, xattrs: Vec::new() }
}

fn add(tree: &mut Tree, dir: InodeId, name: &str, content: Content) -> InodeId {
    let inode = tree.inode(attributes(), content).unwrap();
    tree.link(dir, name.as_bytes(), inode).unwrap();
    inode
}

/// Writes an archive of a tree without file contents.
fn write(path: &Path, tree: &Tree) {
    let parts = Parts { tree, storage: Storage::Files, streams: Vec::new(), span_counts: Vec::new(), manifest: b"{}", config: b"{}" };
    ArchiveWriter::create(path, true).unwrap().finish(&parts, std::iter::empty(), std::iter::empty(), &mut Cursor::new(b"")).unwrap();
}

/// Replaces bytes in the index (`from` must be there once) and makes all digests right again, as who makes a hostile archive would.
fn patch_index(path: &Path, from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let mut header = Archive::open(path).unwrap().header().clone();
    let mut bytes = fs::read(path).unwrap();
    let index = *header.section(SectionKind::Index).unwrap();
    let (start, end) = (index.offset as usize, (index.offset + index.length) as usize);
    let places: Vec<usize> = (start..=end - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    let [at] = places[..] else { panic!("{:?} is there {} times", String::from_utf8_lossy(from), places.len()) };
    bytes[at..at + to.len()].copy_from_slice(to);
    let page = *blake3::hash(&bytes[start..end]).as_bytes();
    let pages = *header.section(SectionKind::Pages).unwrap();
    assert_eq!((pages.length, index.length <= 64 << 10), (32, true), "the index is one page");
    bytes[pages.offset as usize..][..32].copy_from_slice(&page);
    let checksum = *blake3::hash(&page).as_bytes();
    for section in header.sections.iter_mut().filter(|s| matches!(s.kind, SectionKind::Index | SectionKind::Pages)) {
        section.checksum = checksum;
    }
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    fs::write(path, bytes).unwrap();
}

/// A tree that no unpack makes.
pub struct Forged {
    pub name: &'static str,
    build: fn(&mut Tree),
    /// What is put into the index for something else of the same length.
    patch: Option<(&'static str, &'static str)>,
    /// What is said of it by whoever goes through all of it.
    pub says: &'static str,
}

const ELSEWHERE: &str = "an entry that leads to another directory";
const TWICE: &str = "a directory that is reached twice";
const IMPOSSIBLE: &str = "a directory has an impossible name";
const SAME_NAME: &str = "a name that occurs twice";

/// `outside` is beside the directory that is extracted into; a file put there by `../outside/escaped` would be seen.
pub const FORGED: &[Forged] = &[
    Forged { name: "dotdot", build: |t| directory_with_a_file(t, "QQ"), patch: Some(("QQ", "..")), says: SAME_NAME },
    Forged { name: "dot", build: |t| directory_with_a_file(t, "QQ"), patch: Some(("QQ", ".\0")), says: SAME_NAME },
    Forged { name: "file-in-dotdot", build: file_in_dotdot, patch: Some(("QQ", "..")), says: SAME_NAME },
    Forged {
        name: "slash",
        build: |t| directory_with_a_file(t, "QQQoutside"),
        patch: Some(("QQQoutside", "../outside")),
        says: IMPOSSIBLE,
    },
    Forged { name: "absolute", build: |t| directory_with_a_file(t, "QQQ"), patch: Some(("QQQ", "/tm")), says: IMPOSSIBLE },
    Forged { name: "loop", build: looped, patch: None, says: ELSEWHERE },
    Forged { name: "two-parents", build: two_parents, patch: None, says: ELSEWHERE },
    Forged { name: "two-names", build: two_names, patch: None, says: TWICE },
    Forged { name: "symlink-then-directory", build: symlink_then_directory, patch: Some(("linkQ", "link\0")), says: SAME_NAME },
];

impl Forged {
    /// Writes it into the bench.
    pub fn write(&self, bench: &Bench) -> PathBuf {
        let path = bench.path("forged.clip");
        let mut tree = Tree::new(attributes());
        (self.build)(&mut tree);
        write(&path, &tree);
        if let Some((from, to)) = self.patch {
            patch_index(&path, from.as_bytes(), to.as_bytes());
        }
        path
    }
}

fn directory_with_a_file(tree: &mut Tree, name: &str) {
    let dir = add(tree, Tree::ROOT, name, Content::Directory);
    add(tree, dir, "escaped", Content::Fifo);
}

/// A directory within itself.
fn looped(tree: &mut Tree) {
    let dir = add(tree, Tree::ROOT, "dir", Content::Directory);
    let below = add(tree, dir, "below", Content::Directory);
    tree.link(below, b"again", dir).unwrap();
}

fn two_parents(tree: &mut Tree) {
    let (a, b) = (add(tree, Tree::ROOT, "a", Content::Directory), add(tree, Tree::ROOT, "b", Content::Directory));
    let shared = add(tree, a, "shared", Content::Directory);
    tree.link(b, b"shared", shared).unwrap();
}

fn two_names(tree: &mut Tree) {
    let a = add(tree, Tree::ROOT, "a", Content::Directory);
    tree.link(Tree::ROOT, b"b", a).unwrap();
}

/// Two entries of one name: a symlink to the outside, and a directory with a file.
fn symlink_then_directory(tree: &mut Tree) {
    add(tree, Tree::ROOT, "link", Content::Symlink(b"../outside".to_vec()));
    let dir = add(tree, Tree::ROOT, "linkQ", Content::Directory);
    add(tree, dir, "escaped", Content::Fifo);
}

/// A directory whose only entry is a file under the name of its parent.
fn file_in_dotdot(tree: &mut Tree) {
    let dir = add(tree, Tree::ROOT, "dir", Content::Directory);
    add(tree, dir, "QQ", Content::Fifo);
}
