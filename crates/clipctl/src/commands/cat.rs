//! `clipctl cat`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use archive::NodeKind;
use std::os::unix::ffi::OsStrExt;

use crate::cli::CatArgs;
use crate::invocation::{Invocation, runtime};
use crate::output;
use crate::tree_walk::resolve;

/// Bytes read at a time: what a mount reads at most, so that read-ahead works as it does there.
const READ_BYTES: usize = 1 << 20;

pub(super) fn run(args: &CatArgs, call: &Invocation) -> Result<ExitCode> {
    let runtime = runtime()?;
    let opened = call.opened(&args.archive, &args.cache, &args.registry, &runtime, read::ReadOptions::default())?;
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
