//! The worker dies, or is told to go: programs that read notice nothing, mounts stay what they were, and work is done once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use control::{Mount, State};
use serde_json::json;

use crate::support::{Bench, Worker, bounded, eventually, image, mounts_below, sh, signal, sum, sum_script, unpacked};

/// How often the worker is killed under its readers. The supervisor waits longer each time: all in all eleven seconds.
const DEATHS: u32 = 8;

/// Programs that read a mount again and again until the file `stop` is there, each in its way, and end with an error at the first wrong byte.
struct Readers {
    stop: PathBuf,
    all: Vec<(&'static str, Child, PathBuf)>,
}

impl Readers {
    fn start(worker: &Worker, mountpoint: &str, truth: &Path) -> Readers {
        let stop = worker.path("stop");
        let at = Path::new(mountpoint);
        let (truth_sum, big) = (sum(truth), largest(truth));
        let relative = big.strip_prefix(truth).unwrap().to_str().unwrap().to_owned();
        let big_sum = sh(&format!("sha256sum < '{}'", big.display()));
        let names = sh(&list_script(truth));
        let dropping = "echo 1 > /proc/sys/vm/drop_caches 2>/dev/null || true";
        let scripts = [
            ("one file, in order", format!("{dropping}; [[ $(sha256sum < '{mountpoint}/{relative}') == '{}' ]]", big_sum.trim())),
            ("all files", format!("[[ $({}) == '{}' ]]", sum_script(at), truth_sum.trim())),
            ("mapped", format!("python3 -c '{}' '{mountpoint}/{relative}' '{}'", MAPPED, big.display())),
            (
                "names and attributes",
                format!(
                    "echo 2 > /proc/sys/vm/drop_caches 2>/dev/null || true; diff <({}) '{}'",
                    list_script(at),
                    worker.path("names").display()
                ),
            ),
        ];
        fs::write(worker.path("names"), names).unwrap();
        let start = |(name, script): (&'static str, String)| {
            let said = worker.path(&format!("reader {name}"));
            let script = format!(
                "n=0; until [[ -e '{}' ]]; do {script} || {{ echo wrong; exit 1; }}; n=$((n+1)); done; echo rounds $n",
                stop.display()
            );
            let log = fs::File::create(&said).unwrap();
            let child =
                bounded("bash").args(["-c", &script]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
            (name, child, said)
        };
        let all = scripts.into_iter().map(start).collect();
        Readers { stop, all }
    }

    /// All of them must have found everything right, several times.
    #[track_caller]
    fn finish(self) {
        fs::write(&self.stop, "").unwrap();
        for (name, mut child, said) in self.all {
            let status = child.wait().unwrap();
            let said = fs::read_to_string(said).unwrap();
            assert!(status.success() && said.contains("rounds") && !said.contains("rounds 0"), "{name}: {status} {said}");
        }
    }
}

/// Compares a mapped file with another, page by page, and not in order.
const MAPPED: &str = r#"
import mmap, sys
a = open(sys.argv[1], "rb"); b = open(sys.argv[2], "rb").read()
m = mmap.mmap(a.fileno(), 0, prot=mmap.PROT_READ)
n = (len(b) + 4095) // 4096
for i in range(n):
    at = (i * 7919 % n) * 4096
    if m[at:at + 4096] != b[at:at + 4096]: sys.exit("page %d is wrong" % at)
"#;

fn list_script(directory: &Path) -> String {
    format!("cd '{}' && find . -mindepth 1 -printf '%p %y %m %s %l\\n' | sed '/ d /s/ [0-9]* $//' | LC_ALL=C sort", directory.display())
}

fn largest(directory: &Path) -> PathBuf {
    sh(&format!("find '{}' -type f -printf '%s %p\\n' | sort -n | tail -n 1 | cut -d' ' -f2-", directory.display())).trim().into()
}

/// What of a mount stays when workers come and go.
fn kept(mount: &Mount) -> (String, String, String, Option<String>, i64) {
    (mount.id.clone(), mount.mountpoint.clone(), mount.archive.clone(), mount.image.clone(), mount.created_ms)
}

#[test]
fn readers_notice_no_death_of_the_worker() {
    let mut worker = Bench::new().supervised();
    let truth = unpacked(&worker.bench, "codec-gzip-1");
    let mounts: Vec<Mount> = ["v1", "v2"].map(|version| worker.mount(&worker.pull("codec-gzip-1", version).id, version)).into();
    let readers = Readers::start(&worker, &mounts[1].mountpoint, &truth);
    let mut former = 0;
    for _ in 0..DEATHS {
        std::thread::sleep(Duration::from_millis(300));
        former = worker.kill();
        worker.wait_next(former);
    }
    let now = worker.mounts();
    assert_eq!(now.iter().map(kept).collect::<Vec<_>>(), mounts.iter().map(kept).collect::<Vec<_>>());
    assert!(now.iter().all(|mount| mount.resumed == DEATHS && mount.state == control::MountState::Serving), "{now:?}");
    readers.finish();
    assert_eq!(sum(&mounts[0].mountpoint), sum(&truth), "nobody read this one meanwhile");
    assert_ne!(worker.pid(), former);
    assert!(worker.status().mounts_are_kept);
    // What was kept can still be unmounted, and nothing of it is left.
    for mount in &mounts {
        worker.delete(&format!("/mounts/{}", mount.id)).none();
    }
    assert!(mounts_below(&worker.path("mnt")).is_empty() && worker.mounts().is_empty());
}

#[test]
fn jobs_at_work_when_the_worker_dies_are_done_once() {
    let mut worker = Bench::new().with("worker", json!({ "jobs": 2 })).supervised();
    let names = ["codec-gzip-1", "codec-gzip-9", "codec-gzip-pigz", "codec-zstd-one", "codec-zstd-seekable", "codec-tar"];
    let accepted = names.map(|name| worker.submit(json!({ "image": image(name) })));
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(150));
        let former = worker.kill();
        worker.wait_next(former);
    }
    for (accepted, name) in accepted.iter().zip(names) {
        let job = worker.wait_job(&accepted.job);
        assert_eq!(job.state, State::Success, "{name}: {job:?}");
        assert_eq!(worker.count("image.built", Some(&accepted.id)) + worker.count("image.cached", Some(&accepted.id)), 1, "{name}");
    }
    assert_eq!(sh(&format!("find '{}' -name '*.clip' | wc -l", worker.path("store").display())).trim(), names.len().to_string());
}

