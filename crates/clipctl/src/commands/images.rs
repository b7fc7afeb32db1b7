//! `clipctl images` and `clipctl rmi`.

use std::process::ExitCode;

use anyhow::Result;
use store::ImageId;

use crate::cli::RmiArgs;
use crate::invocation::{Invocation, runtime};
use crate::{output, size};

/// Digits of an id that people are shown: enough to name it.
const SHOWN_DIGITS: usize = 12;

pub(super) fn list(call: &Invocation) -> Result<ExitCode> {
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
    runtime()?.block_on(async {
        let store = call.settings.store().await?;
        let mut failed = false;
        for given in &args.ids {
            let removed = async {
                // By all of its id also what has no record, or a damaged one.
                let id = match given.parse::<ImageId>() {
                    Ok(id) => id,
                    Err(_) => store.resolve(given).await?.image_id()?,
                };
                if !store.remove(&id).await? {
                    return Err(store::Error::NoSuchImage { id: given.clone() }.into());
                }
                anyhow::Ok(id)
            };
            match removed.await {
                Ok(id) => output::print(&format!("{id}\n"))?,
                Err(error) => {
                    eprintln!("clipctl: {}", output::printable(&format!("{error:#}")));
                    failed = true;
                }
            }
        }
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
}
