//! `clipctl extract`: an archive unpacked, as an unpack of its image would be.
//!
//! Everything is made by name in a directory that is open: no path is ever looked up, so nothing can lead outside, whatever the
//! archive says. Metadata that a later step would change is set last: a directory's when all below it is done.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use archive::{Index, Nid, Node, NodeKind, Source};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::fs::{self as rfs, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::cli::ExtractArgs;
use crate::invocation::{Invocation, runtime};
use crate::tree_walk::{Step, Walk};
use crate::{output, size};
use node::{Opened, raise_descriptor_limit};

/// Bytes read at a time.
const READ_BYTES: u64 = 1 << 20;

/// What was made, and what could not be.
#[derive(Debug, Default, Serialize)]
struct Extracted {
    entries: u64,
    bytes: u64,
    /// Devices that only root may make.
    devices_left_out: u64,
    /// Attributes that the user or the filesystem may not set.
    xattrs_left_out: u64,
}

pub(super) fn run(args: &ExtractArgs, call: &Invocation) -> Result<ExitCode> {
    raise_descriptor_limit();
    let runtime = runtime()?;
    let opened = call.opened(&args.archive, &args.cache, &args.registry, &runtime, read::ReadOptions::default())?;
    let index = opened.archive.index();
    let top = open_top(args)?;
    let bar = bar(index.inodes(), call.global.json);
    let is_root = rustix::process::geteuid().is_root();
    let mut extractor = Extractor { opened: &opened, runtime: &runtime, is_root, top, done: Extracted::default(), links: HashMap::new() };
    extractor.all(index, &bar)?;
    bar.finish_and_clear();
    report(args, &extractor.done, call)?;
    Ok(ExitCode::SUCCESS)
}

fn report(args: &ExtractArgs, done: &Extracted, call: &Invocation) -> Result<()> {
    if call.global.json {
        return output::json(done);
    }
    let mut text = format!("{}: {} entries, {}\n", args.directory.display(), done.entries, size::human(done.bytes));
    for (count, what) in [
        (done.devices_left_out, "devices left out: only root can make them"),
        (done.xattrs_left_out, "extended attributes could not be set"),
    ] {
        if count > 0 {
            text.push_str(&format!("  {count} {what}\n"));
        }
    }
    output::print(&text)
}

fn bar(entries: u64, hidden: bool) -> ProgressBar {
    use std::io::IsTerminal;
    if hidden || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("[{bar:30}] {pos}/{len} entries {eta}").unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(entries).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The directory to extract into: made, or empty.
fn open_top(args: &ExtractArgs) -> Result<OwnedFd> {
    let dir = &args.directory;
    if let Err(e) = std::fs::create_dir(dir)
        && e.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(e).with_context(|| format!("make {}", dir.display()));
    }
    let mut entries = std::fs::read_dir(dir).with_context(|| format!("open {}", dir.display()))?;
    if entries.next().is_some() {
        bail!("{} is not empty: extract into a new directory", dir.display());
    }
    rfs::open(dir, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).with_context(|| format!("open {}", dir.display()))
}

struct Extractor<'a> {
    opened: &'a Opened,
    runtime: &'a Runtime,
    is_root: bool,
    top: OwnedFd,
    done: Extracted,
    /// Where the first name of each file with several names is, by the names of the directories above it.
    links: HashMap<Nid, Vec<Vec<u8>>>,
}

/// A directory that is being filled.
struct Level {
    dir: OwnedFd,
    node: Node,
}

