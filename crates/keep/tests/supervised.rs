//! A supervisor, its child, and what the child must find again. Both are this test binary once more; the child writes a log, which tells what it saw.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use keep::{Keeper, Name, Options, Told};
use rustix::process::{Pid, Signal};

/// What a test waits for at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a child lives at most, whatever happens to the test.
const CHILD_LIFE: Duration = Duration::from_secs(30);

#[test]
fn descriptors_outlive_the_process_that_stored_them() {
    let service = Service::start("store", &[]);
    let first = service.child(1);
    assert_eq!(service.lines("received "), ["received 1: "]);
    service.kill(first);
    service.child(2);
    assert_eq!(service.lines("received 2"), ["received 2: memory=[a memory] pipe=[in the pipe] "]);
    service.kill(service.child(2));
    service.child(3);
    assert_eq!(service.lines("received 3"), ["received 3: memory=[a memory] pipe=[] "], "a pipe is read once");
}

#[test]
fn what_is_removed_or_has_hung_up_is_forgotten() {
    let service = Service::start("forget", &[]);
    service.wait_for("waited 1");
    service.kill(service.child(1));
    service.child(2);
    assert_eq!(service.lines("received 2"), ["received 2: kept=[] "]);
}

#[test]
fn the_store_has_a_limit() {
    let service = Service::start("many", &["max=300"]);
    service.kill(service.child(1));
    service.child(2);
    let received = service.lines("received 2").remove(0);
    assert_eq!(received.matches("many=[").count(), 300);
}

#[test]
fn messages_of_the_hostile_change_nothing() {
    let service = Service::start("hostile", &[]);
    service.child(1);
    let address = service.lines("address ").remove(0)["address ".len()..].to_owned();
    // Also from outside of the child's descendants.
    let socket = UnixDatagram::unbound().unwrap();
    socket.send_to(b"FDSTOREREMOVE=1\nFDNAME=memory\n", &address).unwrap();
    socket.send_to(b"WATCHDOG=trigger", &address).unwrap();
    sleep(Duration::from_millis(100));
    service.kill(service.child(1));
    service.child(2);
    assert_eq!(service.lines("received 2"), ["received 2: memory=[a memory] pipe=[in the pipe] stored=[] "]);
}

#[test]
fn a_child_that_hangs_is_started_again() {
    let service = Service::start("hang", &["watchdog_ms=300"]);
    service.wait_for("interval 150ms");
    let begun = Instant::now();
    service.child(2);
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_child_that_pets_its_watchdog_lives() {
    let service = Service::start("pet", &["watchdog_ms=300"]);
    service.wait_for("petted 10 times");
    assert!(service.lines("child 2").is_empty());
}

#[test]
fn signals_are_passed_on_and_the_end_is_told() {
    let mut service = Service::start("polite", &[]);
    service.child(1);
    service.signal(Signal::HUP);
    service.wait_for("heard HUP");
    service.signal(Signal::TERM);
    assert_eq!(service.end().code(), Some(7));
    assert_eq!(service.lines("heard TERM").len(), 1);
    assert_eq!(fs::read_dir(service.directory.path().join("run")).unwrap().count(), 0, "the socket is removed");
}

#[test]
fn a_child_that_does_not_end_is_killed() {
    let mut service = Service::start("stubborn", &["stop_ms=300"]);
    service.child(1);
    let begun = Instant::now();
    service.signal(Signal::INT);
    assert_eq!(service.end().code(), Some(128 + 9));
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&begun.elapsed()));
}

#[test]
fn a_child_that_is_never_ready_is_started_again() {
    let service = Service::start("shy", &["ready_ms=200"]);
    service.wait_for("child 2");
}

#[test]
fn the_child_ends_with_its_supervisor() {
    let mut service = Service::start("polite", &[]);
    service.child(1);
    service.signal(Signal::KILL);
    service.end();
    service.wait_for("heard TERM");
}

