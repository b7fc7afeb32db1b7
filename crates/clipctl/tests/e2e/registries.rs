//! Registries: with logins, with TLS, with faults. What nothing real produces on demand, a proxy of ours makes of the real registry's answers.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::proxy::{Fault, Head, Proxy};
use crate::support::{Bench, Mount, bounded, registry, registry_with_login, registry_with_tls, said};

/// Reads numpy's files through a mount of the image behind the proxy, and compares with those read through the registry itself.
#[track_caller]
fn reads_right(bench: &Bench, proxy: &Proxy) {
    let archive = bench.index(&format!("{}/python", registry()), "python");
    let reference = bench.path("reference");
    bench.ok(["extract", archive.to_str().unwrap(), reference.to_str().unwrap(), "--cache-dir", bench.path("other").to_str().unwrap()]);
    let moved = bench.path("moved.clip");
    bench.ok(["index", &format!("{}/python", proxy.address), "-o", moved.to_str().unwrap(), "--quiet"]);
    let mount = bench.mount(&moved, "mnt");
    let compared = bounded("diff").args(["-r"]).args([mount.path().join("usr/bin"), reference.join("usr/bin")]).output().unwrap();
    assert!(compared.status.success(), "{}", said(&compared));
}

/// Only what the mount fetches is faulty: layers are indexed by whole GETs before.
fn after_indexing(mut fault: impl FnMut(usize) -> Fault + Send) -> impl FnMut(usize, &Head) -> Fault + Send {
    const LAYERS_AND_CONFIG: usize = 7;
    move |n, _| if n < LAYERS_AND_CONFIG { Fault::None } else { fault(n - LAYERS_AND_CONFIG) }
}

#[test]
fn a_registry_without_ranges_is_streamed_and_kept() {
    let proxy = Proxy::start(None, |_, _| Fault::NoRanges);
    reads_right(&Bench::new(), &proxy);
}

#[test]
fn refusals_resets_and_short_bodies_are_tried_again() {
    for fault in [Fault::TooMany, Fault::Broken, Fault::Cut] {
        let proxy = Proxy::start(None, move |n, _| if n % 3 == 1 { fault.clone() } else { Fault::None });
        reads_right(&Bench::new(), &proxy);
    }
}

#[test]
fn retry_after_is_honoured() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let proxy = Proxy::start(None, move |n, _| {
        noted.lock().unwrap().push(Instant::now());
        if n == 0 { Fault::TooMany } else { Fault::None }
    });
    let bench = Bench::new();
    bench.index(&format!("{}/python", proxy.address), "python");
    let times = times.lock().unwrap();
    assert!(times[1..].iter().any(|t| *t - times[0] >= Duration::from_millis(950)), "nothing came a second later");
}

#[test]
fn wrong_bytes_are_asked_for_again_and_never_served() {
    let bench = Bench::new();
    let once = Proxy::start(None, after_indexing(|n| if n % 4 == 0 { Fault::Wrong } else { Fault::None }));
    reads_right(&bench, &once);
    let bench = Bench::new();
    let always = Proxy::start(None, after_indexing(|_| Fault::Wrong));
    let archive = bench.index(&format!("{}/python", always.address), "python");
    let mount = bench.mount(&archive, "mnt");
    for _ in 0..3 {
        let asked = always.blobs.load(Ordering::SeqCst);
        let failed = bounded("cat").arg(mount.path().join("usr/bin/python3.11")).output().unwrap();
        assert!(!failed.status.success() && said(&failed).contains("Input/output error"), "{:?}", failed.status);
        assert!(always.blobs.load(Ordering::SeqCst) > asked, "a span that was given up is not asked for again");
        let told = given_up(&bench);
        assert!(!told.is_empty() && told.values().all(|lines| *lines == 1), "lines for each span: {told:?}");
    }
}

/// What the log says of spans that were given up: how many lines for each (blob, span). It may say nothing else as an error.
#[track_caller]
fn given_up(bench: &Bench) -> BTreeMap<(String, u64), usize> {
    let log = fs::read_to_string(bench.path("cache/mount.log")).unwrap();
    let mut told = BTreeMap::new();
    for line in log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|line| line["level"] == "ERROR") {
        let fields = &line["fields"];
        assert!(fields["message"].as_str().unwrap().contains("giving up on this span"), "{line}");
        *told.entry((fields["blob"].as_str().unwrap().to_owned(), fields["span"].as_u64().unwrap())).or_default() += 1;
    }
    told
}

#[test]
fn what_is_not_there_and_what_is_no_registry_is_said() {
    let bench = Bench::new();
    let index = |image: &str| bench.fails(["index", image, "-o", bench.path("x.clip").to_str().unwrap()]);
    let known = registry();
    assert!(index(&format!("{known}/nothing")).contains("not found"));
    assert!(index(&format!("{known}/python:none")).contains("not found"));
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let start = Instant::now();
    assert!(index(&format!("{free}/python")).contains("unavailable"));
    assert!(start.elapsed() < Duration::from_secs(90));
    let page = Proxy::start(None, |_, _| Fault::Page);
    assert!(index(&format!("{}/python", page.address)).contains(&page.address));
    let gone = Proxy::start(None, |n, _| if n > 0 { Fault::Gone } else { Fault::None });
    assert!(index(&format!("{}/python", gone.address)).contains("not found"));
    assert!(fs::read_dir(bench.path("")).unwrap().all(|e| e.unwrap().file_name() == "cache"), "a file was left behind");
}

