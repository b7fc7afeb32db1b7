//! `clipctl extract`: all of an image on disk, as its full unpack; and nothing outside of the directory, whatever the archive says.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use archive::header::{HEADER_BYTES, SectionKind};
use archive::{Archive, ArchiveWriter, Attributes, Content, InodeId, Parts, Storage, Tree};

use crate::listing::{differences, list, shown, truth};
use crate::support::{Bench, bounded, layout, registry, said, sh};

/// Images that are extracted and compared with umoci's unpack.
const IMAGES: &[&str] =
    &["python", "torture", "odd-chardev00", "odd-duplicates", "odd-link_to_lower", "odd-negative_times", "odd-same_layer_whiteouts"];

/// A directory that rm takes away: some trees are deeper than a recursive removal in this process may go.
struct Target(PathBuf);

impl Target {
    fn new(bench: &Bench, name: &str) -> Target {
        Target(bench.path(name))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = bounded("rm").arg("-rf").arg(&self.0).status();
    }
}

#[test]
fn root_gets_what_a_full_unpack_gives() {
    let bench = Bench::new();
    for image in IMAGES {
        let reference = match *image {
            "python" | "torture" => format!("{}/{image}:latest", registry()),
            odd => format!("oci:{}:latest", layout(odd).display()),
        };
        let archive = bench.index(&reference, image);
        let target = Target::new(&bench, &format!("x-{image}"));
        bench.ok(["extract".as_ref(), archive.as_os_str(), target.0.as_os_str()]);
        let found = differences(&truth(image, "umoci"), &list(&target.0));
        assert!(found.is_empty(), "{image}: {}", shown(&found));
    }
}

/// Who is not root owns what it extracts and goes without devices and privileged attributes; the rest is the same.
#[test]
fn a_user_gets_what_it_may_have() {
    let bench = Bench::new();
    let archive = bench.index(&format!("oci:{}:latest", layout("torture").display()), "torture");
    sh(&format!("chmod 755 {0} && mkdir {0}/user && chown nobody {0}/user && chmod 644 {1}", bench.path("").display(), archive.display()));
    let (target, cache) = (bench.path("user/x"), bench.path("user/cache"));
    let mut command = bounded("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(env!("CARGO_BIN_EXE_clipctl"));
    command.args(["extract", "--json"]).arg(&archive).arg(&target).env("CLIP_CACHE_DIR", cache);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let done: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (theirs, ours) = (truth("torture", "umoci"), list(&target));
    let devices = theirs.values().filter(|e| e["type"] == "char" || e["type"] == "block").count();
    assert!(devices > 0 && done["devices_left_out"].as_u64() >= Some(devices as u64), "{done}");
    let mut wrong = differences(&theirs, &ours);
    wrong.retain(|what, how| {
        let path = what.trim_start_matches(['-', '+']).rsplit_once(' ').map_or(what.trim_start_matches('-'), |(path, _)| path);
        let privileged = theirs.get(path).is_some_and(|e| {
            let xattrs = e["xattrs"].as_object().unwrap();
            xattrs.keys().any(|name| name.starts_with("trusted.") || name.starts_with("security."))
        });
        let device = what.starts_with('-') && (how == "\"char\"" || how == "\"block\"");
        !(device || what.ends_with(" uid") || what.ends_with(" gid") || (what.ends_with(" xattrs") && privileged))
    });
    assert!(wrong.is_empty(), "{}", shown(&wrong));
}

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

/// A tree that no unpack makes: what is put in the index for `from`, and what extract says of it (nothing: it succeeds).
struct Hostile {
    name: &'static str,
    patch: Option<(&'static str, &'static str)>,
    build: fn(&mut Tree),
    says: &'static str,
}

/// `outside` is beside the directory that is extracted into; a file put there by `../outside/escaped` would be seen.
const HOSTILE: &[Hostile] = &[
    Hostile { name: "dotdot", patch: Some(("QQ", "..")), build: |t| directory_with_a_file(t, "QQ"), says: "" },
    Hostile { name: "dot", patch: Some(("QQ", ".\0")), build: |t| directory_with_a_file(t, "QQ"), says: "" },
    Hostile {
        name: "slash",
        patch: Some(("QQQoutside", "../outside")),
        build: |t| directory_with_a_file(t, "QQQoutside"),
        says: "impossible name",
    },
    Hostile { name: "absolute", patch: Some(("QQQ", "/tm")), build: |t| directory_with_a_file(t, "QQQ"), says: "impossible name" },
    Hostile { name: "loop", patch: None, build: looped, says: "reached twice" },
    Hostile { name: "two-parents", patch: None, build: two_parents, says: "reached twice" },
    Hostile { name: "symlink-then-directory", patch: Some(("linkQ", "link\0")), build: symlink_then_directory, says: "File exists" },
];

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

/// Two entries of one name: a symlink to the outside, and a directory with a file.
fn symlink_then_directory(tree: &mut Tree) {
    add(tree, Tree::ROOT, "link", Content::Symlink(b"../outside".to_vec()));
    let dir = add(tree, Tree::ROOT, "linkQ", Content::Directory);
    add(tree, dir, "escaped", Content::Fifo);
}

#[test]
fn nothing_is_written_outside() {
    for Hostile { name, patch, build, says } in HOSTILE {
        let bench = Bench::new();
        let path = bench.path("hostile.clip");
        let mut tree = Tree::new(attributes());
        build(&mut tree);
        write(&path, &tree);
        if let Some((from, to)) = patch {
            patch_index(&path, from.as_bytes(), to.as_bytes());
        }
        fs::create_dir_all(bench.path("arena/outside")).unwrap();
        fs::create_dir_all(bench.path("arena/inside")).unwrap();
        let target = bench.path("arena/inside");
        let output = bench.clipctl(["extract".as_ref(), path.as_os_str(), target.as_os_str()]).output().unwrap();
        let said = said(&output);
        assert!(matches!(output.status.code(), Some(0 | 1)) && !said.contains("panicked"), "{name}: {:?} {said}", output.status);
        assert!(said.contains(says), "{name}: {said}");
        assert_eq!(output.status.success(), says.is_empty(), "{name}: {said}");
        let outside: Vec<String> = list(&bench.path("arena")).into_keys().filter(|p| !p.starts_with("/inside/")).collect();
        assert_eq!(outside, ["/", "/inside", "/outside"], "{name}: {said}");
        assert!(!Path::new("/tm").exists() && !bench.path("arena/escaped").exists(), "{name}");
    }
}