#[test]
fn a_new_version_is_taken_and_failures_slow_down() {
    let directory = tempfile::tempdir().unwrap();
    let (program, new, log) = (directory.path().join("daemon"), directory.path().join("new"), log_in(directory.path()));
    let install = |script: &str| {
        let text = format!("#!/bin/sh\necho \"child $(wc -l < {0}) $$\" >> {0}\n{script}\n", log.display());
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, &program).unwrap();
    };
    fs::write(&log, "").unwrap();
    install("exit 1");
    let mut service = Service::run(directory, &[program.clone().into()], "", &[]);
    service.child(3);
    let begun = Instant::now();
    service.child(4);
    assert!(begun.elapsed() > Duration::from_millis(300), "{:?}", begun.elapsed());
    install("exec sleep 20");
    let new = service.child(5);
    sleep(Duration::from_millis(100));
    let name = fs::read_to_string(format!("/proc/{}/comm", new.as_raw_nonzero())).unwrap();
    assert_eq!(name, "sleep\n", "the new version lives");
    service.signal(Signal::TERM);
    assert_eq!(service.end().code(), Some(128 + 15));
}

/// A running supervisor. Dropping it kills it, upon which the child ends.
struct Service {
    directory: tempfile::TempDir,
    supervisor: Child,
}

impl Service {
    /// Supervises a child that behaves so.
    fn start(behaviour: &str, options: &[&str]) -> Service {
        let directory = tempfile::tempdir().unwrap();
        fs::write(log_in(directory.path()), "").unwrap();
        // Through a shell, so that the names of tests are no arguments of the stage, which would run them.
        let shell = ["sh", "-c", "exec \"$0\" child_process --exact --ignored --nocapture"].map(OsString::from);
        let command = [&shell[..], &[std::env::current_exe().unwrap().into()]].concat();
        Service::run(directory, &command, behaviour, options)
    }

    fn run(directory: tempfile::TempDir, command: &[OsString], behaviour: &str, options: &[&str]) -> Service {
        fs::create_dir(directory.path().join("run")).unwrap();
        let mut supervisor = Command::new(std::env::current_exe().unwrap());
        supervisor.args(["supervise_process", "--exact", "--ignored", "--nocapture", "--"]).args(command);
        supervisor.env("KEEP_TEST", directory.path()).env("KEEP_TEST_BEHAVIOUR", behaviour).env("KEEP_TEST_OPTIONS", options.join(" "));
        Service { supervisor: supervisor.spawn().unwrap(), directory }
    }

    /// Lines of the log that begin so.
    fn lines(&self, beginning: &str) -> Vec<String> {
        let log = fs::read_to_string(log_in(self.directory.path())).unwrap();
        log.lines().filter(|line| line.starts_with(beginning)).map(str::to_owned).collect()
    }

    fn wait_for(&self, beginning: &str) -> String {
        let begun = Instant::now();
        loop {
            if let Some(line) = self.lines(beginning).pop() {
                return line;
            }
            assert!(begun.elapsed() < PATIENCE, "{beginning:?} does not come; the log: {:?}", self.lines(""));
            sleep(Duration::from_millis(5));
        }
    }

    /// The process of this generation, when it has done its work.
    fn child(&self, generation: usize) -> Pid {
        let line = self.wait_for(&format!("child {generation} "));
        Pid::from_raw(line.split(' ').nth(2).unwrap().parse().unwrap()).unwrap()
    }

    fn kill(&self, child: Pid) {
        rustix::process::kill_process(child, Signal::KILL).unwrap();
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.supervisor), signal).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.supervisor.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the supervisor does not end");
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

fn log_in(directory: &Path) -> PathBuf {
    directory.join("log")
}

/// What stands behind `--`, in a process that is not a run of tests by a person.
fn arguments() -> Option<Vec<OsString>> {
    std::env::var_os("KEEP_TEST")?;
    Some(std::env::args_os().skip_while(|argument| argument != "--").skip(1).collect())
}

