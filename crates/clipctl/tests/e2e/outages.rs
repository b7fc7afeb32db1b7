//! A registry that goes away while its image is mounted, and comes back; one that changes its mind about a token.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::listing::assert_contents;
use crate::proxy::{Fault, Proxy};
use crate::support::{Bench, bounded, said};

/// Files of one layer, and of another.
const READ_BEFORE: &str = "usr/lib/python3.11/asyncio";
const NOT_READ: &str = "usr/lib/apt";

/// host:port that nobody else takes while nobody listens there: ports of connections are given out on 127.0.0.1 only.
fn place() -> String {
    let pid = std::process::id();
    format!("127.77.{}.{}:5000", pid >> 8 & 255, pid & 255)
}

/// Reads a file past the kernel's cache.
fn read_direct(file: &Path) -> std::process::Output {
    bounded("dd").arg(format!("if={}", file.display())).args(["iflag=direct", "bs=1M", "status=none"]).output().unwrap()
}

#[test]
fn a_registry_that_is_gone_is_an_error_in_time_and_one_that_is_back_is_used() {
    const PATIENCE: Duration = Duration::from_secs(15);
    let (bench, place) = (Bench::new(), place());
    let proxy = Proxy::at(&place, None, |_, _| Fault::None);
    let archive = bench.index(&format!("{place}/python"), "python");
    let mount = bench.mount(&archive, "mnt");
    assert_contents("python", mount.path(), READ_BEFORE);
    let near = mount.path().join(READ_BEFORE).join("base_events.py");
    let (pid, expected) = (bench.stats(&mount)["pid"].clone(), fs::read(&near).unwrap());
    proxy.stop();
    let served = read_direct(&near);
    assert!(served.status.success() && served.stdout == expected, "{}", String::from_utf8_lossy(&served.stderr));
    let far = mount.path().join(NOT_READ).join("methods/http");
    for _ in 0..2 {
        let start = Instant::now();
        let failed = bounded("cat").arg(&far).output().unwrap();
        let (said, took) = (said(&failed), start.elapsed());
        assert!(!failed.status.success() && said.contains("Input/output error") && took < PATIENCE, "{took:?}: {said}");
    }
    let log = fs::read_to_string(bench.path("cache/mount.log")).unwrap();
    let errors: Vec<Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).filter(|l: &Value| l["level"] == "ERROR").collect();
    let clear = |line: &Value| {
        let (fields, error) = (&line["fields"], line["fields"]["error"].as_str().unwrap());
        fields["operation"] == "read" && error.contains(&place) && error.contains("sha256:") && error.contains("Connection refused")
    };
    assert!((1..=10).contains(&errors.len()) && errors.iter().all(clear), "{log}");
    let _back = Proxy::at(&place, None, |_, _| Fault::None);
    assert_contents("python", mount.path(), NOT_READ);
    assert_eq!(bench.stats(&mount)["pid"], pid);
}

#[test]
fn a_token_that_is_refused_before_its_time_is_renewed() {
    let proxy = Proxy::start(Some(3600), |_, _| Fault::None);
    let bench = Bench::new();
    let mount = bench.mount(&bench.index(&format!("{}/python", proxy.address), "python"), "mnt");
    assert_contents("python", mount.path(), READ_BEFORE);
    let (tokens, blobs) = (proxy.tokens.load(Ordering::SeqCst), proxy.blobs.load(Ordering::SeqCst));
    proxy.revoke_tokens();
    assert_contents("python", mount.path(), NOT_READ);
    assert_eq!(proxy.tokens.load(Ordering::SeqCst), tokens + 1, "one new token is enough for all");
    assert!(proxy.blobs.load(Ordering::SeqCst) > blobs);
    let log = fs::read_to_string(bench.path("cache/mount.log")).unwrap();
    assert_eq!(log, "", "a renewal is nobody's business");
}
