//! `clipctl cat`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use archive::NodeKind;
use std::os::unix::ffi::OsStrExt;

use crate::cli::{CatArgs, Global};
use crate::opened::{Opened, runtime};
use crate::output;
use crate::tree_walk::resolve;

/// Bytes read at a time: what a mount reads at most, so that read-ahead works as it does there.
const READ_BYTES: usize = 1 << 20;

pub(super) fn run(args: &CatArgs, global: &Global) -> Result<ExitCode> {
    let runtime = runtime()?;
    let opened = Opened::open(&args.archive, global, &args.cache, &args.registry, &runtime, read::ReadOptions::default())?;
    let node = resolve(opened.archive.index(), args.path.as_os_str().as_bytes())?;
    if node.kind != NodeKind::File {
        bail!("{}: not a regular file", args.path.display());
    }
    let mut at = 0;
    while at < node.size {
        let bytes = runtime.block_on(opened.reader.read(&node, at, READ_BYTES))?;
        at += bytes.len() as u64;
        output::write(&bytes)?;
    }
    Ok(ExitCode::SUCCESS)
}
