//! A worker of a test's own: started, asked, killed, and gone with all its mounts when the test ends, however it ends.
//!
//! Tests look at the API as a client does that knows nothing of this code: plain HTTP over the socket. What comes back is read with the types of `control`.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use control::{Accepted, Event, Image, Job, Mount, Mounts, State, Status};
use serde_json::{Value, json};

use crate::http::{self, Answer};

/// Longest that any command of a test may take.
pub const COMMAND_SECONDS: u64 = 60;
/// Longest that a test may take: then all that it started is ended, and the test's process with it.
const TEST_MAX: Duration = Duration::from_secs(150);
/// What tests kill by hand.
pub const KILL: &str = "KILL";

/// A variable that `scripts/test` sets.
pub fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests through scripts/test"))
}

/// An image in the registry of the tests.
pub fn image(name: &str) -> String {
    format!("{}/{name}", given("CLIP_TEST_REGISTRY"))
}

/// A directory with a worker's configuration, and later all that the worker has.
pub struct Bench {
    dir: Option<tempfile::TempDir>,
    path: PathBuf,
    config: Value,
    program: PathBuf,
    is_over: Arc<AtomicBool>,
}

impl Bench {
    /// A new one.
    pub fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap();
        let config = json!({
            "imageService": { "storePath": path.join("store"), "clipVersion": "v2", "level": 1 },
            "cache": { "dir": path.join("cache") },
            "log": { "level": "info" },
            "worker": {
                "stateDir": path.join("state"), "socket": path.join("sock"), "mountRoots": [path.join("mnt")],
                "logFormat": "json", "shutdownSeconds": 10,
            },
        });
        fs::create_dir(path.join("mnt")).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let (watched, at) = (Arc::clone(&is_over), path.clone());
        std::thread::spawn(move || {
            std::thread::sleep(TEST_MAX);
            if !watched.load(Ordering::SeqCst) {
                eprintln!("the test hangs: all of it is ended");
                clean(&at);
                std::process::exit(101);
            }
        });
        let bench = Bench { dir: Some(dir), path, config, program: env!("CARGO_BIN_EXE_clip-worker").into(), is_over };
        bench.write();
        bench
    }

    /// The same with other settings of a section: `("worker", json!({"jobs": 1}))`.
    pub fn with(mut self, section: &str, settings: Value) -> Bench {
        self.set(section, settings);
        self
    }

    /// The same, run from another program.
    pub fn program(mut self, program: &Path) -> Bench {
        self.program = program.into();
        self
    }

    /// Changes the file of configuration.
    pub fn set(&mut self, section: &str, settings: Value) {
        for (key, value) in settings.as_object().unwrap() {
            self.config[section][key] = value.clone();
        }
        self.write();
    }

    fn write(&self) {
        // JSON is YAML.
        fs::write(self.path("config.yaml"), self.config.to_string()).unwrap();
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A worker without anybody who keeps its mounts, ready.
    #[track_caller]
    pub fn start(self) -> Worker {
        self.launch(false)
    }

    /// A worker under `clip-worker supervise`, ready.
    #[track_caller]
    pub fn supervised(self) -> Worker {
        self.launch(true)
    }

    #[track_caller]
    fn launch(self, is_supervised: bool) -> Worker {
        let child = self.spawn(is_supervised);
        let mut worker = Worker { bench: self, child, is_supervised };
        worker.wait_ready();
        worker
    }

    fn spawn(&self, is_supervised: bool) -> Child {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CLIP_") || name == "NOTIFY_SOCKET") {
            command.env_remove(name);
        }
        if is_supervised {
            command.arg("supervise");
        }
        command.arg("--config").arg(self.path("config.yaml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0).spawn().unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the worker's log:\n{}", lines[lines.len().saturating_sub(25)..].join("\n"));
        }
        clean(&self.path);
        drop(self.dir.take());
    }
}

