//! Mounts that outlive their servers.
//!
//! This process only keeps the descriptor: it opens nothing in the mount (it would wait for a server that it has yet to start). Servers and readers are
//! processes of their own; servers are this test binary again, with the descriptor as their standard input.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mount::{Error, Handover, MountOptions, Mounted, Remains};

use super::fixture::{self, BIG_BYTES, Fixture};

/// How late the backend is: reads are under way most of the time, and so at the moment of a SIGKILL.
const DELAY: Duration = Duration::from_millis(3);
/// How long a server lives.
const LIFE: Duration = Duration::from_millis(100);
const KILLS: u32 = 30;
const LEAVES: u32 = 10;

macro_rules! slow {
    ($fixture:ident) => {
        let Some(mut $fixture) = Fixture::start_slow(DELAY, MountOptions::default()) else {
            eprintln!("SKIPPED: needs root and /dev/fuse");
            return;
        };
    };
}

#[test]
fn nobody_notices_that_servers_die() {
    slow!(f);
    let mut kept = Kept::from(f.take_mounted());
    let stop = f.outside("stop");
    let until = format!("until [ -e {} ]; do", stop.display());
    let drop_pages = "dd if=big iflag=nocache count=0 status=none";
    let blob = f.outside("blob");
    let sequential = format!("{until} cmp -i 0:8192 big {} || exit; {drop_pages}; n=$((n+1)); done; echo $n passes", blob.display());
    let storm = format!(
        "exec 2>&1; {until} find . -printf '%i %s %m\n' | sort | md5sum > {0}.new && stat -f . > /dev/null && getfattr -n user.color guarded > /dev/null || exit
         [ -e {0} ] || cp {0}.new {0}; cmp {0} {0}.new || exit; n=$((n+1)); done; echo $n passes",
        f.outside("listing").display()
    );
    let impatient = format!(
        "exec 2> /dev/null; {until} for s in INT KILL; do timeout -s $s 0.03 cat big sparse > /dev/null; done; {drop_pages}; n=$((n+1)); done; echo $n passes"
    );
    kept.serve_next(f.outside(""), None);
    let mut readers: Vec<_> = [&sequential, &sequential, &storm, &impatient].into_iter().map(|script| f.spawn(script)).collect();
    let mapper = spawn_mapper(f.mountpoint(), &stop);

    let mut times = Vec::new();
    for _ in 0..KILLS {
        std::thread::sleep(LIFE);
        forget_names(f.mountpoint());
        times.push(kept.kill_and_serve_next(f.outside("")));
    }
    for _ in 0..LEAVES {
        forget_names(f.mountpoint());
        kept.end_and_serve_next(f.outside(""));
    }
    File::create(&stop).unwrap();
    for (reader, what) in readers.iter_mut().zip(["sequential", "sequential", "storm", "impatient"]) {
        let said = reader.finish();
        eprintln!("{what}: {said}");
        assert!(said.ends_with(" passes") && said.lines().count() == 1, "{what}: {said}");
    }
    let mapped = mapper.wait_with_output().unwrap();
    assert!(mapped.status.success(), "{}", String::from_utf8_lossy(&mapped.stdout));
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!("{KILLS} SIGKILLs, from kill(2) to served: median {median:?}, worst {worst:?}; of that {:?} in resume", kept.resume_times());
}

#[test]
fn a_mount_is_left_and_taken_up_in_one_process() {
    slow!(f);
    let mut reader =
        f.spawn("for i in 1 2 3 4 5 6 7 8; do cat big | md5sum; dd if=big iflag=nocache count=0 status=none; done | sort -u | wc -l");
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(30));
        let mounted = f.take_mounted();
        let kept = Kept::from(mounted);
        f.put_mounted(f.resume(&kept.handover, kept.device()).unwrap());
        drop(kept);
    }
    assert_eq!(reader.finish(), "1");
    assert_eq!(f.run("cat big | wc -c"), BIG_BYTES.to_string());
    let handover = f.mounted().handover().clone();
    drop(f.take_mounted());
    assert_eq!(mount::clean_up(&handover).unwrap(), Remains::Nothing, "dropping a resumed mount takes it down");
}

