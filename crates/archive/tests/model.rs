//! Whatever tree is written, the index answers with exactly that tree: every lookup, listing from every cookie, link, attribute, xattr and
//! extent. The model is a plain list of what was put in.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::collections::BTreeMap;

use archive::{Archive, Attributes, Content, Extent, Hole, InodeId, Nid, NodeKind, Rdev, Source, SparseMap, StreamId, Tree, Xattrs};
use support::{Chance, Material, add, plain};

const SIZES: [u64; 3] = [5 << 20, 40_000, 1 << 30];

/// An inode as it was made.
struct Made {
    attributes: Attributes,
    content: Content,
    /// Of a directory: its entries, as indices of `Made`s. Its parent.
    entries: BTreeMap<Vec<u8>, usize>,
    parent: usize,
    names: u32,
}

struct Model {
    made: Vec<Made>,
    ids: Vec<InodeId>,
    tree: Tree,
}

impl Model {
    fn new(attributes: Attributes) -> Model {
        let root = Made { attributes: attributes.clone(), content: Content::Directory, entries: BTreeMap::new(), parent: 0, names: 1 };
        Model { made: vec![root], ids: vec![Tree::ROOT], tree: Tree::new(attributes) }
    }

    fn add(&mut self, dir: usize, name: &[u8], attributes: Attributes, content: Content) -> usize {
        let id = add(&mut self.tree, self.ids[dir], name, attributes.clone(), content.clone());
        self.made.push(Made { attributes, content, entries: BTreeMap::new(), parent: dir, names: 1 });
        self.ids.push(id);
        let made = self.made.len() - 1;
        assert!(self.made[dir].entries.insert(name.to_vec(), made).is_none());
        made
    }

    fn link(&mut self, dir: usize, name: &[u8], made: usize) {
        self.tree.link(self.ids[dir], name, self.ids[made]).unwrap();
        self.made[dir].entries.insert(name.to_vec(), made);
        self.made[made].names += 1;
    }

    /// Writes the tree and compares everything.
    fn check(&self) {
        let (_dir, path) = Material::raw(&SIZES).write_file(&self.tree);
        let archive = Archive::open(&path).unwrap();
        archive.verify_pages().unwrap();
        let index = archive.index();
        assert_eq!(index.inodes(), self.made.len() as u64);
        let mut nids: BTreeMap<usize, Nid> = [(0, index.root())].into();
        let mut ahead = vec![0];
        while let Some(dir) = ahead.pop() {
            self.check_directory(&archive, dir, &mut nids, &mut ahead);
        }
        assert_eq!(nids.len(), self.made.len());
        let distinct: std::collections::BTreeSet<Nid> = nids.values().copied().collect();
        assert!(distinct.len() == nids.len() && !distinct.contains(&Nid(1)));
        nids.iter().for_each(|(made, nid)| self.check_node(&archive, *made, *nid));
    }

    fn check_directory(&self, archive: &Archive, dir: usize, nids: &mut BTreeMap<usize, Nid>, ahead: &mut Vec<usize>) {
        let (index, made) = (archive.index(), &self.made[dir]);
        let node = index.node(nids[&dir]).unwrap();
        let mut expected = made.entries.clone();
        expected.extend([(b".".to_vec(), dir), (b"..".to_vec(), made.parent)]);
        let listed: Vec<_> = index.read_dir(&node, 0).unwrap().map(Result::unwrap).collect();
        let names: Vec<&[u8]> = listed.iter().map(|e| e.name).collect();
        assert_eq!(names, expected.keys().map(Vec::as_slice).collect::<Vec<_>>());
        for (i, entry) in listed.iter().enumerate() {
            let child = expected[entry.name];
            if *nids.entry(child).or_insert(entry.nid) != entry.nid {
                panic!("{} leads elsewhere", entry.name.escape_ascii());
            }
            assert_eq!(entry.kind, kind_of(&self.made[child].content));
            assert_eq!(index.lookup(&node, entry.name).unwrap(), Some(entry.nid));
            let absent = [entry.name, b"\x01"].concat();
            assert!(expected.contains_key(&absent) || index.lookup(&node, &absent).unwrap().is_none());
            if entry.kind == NodeKind::Directory && child != dir && entry.name != b".." {
                ahead.push(child);
            }
            // The rest from every cookie; of large directories only the next few.
            let behind = index.read_dir(&node, entry.cookie).unwrap().map(Result::unwrap);
            assert!(behind.take(50).eq(listed[i + 1..].iter().take(50).cloned()));
        }
        for absent in [&b""[..], b"\0", b"\xff\xff\xff", b".-"] {
            assert!(expected.contains_key(absent) || index.lookup(&node, absent).unwrap().is_none());
        }
    }