/// Not a test: the supervisor.
#[test]
#[ignore = "a process of other tests"]
fn supervise_process() {
    let Some(command) = arguments() else { return };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let directory = PathBuf::from(std::env::var_os("KEEP_TEST").unwrap());
    let given = std::env::var("KEEP_TEST_OPTIONS").unwrap();
    let option = |key: &str| given.split(' ').find_map(|option| option.strip_prefix(key)?.parse::<u64>().ok());
    let stage = ["stage_process", "--exact", "--ignored", "--nocapture", "--"].map(OsString::from).to_vec();
    let options = Options {
        stage,
        directory: directory.join("run"),
        descriptors_max: option("max=").unwrap_or(10) as usize,
        watchdog: option("watchdog_ms=").map(Duration::from_millis),
        ready_within: option("ready_ms=").map(Duration::from_millis),
        stop_within: Duration::from_millis(option("stop_ms=").unwrap_or(5000)),
    };
    let status = keep::supervise(&command, options).unwrap();
    // As `keep::exit_code` says, which a test cannot return.
    std::process::exit(status.code().unwrap_or_else(|| 128 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap()));
}

/// Not a test: what the supervisor starts.
#[test]
#[ignore = "a process of other tests"]
fn stage_process() {
    let Some(command) = arguments() else { return };
    panic!("{}", keep::stage(&command));
}