#[test]
fn leaving_answers_what_is_under_way_and_ends_threads_that_sleep() {
    let Some(mut f) = Fixture::start_slow(Duration::from_millis(300), MountOptions::default()) else { return };
    let mut reader = f.spawn("dd if=file iflag=direct bs=5000 2> /dev/null | wc -c");
    std::thread::sleep(Duration::from_millis(150));
    let mounted = f.take_mounted();
    let (device, handover) = (mounted.descriptor().unwrap().try_clone_to_owned().unwrap(), mounted.handover().clone());
    let begun = Instant::now();
    mounted.leave(Duration::from_secs(5)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(reader.finish(), "5000", "answered although nobody serves any more");
    let mut waiting = f.spawn("stat -f -c %c .");
    std::thread::sleep(Duration::from_millis(100));
    f.put_mounted(f.resume(&handover, device).unwrap());
    assert_eq!(waiting.finish(), fixture::INODES.to_string(), "the request waited in the kernel's queue");
}

#[test]
fn leaving_without_a_keeper_ends_the_mount_and_it_is_cleaned_up() {
    slow!(f);
    let handover = f.mounted().handover().clone();
    assert_eq!(mount::clean_up(&handover).unwrap(), Remains::Alive);
    f.take_mounted().leave(Duration::ZERO).unwrap();
    let said = fixture::shell(&format!("stat -f {}", f.mountpoint().display()), Path::new("/")).1;
    assert!(said.ends_with("Transport endpoint is not connected"), "{said}");
    let covered = format!("mount -t tmpfs none {}", f.mountpoint().display());
    assert_eq!(fixture::shell(&covered, Path::new("/")).1, "");
    assert_eq!(mount::clean_up(&handover).unwrap(), Remains::Covered);
    fixture::shell(&format!("umount {}", f.mountpoint().display()), Path::new("/"));
    assert_eq!(mount::clean_up(&handover).unwrap(), Remains::Removed);
    assert_eq!(mount::clean_up(&handover).unwrap(), Remains::Nothing);
}

#[test]
fn what_cannot_be_served_again_is_refused() {
    slow!(f);
    let Some(mut other) = Fixture::start_plain(MountOptions::default()) else { return };
    let (kept, others) = (Kept::from(f.take_mounted()), Kept::from(other.take_mounted()));
    assert!(matches!(f.resume(&kept.handover, others.device()), Err(Error::ForeignDescriptor { .. })));
    assert!(matches!(f.resume(&kept.handover, File::open("/dev/null").unwrap().into()), Err(Error::ForeignDescriptor { .. })));
    assert!(matches!(f.resume(&others.handover, others.device()), Err(Error::OtherArchive { .. })));
    let mut later = serde_json::to_value(&kept.handover).unwrap();
    later["contract"] = 99.into();
    let later: Handover = serde_json::from_value(later).unwrap();
    assert!(matches!(f.resume(&later, kept.device()), Err(Error::OtherContract { .. })));
    mount::unmount(f.mountpoint(), true).unwrap();
    assert!(matches!(f.resume(&kept.handover, kept.device()), Err(Error::Gone { .. })));
}

#[test]
fn a_mount_that_was_moved_or_bound_is_found() {
    slow!(f);
    let kept = Kept::from(f.take_mounted());
    let (at, bound) = (f.mountpoint().to_owned(), f.outside("bound"));
    std::fs::create_dir(&bound).unwrap();
    let said = fixture::shell(&format!("mount --bind {0} {1} && umount -l {0}", at.display(), bound.display()), Path::new("/")).1;
    assert_eq!(said, "");
    let mounted = f.resume(&kept.handover, kept.device()).unwrap();
    assert_eq!(mounted.mountpoint(), bound.canonicalize().unwrap());
    assert_eq!(mounted.handover().mountpoint(), mounted.mountpoint());
    assert_eq!(fixture::shell(&format!("cat {}/file | wc -c", bound.display()), Path::new("/")).0, "5000");
    drop(mounted);
    assert_eq!(mount::clean_up(&kept.handover).unwrap(), Remains::Nothing);
}

/// What a keeper has: the descriptor and the note. Dropping it ends the mount, if nobody else has the descriptor.
struct Kept {
    device: OwnedFd,
    handover: Handover,
    server: Option<Child>,
    /// Microseconds that each server needed in `resume`.
    resumed_us: Vec<u64>,
}

impl Kept {
    fn from(mounted: Mounted) -> Kept {
        let (device, handover) = (mounted.descriptor().unwrap().try_clone_to_owned().unwrap(), mounted.handover().clone());
        mounted.leave(Duration::from_millis(200)).unwrap();
        Kept { device, handover, server: None, resumed_us: Vec::new() }
    }

    fn device(&self) -> OwnedFd {
        self.device.try_clone().unwrap()
    }

    /// Starts a server and waits until it serves.
    fn serve_next(&mut self, directory: PathBuf, life: Option<Duration>) {
        let mut command = this_binary("server_process");
        command.env("CLIP_TEST_DIRECTORY", directory).env("CLIP_TEST_HANDOVER", serde_json::to_string(&self.handover).unwrap());
        command.env("CLIP_TEST_LIFE_MS", life.map_or(0, |life| life.as_millis()).to_string());
        let mut server = command.stdin(self.device()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(server.stdout.take().unwrap()).lines();
        self.server = Some(server);
        let served = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("served after ")?.1.to_owned()));
        self.resumed_us.push(served.expect("the server did not come up").parse().unwrap());
    }

    fn kill_and_serve_next(&mut self, directory: PathBuf) -> Duration {
        let begun = Instant::now();
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
        self.serve_next(directory, None);
        begun.elapsed()
    }

    /// Replaces the server by one that leaves in good order, and waits for that.
    fn end_and_serve_next(&mut self, directory: PathBuf) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
        self.serve_next(directory.clone(), Some(LIFE));
        assert!(self.server.take().unwrap().wait().unwrap().success(), "left in good order");
        self.serve_next(directory, None);
    }

    fn resume_times(&self) -> (Duration, Duration) {
        let mut times = self.resumed_us.clone();
        times.sort_unstable();
        (Duration::from_micros(times[times.len() / 2]), Duration::from_micros(times[times.len() - 1]))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Makes the kernel drop all names of the mount that nobody uses, as a remount does: they are looked up again.
fn forget_names(mountpoint: &Path) {
    rustix::mount::mount_remount(mountpoint, rustix::mount::MountFlags::RDONLY, c"").unwrap();
}

fn this_binary(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&format!("resumed::{test}"), "--exact", "--ignored", "--nocapture"]);
    command
}

