//! Walking a tar stream: bytes are pushed in as they come, entries come out. File contents go by unseen, but for those of sparse
//! files whose data must be carried.

use archive::Xattrs;

use super::header::{self, Header};
use super::pax::{self, Pax};
use super::sparse::{self, Carrier, Map, Plan, SEGMENTS_MAX, Segment};
use super::{BLOCK_BYTES, EntryKind, TarEntry, TarError};

/// Longest extended header, long name or sparse map: they are held in memory. Go's reader stops at 1 MiB for each; attributes of a
/// few times 64 KiB fit.
const META_BYTES_MAX: u64 = 4 << 20;

/// Longest first line of a sparse map: 20 digits and the end of the line.
const COUNT_BYTES_MAX: usize = 21;

/// What comes out of a walk, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Entry(TarEntry),
    /// The next bytes of what the layer carries: whole blocks.
    Carried(Vec<u8>),
}

/// Walks one tar stream.
pub(crate) struct Walker {
    /// Bytes that were taken.
    at: u64,
    state: State,
    /// What extended headers have said about the next entry.
    pending: Pending,
    /// The next block of what the layer carries.
    next_carried: u32,
    /// Chunks of all sparse files so far.
    pieces: usize,
}

#[derive(Default)]
struct Pending {
    pax: Option<Pax>,
    gnu_name: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
}

enum State {
    /// Collecting a block of 512 bytes.
    Block { want: Want, filled: usize, block: Box<[u8; BLOCK_BYTES]> },
    /// Collecting the body of an extended header.
    Meta { kind: Meta, left: u64, padding: u64, body: Vec<u8> },
    /// Passing over contents.
    Skip { left: u64 },
    /// Passing contents to a carrier.
    Carry { entry: Box<TarEntry>, carrier: Box<Carrier>, left: u64, padding: u64 },
    /// Behind the blocks of zeros that end a tar.
    End,
}

/// What a block is wanted for.
enum Want {
    Header,
    /// After one block of zeros: the second.
    SecondZero,
    /// More of an old GNU sparse map.
    SparseMap(Box<Sparse>),
    /// The next block of the sparse map that precedes the data (pax 1.0).
    MapInData {
        sparse: Box<Sparse>,
        text: Vec<u8>,
        lines: usize,
    },
}

/// A sparse file whose map is being read.
struct Sparse {
    entry: TarEntry,
    real_size: i64,
    segments: Vec<Segment>,
    /// Bytes in the tar, map included.
    packed: u64,
    /// Bytes of the map that precedes the data.
    map_bytes: u64,
}

#[derive(Clone, Copy)]
enum Meta {
    Pax,
    /// A global extended header: read over, as Go's users do.
    Global,
    Name,
    Link,
}

impl Walker {
    pub fn new() -> Walker {
        Walker { at: 0, state: State::block(Want::Header), pending: Pending::default(), next_carried: 0, pieces: 0 }
    }

    /// How many bytes from here on are of no interest: who can seek may pass over them with [`Walker::skip`].
    pub fn skippable(&self) -> u64 {
        match self.state {
            State::Skip { left } => left,
            State::End => u64::MAX,
            _ => 0,
        }
    }

