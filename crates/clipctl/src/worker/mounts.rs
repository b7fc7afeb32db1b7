//! What `clipctl mount` and `clipctl umount` ask of a worker.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use control::{Code, Error, Mount, MountRequest, Mounts, segment};

use super::Worker;
use crate::cli::{MountArgs, UmountArgs};

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
        let mount = self.wait(self.client.post::<Mount>("/mounts", &request)).map_err(with_advice)?;
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
            self.client.delete(&format!("/mounts/{}", segment(&mount.id)), force).await.map_err(with_advice)?;
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

/// What can be done about it.
fn with_advice(error: Error) -> anyhow::Error {
    let advice = match error.problem().map(|problem| problem.code) {
        Some(Code::MountpointNotAllowed) => {
            "name a directory below one of worker.mountRoots, add one there, or mount without the worker (--no-worker)"
        }
        Some(Code::Busy) => "--lazy unmounts it all the same",
        _ => return error.into(),
    };
    anyhow::anyhow!("{error}; {advice}")
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
        let said = |code| with_advice(Error::Problem(Box::new(Problem::new(code, "/x is not below /mnt")))).to_string();
        assert!(said(Code::MountpointNotAllowed).starts_with("/x is not below /mnt; name a directory below one of worker.mountRoots"));
        assert_eq!(said(Code::NotFound), "/x is not below /mnt");
    }
}
