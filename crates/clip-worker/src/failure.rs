//! What kind of failure an error is: a code for programs, and whether another attempt may go better.

use control::{Code, Problem};
use image::LayerError;
use jobs::Failure;
use node::explain;

/// Of a job.
pub(crate) fn of_job(error: &anyhow::Error) -> Failure {
    let (code, is_transient) = kind(error);
    Failure::new(code, &explain(error), is_transient)
}

/// Of a request that needed the queue.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
pub(crate) fn of_queue(error: jobs::Error) -> Problem {
    let code = match error {
        jobs::Error::Full { .. } => Code::QueueFull,
        jobs::Error::Invalid { .. } => Code::InvalidRequest,
        jobs::Error::Unavailable { .. } | jobs::Error::Disk { .. } | jobs::Error::Io { .. } => Code::Unavailable,
        _ => Code::Internal,
    };
    Problem::new(code, error.to_string())
}

/// The code, and whether another attempt may go better.
pub(crate) fn kind(error: &anyhow::Error) -> (&'static str, bool) {
    if let Some(error) = error.chain().find_map(backend_error) {
        return backend(error);
    }
    error.chain().find_map(other).unwrap_or(("failed", false))
}

/// The error of a registry or of S3, wherever it is wrapped: transparent variants are no links of the chain.
fn backend_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e backend::Error> {
    if let Some(error) = error.downcast_ref::<backend::Error>() {
        return Some(error);
    }
    if let Some(store::Error::Backend(error) | store::Error::Location(error)) = error.downcast_ref::<store::Error>() {
        return Some(error);
    }
    match error.downcast_ref::<image::Error>()? {
        image::Error::Backend(error) => Some(error),
        image::Error::Layer { source, .. } => {
            if let LayerError::Backend(error) = source.as_ref() {
                Some(error)
            } else {
                None
            }
        }
        _ => None,
    }
}

fn backend(error: &backend::Error) -> (&'static str, bool) {
    match error {
        backend::Error::NotFound { .. } => ("not-found", false),
        backend::Error::Denied { .. } => ("denied", false),
        backend::Error::RateLimited { .. } => ("rate-limited", true),
        error if error.is_transient() => ("unavailable", true),
        backend::Error::Tls { .. } => ("tls", false),
        // What stands before a registry that is being restarted answers anything.
        backend::Error::Protocol { .. } => ("protocol", true),
        backend::Error::Changed { .. } => ("changed", true),
        backend::Error::Io { .. } => ("io", true),
        _ => ("failed", false),
    }
}

fn other(error: &(dyn std::error::Error + 'static)) -> Option<(&'static str, bool)> {
    if let Some(error) = error.downcast_ref::<image::Error>() {
        return Some(match error {
            image::Error::Name { .. } => ("invalid-image-name", false),
            image::Error::Platform { .. } => ("no-such-platform", false),
            image::Error::Io { .. } => ("io", true),
            image::Error::Archive(archive::Error::Io { .. }) | image::Error::Pack(_) => ("io", true),
            image::Error::Layer { source, .. } if matches!(source.as_ref(), LayerError::Io(_) | LayerError::Changed(_)) => ("io", true),
            _ => ("invalid-image", false),
        });
    }
    if let Some(error) = error.downcast_ref::<store::Error>() {
        return Some(match error {
            store::Error::Busy { .. } => ("store-busy", true),
            store::Error::Io { .. } => ("io", true),
            store::Error::NoSuchImage { .. } => ("not-found", false),
            _ => ("store", false),
        });
    }
    error.downcast_ref::<std::io::Error>().map(|_| ("io", true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn what_is_wrapped_is_found() {
        let away = || backend::Error::unavailable("x", "away");
        for error in [
            anyhow::Error::from(away()).context("pull"),
            Err::<(), _>(image::Error::Backend(away())).context("pull").unwrap_err(),
            Err::<(), _>(store::Error::Backend(away())).context("store").unwrap_err(),
        ] {
            assert_eq!(kind(&error), ("unavailable", true));
        }
        assert_eq!(kind(&anyhow::Error::from(std::io::Error::other("full"))), ("io", true));
        assert_eq!(kind(&anyhow::anyhow!("no v2 archive can be made")), ("failed", false));
    }
}