#[test]
fn a_worker_that_is_told_to_stop_hands_its_mounts_over() {
    let worker = Bench::new().supervised();
    let truth = unpacked(&worker.bench, "codec-gzip-1");
    let mount = worker.mount(&worker.pull("codec-gzip-1", "v2").id, "a");
    let readers = Readers::start(&worker, &mount.mountpoint, &truth);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        let former = worker.pid();
        signal(former, "TERM");
        worker.wait_next(former);
    }
    readers.finish();
    let now = worker.mounts();
    assert_eq!((now.len(), kept(&now[0]), now[0].resumed), (1, kept(&mount), 3));
}

#[test]
fn a_worker_that_is_to_unmount_does_so_when_it_stops() {
    let worker = Bench::new().with("worker", json!({ "shutdown": "unmount" })).supervised();
    let image = worker.pull("multi", "v2");
    worker.mount(&image.id, "free");
    let used = worker.mount(&image.id, "used");
    let mut user = std::process::Command::new("sleep").arg("50").current_dir(&used.mountpoint).spawn().unwrap();
    let former = worker.pid();
    signal(former, "TERM");
    worker.wait_next(former);
    assert!(mounts_below(&worker.path("mnt")).is_empty() && worker.mounts().is_empty());
    user.kill().unwrap();
    user.wait().unwrap();
    eventually("told", || worker.count("mount.gone", None) == 2);
}

