use super::*;
use archive::NodeKind;

/// `d path`, `f path`, `l path target`, `h path target`: directory, file, symlink, hard link. Layers are separated by `--`.
fn flatten(script: &str) -> Result<Tree, FlattenError> {
    let mut flattener = Flattener::new();
    let streams = LayerStreams { tar: StreamId(0), carried: StreamId(0) };
    flattener.begin_layer(streams);
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let target = || words[2].as_bytes().to_vec();
        let kind = match words[0] {
            "--" => {
                flattener.begin_layer(streams);
                continue;
            }
            "d" => EntryKind::Directory,
            "f" => EntryKind::File { size: 1, block: 1 },
            "l" => EntryKind::Symlink(target()),
            "h" => EntryKind::HardLink(target()),
            other => panic!("{other}"),
        };
        let path = words[1].as_bytes().to_vec();
        flattener.apply(TarEntry { path, mode: 0o700, uid: 1, gid: 1, mtime: 1, mtime_nsec: 0, xattrs: Vec::new(), kind })?;
    }
    Ok(flattener.finish().0)
}

fn list(tree: &Tree, dir: InodeId, prefix: &str, out: &mut Vec<String>) {
    let mut entries: Vec<_> = tree.entries(dir).collect();
    entries.sort();
    for (name, id) in entries {
        let path = format!("{prefix}{}", String::from_utf8_lossy(name));
        match tree.kind(id) {
            NodeKind::Directory => {
                out.push(format!("{path}/"));
                list(tree, id, &format!("{path}/"), out);
            }
            NodeKind::Symlink => out.push(format!("{path}@")),
            _ => out.push(path),
        }
    }
}

#[track_caller]
fn check(script: &str, expected: &str) {
    let (tree, mut found) = (flatten(script).unwrap(), Vec::new());
    list(&tree, Tree::ROOT, "", &mut found);
    assert_eq!(found.join(" "), expected);
}

#[test]
fn whiteouts_take_away_what_is_below_only() {
    check("f a\nf b\n--\nf .wh.a", "b");
    check("f a\n--\nf a\nf .wh.a", "a");
    check("f a\n--\nf .wh.a\nf a", "a");
    check("f .wh.missing\nf none/.wh.x", "");
    check("d d\nf d/a\nf d/b\n--\nf d/c\nf .wh.d", "d/ d/c");
    check("d d\nf d/a\n--\nf .wh.d\nd d\nf d/c", "d/ d/c");
}

#[test]
fn opaque_directories_in_any_order() {
    check("d d\nf d/a\nd d/e\nf d/e/x\n--\nd d\nf d/.wh..wh..opq\nf d/b", "d/ d/b");
    check("d d\nf d/a\nd d/e\nf d/e/x\n--\nf d/b\nf d/e/y\nf d/.wh..wh..opq", "d/ d/b d/e/ d/e/y");
    check("f a\nf b\n--\nf .wh..wh..opq\nf c", "c");
}

#[test]
fn what_replaces_what() {
    check("d d\nf d/a\n--\nf d", "d");
    check("d d\nf d/a\n--\nf d\n--\nd d", "d/");
    check("f d\n--\nd d\nf d/a", "d/ d/a");
    check("d d\nf d/a\n--\nd d", "d/ d/a");
    check("f f\n--\nf f/below", "f/ f/below");
    check("l s d\nd d\n--\nd s", "d/ s/");
}

#[test]
fn parents_are_followed_through_symlinks_inside_the_root() {
    check("d real\nl link real\n--\nf link/x", "link@ real/ real/x");
    check("d real\nl real/up ../../..\nf real/up/top", "real/ real/up@ top");
    check("l abs /deep/er\nf abs/x", "abs@ deep/ deep/er/ deep/er/x");
    check("f /abs/../../x", "x");
    check("d real\nl link real\nf real/gone\n--\nf link/.wh.gone", "link@ real/");
    assert!(flatten("l a b\nl b a\nf a/x").unwrap_err().detail.contains("symlinks"));
}