    fn check_node(&self, archive: &Archive, made: usize, nid: Nid) {
        let (index, made) = (archive.index(), &self.made[made]);
        let node = index.node(nid).unwrap();
        let Attributes { mode, uid, gid, mtime, mtime_nsec, xattrs } = &made.attributes;
        assert_eq!((node.mode, node.uid, node.gid, node.mtime, node.mtime_nsec), (*mode, *uid, *gid, *mtime, *mtime_nsec));
        assert_eq!(node.kind, kind_of(&made.content));
        assert_eq!(index.xattrs(&node).unwrap(), *xattrs);
        let subdirectories = made.entries.values().filter(|e| kind_of(&self.made[**e].content) == NodeKind::Directory).count() as u32;
        assert_eq!(node.nlink, if node.kind == NodeKind::Directory { 2 + subdirectories } else { made.names });
        match &made.content {
            Content::Symlink(target) => {
                assert_eq!((&index.read_link(&node).unwrap()[..], node.size), (&target[..], target.len() as u64));
            }
            Content::CharDevice(rdev) | Content::BlockDevice(rdev) => assert_eq!(node.rdev, *rdev),
            Content::File { .. } | Content::Sparse(_) => check_extents(archive, nid, &made.content),
            Content::Directory | Content::Fifo | Content::Socket => assert!(index.extents(&node, 0..1).is_err()),
        }
    }
}

/// Where byte `at` of a file lies, by the model.
fn place(content: &Content, at: u64) -> Source {
    match content {
        Content::File { stream, block, .. } => Source::Stream { stream: *stream, offset: u64::from(*block) * 512 + at },
        Content::Sparse(map) => match map.chunks[(at / map.chunk) as usize] {
            Ok((stream, block)) => Source::Stream { stream, offset: u64::from(block) * 512 + at % map.chunk },
            Err(Hole) => Source::Hole,
        },
        _ => panic!("no file"),
    }
}

fn check_extents(archive: &Archive, nid: Nid, content: &Content) {
    let index = archive.index();
    let node = index.node(nid).unwrap();
    let (size, allocated) = match content {
        Content::File { size, .. } => (*size, size.next_multiple_of(512)),
        Content::Sparse(map) => {
            let data = map.chunks.iter().enumerate().filter(|(_, c)| c.is_ok());
            (map.size, data.map(|(i, _)| map.chunk.min(map.size - i as u64 * map.chunk).next_multiple_of(512)).sum())
        }
        _ => panic!("no file"),
    };
    assert_eq!((node.size, index.allocated(&node).unwrap()), (size, allocated));
    let (a, b) = (size / 3, size / 2 + 1);
    for range in [0..size, 0..1, a..b, a..a, size.saturating_sub(1)..size + 10, size..size + 1, u64::MAX - 1..u64::MAX, 0..u64::MAX] {
        let extents = index.extents(&node, range.clone()).unwrap();
        let mut at = range.start;
        for Extent { offset, length, source } in extents {
            assert!(offset == at && length > 0);
            assert_eq!(source, place(content, offset));
            let last = match source {
                Source::Hole => Source::Hole,
                Source::Stream { stream, offset } => Source::Stream { stream, offset: offset + length - 1 },
            };
            assert_eq!(last, place(content, offset + length - 1));
            at += length;
        }
        assert_eq!(at, range.end.min(size).max(range.start));
    }
}

fn kind_of(content: &Content) -> NodeKind {
    match content {
        Content::Directory => NodeKind::Directory,
        Content::File { .. } | Content::Sparse(_) => NodeKind::File,
        Content::Symlink(_) => NodeKind::Symlink,
        Content::CharDevice(_) => NodeKind::CharDevice,
        Content::BlockDevice(_) => NodeKind::BlockDevice,
        Content::Fifo => NodeKind::Fifo,
        Content::Socket => NodeKind::Socket,
    }
}

fn random_attributes(chance: &mut Chance) -> Attributes {
    let small = chance.one_in(2);
    let mut pick = |short: u64, long: u64| chance.below(if small { short } else { long });
    let (uid, gid, nsec) = (pick(1000, 1 << 32) as u32, pick(1000, 1 << 32) as u32, pick(1, 1_000_000_000) as u32);
    let mtime = if small { chance.below(1 << 32) as i64 } else { chance.next() as i64 >> 8 };
    let xattrs = if chance.one_in(4) { random_xattrs(chance) } else { Vec::new() };
    Attributes { mode: chance.below(0o10000) as u16, uid, gid, mtime, mtime_nsec: nsec, xattrs }
}