#[test]
fn tokens_are_renewed_while_mounted() {
    let proxy = Proxy::start(Some(1), |_, _| Fault::None);
    let bench = Bench::new();
    let archive = bench.index(&format!("{}/python", proxy.address), "python");
    let mount = bench.mount(&archive, "mnt");
    let read = |file: &str| assert!(bounded("cat").arg(mount.path().join(file)).output().unwrap().status.success(), "{file}");
    read("usr/bin/python3.11");
    let before = proxy.tokens.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_secs(2));
    read("usr/bin/perl");
    read("usr/lib/x86_64-linux-gnu/libcrypto.so.3");
    assert!(before > 0 && proxy.tokens.load(Ordering::SeqCst) > before, "no token was asked for again");
    assert!(proxy.blobs.load(Ordering::SeqCst) > 7);
}

#[test]
fn logins_from_flags_environment_and_docker() {
    let bench = Bench::new();
    let image = format!("{}/python", registry_with_login());
    let archive = bench.path("python.clip");
    let arguments = ["index", &image, "-o", archive.to_str().unwrap(), "--quiet", "--force"];
    let empty = bench.path("no-docker");
    fs::create_dir(&empty).unwrap();
    let command = || {
        let mut command = bench.clipctl(arguments);
        command.env("DOCKER_CONFIG", &empty);
        command
    };
    let refused = command().output().unwrap();
    assert!(
        !refused.status.success() && said(&refused).contains("denied") && said(&refused).contains("CLIP_REGISTRY_USER"),
        "{}",
        said(&refused)
    );
    let host: String = registry_with_login().to_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let from_environment =
        command().env(format!("CLIP_REGISTRY_USER_{host}"), "clip").env(format!("CLIP_REGISTRY_PASS_{host}"), "secret").output().unwrap();
    assert!(from_environment.status.success(), "{}", said(&from_environment));
    let mut with_flags = command().args(["--username", "clip", "--password-stdin"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    with_flags.stdin.take().unwrap().write_all(b"secret\n").unwrap();
    assert!(with_flags.wait().unwrap().success());
    let docker = bench.path("docker");
    fs::create_dir(&docker).unwrap();
    let configured = |text: String| {
        fs::write(docker.join("config.json"), text).unwrap();
        let path = format!("{}:{}", docker.display(), std::env::var("PATH").unwrap());
        let output = command().env("DOCKER_CONFIG", &docker).env("PATH", path).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    };
    let registry = registry_with_login();
    configured(format!(r#"{{"auths":{{"{registry}":{{"auth":"Y2xpcDpzZWNyZXQ="}}}}}}"#));
    let helper = docker.join("docker-credential-cliptest");
    fs::write(&helper, "#!/bin/sh\ncat >/dev/null\necho '{\"ServerURL\":\"x\",\"Username\":\"clip\",\"Secret\":\"secret\"}'\n").unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    configured(format!(r#"{{"credHelpers":{{"{registry}":"cliptest"}}}}"#));
    configured(r#"{"credsStore":"cliptest"}"#.into());
    // And a mount reads with them, too.
    let target = bench.path("mnt");
    fs::create_dir(&target).unwrap();
    let mut mounted =
        bench.clipctl(["mount", archive.to_str().unwrap(), target.to_str().unwrap(), "--username", "clip", "--password-stdin"]);
    let mut mounted = mounted.env("DOCKER_CONFIG", &empty).stdin(std::process::Stdio::piped()).spawn().unwrap();
    mounted.stdin.take().unwrap().write_all(b"secret\n").unwrap();
    let _guard = Mount::guard(&target);
    assert!(mounted.wait().unwrap().success());
    assert!(bounded("cat").arg(target.join("usr/bin/python3.11")).output().unwrap().status.success());
}

#[test]
fn tls_by_its_ca_and_not_without() {
    let bench = Bench::new();
    let (registry, ca) = registry_with_tls();
    let (image, out) = (format!("{registry}/python"), bench.path("python.clip"));
    let (out, ca) = (out.to_str().unwrap(), ca.to_str().unwrap());
    let other = bench.path("other.pem");
    fs::write(&other, "nothing").unwrap();
    let index = |more: &[&str]| {
        let output = bench.clipctl(["index", &image, "-o", out, "--quiet", "--force"].iter().chain(more)).output().unwrap();
        (output.status.success(), said(&output))
    };
    assert!(!index(&[]).0, "a registry that speaks TLS was reached without");
    assert!(!index(&["--ca-file", other.to_str().unwrap()]).0);
    assert_eq!(index(&["--ca-file", ca]), (true, String::new()));
    assert_eq!(index(&["--insecure-skip-tls-verify"]), (true, String::new()));
    let target = bench.path("mnt");
    fs::create_dir(&target).unwrap();
    bench.ok(["mount", "--ca-file", ca, out, target.to_str().unwrap()]);
    let mount = Mount::guard(&target);
    assert!(bounded("cat").arg(mount.path().join("usr/bin/python3.11")).output().unwrap().status.success());
}