    /// Tells that `bytes`, at most what [`Walker::skippable`] says, were passed over.
    pub fn skip(&mut self, bytes: u64) {
        self.at += bytes;
        if let State::Skip { left } = &mut self.state {
            *left -= bytes;
            if *left == 0 {
                self.state = State::block(Want::Header);
            }
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut data: &[u8], sink: &mut impl FnMut(Item)) -> Result<(), TarError> {
        while !data.is_empty() {
            let skip = self.skippable().min(data.len() as u64);
            let taken = if skip > 0 {
                self.skip(skip);
                skip as usize
            } else {
                let taken = self.take(data, sink)?;
                self.at += taken as u64;
                taken
            };
            data = &data[taken..];
        }
        Ok(())
    }

    /// Ends the walk. A tar may end without its blocks of zeros, but not inside an entry.
    pub fn finish(self) -> Result<(), TarError> {
        let missing = match self.state {
            State::End | State::Block { want: Want::Header | Want::SecondZero, filled: 0, .. } => return Ok(()),
            State::Block { filled, .. } => (BLOCK_BYTES - filled) as u64,
            State::Meta { left, .. } | State::Skip { left } | State::Carry { left, .. } => left,
        };
        Err(TarError::Truncated { missing })
    }

    /// Takes some of `data`, at least a byte, and says how much.
    fn take(&mut self, data: &[u8], sink: &mut impl FnMut(Item)) -> Result<usize, TarError> {
        match &mut self.state {
            State::Block { filled, block, .. } => {
                let taken = data.len().min(BLOCK_BYTES - *filled);
                block[*filled..*filled + taken].copy_from_slice(&data[..taken]);
                *filled += taken;
                if *filled == BLOCK_BYTES {
                    let State::Block { want, block, .. } = std::mem::replace(&mut self.state, State::End) else { return Ok(taken) };
                    let end = self.at + taken as u64;
                    self.state = self.block(want, &block, end, sink)?;
                }
                Ok(taken)
            }
            State::Meta { left, padding, body, .. } => {
                let taken = (data.len() as u64).min(*left) as usize;
                let wanted = (*left - (*left).min(*padding)).min(taken as u64) as usize;
                body.extend_from_slice(&data[..wanted]);
                *left -= taken as u64;
                if *left == 0 {
                    let end = self.at + taken as u64;
                    self.meta_ended(end)?;
                }
                Ok(taken)
            }
            State::Carry { carrier, left, padding, .. } => {
                let taken = (data.len() as u64).min(*left) as usize;
                let wanted = (*left - (*left).min(*padding)).min(taken as u64) as usize;
                carrier.push(&data[..wanted], &mut |bytes| sink(Item::Carried(bytes)));
                *left -= taken as u64;
                if *left == 0 {
                    self.carry_ended(sink);
                }
                Ok(taken)
            }
            State::Skip { .. } | State::End => Ok(0), // push passes over these
        }
    }

    /// An extended header is whole; `end` is the byte behind it.
    fn meta_ended(&mut self, end: u64) -> Result<(), TarError> {
        let State::Meta { kind, body, .. } = std::mem::replace(&mut self.state, State::block(Want::Header)) else { return Ok(()) };
        let offset = end - (body.len() as u64).next_multiple_of(BLOCK_BYTES as u64);
        let name = |body: Vec<u8>| body.split(|b| *b == 0).next().map(<[u8]>::to_vec);
        match kind {
            Meta::Pax => self.pending.pax = Some(pax::parse(&body).map_err(|detail| TarError::Header { offset, detail })?),
            Meta::Global => {}
            Meta::Name => self.pending.gnu_name = name(body),
            Meta::Link => self.pending.gnu_link = name(body),
        }
        Ok(())
    }

    fn carry_ended(&mut self, sink: &mut impl FnMut(Item)) {
        let State::Carry { mut entry, carrier, .. } = std::mem::replace(&mut self.state, State::block(Want::Header)) else { return };
        let (chunks, next) = carrier.finish(&mut |bytes| sink(Item::Carried(bytes)));
        self.next_carried = next;
        entry.kind = EntryKind::Sparse(chunks);
        sink(Item::Entry(*entry));
    }

    /// A block is whole; `end` is the byte behind it.
    fn block(&mut self, want: Want, block: &[u8; BLOCK_BYTES], end: u64, sink: &mut impl FnMut(Item)) -> Result<State, TarError> {
        let zeros = block.iter().all(|b| *b == 0);
        let at = |detail: String| TarError::Header { offset: end - BLOCK_BYTES as u64, detail };
        match want {
            Want::Header if zeros => Ok(State::block(Want::SecondZero)),
            Want::SecondZero if zeros => Ok(State::End),
            Want::SecondZero => Err(at("a block of zeros is not followed by another".into())),
            Want::Header => {
                let header = header::parse(block).map_err(at)?;
                self.header(header, block, end, sink)
            }
            Want::SparseMap(mut sparse) => {
                let more = old_gnu_map(&block[..504], block[504], &mut sparse.segments).map_err(at)?;
                if more { Ok(State::block(Want::SparseMap(sparse))) } else { self.sparse(*sparse, end, sink) }
            }
            Want::MapInData { mut sparse, mut text, mut lines } => {
                text.extend_from_slice(block);
                lines += block.iter().filter(|b| **b == b'\n').count();
                sparse.map_bytes += BLOCK_BYTES as u64;
                if sparse.map_bytes > META_BYTES_MAX || sparse.map_bytes > sparse.packed {
                    return Err(at("a sparse map does not end".into()));
                }
                if !map_is_whole(&text, lines).map_err(at)? {
                    return Ok(State::block(Want::MapInData { sparse, text, lines }));
                }
                sparse.segments = map_in_data(&text).map_err(at)?;
                self.sparse(*sparse, end, sink)
            }
        }
    }

    /// A header: of an entry, or one that extends the next.
    fn header(&mut self, header: Header, block: &[u8; BLOCK_BYTES], end: u64, sink: &mut impl FnMut(Item)) -> Result<State, TarError> {
        let at = |detail: String| TarError::Header { offset: end - BLOCK_BYTES as u64, detail };
        let size = u64::try_from(header.size).map_err(|_| at(format!("a size of {}", header.size)))?;
        let meta = match header.type_flag {
            b'x' | b'X' => Some(Meta::Pax),
            b'g' => Some(Meta::Global),
            b'L' => Some(Meta::Name),
            b'K' => Some(Meta::Link),
            _ => None,
        };
        if let Some(kind) = meta {
            if size > META_BYTES_MAX {
                return Err(at(format!("an extended header of {size} bytes (at most {META_BYTES_MAX})")));
            }
            let left = size.next_multiple_of(BLOCK_BYTES as u64);
            self.state = State::Meta { kind, left, padding: left - size, body: Vec::new() };
            if left == 0 {
                self.meta_ended(end)?;
            }
            return Ok(std::mem::replace(&mut self.state, State::End));
        }
        let pending = std::mem::take(&mut self.pending);
        self.entry(header, pending, block, end, sink)
    }

    /// An entry's header, with all that extends it.
    fn entry(
        &mut self,
        header: Header,
        pending: Pending,
        block: &[u8; BLOCK_BYTES],
        end: u64,
        sink: &mut impl FnMut(Item),
    ) -> Result<State, TarError> {
        let pax = pending.pax.unwrap_or_default();
        let sparse_name = pax.sparse.as_ref().and_then(|s| s.name.clone());
        let path = pending.gnu_name.or(sparse_name).or(pax.path).unwrap_or(header.name);
        let wrong = |path: &[u8], detail: String| TarError::Entry { path: path.to_vec(), detail };
        let link = pending.gnu_link.or(pax.link).unwrap_or(header.link);
        let size = u64::try_from(pax.size.unwrap_or(header.size)).map_err(|_| wrong(&path, "a negative size".into()))?;
        let device = |n: i64, bits: u32| u32::try_from(n).ok().filter(|n| n >> bits == 0);
        let rdev = || {
            let numbers = device(header.major, 12).zip(device(header.minor, 20));
            numbers.ok_or_else(|| wrong(&path, format!("device number {}:{} is not one of Linux", header.major, header.minor)))
        };
        let is_sparse = pax.sparse.is_some() || header.type_flag == b'S';
        // Go takes the trailing slash for a directory only in V7 headers, where there was no type for it.
        let kind = match header.type_flag {
            0 if path.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => EntryKind::File { size, block: block_of(end).map_err(|d| wrong(&path, d))? },
            b'1' => EntryKind::HardLink(link),
            b'2' => EntryKind::Symlink(link),
            b'3' => rdev().map(|(major, minor)| EntryKind::CharDevice { major, minor })?,
            b'4' => rdev().map(|(major, minor)| EntryKind::BlockDevice { major, minor })?,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            // GNU's: a directory of an incremental archive, whose contents are a list of names; a label, which makes nothing.
            b'D' => EntryKind::Directory,
            b'V' => return Ok(State::skip(size)),
            // POSIX: what one does not know is a regular file. GNU's M and N are pieces of another entry, and those would not be.
            other if !matches!(other, b'M' | b'N') => EntryKind::File { size, block: block_of(end).map_err(|d| wrong(&path, d))? },
            other => return Err(wrong(&path, format!("entries of type {:?} are not supported", char::from(other)))),
        };
        let (mtime, mtime_nsec) = pax.mtime.unwrap_or((header.mtime, 0));
        let id = |n: i64| u32::try_from(n).map_err(|_| wrong(&path, format!("owner {n} does not fit 32 bits")));
        let mut entry = TarEntry {
            mode: (header.mode & 0o7777) as u16,
            uid: id(pax.uid.unwrap_or(header.uid))?,
            gid: id(pax.gid.unwrap_or(header.gid))?,
            mtime,
            mtime_nsec,
            xattrs: last_of_each(pax.xattrs),
            path: Vec::new(),
            kind,
        };
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        let has_data = is_file || header.type_flag == b'D';
        entry.path = path;
        if !(is_sparse && is_file) {
            sink(Item::Entry(entry));
            // Entries without contents may have a size all the same; no bytes follow them.
            return Ok(State::skip(if has_data { size } else { 0 }));
        }
        let in_header = header.type_flag == b'S';
        let pax_sparse = pax.sparse.unwrap_or_default();
        let map_in_data = pax_sparse.map_in_data;
        let real_size = if in_header { header::number(&block[483..495]) } else { Ok(pax_sparse.real_size.unwrap_or(size as i64)) };
        let real_size = real_size.map_err(|d| wrong(&entry.path, d))?;
        let mut sparse = Sparse { entry, real_size, segments: pax_sparse.map, packed: size, map_bytes: 0 };
        if in_header {
            let more = old_gnu_map(&block[386..482], block[482], &mut sparse.segments).map_err(|d| wrong(&sparse.entry.path, d))?;
            if more {
                return Ok(State::block(Want::SparseMap(Box::new(sparse))));
            }
        } else if map_in_data {
            return Ok(State::block(Want::MapInData { sparse: Box::new(sparse), text: Vec::new(), lines: 0 }));
        }
        self.sparse(sparse, end, sink)
    }

    /// A sparse file whose map is complete; its data begins at `data`.
    fn sparse(&mut self, sparse: Sparse, data: u64, sink: &mut impl FnMut(Item)) -> Result<State, TarError> {
        let Sparse { mut entry, real_size, segments, packed, map_bytes } = sparse;
        let path = entry.path.clone();
        let wrong = |detail| TarError::Entry { path: path.clone(), detail };
        let packed = packed - map_bytes.min(packed);
        let map = Map::new(real_size, segments, packed).map_err(wrong)?;
        let plan = map.chunks(data, self.next_carried).map_err(wrong)?;
        self.pieces += plan.chunks().pieces.len();
        if self.pieces > sparse::PIECES_MAX {
            return Err(wrong(format!("the sparse files of its layer have more than {} chunks", sparse::PIECES_MAX)));
        }
        match plan {
            Plan::Addressed(chunks) => {
                entry.kind = EntryKind::Sparse(chunks);
                sink(Item::Entry(entry));
                Ok(State::skip(packed))
            }
            Plan::Carried { chunks } => {
                let carrier = Box::new(Carrier::new(map, chunks, self.next_carried));
                let left = packed.next_multiple_of(BLOCK_BYTES as u64);
                Ok(State::Carry { entry: Box::new(entry), carrier, left, padding: left - packed })
            }
        }
    }
}

impl State {
    fn block(want: Want) -> State {
        State::Block { want, filled: 0, block: Box::new([0; BLOCK_BYTES]) }
    }