fn random_xattrs(chance: &mut Chance) -> Xattrs {
    let mut found = BTreeMap::new();
    for _ in 0..=chance.below(4) {
        let prefix = ["user.", "trusted.", "security."][chance.below(3) as usize];
        let name = format!("{prefix}{}", "n".repeat(1 + chance.below(if chance.0 & 1 == 0 { 10 } else { 255 }) as usize));
        let length = chance.below([5, 100, 600, 5000][(chance.0 & 3) as usize]) as usize;
        found.insert(name.into_bytes(), vec![chance.next() as u8; length]);
    }
    found.into_iter().collect()
}

fn random_content(chance: &mut Chance) -> Content {
    let stream = chance.below(3) as u16;
    let size = SIZES[usize::from(stream)];
    match chance.below(12) {
        0 => Content::Symlink(vec![b'a'; 1 + chance.below(4095) as usize]),
        1 => Content::Symlink(vec![b'b'; 1 + chance.below(60) as usize]),
        2 => Content::CharDevice(Rdev { major: chance.below(1 << 12) as u32, minor: chance.below(1 << 20) as u32 }),
        3 => Content::BlockDevice(Rdev { major: chance.below(1 << 12) as u32, minor: chance.below(1 << 20) as u32 }),
        4 => Content::Fifo,
        5 => Content::Socket,
        6 => Content::Sparse(random_map(chance)),
        _ => {
            let block = chance.below(size / 512);
            let longest = size - block * 512;
            Content::File { size: chance.below(longest.min(1 << 22) + 1), stream: StreamId(stream), block: block as u32 }
        }
    }
}

fn random_map(chance: &mut Chance) -> SparseMap {
    let chunk = 512 << chance.below(5);
    let size = chance.below(300 * chunk);
    let piece = |chance: &mut Chance| {
        let most = (SIZES[0] - chunk) / 512;
        if chance.one_in(3) { Err(Hole) } else { Ok((StreamId(0), chance.below(most) as u32)) }
    };
    SparseMap { size, chunk, chunks: (0..size.div_ceil(chunk)).map(|_| piece(chance)).collect() }
}

fn random_name(chance: &mut Chance) -> Vec<u8> {
    let length = 1 + if chance.one_in(3) { chance.below(255) } else { chance.below(12) };
    let byte = |chance: &mut Chance| match chance.next() as u8 {
        0 | b'/' => b'_',
        byte => byte,
    };
    let name: Vec<u8> = (0..length).map(|_| byte(chance)).collect();
    if name == b"." || name == b".." { b"dots".to_vec() } else { name }
}

#[test]
fn random_trees_are_read_as_they_were_written() {
    for seed in 0..40 {
        let mut chance = Chance(seed);
        let mut model = Model::new(random_attributes(&mut chance));
        let mut directories = vec![0];
        for _ in 0..chance.below(400) {
            let dir = directories[chance.below(directories.len() as u64) as usize];
            let name = random_name(&mut chance);
            if model.made[dir].entries.contains_key(&name) {
                continue;
            }
            let other = chance.below(model.made.len() as u64) as usize;
            if chance.one_in(8) {
                let attributes = random_attributes(&mut chance);
                directories.push(model.add(dir, &name, attributes, Content::Directory));
            } else if chance.one_in(10) && model.made[other].content != Content::Directory {
                model.link(dir, &name, other);
            } else {
                let attributes = random_attributes(&mut chance);
                let content = random_content(&mut chance);
                model.add(dir, &name, attributes, content);
            }
        }
        model.check();
    }
}

/// A directory of n entries takes blocks of 512 bytes: with `.` and `..` and names of 7 bytes a block is full at 27 of them, and the last block's
/// bytes lie behind the inode while they fit there.
#[test]
fn directories_of_every_size_around_a_block() {
    for entries in (0..60).chain([255, 256, 257, 1000]) {
        for name_bytes in [1_usize, 7, 255] {
            let mut model = Model::new(plain(0o755));
            let dir = model.add(0, b"d", plain(0o755), Content::Directory);
            for i in 0..entries {
                let name = format!("{i:04}{}", "x".repeat(name_bytes.saturating_sub(4)));
                model.add(dir, name.as_bytes(), plain(0o644), Content::Fifo);
            }
            model.check();
        }
    }
}

#[test]
fn symlinks_of_every_length() {
    let mut model = Model::new(plain(0o755));
    for length in 1..=4095usize {
        let target = (0..length).map(|i| b'a' + (i % 26) as u8).collect();
        model.add(0, format!("{length}").as_bytes(), plain(0o777), Content::Symlink(target));
    }
    model.check();
}

