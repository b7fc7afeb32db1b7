use std::collections::BTreeMap;

use super::*;

fn attributes(mode: u16) -> Attributes {
    Attributes { mode, uid: 0, gid: 0, mtime: 0, mtime_nsec: 0, xattrs: Vec::new() }
}

fn add(tree: &mut Tree, dir: InodeId, name: &str, content: Content) -> InodeId {
    let inode = tree.inode(attributes(0o755), content).unwrap();
    tree.link(dir, name.as_bytes(), inode).unwrap();
    inode
}

#[test]
fn links_count_and_unlink_goes_deep() {
    let mut tree = Tree::new(attributes(0o755));
    let a = add(&mut tree, Tree::ROOT, "a", Content::Directory);
    let b = add(&mut tree, a, "b", Content::Directory);
    let file = add(&mut tree, b, "file", Content::Fifo);
    tree.link(Tree::ROOT, b"other", file).unwrap();
    assert_eq!((tree.raw(Tree::ROOT).nlink, tree.raw(a).nlink, tree.raw(file).nlink), (3, 3, 2));
    assert!(tree.unlink(Tree::ROOT, b"a"));
    assert!(!tree.unlink(Tree::ROOT, b"a"));
    assert_eq!((tree.raw(Tree::ROOT).nlink, tree.raw(file).nlink), (2, 1));
    assert_eq!(tree.get(Tree::ROOT, b"other"), Some(file));
    assert_eq!(tree.get(b, b"file"), None);
}

#[test]
fn behaves_as_a_map_of_maps() {
    let mut tree = Tree::new(attributes(0o755));
    let dirs: Vec<InodeId> = (0..5).map(|i| add(&mut tree, Tree::ROOT, &format!("d{i}"), Content::Directory)).collect();
    let mut model: BTreeMap<(usize, String), InodeId> = BTreeMap::new();
    let mut state = 1u64;
    for _ in 0..20_000 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let (dir, name) = ((state >> 40) as usize % dirs.len(), format!("n{}", (state >> 50) % 300));
        if state >> 33 & 3 == 0 {
            assert_eq!(tree.unlink(dirs[dir], name.as_bytes()), model.remove(&(dir, name)).is_some());
        } else {
            let inode = add(&mut tree, dirs[dir], &name, Content::Fifo);
            model.insert((dir, name), inode);
        }
    }
    for (i, dir) in dirs.iter().enumerate() {
        let mut found: Vec<(String, InodeId)> = tree.entries(*dir).map(|(n, id)| (String::from_utf8(n.to_vec()).unwrap(), id)).collect();
        found.sort();
        let expected: Vec<(String, InodeId)> = model.iter().filter(|((d, _), _)| *d == i).map(|((_, n), id)| (n.clone(), *id)).collect();
        assert_eq!(found, expected);
    }
}
