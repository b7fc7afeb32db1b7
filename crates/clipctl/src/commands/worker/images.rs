//! `clipctl worker images`: the worker's own document for programs, where `clipctl images` has the one of a store.

use std::process::ExitCode;

use anyhow::Result;
use control::Images;

use super::Asked;
use crate::worker::images::text;

pub(super) fn list(asked: &Asked) -> Result<ExitCode> {
    let images = Images { images: asked.worker.images()? };
    asked.print(&images, || text(&images.images))
}
