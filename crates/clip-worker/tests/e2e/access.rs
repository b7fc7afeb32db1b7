//! Who may ask what: over TCP what the token says, over the socket whom its mode lets in.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::relay::nobody;
use crate::support::{Bench, Worker, bounded, sh};

const READ: &str = "read-token-0123456789";
const ADMIN: &str = "admin-token-0123456789";

/// The status of an answer to curl, and what it says.
fn curl(worker: &Worker, url: &str, token: Option<&str>, more: &[&str]) -> (String, String) {
    let mut command = bounded("curl");
    command.args(["-s", "-w", "\n%{http_code}", "--noproxy", "*", url]).args(more);
    if let Some(token) = token {
        command.args(["-H", &format!("authorization: Bearer {token}")]);
    }
    if worker.path("cert.pem").exists() {
        command.arg("--cacert").arg(worker.path("cert.pem"));
    }
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

/// What each kind of token may do.
fn rights(worker: &Worker, base: &str) {
    let prune = ["-X", "POST", "-H", "content-type: application/json", "-d", "{}"];
    let (status, prune_url) = (format!("{base}/api/v1/status"), format!("{base}/api/v1/cache/prune"));
    let wrong = format!("{READ}x");
    for token in [None, Some("wrong"), Some(""), Some(wrong.as_str()), Some(&READ[1..])] {
        for (url, more) in [(&status, &[][..]), (&prune_url, &prune), (&format!("{base}/metrics"), &[]), (&format!("{base}/nothing"), &[])]
        {
            let (code, body) = curl(worker, url, token, more);
            assert!(code == "401" && body.contains("\"unauthorized\""), "{token:?} {url}: {code} {body}");
        }
    }
    assert_eq!(curl(worker, &format!("{base}/healthz"), None, &[]).0, "200");
    assert_eq!(curl(worker, &status, Some(READ), &[]).0, "200");
    let (code, body) = curl(worker, &prune_url, Some(READ), &prune);
    assert!(code == "403" && body.contains("\"forbidden\""), "{code} {body}");
    assert_eq!(curl(worker, &format!("{base}/api/v1/mounts/x"), Some(READ), &["-X", "DELETE"]).0, "403");
    assert_eq!(curl(worker, &status, Some(ADMIN), &[]).0, "200");
    assert_eq!(curl(worker, &prune_url, Some(ADMIN), &prune).0, "200");
    assert!(!std::fs::read_to_string(worker.path("log")).unwrap().contains("-token-"), "tokens are in no log");
}

#[test]
fn over_tls_a_token_says_what_is_allowed() {
    let (bench, address) = (Bench::new(), nobody());
    sh(&format!(
        "cd '{}' && openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=worker -keyout key.pem -out cert.pem \
         -addext subjectAltName=IP:127.0.0.1 2>/dev/null",
        bench.path("").display()
    ));
    let (cert, key) = (bench.path("cert.pem"), bench.path("key.pem"));
    let tls = json!({ "listen": address, "tlsCert": cert, "tlsKey": key, "readToken": READ, "adminToken": ADMIN });
    let worker = bench.with("worker", tls).start();
    rights(&worker, &format!("https://{address}"));
    assert_ne!(curl(&worker, &format!("http://{address}/healthz"), None, &[]).0, "200", "nothing without TLS");
}

#[test]
fn without_tls_only_this_machine_and_only_with_a_token() {
    let address = nobody();
    let worker = Bench::new().with("worker", json!({ "listen": address, "readToken": READ, "adminToken": ADMIN })).start();
    rights(&worker, &format!("http://{address}"));
    for settings in [
        json!({ "listen": address }),
        json!({ "listen": "0.0.0.0:0", "readToken": READ }),
        json!({ "listen": address, "readToken": "short" }),
    ] {
        let bench = Bench::new().with("worker", settings.clone());
        let output =
            bounded(env!("CARGO_BIN_EXE_clip-worker")).arg("check-config").arg("--config").arg(bench.path("config.yaml")).output().unwrap();
        assert!(!output.status.success() && !output.stderr.is_empty(), "{settings}");
    }
}

#[test]
fn the_sockets_mode_is_as_configured() {
    let mode = |worker: &Worker| std::fs::metadata(worker.path("sock")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&Bench::new().start()), 0o660);
    assert_eq!(mode(&Bench::new().with("worker", json!({ "socketMode": "0600" })).start()), 0o600);
}