#[test]
fn hard_links_share_an_inode() {
    let tree = flatten("f a\nh b a\nh c b\nl s a\nh s2 s\n--\nf a").unwrap();
    let get = |name: &str| tree.get(Tree::ROOT, name.as_bytes()).unwrap();
    assert!(get("b") == get("c") && get("a") != get("b") && get("s") == get("s2"));
    check("d real\nf real/f\nl link real\nh x link/f", "link@ real/ real/f x");
    check("f a\nh a a", "a");
    for bad in ["h x nowhere", "d d\nh x d", "h x x", "h x /"] {
        assert!(flatten(bad).unwrap_err().detail.contains("hard link"), "{bad}");
    }
}

#[test]
fn names_that_no_filesystem_has_are_errors() {
    assert!(flatten(&format!("f {}", "n".repeat(256))).is_err());
    assert!(flatten(&format!("f {}/x", "n".repeat(256))).is_err());
    check(&format!("f {}", "n".repeat(255)), &"n".repeat(255));
    assert!(flatten("f .").is_err());
}

/// The attributes that `entry` is left with, as the one entry of an image or over the directory that `entry` itself makes.
fn applied(entries: impl IntoIterator<Item = TarEntry>) -> (Attributes, u64) {
    let mut flattener = Flattener::new();
    flattener.begin_layer(LayerStreams { tar: StreamId(0), carried: StreamId(0) });
    for entry in entries {
        flattener.apply(entry).unwrap();
    }
    let (tree, dropped) = flattener.finish();
    (tree.attributes(tree.get(Tree::ROOT, b"x").unwrap()), dropped)
}

fn entry(kind: EntryKind) -> TarEntry {
    TarEntry { path: b"x".to_vec(), mode: 0o2775, uid: 7, gid: 8, mtime: 1, mtime_nsec: 0, xattrs: Vec::new(), kind }
}

fn named(names: &[&str]) -> archive::Xattrs {
    names.iter().map(|name| (name.as_bytes().to_vec(), b"v".to_vec())).collect()
}

#[test]
fn nobody_means_leave_the_owner() {
    let none = || TarEntry { uid: u32::MAX, gid: u32::MAX, ..entry(EntryKind::Directory) };
    assert_eq!(applied([none()]).0.uid, 0, "what is new belongs to root");
    let kept = applied([entry(EntryKind::Directory), none()]).0;
    assert_eq!((kept.uid, kept.gid), (7, 8));
}

#[test]
fn attributes_of_the_machine_and_of_no_filesystem_are_left_out() {
    let xattrs = || named(&["security.selinux", "trusted.clip", "trusted.overlay.opaque", "user.x"]);
    let (file, dropped) = applied([TarEntry { xattrs: xattrs(), ..entry(EntryKind::File { size: 1, block: 1 }) }]);
    assert_eq!((file.xattrs, dropped), (named(&["trusted.clip", "user.x"]), 0));
    let (link, dropped) = applied([TarEntry { xattrs: xattrs(), ..entry(EntryKind::Symlink(b"to".to_vec())) }]);
    assert_eq!((link.xattrs, dropped), (named(&["trusted.clip"]), 1));
}

/// An access ACL of `(tag, bits)`.
fn acl(entries: &[(u16, u16)]) -> archive::Xattrs {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, bits) in entries {
        value.extend([tag.to_le_bytes(), bits.to_le_bytes(), [0xff; 2], [0xff; 2]].concat());
    }
    vec![(b"system.posix_acl_access".to_vec(), value)]
}

#[test]
fn an_acl_sets_the_permission_bits() {
    let (owner, user, group, mask, other) = (1, 2, 4, 16, 32);
    let with = |xattrs| applied([TarEntry { xattrs, ..entry(EntryKind::Directory) }]).0;
    let masked = with(acl(&[(owner, 6), (user, 7), (group, 5), (mask, 4), (other, 1)]));
    assert_eq!((masked.mode, masked.xattrs.len()), (0o2641, 1));
    let plain = with(acl(&[(owner, 7), (group, 5), (other, 0)]));
    assert_eq!((plain.mode, plain.xattrs.len()), (0o2750, 0), "an ACL that says no more than the mode is none");
    let broken = with(vec![(b"system.posix_acl_access".to_vec(), b"v".to_vec())]);
    assert_eq!((broken.mode, broken.xattrs.len()), (0o2775, 1));
}
