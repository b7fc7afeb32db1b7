//! SIGINT and SIGTERM while an image is indexed: it ends soon, says what became of the archive, and that is the truth.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::proxy::{Fault, Proxy};
use crate::support::{Bench, bounded, eventually, layout, said, sh};

/// Longest that ending may take: what runs comes to its next step, nothing is waited for.
const END: Duration = Duration::from_secs(3);

/// What lies in a directory, hidden files too.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Signals a child of ours; timeout(1) passes it on. Returns the exit code and what was said.
#[track_caller]
fn signalled(child: Child, signal: &str) -> (Option<i32>, String) {
    let start = Instant::now();
    sh(&format!("kill -{signal} {}", child.id()));
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < END, "SIG{signal}: it took {:?} to end: {}", start.elapsed(), said(&output));
    (output.status.code(), said(&output))
}

#[test]
fn indexing_that_waits_for_the_registry_leaves_everything_as_it_was() {
    for signal in ["INT", "TERM"] {
        for name in ["old.clip", "new.clip"] {
            // The config comes, all layers fall silent half-way.
            let proxy = Proxy::start(None, |n, _| if n > 0 { Fault::Silent } else { Fault::None });
            let bench = Bench::new();
            let (out, what) = (bench.path("out"), format!("SIG{signal}, {name}"));
            fs::create_dir(&out).unwrap();
            fs::write(out.join("old.clip"), "mine").unwrap();
            let image = format!("{}/python", proxy.address);
            let mut command = bench.clipctl(["index", &image, "--force", "-o", out.join(name).to_str().unwrap()]);
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            eventually("half a layer", || proxy.silences() > 0);
            assert_eq!(names(&out).len(), 2, "{what}: the archive is begun in a file of its own");
            let (code, said) = signalled(child, signal);
            assert_eq!((code, said.as_str()), (Some(1), "clipctl: stopped by a signal; nothing was written\n"), "{what}");
            assert_eq!(names(&out), ["old.clip"], "{what}");
            assert_eq!(fs::read(out.join("old.clip")).unwrap(), b"mine");
            assert_eq!(names(&bench.path("cache/layers")), [""; 0], "{what}: half a layer is kept");
        }
    }
}

/// Between the archive's last byte and its name lies an fsync, which strace makes long: there it is too late to stop.
#[test]
fn an_archive_that_is_being_published_is_there_or_not_as_is_said() {
    const FSYNC: Duration = Duration::from_secs(1);
    for (command, signal) in [("index", "INT"), ("index", "TERM"), ("archive", "INT")] {
        let (bench, what) = (Bench::new(), format!("{command}, SIG{signal}"));
        fs::create_dir(bench.path("out")).unwrap();
        let archive = bench.path("out/x.clip");
        let slow = format!("inject=fsync:delay_enter={}:when=1", FSYNC.as_micros());
        let mut traced = bounded("strace");
        traced.args(["-f", "-qq", "-o"]).arg(bench.path("strace")).args(["-e", "trace=fsync", "-e", &slow]);
        traced.arg(env!("CARGO_BIN_EXE_clipctl")).arg(command).arg(format!("oci:{}", layout("odd-duplicates").display()));
        traced.arg("-o").arg(&archive).env("CLIP_CACHE_DIR", bench.path("cache"));
        let child = traced.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("a whole archive under another name", || has_header(&bench.path("out")));
        assert!(!archive.exists());
        // strace dies of the signal that is meant for clipctl: that is its child, and timeout's grandchild.
        let start = Instant::now();
        sh(&format!("kill -{signal} $(pgrep -P $(pgrep -P {}))", child.id()));
        let output = child.wait_with_output().unwrap();
        let said = said(&output);
        assert!(start.elapsed() < FSYNC + END, "{what}: {:?}", start.elapsed());
        match output.status.code() {
            Some(0) => drop(bench.ok(["verify".as_ref(), "--deep".as_ref(), archive.as_os_str()])),
            Some(1) => assert!(said.contains("nothing was written") && !archive.exists(), "{what}: {said} {:?}", names(&bench.path("out"))),
            code => panic!("{what}: {code:?} {said}"),
        }
        assert!(names(&bench.path("out")).iter().all(|name| name == "x.clip"), "{what}: {:?}", names(&bench.path("out")));
    }
}

/// Whether the file beside the archive-to-be has its header, which comes last.
fn has_header(dir: &Path) -> bool {
    let files = fs::read_dir(dir).unwrap().map(|e| fs::read(e.unwrap().path()).unwrap_or_default());
    files.into_iter().any(|bytes| bytes.first().is_some_and(|b| *b != 0))
}