/// Not a test: the child.
#[test]
#[ignore = "a process of other tests"]
fn child_process() {
    let Some(directory) = std::env::var_os("KEEP_TEST") else { return };
    let mut log = File::options().append(true).open(log_in(Path::new(&directory))).unwrap();
    let generation =
        fs::read_to_string(log_in(Path::new(&directory))).unwrap().lines().filter(|line| line.starts_with("child ")).count() + 1;
    let keeper = Keeper::from_environment().unwrap();
    let received = keep::received().unwrap();
    assert!(keep::received().unwrap().is_empty(), "taken once");
    let mut told = format!("received {generation}: ");
    for keep::Received { name, descriptor } in &received {
        assert!(rustix::io::fcntl_getfd(descriptor).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        told += &format!("{name}=[{}] ", content(descriptor));
    }
    let behaviour = std::env::var("KEEP_TEST_BEHAVIOUR").unwrap();
    let (term, hup) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    if ["polite", "stubborn"].contains(&behaviour.as_str()) {
        for (signal, flag) in
            [(signal_hook::consts::SIGTERM, &term), (signal_hook::consts::SIGINT, &term), (signal_hook::consts::SIGHUP, &hup)]
        {
            signal_hook::flag::register(signal, flag.clone()).unwrap();
        }
    }
    writeln!(log, "{told}").unwrap();
    if received.is_empty() {
        begin(&behaviour, &keeper, &mut log);
    }
    if behaviour != "shy" {
        assert_eq!(keeper.ready().unwrap(), Told::Manager);
        keeper.barrier(PATIENCE).unwrap();
    }
    writeln!(log, "child {generation} {}", std::process::id()).unwrap();
    live(&behaviour, &keeper, &mut log, &term, &hup);
}

/// What a child of the first generation does.
fn begin(behaviour: &str, keeper: &Keeper, log: &mut File) {
    match behaviour {
        "store" => store_two(keeper),
        "many" => {
            let pipe = std::io::pipe().unwrap().0;
            for _ in 0..301 {
                keeper.store(&name("many"), &pipe).unwrap();
            }
        }
        "forget" => {
            let (kept, removed, hung_up) = (std::io::pipe().unwrap(), std::io::pipe().unwrap(), std::io::pipe().unwrap());
            keeper.store(&name("kept"), &kept.0).unwrap();
            keeper.store(&name("removed"), &removed.0).unwrap();
            keeper.store(&name("removed"), &removed.1).unwrap();
            keeper.remove(&name("removed")).unwrap();
            send(b"FDSTORE=1\nFDNAME=hung up\n", &[hung_up.0.as_fd()]);
            drop(hung_up);
            keeper.barrier(PATIENCE).unwrap();
            // Longer than the supervisor takes to look.
            sleep(Duration::from_millis(1300));
            writeln!(log, "waited 1").unwrap();
        }
        "hostile" => {
            writeln!(log, "address {}", std::env::var("NOTIFY_SOCKET").unwrap()).unwrap();
            store_two(keeper);
            be_hostile();
        }
        "hang" => writeln!(log, "interval {:?}", keeper.watchdog_interval().unwrap()).unwrap(),
        _ => {}
    }
}

/// The rest of a child's life.
fn live(behaviour: &str, keeper: &Keeper, log: &mut File, term: &AtomicBool, hup: &AtomicBool) {
    let begun = Instant::now();
    let mut petted = 0;
    while begun.elapsed() < CHILD_LIFE {
        sleep(keeper.watchdog_interval().unwrap_or(Duration::from_millis(10)));
        if behaviour == "pet" {
            keeper.watchdog().unwrap();
            petted += 1;
            writeln!(log, "petted {petted} times").unwrap();
        }
        if hup.swap(false, Relaxed) {
            writeln!(log, "heard HUP").unwrap();
        }
        if term.load(Relaxed) && behaviour == "polite" {
            writeln!(log, "heard TERM").unwrap();
            let _ = keeper.stopping();
            std::process::exit(7);
        }
    }
}

fn store_two(keeper: &Keeper) {
    let mut memory = File::from(rustix::fs::memfd_create("keep", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    memory.write_all(b"a memory").unwrap();
    keeper.store(&name("memory"), &memory).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"in the pipe").unwrap();
    keeper.store(&name("pipe"), &reader).unwrap();
}

fn be_hostile() {
    let pipe = std::io::pipe().unwrap();
    let many = vec![pipe.1.as_fd(); 253];
    for text in
        [&b""[..], b"\0", b"\xff\xfe\xfd", b"=\n=\n", b"FDSTORE=1", b"FDSTORE=1\0FDNAME=x", b"FDSTOREREMOVE=1\0\0", b"FDSTOREREMOVE=1"]
    {
        send(text, &[]);
    }
    send(&[b'x'; 5000], &[]);
    let long = format!("FDSTORE=1\nFDNAME=long\nX={}", "x".repeat(5000));
    send(long.as_bytes(), &many);
    send(b"no command", &many);
    send(b"FDSTORE=1\0", &many[..0]);
    send(b"FDSTORE=1\0\n", &many);
    send(b"BARRIER=1", &many);
    send(format!("FDSTORE=1\nFDNAME={}\nFDPOLL=0", "x".repeat(256)).as_bytes(), &many[..1]);
    // A program that the child started is not the child.
    let mut other = Command::new(std::env::current_exe().unwrap());
    assert!(other.args(["wrong_sender_process", "--exact", "--ignored"]).stdout(std::process::Stdio::null()).status().unwrap().success());
}

/// Not a test: a program that the child starts, and that knows the address.
#[test]
#[ignore = "a process of other tests"]
fn wrong_sender_process() {
    if std::env::var_os("KEEP_TEST").is_some() {
        send(b"FDSTOREREMOVE=1\nFDNAME=memory", &[]);
        send(b"FDSTORE=1\nFDNAME=wrong", &[std::io::stdin().as_fd()]);
    }
}

/// Any datagram to the supervisor.
fn send(text: &[u8], descriptors: &[BorrowedFd<'_>]) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)));
    let address = SocketAddrUnix::new(std::env::var_os("NOTIFY_SOCKET").unwrap()).unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    rustix::net::sendmsg_addr(&socket, &address, &[std::io::IoSlice::new(text)], &mut control, SendFlags::empty()).unwrap();
}

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// All that can be read now.
fn content(descriptor: &OwnedFd) -> String {
    let mut file = File::from(descriptor.try_clone().unwrap());
    let flags = rustix::fs::fcntl_getfl(&file).unwrap();
    rustix::fs::fcntl_setfl(&file, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let _ = file.rewind();
    let mut content = Vec::new();
    let _ = file.read_to_end(&mut content);
    String::from_utf8_lossy(&content).into_owned()
}