    /// Passes over contents of `bytes`, and what pads them to whole blocks.
    fn skip(bytes: u64) -> State {
        match bytes.checked_next_multiple_of(BLOCK_BYTES as u64).unwrap_or(u64::MAX) {
            0 => State::block(Want::Header),
            left => State::Skip { left },
        }
    }
}

fn block_of(offset: u64) -> Result<u32, String> {
    u32::try_from(offset / BLOCK_BYTES as u64).map_err(|_| "it lies more than 2 TiB into its layer".into())
}

/// Sorted by name; of attributes with the same name the last counts, and an empty value takes it back: pax has no way to say "empty".
fn last_of_each(mut xattrs: Xattrs) -> Xattrs {
    xattrs.reverse();
    xattrs.sort_by(|a, b| a.0.cmp(&b.0));
    xattrs.dedup_by(|later, kept| later.0 == kept.0);
    xattrs.retain(|(_, value)| !value.is_empty());
    xattrs
}

/// Entries of 24 bytes: offset and length in octal. Says whether another block follows.
fn old_gnu_map(entries: &[u8], extended: u8, segments: &mut Vec<Segment>) -> Result<bool, String> {
    for entry in entries.chunks_exact(24) {
        if entry[0] == 0 {
            break;
        }
        segments.push(Segment::new(header::number(&entry[..12])?, header::number(&entry[12..])?)?);
    }
    if segments.len() > SEGMENTS_MAX {
        return Err(format!("a sparse map of more than {SEGMENTS_MAX} segments"));
    }
    Ok(extended != 0)
}

/// Whether the `lines` of a map that precedes its data are all that its first line promises: the count of segments, then two lines each.
fn map_is_whole(text: &[u8], lines: usize) -> Result<bool, String> {
    // A short line: `text` has a block at least.
    let Some(end) = text.iter().take(COUNT_BYTES_MAX).position(|b| *b == b'\n') else {
        return Err("a sparse map does not begin with a count".into());
    };
    Ok(lines > 2 * segment_count(&text[..end])?)
}

fn segment_count(line: &[u8]) -> Result<usize, String> {
    let count = usize::try_from(pax::integer(line.trim_ascii_end())?).ok().filter(|n| *n <= SEGMENTS_MAX);
    count.ok_or_else(|| format!("a sparse map of more than {SEGMENTS_MAX} segments"))
}

/// Parses a whole map: offset and length of each segment, a line each.
fn map_in_data(text: &[u8]) -> Result<Vec<Segment>, String> {
    let mut lines = text.split(|b| *b == b'\n');
    let count = segment_count(lines.next().unwrap_or_default())?;
    let numbers = lines.take(2 * count).map(pax::integer).collect::<Result<Vec<i64>, _>>()?;
    numbers.as_chunks::<2>().0.iter().map(|[start, length]| Segment::new(*start, *length)).collect()
}
