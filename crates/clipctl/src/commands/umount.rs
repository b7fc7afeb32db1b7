//! `clipctl umount`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::UmountArgs;

pub(super) fn run(args: &UmountArgs) -> Result<ExitCode> {
    ::mount::unmount(&args.mountpoint, args.lazy)?;
    Ok(ExitCode::SUCCESS)
}
