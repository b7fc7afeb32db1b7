//! `clipctl images` and `clipctl rmi`.

use std::process::ExitCode;

use anyhow::Result;
use store::{ImageId, Store};

use crate::cli::{ImagesArgs, RmiArgs};
use crate::invocation::{Invocation, runtime};
use crate::worker;
use crate::{output, size};

/// Digits of an id that people are shown: enough to name it.
const SHOWN_DIGITS: usize = 12;

pub(super) fn list(args: &ImagesArgs, call: &Invocation) -> Result<ExitCode> {
    if let Some(worker) = call.worker(&args.worker)? {
        let images = worker.images()?;
        output::report(&worker::images::document(&images), call.global.json, false, || worker::images::text(&images))?;
        return Ok(ExitCode::SUCCESS);
    }
    let records = runtime()?.block_on(async { anyhow::Ok(call.settings.store().await?.list().await?) })?;
    if call.global.json {
        output::json(&records)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = format!("{:<SHOWN_DIGITS$}  {:<7}  {:>10}  {:>10}  IMAGE\n", "ID", "VERSION", "ARCHIVE", "FILES");
    for record in records {
        let fallback = if record.fallback.is_some() { "  (fell back from v2)" } else { "" };
        out.push_str(&format!(
            "{:<SHOWN_DIGITS$}  {:<7}  {:>10}  {:>10}  {}{fallback}\n",
            record.id.get(..SHOWN_DIGITS).unwrap_or(&record.id),
            record.version,
            size::human(record.archive_bytes),
            size::human(record.file_bytes),
            output::name(record.image.as_bytes()),
        ));
    }
    output::print(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// Removes what it can, and fails at the end if there was something that it could not.
pub(super) fn remove(args: &RmiArgs, call: &Invocation) -> Result<ExitCode> {
    if let Some(worker) = call.worker(&args.worker)? {
        return each(&args.ids, |given| worker.remove(given, args.force));
    }
    let runtime = runtime()?;
    let store = runtime.block_on(call.settings.store())?;
    each(&args.ids, |given| runtime.block_on(removed(&store, given)))
}

/// Removes an image from the store; returns its id.
async fn removed(store: &Store, given: &str) -> Result<String> {
    // By all of its id also what has no record, or a damaged one.
    let id = match given.parse::<ImageId>() {
        Ok(id) => id,
        Err(_) => store.resolve(given).await?.image_id()?,
    };
    if !store.remove(&id).await? {
        return Err(store::Error::NoSuchImage { id: given.into() }.into());
    }
    Ok(id.to_string())
}

fn each(ids: &[String], remove: impl Fn(&str) -> Result<String>) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for given in ids {
        match remove(given) {
            Ok(id) => output::print(&format!("{id}\n"))?,
            Err(error) => {
                eprintln!("clipctl: {}", output::printable(&format!("{error:#}")));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