/// Ends every process that names the test's directory in its command line, and unmounts all that lies below it.
fn clean(directory: &Path) {
    for _ in 0..20 {
        let mut found = false;
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let needle = directory.as_os_str().as_encoded_bytes();
            if line.windows(needle.len()).any(|part| part == needle) {
                found = true;
                signal(pid as u32, KILL);
            }
        }
        if !found {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for mountpoint in mounts_below(directory).iter().rev() {
        let _ = rustix::mount::unmount(mountpoint, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Mountpoints below a directory, as the kernel has them.
pub fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(point.replace("\\040", " ")));
    points.filter(|point| point.starts_with(directory)).collect()
}

/// A worker at work.
pub struct Worker {
    // Dropped by hand in this order: `Bench` ends all processes.
    child: Child,
    pub bench: Bench,
    is_supervised: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The supervisor first: else it starts another worker.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    pub fn path(&self, name: &str) -> PathBuf {
        self.bench.path(name)
    }

    /// A mountpoint that may be asked for.
    pub fn point(&self, name: &str) -> String {
        self.path("mnt").join(name).to_str().unwrap().to_owned()
    }

    /// Any request.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The same; an error if nobody answers.
    pub fn try_ask(&self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let kind = if body.is_empty() { &[][..] } else { &[("content-type", "application/json")] };
        http::ask(&self.path("sock"), method, &below(path), kind, body.as_bytes())
    }

    #[track_caller]
    pub fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        self.ask("GET", path, None).read(200)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, Some(&body))
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, None)
    }

    /// Waits until it takes work.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if self.try_ask("GET", "/readyz", None).is_ok_and(|answer| answer.status == 200) {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the worker ended at once: {status}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the worker does not become ready");
    }

    pub fn status(&self) -> Status {
        self.get("/status")
    }

    /// The process of the worker, not of its supervisor.
    pub fn pid(&self) -> u32 {
        self.status().pid
    }

    /// Kills the worker's process; under a supervisor the next one comes by itself.
    pub fn kill(&mut self) -> u32 {
        let pid = self.pid();
        signal(pid, KILL);
        if !self.is_supervised {
            self.child.wait().unwrap();
        }
        pid
    }

    /// The child: the worker, or its supervisor.
    pub fn child_pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the child has ended by itself, and returns its exit code.
    #[track_caller]
    pub fn wait_end(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("the end of the worker", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    /// Starts it again, where nobody else does.
    #[track_caller]
    pub fn restart(&mut self) {
        self.restart_unready();
        self.wait_ready();
    }

    /// The same; nothing is known of it yet.
    pub fn restart_unready(&mut self) -> &Worker {
        self.child = self.bench.spawn(self.is_supervised);
        self
    }

    /// Waits until another process than `former` answers and is ready.
    #[track_caller]
    pub fn wait_next(&self, former: u32) -> u32 {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if let Ok(answer) = self.try_ask("GET", "/status", None)
                && answer.status == 200
                && answer.json()["pid"] != former
                && self.try_ask("GET", "/readyz", None).is_ok_and(|answer| answer.status == 200)
            {
                return answer.json()["pid"].as_u64().unwrap() as u32;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no worker follows {former}");
    }

    /// Asks for an image.
    #[track_caller]
    pub fn submit(&self, request: Value) -> Accepted {
        self.post("/images", request).read(202)
    }

    /// Waits until a job has ended.
    #[track_caller]
    pub fn wait_job(&self, job: &str) -> Job {
        let mut last = None;
        for _ in 0..600 {
            let job: Job = self.get(&format!("/jobs/{job}"));
            if job.state.is_finished() {
                return job;
            }
            last = Some(job);
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the job does not end: {last:?}");
    }

    /// Pulls an image of the tests' registry, which must succeed.
    #[track_caller]
    pub fn pull(&self, name: &str, version: &str) -> Image {
        let accepted = self.submit(json!({ "image": image(name), "clip_version": version }));
        let job = self.wait_job(&accepted.job);
        assert_eq!(job.state, State::Success, "{job:?}");
        self.get(&format!("/images/{}", accepted.id))
    }

    /// Mounts an image by its id.
    #[track_caller]
    pub fn mount(&self, image: &str, name: &str) -> Mount {
        self.post("/mounts", json!({ "image": image, "mountpoint": self.point(name) })).read(201)
    }

    pub fn mounts(&self) -> Vec<Mount> {
        self.get::<Mounts>("/mounts").mounts
    }

    /// All events so far: those behind which nothing comes for a moment.
    pub fn events(&self) -> Vec<Event> {
        let mut stream = self.follow("/events?after=0", None);
        let frames = std::iter::from_fn(|| stream.next_within(Duration::from_millis(200)));
        frames.map(|frame| serde_json::from_str(&frame.data).unwrap()).collect()
    }

    /// How many events of a name there are, about an image's id if one is given.
    pub fn count(&self, name: &str, image_id: Option<&str>) -> usize {
        let events = self.events();
        events.iter().filter(|event| event.event == name && (image_id.is_none() || event.image_id.as_deref() == image_id)).count()
    }

    /// A stream of events.
    pub fn follow(&self, path: &str, last: Option<u64>) -> http::Stream {
        http::follow(&self.path("sock"), &below(path), last)
    }

    /// Lines of the log, as JSON.
    pub fn log(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.path("log")).unwrap();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// Paths below /api/v1, but for those at the root.
fn below(path: &str) -> String {
    let is_root = ["/healthz", "/readyz", "/metrics", "/version", "/api"].iter().any(|root| path.starts_with(root));
    if is_root { path.into() } else { format!("{}{path}", control::PREFIX) }
}

/// Sends a signal to a process by its id.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args(["-s", name, &pid.to_string()]).stderr(Stdio::null()).status();
}

/// A command that is killed after [`COMMAND_SECONDS`].
pub fn bounded(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", &COMMAND_SECONDS.to_string()]).arg(program);
    command
}

/// Runs a shell script under a limit, and returns what came of it.
pub fn run(script: &str) -> Output {
    bounded("bash").args(["-euo", "pipefail", "-c", script]).stdin(Stdio::null()).output().unwrap()
}

/// Runs a shell script under a limit; it must succeed. Returns what it printed.
#[track_caller]
pub fn sh(script: &str) -> String {
    let output = run(script);
    assert!(output.status.success(), "{script}\n{}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command printed.
pub fn said(output: &Output) -> String {
    format!("{:?} {}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The sha256 of all files below a directory, by name, as one.
#[track_caller]
pub fn sum(directory: impl AsRef<Path>) -> String {
    sh(&sum_script(directory.as_ref()))
}

/// The script of [`sum`].
pub fn sum_script(directory: &Path) -> String {
    format!("cd '{}' && find . -xdev -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum", directory.display())
}

/// Unpacks the only layer of a test image with tar, as the truth.
#[track_caller]
pub fn unpacked(bench: &Bench, name: &str) -> PathBuf {
    let (to, from) = (bench.path(&format!("truth-{name}")), Path::new(&given("CLIP_TEST_IMAGES")).join(name));
    let largest = format!("find '{}/blobs' -type f -printf '%s %p\\n' | sort -n | tail -n1 | cut -d' ' -f2-", from.display());
    sh(&format!("mkdir '{0}' && tar -C '{0}' -xf \"$({largest})\"", to.display()));
    to
}

/// Waits until something holds, at most 20 seconds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    panic!("{what} did not come to hold");
}