/// Values that make inode and attributes end just before, on and behind the ends of blocks; with a compact inode and an extended one, of each kind
/// of content that follows them.
#[test]
fn xattrs_of_every_size_around_a_block() {
    let mut model = Model::new(plain(0o755));
    let sizes = (0..1100).chain([4096 - 100, 4096, 65_000, 65_535]);
    for (i, length) in sizes.enumerate() {
        let xattrs = vec![(b"user.v".to_vec(), vec![i as u8; length])];
        let nsec = [0, 5][i % 2];
        let attributes = Attributes { xattrs, mtime_nsec: nsec, ..plain(0o644) };
        let chunks = vec![Err(Hole), Ok((StreamId(0), 8))];
        let contents = [
            Content::Symlink(vec![b's'; 1 + i % 500]),
            Content::File { size: 100, stream: StreamId(1), block: 1 },
            Content::Sparse(SparseMap { size: 1000, chunk: 512, chunks }),
        ];
        model.add(0, format!("{i}").as_bytes(), attributes, contents[i % 3].clone());
    }
    model.check();
}

#[test]
fn too_many_xattrs_and_impossible_maps_are_refused_without_a_file() {
    let refused = |attributes, content| {
        let mut tree = Tree::new(plain(0o755));
        add(&mut tree, Tree::ROOT, b"x", attributes, content);
        let dir = tempfile::tempdir().unwrap();
        let error = Material::raw(&SIZES).try_write(&tree, &dir.path().join("a.clip")).unwrap_err();
        assert!(matches!(error, archive::Error::Unrepresentable(_)), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    };
    let large = |i: u8| (format!("user.{i}").into_bytes(), vec![i; 60_000]);
    refused(Attributes { xattrs: (0..5).map(large).collect(), ..plain(0o644) }, Content::Fifo);
    refused(plain(0o644), Content::Sparse(SparseMap { size: 1024, chunk: 512, chunks: vec![Err(Hole)] }));
    refused(plain(0o644), Content::Sparse(SparseMap { size: 1000, chunk: 1000, chunks: vec![Err(Hole)] }));
    let many = (1 << 20) + 1;
    refused(plain(0o644), Content::Sparse(SparseMap { size: many * 512, chunk: 512, chunks: vec![Err(Hole); many as usize] }));
}

#[test]
fn a_directory_of_300_000_entries() {
    let mut tree = Tree::new(plain(0o755));
    let dir = add(&mut tree, Tree::ROOT, b"dir", plain(0o755), Content::Directory);
    // In an order that is not theirs.
    for i in 0..300_000u64 {
        let i = i * 7919 % 300_000;
        add(&mut tree, dir, format!("entry {i:06}").as_bytes(), plain(0o644), Content::File { size: i, stream: StreamId(0), block: 1 });
    }
    let (_dir, path) = Material::raw(&SIZES).write_file(&tree);
    let archive = Archive::open(&path).unwrap();
    let index = archive.index();
    let root = index.node(index.root()).unwrap();
    let dir = index.node(index.lookup(&root, b"dir").unwrap().unwrap()).unwrap();
    let mut listed = 0;
    for entry in index.read_dir(&dir, 0).unwrap().map(Result::unwrap).filter(|e| !e.name.starts_with(b".")) {
        assert_eq!(entry.name, format!("entry {listed:06}").as_bytes());
        if listed % 97 == 0 {
            assert_eq!(index.lookup(&dir, entry.name).unwrap(), Some(entry.nid));
            assert_eq!(index.node(entry.nid).unwrap().size, listed);
        }
        listed += 1;
    }
    assert_eq!(listed, 300_000);
}

/// Deeper than any stack would take, were anything recursive.
#[test]
fn a_hundred_thousand_directories_in_each_other() {
    let mut tree = Tree::new(plain(0o755));
    let mut dir = Tree::ROOT;
    for _ in 0..100_000 {
        dir = add(&mut tree, dir, b"d", plain(0o755), Content::Directory);
    }
    let (_dir, path) = Material::raw(&SIZES).write_file(&tree);
    let archive = Archive::open(&path).unwrap();
    let index = archive.index();
    let (mut nid, mut depth) = (index.root(), 0);
    while let Some(below) = index.lookup(&index.node(nid).unwrap(), b"d").unwrap() {
        assert_eq!(index.lookup(&index.node(below).unwrap(), b"..").unwrap(), Some(nid));
        (nid, depth) = (below, depth + 1);
    }
    assert_eq!(depth, 100_000);
    assert!(tree.unlink(Tree::ROOT, b"d"));
}
