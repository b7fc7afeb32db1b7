//! `clipctl verify`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use archive::{Archive, NodeKind, Span, StreamId, WindowId};
use backend::Blob;
use futures_util::StreamExt;
use seek::{Decoder, Restart, decode_span};
use serde::Serialize;

use crate::cli::VerifyArgs;
use crate::invocation::{Invocation, runtime};
use crate::tree_walk::{Step, Walk};
use crate::{output, size};
use node::Blobs;

/// Compressed bytes of one stream that are held at most: more than that, and a span table is not of this world.
const HELD_BYTES_MAX: usize = 1 << 30;

/// What was checked.
#[derive(Debug, Default, Serialize)]
struct Verified {
    nodes: u64,
    file_bytes: u64,
    windows: u32,
    spans: u64,
    span_bytes: u64,
    deep: bool,
}

pub(super) fn run(args: &VerifyArgs, call: &Invocation) -> Result<ExitCode> {
    let runtime = runtime()?;
    let located = call.located(&args.archive, None, &runtime)?;
    let archive = &located.archive;
    archive.verify_pages()?;
    let mut verified = Verified { deep: args.deep, ..Verified::default() };
    tree(archive, &mut verified)?;
    for id in 0..archive.windows() {
        archive.window(WindowId(id))?;
        verified.windows += 1;
    }
    if args.deep {
        let blobs = Blobs::open(&located, &args.registry.registries()?)?;
        for (i, blob) in blobs.blobs.iter().enumerate() {
            let id = StreamId(i as u16);
            runtime.block_on(deep(archive, id, blob, &mut verified)).with_context(|| format!("check {}", blob.name()))?;
        }
    }
    if call.global.json {
        output::json(&verified)?;
    } else {
        let data = format!("{} spans ({}) match their digests", verified.spans, size::human(verified.span_bytes));
        output::print(&format!(
            "{}: {} nodes, {} windows: whole{}\n",
            args.archive.display(),
            verified.nodes,
            verified.windows,
            if args.deep { format!("; {data}") } else { String::new() },
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Looks at every node as a reader would.
fn tree(archive: &Archive, verified: &mut Verified) -> Result<()> {
    let index = archive.index();
    let mut nodes = std::collections::HashSet::from([index.root()]);
    for step in Walk::new(archive, index.node(index.root())?) {
        let Step::Entry(name, node) = step? else { continue };
        if !nodes.insert(node.nid) {
            continue;
        }
        let what = || format!("node {} ({})", node.nid.0, output::name(&name));
        index.xattrs(&node).with_context(what)?;
        match node.kind {
            NodeKind::File => {
                let extents = index.extents(&node, 0..node.size).with_context(what)?;
                if extents.iter().map(|e| e.length).sum::<u64>() != node.size {
                    bail!("{}: its extents do not cover it", what());
                }
                verified.file_bytes += node.size;
            }
            NodeKind::Symlink => drop(index.read_link(&node).with_context(what)?),
            _ => {}
        }
    }
    verified.nodes = nodes.len() as u64;
    if verified.nodes != index.inodes() {
        bail!("{}: {} nodes were found where it says {}", archive.path().display(), verified.nodes, index.inodes());
    }
    Ok(())
}

/// Streams a blob once and decodes every span from its own restart point.
async fn deep(archive: &Archive, id: StreamId, blob: &Arc<dyn Blob>, verified: &mut Verified) -> Result<()> {
    let spans = archive.spans(id);
    if spans.is_empty() {
        return Ok(());
    }
    let mut body = blob.get(0..blob.size()).await?;
    let mut held = Held { bytes: Vec::new(), offset: 0 };
    let mut group: Option<Group> = None;
    for (i, span) in spans.iter().enumerate() {
        let end = span.blob_range().end;
        while held.end() < end {
            let piece = body.stream.next().await.with_context(|| format!("the blob ends at {} of {end} bytes", held.end()))??;
            held.bytes.extend_from_slice(&piece);
            if held.bytes.len() > HELD_BYTES_MAX {
                bail!("span {i} needs more than {}", size::human(HELD_BYTES_MAX as u64));
            }
        }
        let decoded = decode(archive, id, &span, &held, &mut group).with_context(|| format!("decode span {i}"))?;
        if *blake3::hash(&decoded).as_bytes() != span.digest {
            bail!("span {i} (bytes {}..{}) does not match its digest: the registry has other data", span.offset, span.end());
        }
        verified.spans += 1;
        verified.span_bytes += decoded.len() as u64;
        let needed_from = group.as_ref().map_or(span.blob_offset, |g| g.fed).min(end.saturating_sub(1));
        held.drop_before(needed_from);
    }
    Ok(())
}

/// A decoder that goes on through a group, and how far into the blob it has been fed.
struct Group {
    decoder: Decoder,
    fed: u64,
}

fn decode(archive: &Archive, id: StreamId, span: &Span, held: &Held, group: &mut Option<Group>) -> Result<Vec<u8>> {
    let codec = archive.streams()[usize::from(id.0)].codec;
    let window = span.window.map(|w| archive.window(w)).transpose()?.unwrap_or_default();
    let followed = archive.spans(id);
    let next = followed.find(span.offset) + 1;
    let heads_group = next < followed.len() && followed.get(next).restart == Restart::Continue;
    if span.restart != Restart::Continue && !heads_group {
        *group = None;
        return Ok(decode_span(codec, span.restart, &window, held.get(span.blob_range()), span.length as usize)?);
    }
    if span.restart != Restart::Continue {
        *group = Some(Group { decoder: Decoder::new(codec, span.restart, &window)?, fed: span.blob_offset });
    }
    let group = group.as_mut().context("a span continues nothing")?;
    let mut out = vec![0; span.length as usize];
    let (consumed, produced) = group.decoder.decode(held.get(group.fed..span.blob_range().end), &mut out)?;
    group.fed += consumed as u64;
    if produced < out.len() {
        bail!("{} bytes are missing", out.len() - produced);
    }
    Ok(out)
}

/// The part of a blob that is still needed.
struct Held {
    bytes: Vec<u8>,
    offset: u64,
}

impl Held {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// Bytes of the blob, as far as they are held.
    fn get(&self, range: std::ops::Range<u64>) -> &[u8] {
        let at = |offset: u64| (offset.saturating_sub(self.offset) as usize).min(self.bytes.len());
        &self.bytes[at(range.start)..at(range.end.max(range.start))]
    }

    /// Lets go of what lies before `offset`, once it is worth the copying.
    fn drop_before(&mut self, offset: u64) {
        let count = offset.saturating_sub(self.offset).min(self.bytes.len() as u64) as usize;
        if count > 1 << 20 {
            self.bytes.drain(..count);
            self.offset += count as u64;
        }
    }
}
