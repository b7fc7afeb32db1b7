//! The files of a tree whose bytes lie in streams: packed in the order in which those are read.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use archive::{Archive, Attributes, Bytes, CarryingWriter, Content, InodeId, Nid, Node, NodeKind, Source, StreamId, Tree};
use pack::{Extent, Packer};

use crate::contents::Forward;
use crate::error::LayerError;
use crate::{Error, Progress};

/// Bytes of a block, in which addresses of a tree count.
const BLOCK_BYTES: u64 = 512;

/// Files, ordered by where their first byte lies: each stream is read once, forward. Where the rest of a file lies is looked up when it is packed: of
/// a million files this is all that is kept.
pub(crate) struct Files<'a> {
    order: Vec<File>,
    /// Bytes of all of them, holes included.
    pub bytes: u64,
    /// Where a file's bytes are looked up; in the tree itself, if there is no archive.
    archive: Option<&'a Archive>,
}

/// A file, by where its first byte lies.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct File {
    stream: StreamId,
    at: u64,
    inode: InodeId,
    /// In the archive.
    nid: Nid,
}

/// Opens a stream, and says what it is called in messages.
pub(crate) type Open<'a> = dyn FnMut(StreamId) -> Result<(PathBuf, Forward), Error> + 'a;

impl Files<'_> {
    fn add(&mut self, place: &Place, inode: InodeId, nid: Nid) {
        // Those without a byte need no stream.
        let (stream, at) = place.pieces.first().map_or((StreamId(0), 0), |piece| (piece.stream, piece.at));
        self.order.push(File { stream, at, inode, nid });
        self.bytes += place.size;
    }

    /// The files of a tree that layers were applied to.
    pub fn of_layers(tree: &Tree) -> Files<'static> {
        let mut files = Files { order: Vec::new(), bytes: 0, archive: None };
        for inode in tree.files() {
            if let Some(bytes) = tree.bytes(inode) {
                files.add(&Place::of_bytes(bytes), inode, Nid(0));
            }
        }
        files.order.sort_unstable();
        files
    }

    /// The tree of an archive, and its files.
    pub fn of_archive(archive: &Archive) -> Result<(Tree, Files<'_>), Error> {
        let index = archive.index();
        let top = index.node(index.root())?;
        let mut tree = Tree::new(attributes(archive, &top)?);
        let mut files = Files { order: Vec::new(), bytes: 0, archive: Some(archive) };
        let mut known = HashMap::from([(top.nid, Tree::ROOT)]);
        let mut ahead = vec![(top, Tree::ROOT)];
        while let Some((directory, parent)) = ahead.pop() {
            for entry in index.read_dir(&directory, 0)? {
                let entry = entry?;
                if entry.name == b"." || entry.name == b".." {
                    continue;
                }
                let node = index.node(entry.nid)?;
                let inode = match known.get(&node.nid) {
                    Some(_) if node.kind == NodeKind::Directory => return Err(twice(archive, node.nid)),
                    Some(inode) => *inode,
                    None => tree.inode(attributes(archive, &node)?, content(archive, &node)?).map_err(|_| Error::full())?,
                };
                if known.insert(node.nid, inode).is_none() && node.kind == NodeKind::File {
                    files.add(&Place::of_node(archive, &node)?, inode, node.nid);
                }
                tree.link(parent, entry.name, inode).map_err(|_| Error::full())?;
                if node.kind == NodeKind::Directory {
                    ahead.push((node, inode));
                }
            }
        }
        files.order.sort_unstable();
        Ok((tree, files))
    }

    fn place(&self, tree: &Tree, file: &File) -> Result<Place, Error> {
        match self.archive {
            Some(archive) => Place::of_node(archive, &archive.index().node(file.nid)?),
            None => Ok(tree.bytes(file.inode).map_or_else(Place::default, Place::of_bytes)),
        }
    }

    /// Packs all of them, and has the tree say where they are now.
    pub fn pack(&self, open: &mut Open<'_>, tree: &mut Tree, mut packer: Packer, progress: &Progress) -> Result<CarryingWriter, Error> {
        let mut stream: Option<(StreamId, PathBuf, Forward)> = None;
        let mut last: Option<(Place, Content)> = None;
        for file in &self.order {
            let place = self.place(tree, file)?;
            progress.add_bytes(place.size);
            let content = match last.take() {
                // An entry of a layer that was applied twice may be there as two files.
                Some((same, content)) if same == place => content,
                _ if place.pieces.is_empty() => packer.file(Path::new(""), place.size, &[], &mut |_, _| Ok(()))?,
                _ => {
                    if stream.as_ref().is_none_or(|(id, ..)| *id != file.stream) {
                        let (name, forward) = open(file.stream)?;
                        stream = Some((file.stream, name, forward));
                    }
                    let Some((_, name, forward)) = &mut stream else { continue };
                    place.pack(name, &mut packer, forward, progress)?
                }
            };
            tree.set_content(file.inode, content.clone()).map_err(|_| Error::full())?;
            last = Some((place, content));
        }
        Ok(packer.finish()?)
    }
}

