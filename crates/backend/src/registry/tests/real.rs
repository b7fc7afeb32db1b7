//! Against Docker's own registry, from the package `docker-registry`: anonymous, with htpasswd, and with TLS.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::*;
use crate::{conformance, read_all};

/// Time for the registry to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// A registry process with its folder, ended when dropped.
struct Real {
    host: String,
    process: Child,
    folder: TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Real {
    async fn start(folder: TempDir, extra: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let root = folder.path().display();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\nhttp:\n  addr: {host}\n{extra}\n"
        );
        fs::write(folder.path().join("config.yml"), config).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .env_remove("REGISTRY_HTTP_ADDR")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let mut real = Self { host, process, folder };
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(&real.host).await.is_err() {
            assert!(begun.elapsed() < START_MAX && real.process.try_wait().unwrap().is_none(), "docker-registry does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        real
    }

    /// Pushes a blob and a manifest over it by the registry's own API. Gives the blob's digest.
    async fn push(&self, scheme: &str, login: Option<(&str, &str)>, content: &[u8]) -> String {
        let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
        let send = async |request: reqwest::RequestBuilder| {
            let request = match login {
                Some((user, password)) => request.basic_auth(user, Some(password)),
                None => request,
            };
            let response = request.send().await.unwrap();
            assert!(response.status().is_success(), "{response:?}");
            response
        };
        let base = format!("{scheme}://{}/v2/a/b", self.host);
        let digest = sha256(self.folder.path(), content);
        let started = send(client.post(format!("{base}/blobs/uploads/"))).await;
        let mut location = started.url().join(started.headers()["location"].to_str().unwrap()).unwrap();
        location.query_pairs_mut().append_pair("digest", &digest);
        send(client.put(location).body(content.to_vec())).await;
        let entry = |kind| serde_json::json!({"mediaType": kind, "digest": digest, "size": content.len()});
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": entry("application/vnd.oci.image.config.v1+json"),
            "layers": [entry("application/vnd.oci.image.layer.v1.tar+gzip")],
        });
        let request = client.put(format!("{base}/manifests/1")).header(CONTENT_TYPE, "application/vnd.oci.image.manifest.v1+json");
        send(request.body(manifest.to_string())).await;
        digest
    }
}

/// By the system's tool: this crate has no use for a hash.
fn sha256(folder: &Path, content: &[u8]) -> String {
    let path = folder.join("content");
    fs::write(&path, content).unwrap();
    let output = Command::new("sha256sum").arg(&path).output().unwrap();
    format!("sha256:{}", std::str::from_utf8(&output.stdout).unwrap().split(' ').next().unwrap())
}

/// Everything that a mount and an indexer do.
async fn check(registry: &Registry, real: &Real, digest: &str, content: &[u8]) {
    let size = content.len() as u64;
    let manifest = registry.manifest(&reference(&real.host)).await.unwrap();
    assert_eq!(manifest.media_type, "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest.digest.as_deref(), Some(sha256(real.folder.path(), &manifest.bytes).as_str()));
    assert_eq!(registry.head_blob(&repository(&real.host), digest).await.unwrap(), size);
    assert_eq!(registry.fetch_blob(&repository(&real.host), digest, size).await.unwrap(), content);
    conformance::check(&registry.blob(&repository(&real.host), digest, size), content).await.unwrap();
    conformance::check(&*registry.open(&repository(&real.host), digest, size), content).await.unwrap();
    let missing = registry.open(&repository(&real.host), DIGEST, 10);
    assert!(matches!(read_all(&*missing, 0..1, 1).await, Err(Error::NotFound { .. })));
    let smaller = registry.open(&repository(&real.host), digest, size + 10);
    let error = read_all(&*smaller, size..size + 10, 10).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "beyond the end: {error:?}");
}

#[tokio::test]
async fn anonymous() {
    let real = Real::start(tempfile::tempdir().unwrap(), "").await;
    let content = conformance::content(1_000_000);
    let digest = real.push("http", None, &content).await;
    check(&registry(), &real, &digest, &content).await;
}

#[tokio::test]
async fn htpasswd() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("htpasswd").args(["-Bbn", "me", "pass word:1"]).output().expect("htpasswd is installed");
    let path = folder.path().join("htpasswd");
    fs::write(&path, output.stdout).unwrap();
    let real = Real::start(folder, &format!("auth: {{htpasswd: {{realm: r, path: {}}}}}", path.display())).await;
    let content = conformance::content(100_000);
    let digest = real.push("http", Some(("me", "pass word:1")), &content).await;
    check(&with_login(&real.host, "me", "pass word:1"), &real, &digest, &content).await;
    for refused in [registry(), with_login(&real.host, "me", "wrong")] {
        let error = refused.manifest(&reference(&real.host)).await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn tls_by_a_ca_file_or_without_checking() {
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("cert.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl is installed").success());
    let tls = format!("  tls: {{certificate: {}, key: {}}}", certificate.display(), key.display());
    let real = Real::start(folder, &tls).await;
    let content = conformance::content(100_000);
    let digest = real.push("https", None, &content).await;
    let with = |ca_file, insecure_skip_tls_verify| {
        Registry::new(RegistryOptions { transport: Transport::Https, ca_file, insecure_skip_tls_verify, ..options() }).unwrap()
    };
    check(&with(Some(certificate), false), &real, &digest, &content).await;
    check(&with(None, true), &real, &digest, &content).await;
    let error = with(None, false).manifest(&reference(&real.host)).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn plain_http_where_tls_is_expected_is_named_so() {
    let real = Real::start(tempfile::tempdir().unwrap(), "").await;
    let registry = Registry::new(RegistryOptions { transport: Transport::Https, ..options() }).unwrap();
    let error = registry.manifest(&reference(&real.host)).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}
