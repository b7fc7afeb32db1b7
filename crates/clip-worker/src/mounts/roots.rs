//! Which mountpoints may be asked for: directories below the configured roots, whatever links and dots the path has.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use control::{Code, Problem};

/// A mountpoint that may be mounted on.
pub(crate) struct Fit {
    /// Canonical.
    pub path: PathBuf,
    /// Whether it was made just now.
    pub made: bool,
}

/// Checks `asked`, and makes its last part if it is not there. Who can rename directories below a root can move a mountpoint elsewhere in the meantime:
/// the caller compares where the mount has come to lie.
pub(crate) fn fit(asked: &str, roots: &[PathBuf]) -> Result<Fit, Problem> {
    let path = Path::new(asked);
    if !is_plain(path) {
        return Err(Problem::new(Code::InvalidRequest, format!("mountpoint '{}' is no absolute path without '..'", asked.escape_debug())));
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(not_allowed(asked, roots));
    };
    let unfit = |error: io::Error| Problem::new(Code::MountpointUnfit, format!("mountpoint {}: {error}", path.display()));
    // The path as a whole, if it is there: its last part may be a link, too.
    let canonical = match fs::canonicalize(path) {
        Ok(canonical) => canonical,
        // Nothing is made before it is known where: whoever asks must not have directories made outside of the roots.
        Err(error) if error.kind() == io::ErrorKind::NotFound => match canonical_parent(parent, roots) {
            Ok(parent) => parent.join(name),
            Err(error) if roots.iter().any(|root| parent.starts_with(root)) => return Err(unfit(error)),
            Err(_) => return Err(not_allowed(asked, roots)),
        },
        Err(error) => return Err(unfit(error)),
    };
    if canonical.to_str().is_none() || !roots.iter().any(|root| is_below(&canonical, root)) {
        return Err(not_allowed(asked, roots));
    }
    match fs::create_dir(&canonical) {
        Ok(()) => Ok(Fit { path: canonical, made: true }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Fit { path: canonical, made: false }),
        Err(error) => Err(unfit(error)),
    }
}

/// The canonical path of a mountpoint's parent. A root that is not there yet is made: it is configured, so it is wanted.
fn canonical_parent(parent: &Path, roots: &[PathBuf]) -> io::Result<PathBuf> {
    if roots.iter().any(|root| root == parent) {
        fs::create_dir_all(parent)?;
    }
    fs::canonicalize(parent)
}

/// Below, and not the root itself, which others need.
fn is_below(path: &Path, root: &Path) -> bool {
    let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    path.starts_with(&root) && path != root
}

/// Absolute, and made of names only.
fn is_plain(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    path.is_absolute()
        && text.len() < 4096
        && !text.contains(&0)
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

fn not_allowed(asked: &str, roots: &[PathBuf]) -> Problem {
    let roots: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
    let allowed = if roots.is_empty() {
        "nothing is: set worker.mountRoots".into()
    } else {
        format!("below {}: see worker.mountRoots", roots.join(", "))
    };
    Problem::new(Code::MountpointNotAllowed, format!("mountpoint '{}' is not allowed; {allowed}", asked.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_what_lies_below_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("there")).unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(&outside, root.join("link")).unwrap();
        symlink(root.join("there"), root.join("inner")).unwrap();
        let code =
            |path: &Path| fit(path.to_str().unwrap(), std::slice::from_ref(&root)).map(|fit| fit.made).map_err(|problem| problem.code);
        assert_eq!(code(&root.join("there")), Ok(false));
        assert_eq!(code(&root.join("inner")), Ok(false), "a link that stays inside");
        assert_eq!(code(&root.join("new")), Ok(true));
        for path in [root.clone(), outside.clone(), outside.join("new"), root.join("link"), root.join("link/new"), "/".into()] {
            assert_eq!(code(&path), Err(Code::MountpointNotAllowed), "{}", path.display());
        }
        assert_eq!(code(&root.join("there/../../outside/x")), Err(Code::InvalidRequest));
        for path in ["relative", "", "/x\0y", "./x"] {
            assert_eq!(
                fit(path, std::slice::from_ref(&root)).map(|_| ()).map_err(|problem| problem.code),
                Err(Code::InvalidRequest),
                "{path:?}"
            );
        }
        assert_eq!(code(&outside.join("deep/er")), Err(Code::MountpointNotAllowed));
        assert_eq!(code(&root.join("link/deep/er")), Err(Code::MountpointUnfit));
        assert_eq!(code(&root.join("no/parent")), Err(Code::MountpointUnfit));
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "nothing is made outside");
        fs::write(root.join("file"), b"").unwrap();
        assert_eq!(code(&root.join("file/x")), Err(Code::MountpointUnfit));
    }

    #[test]
    fn a_root_that_is_not_there_yet_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("later");
        assert!(fit(root.join("x").to_str().unwrap(), &[root]).unwrap().made);
    }
}