/// Where the bytes of a file lie.
#[derive(Default, PartialEq, Eq)]
struct Place {
    size: u64,
    /// In order of the file; what none of them covers is a hole.
    pieces: Vec<Piece>,
}

/// Bytes of a file that lie in a stream.
#[derive(PartialEq, Eq)]
struct Piece {
    offset: u64,
    length: u64,
    stream: StreamId,
    /// In the stream.
    at: u64,
}

impl Place {
    fn of_bytes(bytes: Bytes<'_>) -> Place {
        let mut place = Place { size: bytes.size(), pieces: Vec::new() };
        match bytes {
            Bytes::Blocks { size, stream, block } => {
                place.add(Piece { offset: 0, length: size, stream, at: u64::from(block) * BLOCK_BYTES });
            }
            Bytes::Sparse(map) => {
                for (offset, chunk) in (0..map.size).step_by(map.chunk as usize).zip(&map.chunks) {
                    if let Ok((stream, block)) = *chunk {
                        let length = (map.size - offset).min(map.chunk);
                        place.add(Piece { offset, length, stream, at: u64::from(block) * BLOCK_BYTES });
                    }
                }
            }
        }
        place
    }

    fn of_node(archive: &Archive, node: &Node) -> Result<Place, Error> {
        let mut place = Place { size: node.size, pieces: Vec::new() };
        for extent in archive.index().extents(node, 0..node.size)? {
            if let Source::Stream { stream, offset: at } = extent.source {
                place.add(Piece { offset: extent.offset, length: extent.length, stream, at });
            }
        }
        Ok(place)
    }

    /// Adds a piece, to the one before it where it goes on from there.
    fn add(&mut self, piece: Piece) {
        match self.pieces.last_mut() {
            Some(last) if (last.stream, last.offset + last.length, last.at + last.length) == (piece.stream, piece.offset, piece.at) => {
                last.length += piece.length;
            }
            _ if piece.length > 0 => self.pieces.push(piece),
            _ => {}
        }
    }

    fn pack(&self, name: &Path, packer: &mut Packer, forward: &mut Forward, progress: &Progress) -> Result<Content, Error> {
        let extents: Vec<Extent> = self.pieces.iter().map(|piece| Extent { offset: piece.offset, length: piece.length }).collect();
        let mut read = |at: u64, out: &mut [u8]| {
            if progress.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            self.read(forward, at, out).map_err(io::Error::other)
        };
        packer.file(name, self.size, &extents, &mut read).map_err(|e| if progress.is_cancelled() { Error::Cancelled } else { e.into() })
    }

    /// Reads bytes that lie within one extent, so in one piece or in pieces that follow each other.
    fn read(&self, forward: &mut Forward, mut offset: u64, mut out: &mut [u8]) -> Result<(), LayerError> {
        let mut i = self.pieces.partition_point(|piece| piece.offset + piece.length <= offset);
        while !out.is_empty() {
            let Some(piece) = self.pieces.get(i).filter(|piece| piece.offset <= offset) else {
                return Err(LayerError::Changed("a file has a hole where it had none".into()));
            };
            let inside = offset - piece.offset;
            let n = (piece.length - inside).min(out.len() as u64) as usize;
            let (now, later) = out.split_at_mut(n);
            forward.read(piece.at + inside, now)?;
            (offset, out, i) = (offset + n as u64, later, i + 1);
        }
        Ok(())
    }
}

fn attributes(archive: &Archive, node: &Node) -> Result<Attributes, Error> {
    let xattrs = archive.index().xattrs(node)?;
    let &Node { mode, uid, gid, mtime, mtime_nsec, .. } = node;
    Ok(Attributes { mode, uid, gid, mtime, mtime_nsec, xattrs })
}

/// What a node holds; of a file only its size, for the time being.
fn content(archive: &Archive, node: &Node) -> Result<Content, Error> {
    Ok(match node.kind {
        NodeKind::File => Content::File { size: node.size, stream: StreamId(0), block: 0 },
        NodeKind::Directory => Content::Directory,
        NodeKind::Symlink => Content::Symlink(archive.index().read_link(node)?.into_owned()),
        NodeKind::CharDevice => Content::CharDevice(node.rdev),
        NodeKind::BlockDevice => Content::BlockDevice(node.rdev),
        NodeKind::Fifo => Content::Fifo,
        NodeKind::Socket => Content::Socket,
    })
}

fn twice(archive: &Archive, nid: Nid) -> Error {
    let detail = format!("directory {} is reached twice", nid.0);
    archive::Error::Corrupt { path: archive.path().into(), detail }.into()
}
