//! Entry points for the fuzzers (fuzz/) and for the tests that replay what they found; not an interface.

use archive::{NodeKind, StreamId, Tree};

use crate::flatten::{Flattener, LayerStreams};
use crate::tar::{EntryKind, Item, TarError, Walker, sparse::Piece};

/// Nodes of one tree that are looked at.
const NODES_MAX: usize = 10_000;

/// Walks any bytes as a tar, in one piece and in small ones, and flattens what comes out.
///
/// The invariant: the walk ends with an error or with entries whose contents lie inside the tar (or inside what it carries), the same
/// however the bytes came in; and flattening them makes a tree in which every entry is reached and no name is impossible.
///
/// # Panics
/// Where the invariant does not hold.
pub fn walk(bytes: &[u8]) {
    let whole = walk_in_pieces(bytes, bytes.len().max(1));
    let pieces = walk_in_pieces(bytes, 1 + usize::from(bytes.first().copied().unwrap_or_default()) * 3);
    assert!(whole == pieces, "pieces matter");
    let Ok(items) = whole else { return };
    check_contents(&items, bytes.len() as u64);
    check_tree(&flatten(items));
}

/// Makes the checksums of altered headers right again, wherever a block looks like a header, so that what is behind them is tried too.
pub fn seal(bytes: &mut [u8]) {
    let (blocks, _) = bytes.as_chunks_mut::<512>();
    for block in blocks.iter_mut().filter(|b| b[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fn walk_in_pieces(bytes: &[u8], piece: usize) -> Result<Vec<Item>, TarError> {
    let (mut walker, mut items) = (Walker::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        walker.push(piece, &mut |item| items.push(item))?;
    }
    walker.finish()?;
    Ok(items)
}

fn check_contents(items: &[Item], size: u64) {
    let carried: u64 = items.iter().map(|item| if let Item::Carried(bytes) = item { bytes.len() as u64 } else { 0 }).sum();
    assert!(carried.is_multiple_of(512));
    for item in items {
        let Item::Entry(entry) = item else { continue };
        assert!(entry.mode <= 0o7777 && entry.mtime_nsec < 1_000_000_000, "{entry:?}");
        match &entry.kind {
            EntryKind::File { size: length, block } => assert!(*length == 0 || u64::from(*block) * 512 + length <= size, "{entry:?}"),
            EntryKind::Sparse(chunks) => {
                assert_eq!(chunks.pieces.len() as u64, chunks.size.div_ceil(chunks.chunk));
                for (i, piece) in chunks.pieces.iter().enumerate() {
                    let length = chunks.chunk.min(chunks.size - i as u64 * chunks.chunk);
                    match piece {
                        Piece::Hole => {}
                        Piece::Tar(block) => assert!(u64::from(*block) * 512 + length <= size, "chunk {i} of {entry:?}"),
                        Piece::Carried(block) => assert!(u64::from(*block) * 512 + chunks.chunk <= carried),
                    }
                }
            }
            _ => {}
        }
    }
}

fn flatten(items: Vec<Item>) -> Tree {
    let mut flattener = Flattener::new();
    flattener.begin_layer(LayerStreams { tar: StreamId(0), carried: StreamId(0) });
    for item in items {
        // An entry that cannot be applied ends an index with an error; here the others are tried all the same.
        if let Item::Entry(entry) = item {
            let _ = flattener.apply(entry);
        }
    }
    flattener.finish().0
}

fn check_tree(tree: &Tree) {
    let mut ahead = vec![Tree::ROOT];
    for _ in 0..NODES_MAX {
        let Some(dir) = ahead.pop() else { return };
        for (name, child) in tree.entries(dir) {
            assert!(!name.is_empty() && name.len() <= 255 && !name.contains(&b'/') && name != b"." && name != b"..", "{name:?}");
            assert_eq!(tree.get(dir, name), Some(child));
            if tree.kind(child) == NodeKind::Directory {
                assert_eq!(tree.parent(child), dir, "a directory has one parent");
                ahead.push(child);
            }
        }
    }
}
