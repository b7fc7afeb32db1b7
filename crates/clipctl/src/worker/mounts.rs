//! What `clipctl mount` and `clipctl umount` ask of a worker.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use control::{Code, Error, Mount, MountRequest, Mounts, segment};

use super::Worker;
use crate::cli::{MountArgs, UmountArgs};

/// What to do where the worker must not mount.
const ELSEWHERE: &str = "name a directory below one of worker.mountRoots, add one there, or mount without the worker (--no-worker)";
/// What to do where programs use the mount.
const LAZILY: &str = "--lazy unmounts it all the same";

impl Worker {
    /// Has an archive mounted.
    pub fn mount(&self, args: &MountArgs) -> Result<()> {
        let archive = node::absolute(&args.archive).with_context(|| format!("resolve {}", args.archive.display()))?;
        let request = MountRequest {
            archive: Some(archive.to_string_lossy().into_owned()),
            mountpoint: absolute(&args.mountpoint)?.to_string_lossy().into_owned(),
            nonempty: args.nonempty,
            nosuid: args.nosuid,
            ..MountRequest::default()
        };
        let mount = self
            .wait(self.client.post::<Mount>("/mounts", &request))
            .map_err(|error| advised(error, Code::MountpointNotAllowed, ELSEWHERE))?;
        tracing::info!(mountpoint = mount.mountpoint, id = mount.id, "the worker has mounted it");
        Ok(())
    }

    /// Unmounts what is at a mountpoint, if it is a mount of the worker's. Whether it was.
    pub fn unmount(&self, args: &UmountArgs) -> Result<bool> {
        // The mount table knows it without links; a worker may also mount where this process does not see it.
        let mountpoint = match ::mount::find(&args.mountpoint)? {
            Some(entry) => entry.mountpoint,
            None => absolute(&args.mountpoint)?,
        };
        self.wait(async {
            let Mounts { mounts } = self.client.get("/mounts", &[]).await?;
            let Some(mount) = mounts.iter().find(|mount| Path::new(&mount.mountpoint) == mountpoint) else { return Ok(false) };
            let force: &[(&str, &str)] = if args.lazy { &[("force", "true")] } else { &[] };
            self.client
                .delete(&format!("/mounts/{}", segment(&mount.id)), force)
                .await
                .map_err(|error| advised(error, Code::Busy, LAZILY))?;
            Ok(true)
        })
    }
}

/// A mountpoint for a process that works in another directory.
fn absolute(mountpoint: &Path) -> Result<PathBuf> {
    // The worker takes no path that climbs. Without that nothing need be looked at: what lies there may hang.
    let climbs = mountpoint.components().any(|component| component == Component::ParentDir);
    let absolute = if climbs { mountpoint.canonicalize() } else { std::path::absolute(mountpoint) };
    // Collecting the components drops a trailing slash.
    absolute.map(|path| path.components().collect()).with_context(|| format!("resolve {}", mountpoint.display()))
}

/// The error, with what can be done about it where it is this one.
fn advised(error: Error, code: Code, advice: &str) -> anyhow::Error {
    match error.problem() {
        Some(problem) if problem.code == code => anyhow!("{error}; {advice}"),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use control::Problem;

    use super::*;

    #[test]
    fn mountpoints() {
        assert_eq!(absolute(Path::new("/mnt/x/")).unwrap(), Path::new("/mnt/x"));
        assert_eq!(absolute(Path::new("x")).unwrap(), std::env::current_dir().unwrap().join("x"));
        assert_eq!(absolute(Path::new("/usr/..")).unwrap(), Path::new("/"));
        assert!(absolute(Path::new("/nonexistent/../x")).is_err());
    }

    #[test]
    fn advice() {
        let said = |code| {
            let error = Error::Problem(Box::new(Problem::new(code, "/x is not below /mnt")));
            advised(error, Code::MountpointNotAllowed, ELSEWHERE).to_string()
        };
        assert_eq!(said(Code::MountpointNotAllowed), format!("/x is not below /mnt; {ELSEWHERE}"));
        assert_eq!(said(Code::NotFound), "/x is not below /mnt");
    }
}
