//! Registries: with logins, with TLS, with faults. What nothing real produces on demand, a proxy of ours makes of the real registry's answers.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Bench, Mount, bounded, registry, registry_with_login, registry_with_tls, said};

/// What a proxy does to the answer to a GET of a blob.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Ignores Range.
    NoRanges,
    /// 429 with Retry-After: 1.
    TooMany,
    /// 500.
    Broken,
    /// Half of the body, then the connection ends.
    Cut,
    /// A byte of the body is another.
    Wrong,
    /// A page of HTML.
    Page,
    /// 404.
    Gone,
}

/// A proxy before the real registry. `fault` says what happens to the n-th GET of a blob.
struct Proxy {
    address: String,
    blobs: Arc<AtomicUsize>,
    /// When the first tokens were asked for, if tokens are wanted.
    tokens: Arc<AtomicUsize>,
}

type Faults = Arc<Mutex<Box<dyn FnMut(usize) -> Fault + Send>>>;

impl Proxy {
    fn start(token_seconds: Option<u64>, fault: impl FnMut(usize) -> Fault + Send + 'static) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (blobs, tokens) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let faults: Faults = Arc::new(Mutex::new(Box::new(fault)));
        let proxy = Proxy { address: address.clone(), blobs: Arc::clone(&blobs), tokens: Arc::clone(&tokens) };
        let upstream = registry();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (faults, blobs, tokens) = (Arc::clone(&faults), Arc::clone(&blobs), Arc::clone(&tokens));
                let (address, upstream) = (address.clone(), upstream.clone());
                std::thread::spawn(move || {
                    let _ = serve(client, &upstream, &address, token_seconds, &tokens, &blobs, &faults);
                });
            }
        });
        proxy
    }
}

/// One request, answered, and the connection closed.
fn serve(
    mut client: TcpStream,
    upstream: &str,
    address: &str,
    token_seconds: Option<u64>,
    tokens: &AtomicUsize,
    blobs: &AtomicUsize,
    faults: &Faults,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            break;
        }
        head.push(line);
    }
    let is_blob = head[0].starts_with("GET") && head[0].contains("/blobs/");
    if let Some(seconds) = token_seconds {
        let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        if head[0].starts_with("GET /token?") {
            assert!(
                head[0].contains("scope=repository%3Apython%3Apull") || head[0].contains("scope=repository:python:pull"),
                "{}",
                head[0]
            );
            tokens.fetch_add(1, Ordering::SeqCst);
            let body = format!(r#"{{"token":"t{}","expires_in":{seconds}}}"#, now());
            return write!(
                client,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
        let bearer =
            head.iter().find_map(|l| l.to_lowercase().strip_prefix("authorization: bearer t").map(|t| t.trim().parse::<u64>().unwrap()));
        if bearer.is_none_or(|made| now() - made > seconds * 1000) {
            let challenge = format!(r#"Bearer realm="http://{address}/token",service="test",scope="repository:python:pull""#);
            return write!(
                client,
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
    }
    let fault = if is_blob { faults.lock().unwrap()(blobs.fetch_add(1, Ordering::SeqCst)) } else { Fault::None };
    let short = |status: &str, more: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    };
    match fault {
        Fault::TooMany => return client.write_all(short("429 Too Many Requests", "Retry-After: 1\r\n", "").as_bytes()),
        Fault::Broken => return client.write_all(short("500 Internal Server Error", "", "").as_bytes()),
        Fault::Gone => return client.write_all(short("404 Not Found", "", "").as_bytes()),
        Fault::Page => return client.write_all(short("200 OK", "Content-Type: text/html\r\n", "<html>sign in</html>").as_bytes()),
        _ => {}
    }
    let mut server = TcpStream::connect(upstream)?;
    for line in &head {
        let name = line.to_lowercase();
        let dropped = name.starts_with("connection:")
            || name.starts_with("authorization:")
            || (fault == Fault::NoRanges && name.starts_with("range:"));
        if !dropped {
            server.write_all(line.as_bytes())?;
        }
    }
    server.write_all(b"Connection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let body = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    match fault {
        Fault::Cut => answer.truncate(body + (answer.len() - body) / 2),
        Fault::Wrong => {
            let middle = body + (answer.len() - body) / 2;
            answer[middle] ^= 0x10;
        }
        _ => {}
    }
    client.write_all(&answer)
}

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
fn after_indexing(mut fault: impl FnMut(usize) -> Fault + Send) -> impl FnMut(usize) -> Fault + Send {
    const LAYERS_AND_CONFIG: usize = 7;
    move |n| if n < LAYERS_AND_CONFIG { Fault::None } else { fault(n - LAYERS_AND_CONFIG) }
}

#[test]
fn a_registry_without_ranges_is_streamed_and_kept() {
    let proxy = Proxy::start(None, |_| Fault::NoRanges);
    reads_right(&Bench::new(), &proxy);
}

#[test]
fn refusals_resets_and_short_bodies_are_tried_again() {
    for fault in [Fault::TooMany, Fault::Broken, Fault::Cut] {
        let proxy = Proxy::start(None, move |n| if n % 3 == 1 { fault } else { Fault::None });
        reads_right(&Bench::new(), &proxy);
    }
}

#[test]
fn retry_after_is_honoured() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let proxy = Proxy::start(None, move |n| {
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
    let failed = bounded("cat").arg(mount.path().join("usr/bin/python3.11")).output().unwrap();
    assert!(!failed.status.success() && said(&failed).contains("Input/output error"), "{:?}", failed.status);
    let log = fs::read_to_string(bench.path("cache/mount.log")).unwrap();
    let lines: Vec<&str> = log.lines().filter(|l| l.contains("\"ERROR\"") && l.contains("sha256:")).collect();
    let spans: std::collections::HashSet<&&str> = lines.iter().collect();
    assert!(!lines.is_empty() && lines.iter().all(|l| l.contains("span")), "{log}");
    assert_eq!(spans.len(), lines.len(), "one line for each span: {log}");
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
    let page = Proxy::start(None, |_| Fault::Page);
    assert!(index(&format!("{}/python", page.address)).contains(&page.address));
    let gone = Proxy::start(None, |n| if n > 0 { Fault::Gone } else { Fault::None });
    assert!(index(&format!("{}/python", gone.address)).contains("not found"));
    assert!(fs::read_dir(bench.path("")).unwrap().all(|e| e.unwrap().file_name() == "cache"), "a file was left behind");
}

#[test]
fn tokens_are_renewed_while_mounted() {
    let proxy = Proxy::start(Some(1), |_| Fault::None);
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