impl Extractor<'_> {
    fn all(&mut self, index: &Index, bar: &ProgressBar) -> Result<()> {
        let root = index.node(index.root())?;
        let mut levels = vec![Level { dir: self.top.try_clone().context("open the directory again")?, node: root.clone() }];
        let mut path: Vec<Vec<u8>> = Vec::new();
        let opened = self.opened;
        for step in Walk::new(&opened.archive, root) {
            match step? {
                Step::Entry(name, node) => {
                    path.push(name);
                    let level = levels.last().context("a walk that leaves its top")?;
                    let entered = self.entry(index, level, &path, &node).with_context(|| format!("extract {}", shown(&path)))?;
                    self.done.entries += 1;
                    bar.inc(1);
                    match entered {
                        Some(dir) => levels.push(Level { dir, node }),
                        None => drop(path.pop()),
                    }
                }
                Step::Leave => {
                    let Level { dir, node } = levels.pop().context("a walk that leaves its top")?;
                    self.describe(index, &dir, &node).with_context(|| format!("set attributes of {}", shown(&path)))?;
                    path.pop();
                }
            }
        }
        Ok(())
    }

    /// Makes the entry at `path`. A directory is returned, open.
    fn entry(&mut self, index: &Index, above: &Level, path: &[Vec<u8>], node: &Node) -> Result<Option<OwnedFd>> {
        let name = path.last().map(Vec::as_slice).unwrap_or_default();
        let dir = above.dir.as_fd();
        if node.nlink > 1 && node.kind != NodeKind::Directory {
            if let Some(first) = self.links.get(&node.nid) {
                self.link(first, dir, name)?;
                return Ok(None);
            }
            self.links.insert(node.nid, path.to_vec());
        }
        match node.kind {
            NodeKind::Directory => {
                rfs::mkdirat(dir, name, Mode::RWXU)?;
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
                return Ok(Some(rfs::openat(dir, name, flags, Mode::empty())?));
            }
            NodeKind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rfs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
                self.contents(index, &file, node)?;
                self.describe(index, &file, node)?;
            }
            NodeKind::Symlink => {
                rfs::symlinkat(&*index.read_link(node)?, dir, name)?;
                self.describe_by_name(index, dir, name, node)?;
            }
            kind => {
                if !self.special(kind, dir, name, node)? {
                    self.links.remove(&node.nid);
                    self.done.devices_left_out += 1;
                    return Ok(None);
                }
                self.describe_by_name(index, dir, name, node)?;
            }
        }
        Ok(None)
    }

    /// Another name for what was made at `first`, found below the top without following any symlink.
    fn link(&self, first: &[Vec<u8>], dir: impl AsFd, name: &[u8]) -> Result<()> {
        let (last, above) = first.split_last().context("a file without a name")?;
        let mut from = self.top.try_clone()?;
        for part in above {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            from = rfs::openat2(&from, part.as_slice(), flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?;
        }
        Ok(rfs::linkat(&from, last.as_slice(), dir, name, AtFlags::empty())?)
    }

    /// Makes a device, FIFO or socket; says whether we may.
    fn special(&self, kind: NodeKind, dir: impl AsFd, name: &[u8], node: &Node) -> Result<bool> {
        let (file_type, device) = match kind {
            NodeKind::CharDevice => (FileType::CharacterDevice, true),
            NodeKind::BlockDevice => (FileType::BlockDevice, true),
            NodeKind::Socket => (FileType::Socket, false),
            _ => (FileType::Fifo, false),
        };
        let rdev = rfs::makedev(node.rdev.major, node.rdev.minor);
        match rfs::mknodat(dir, name, file_type, Mode::RUSR | Mode::WUSR, if device { rdev } else { 0 }) {
            Err(Errno::PERM) if device && !self.is_root => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }

    /// Writes a file's bytes; holes stay holes.
    fn contents(&mut self, index: &Index, file: &OwnedFd, node: &Node) -> Result<()> {
        rfs::ftruncate(file, node.size)?;
        for extent in index.extents(node, 0..node.size)? {
            if extent.source == Source::Hole {
                continue;
            }
            let mut at = extent.offset;
            let end = extent.offset + extent.length;
            while at < end {
                let bytes = self.runtime.block_on(self.opened.reader.read(node, at, (end - at).min(READ_BYTES) as usize))?;
                write_all_at(file, &bytes, at)?;
                at += bytes.len() as u64;
                self.done.bytes += bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// Owner first, as changing it clears set-user-id bits and capabilities; time last.
    fn describe(&mut self, index: &Index, file: &OwnedFd, node: &Node) -> Result<()> {
        if self.is_root {
            rfs::fchown(file, Some(uid(node)), Some(gid(node)))?;
        }
        rfs::fchmod(file, Mode::from_raw_mode(node.mode.into()))?;
        for (name, value) in index.xattrs(node)? {
            let set = rfs::fsetxattr(file, name.as_slice(), &value, XattrFlags::empty());
            self.count_refusal(set)?;
        }
        Ok(rfs::futimens(file, &times(node))?)
    }

    /// The same for what cannot be opened: symlinks, devices, FIFOs, sockets.
    fn describe_by_name(&mut self, index: &Index, dir: impl AsFd, name: &[u8], node: &Node) -> Result<()> {
        let dir = dir.as_fd();
        if self.is_root {
            rfs::chownat(dir, name, Some(uid(node)), Some(gid(node)), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if node.kind != NodeKind::Symlink {
            // Just made by us, and no symlink: following is harmless, and chmod cannot do otherwise.
            rfs::chmodat(dir, name, Mode::from_raw_mode(node.mode.into()), AtFlags::empty())?;
        }
        let xattrs = index.xattrs(node)?;
        if !xattrs.is_empty() {
            // Attributes can be set by path only; the directory's descriptor makes one that nothing can redirect.
            use std::os::fd::AsRawFd;
            let path = [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat();
            for (attribute, value) in xattrs {
                let set = rfs::lsetxattr(path.as_slice(), attribute.as_slice(), &value, XattrFlags::empty());
                self.count_refusal(set)?;
            }
        }
        Ok(rfs::utimensat(dir, name, &times(node), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn count_refusal(&mut self, set: Result<(), Errno>) -> Result<()> {
        match set {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS | Errno::NOSPC | Errno::TOOBIG | Errno::RANGE) => {
                self.done.xattrs_left_out += 1;
                Ok(())
            }
            other => Ok(other?),
        }
    }
}

/// A path for a message; of a very long one, its end.
fn shown(path: &[Vec<u8>]) -> String {
    const PARTS_MAX: usize = 16;
    let (cut, parts) = if path.len() > PARTS_MAX { ("…/", &path[path.len() - PARTS_MAX..]) } else { ("", path) };
    format!("{cut}{}", output::name(&parts.join(&b'/')))
}

fn uid(node: &Node) -> Uid {
    Uid::from_raw(node.uid)
}

fn gid(node: &Node) -> Gid {
    Gid::from_raw(node.gid)
}

fn times(node: &Node) -> Timestamps {
    let mtime = Timespec { tv_sec: node.mtime, tv_nsec: node.mtime_nsec.into() };
    Timestamps { last_access: mtime, last_modification: mtime }
}

fn write_all_at(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::pwrite(file, bytes, at)?;
        if written == 0 {
            bail!("nothing could be written");
        }
        bytes = &bytes[written..];
        at += written as u64;
    }
    Ok(())
}