/// These processes are killed when the thread of the test that started them ends, however it does.
fn die_with_the_test() {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
}

fn spawn_mapper(mountpoint: &Path, stop: &Path) -> Child {
    let mut command = this_binary("mapping_process");
    command.env("CLIP_TEST_MAP", mountpoint.join("big")).env("CLIP_TEST_STOP", stop).stdout(Stdio::piped()).spawn().unwrap()
}

/// Not a test: a server that is started by one.
#[test]
#[ignore = "a server for other tests"]
fn server_process() {
    let (Ok(directory), Ok(handover)) = (std::env::var("CLIP_TEST_DIRECTORY"), std::env::var("CLIP_TEST_HANDOVER")) else { return };
    die_with_the_test();
    let life_ms: u64 = std::env::var("CLIP_TEST_LIFE_MS").unwrap().parse().unwrap();
    let device = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let begun = Instant::now();
    let (mounted, _runtime) = fixture::resume_elsewhere(Path::new(&directory), &serde_json::from_str(&handover).unwrap(), device, DELAY);
    println!("served after {}", begun.elapsed().as_micros());
    if life_ms == 0 {
        std::thread::sleep(Duration::from_secs(60));
    }
    std::thread::sleep(Duration::from_millis(life_ms));
    mounted.leave(Duration::from_millis(200)).unwrap();
    // Nobody reads any more what the test harness would print.
    std::process::exit(0);
}

/// Not a test: a program that reads a mapped file over and over.
#[test]
#[ignore = "a reader for other tests"]
#[expect(unsafe_code, reason = "maps a file")]
fn mapping_process() {
    let (Ok(path), Ok(stop)) = (std::env::var("CLIP_TEST_MAP"), std::env::var("CLIP_TEST_STOP")) else { return };
    die_with_the_test();
    let (expected, mut passes) = (fixture::bytes(8192, BIG_BYTES), 0);
    while !Path::new(&stop).exists() {
        let file = File::open(&path).unwrap();
        // SAFETY: an archive never changes, nor does the file. That the server dies meanwhile is what is tested: SIGBUS fails the test.
        let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
        assert!(map[..] == expected[..], "wrong bytes");
        drop(map);
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        passes += 1;
    }
    eprintln!("mapped: {passes} passes");
    assert!(passes > 0);
}
