//! What all modules use: where images and registries are, running clipctl, and mounts that are gone when a test ends, however it ends.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// Longest that any command of a test may take. FUSE can freeze whoever touches a mount: every command runs under `timeout -s KILL`.
pub const COMMAND_SECONDS: u64 = 120;

/// A variable that `scripts/test` sets.
fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests through scripts/test"))
}

/// The OCI layout of a test image.
pub fn layout(name: &str) -> PathBuf {
    let path = Path::new(&given("CLIP_TEST_IMAGES")).join(name);
    assert!(path.exists(), "{} is missing: scripts/images builds it", path.display());
    path
}

/// The plain registry, as host:port.
pub fn registry() -> String {
    given("CLIP_TEST_REGISTRY")
}

/// The registry that wants user `clip` and password `secret`, as host:port.
pub fn registry_with_login() -> String {
    given("CLIP_TEST_REGISTRY_AUTH")
}

/// The registry that speaks TLS, as host:port, and the file of its CA.
pub fn registry_with_tls() -> (String, PathBuf) {
    (given("CLIP_TEST_REGISTRY_TLS"), given("CLIP_TEST_CA").into())
}

/// A directory for one test, with a cache of its own.
pub struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// A new, empty one.
    pub fn new() -> Bench {
        Bench { dir: tempfile::tempdir().unwrap() }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// clipctl with this bench's cache and worker (none, unless a test starts one at `worker.sock`), killed after [`COMMAND_SECONDS`].
    pub fn clipctl<I: IntoIterator<Item = A>, A: AsRef<OsStr>>(&self, arguments: I) -> Command {
        let mut command = bounded(env!("CARGO_BIN_EXE_clipctl"));
        command.args(arguments).env("CLIP_CACHE_DIR", self.path("cache"));
        command.env("CLIP_WORKER__SOCKET", self.path("worker.sock")).env_remove("CLIP_NO_WORKER");
        command
    }

    /// Runs clipctl, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn ok<I: IntoIterator<Item = A>, A: AsRef<OsStr>>(&self, arguments: I) -> String {
        let output = self.clipctl(arguments).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs clipctl, which must fail by itself (no signal, no panic), and returns what it complained.
    #[track_caller]
    pub fn fails<I: IntoIterator<Item = A>, A: AsRef<OsStr>>(&self, arguments: I) -> String {
        let output = self.clipctl(arguments).output().unwrap();
        let said = said(&output);
        assert!(matches!(output.status.code(), Some(1 | 2)) && !said.contains("panicked"), "{:?}: {said}", output.status);
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Indexes an image into `NAME.clip`.
    #[track_caller]
    pub fn index(&self, image: &str, name: &str) -> PathBuf {
        let archive = self.path(&format!("{name}.clip"));
        self.ok([OsStr::new("index"), image.as_ref(), "-o".as_ref(), archive.as_ref(), "--quiet".as_ref()]);
        archive
    }

    /// Mounts an archive on `NAME`.
    #[track_caller]
    pub fn mount(&self, archive: &Path, name: &str) -> Mount {
        self.mount_with(archive, name, &[]).0
    }

    /// Mounts an archive on `NAME` with more flags. Returns also what the command said, which is nothing when all is well.
    #[track_caller]
    pub fn mount_with(&self, archive: &Path, name: &str, flags: &[&str]) -> (Mount, String) {
        let target = self.path(name);
        std::fs::create_dir_all(&target).unwrap();
        let output = self.clipctl([OsStr::new("mount"), archive.as_ref(), target.as_ref()]).args(flags).output().unwrap();
        let mount = Mount { target };
        assert!(output.status.success(), "{}", said(&output));
        (mount, said(&output))
    }

    /// What a mount says of itself.
    #[track_caller]
    pub fn stats(&self, mount: &Mount) -> serde_json::Value {
        serde_json::from_str(&self.ok(["stats".as_ref(), "--json".as_ref(), mount.path().as_os_str()])).unwrap()
    }

    /// Unmounts, and waits until the server has ended: what it did to the cache is done.
    #[track_caller]
    pub fn umount(&self, mount: Mount) {
        // A zombie has no program: whoever inherits it may take a while to see to it.
        let server = PathBuf::from(format!("/proc/{}/exe", self.stats(&mount)["pid"]));
        self.ok(["umount".as_ref(), mount.path().as_os_str()]);
        drop(mount);
        eventually("the server's end", || std::fs::read_link(&server).is_err());
    }
}

/// A mount of a test. Unmounted lazily on drop, so that no test can leave one behind.
pub struct Mount {
    target: PathBuf,
}

impl Mount {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Guards a mount that something else made.
    pub fn guard(target: &Path) -> Mount {
        Mount { target: target.into() }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.target, rustix::mount::UnmountFlags::DETACH);
    }
}

/// A command that is killed after [`COMMAND_SECONDS`].
pub fn bounded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", &COMMAND_SECONDS.to_string()]).arg(program);
    command
}

/// Runs a shell script under a limit; it must succeed. Returns what it printed.
#[track_caller]
pub fn sh(script: &str) -> String {
    let output = bounded("bash").args(["-euo", "pipefail", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command printed, for a message.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until something holds, at most ten seconds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..200 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} did not come to hold");
}