#[test]
fn the_supervisor_that_is_told_to_stop_takes_all_with_it() {
    let mut worker = Bench::new().supervised();
    worker.mount(&worker.pull("multi", "v2").id, "a");
    let pid = worker.pid();
    signal(worker.child_pid(), "TERM");
    assert_eq!(worker.wait_end(), Some(0));
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    // Nobody keeps what was handed over: the next one cleans up.
    worker.restart();
    assert!(mounts_below(&worker.path("mnt")).is_empty() && worker.mounts().is_empty());
}

#[test]
fn a_new_program_at_the_same_place_is_what_starts_next() {
    let bench = Bench::new();
    let (program, next) = (bench.path("clip-worker"), bench.path("clip-worker.next"));
    fs::copy(env!("CARGO_BIN_EXE_clip-worker"), &program).unwrap();
    let mut worker = bench.program(&program).supervised();
    let mount = worker.mount(&worker.pull("multi", "v2").id, "a");
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    for n in 1..=2 {
        fs::copy(env!("CARGO_BIN_EXE_clip-worker"), &next).unwrap();
        fs::rename(&next, &program).unwrap();
        let former = worker.pid();
        if n == 1 {
            signal(former, "TERM");
        } else {
            worker.kill();
        }
        let pid = worker.wait_next(former);
        assert_eq!(inode(Path::new(&format!("/proc/{pid}/exe"))), inode(&program));
        assert_eq!((worker.mounts()[0].id.as_str(), worker.mounts()[0].resumed), (mount.id.as_str(), n));
    }
    assert!(!sh(&format!("ls '{}'", mount.mountpoint)).is_empty());
}

#[test]
fn without_a_keeper_a_dead_mount_is_taken_away_by_the_next_worker() {
    let mut worker = Bench::new().start();
    assert!(!worker.status().mounts_are_kept);
    let mount = worker.mount(&worker.pull("multi", "v2").id, "a");
    // One whose directory is in use stays in the mount table when it is dead.
    let mut user = std::process::Command::new("sleep").arg("50").current_dir(&mount.mountpoint).spawn().unwrap();
    worker.kill();
    worker.restart();
    assert!(mounts_below(&worker.path("mnt")).is_empty() && worker.mounts().is_empty());
    assert!(!Path::new(&mount.mountpoint).exists());
    eventually("told", || worker.count("mount.gone", None) == 1);
    let again = worker.mount(&worker.pull("multi", "v2").id, "a");
    assert!(!sh(&format!("ls '{}'", again.mountpoint)).is_empty());
    user.kill().unwrap();
    user.wait().unwrap();
}

#[test]
fn the_configuration_is_read_again_and_a_broken_one_changes_nothing() {
    let mut worker = Bench::new().supervised();
    let (pid, id) = (worker.pid(), worker.mount(&worker.pull("multi", "v2").id, "a").id);
    let messages = |worker: &Worker, text: &str| worker.log().iter().filter(|line| line["message"] == text).count();
    worker.bench.set("imageService", json!({ "clipVersion": "v1" }));
    worker.bench.set("log", json!({ "level": "debug" }));
    signal(pid, "HUP");
    eventually("the new configuration", || worker.status().clip_version == "v1");
    let accepted = worker.submit(json!({ "image": image("multi") }));
    assert_eq!(worker.wait_job(&accepted.job).clip_version, "v1");
    eventually("more lines", || worker.log().iter().any(|line| line["level"] == "DEBUG"));
    fs::write(worker.path("config.yaml"), "imageService: {clipVersion: v3}").unwrap();
    signal(pid, "HUP");
    eventually("a complaint", || messages(&worker, "the configuration stays as it was") == 1);
    let status = worker.status();
    assert_eq!((status.clip_version.as_str(), status.pid), ("v1", pid));
    assert_eq!(worker.mounts()[0].id, id);
    // A file that is whole again is taken.
    worker.bench.set("imageService", json!({ "clipVersion": "v2" }));
    signal(pid, "HUP");
    eventually("the new configuration", || worker.status().clip_version == "v2");
}
