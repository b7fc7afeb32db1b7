//! An S3 server, and a relay before it that counts requests and spoils answers: those of crates/s3/tests, on a thread, for tests that block.

use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::runtime::Runtime;

use crate::support::Bench;

#[allow(dead_code, reason = "of crate s3's tests, which use more of it")]
#[path = "../../../s3/tests/s3/relay.rs"]
mod relay;
#[allow(dead_code, reason = "of crate s3's tests, which use more of it")]
#[path = "../../../s3/tests/s3/server.rs"]
mod server;

pub use relay::Fault;
pub use server::{BUCKET, SECRET_KEY};

/// A server that wants signatures, behind a relay, with an empty bucket.
pub struct Bucket {
    server: server::Server,
    relay: relay::Relay,
    /// Last: what runs on it goes first.
    _runtime: Runtime,
}

impl Bucket {
    /// A new one, gone when it is dropped.
    pub fn start() -> Bucket {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (server, relay) = runtime.block_on(async {
            let server = server::Server::start(true).await;
            let relay = relay::Relay::start(server.address).await;
            (server, relay)
        });
        Bucket { server, relay, _runtime: runtime }
    }

    /// A configuration that leads here, as `NAME.yaml` of the bench; `more` are further lines of its imageService.
    pub fn config(&self, bench: &Bench, name: &str, more: &str) -> PathBuf {
        self.config_with(bench, name, more, BUCKET, SECRET_KEY)
    }

    /// The same with another bucket or secret.
    pub fn config_with(&self, bench: &Bench, name: &str, more: &str, bucket: &str, secret: &str) -> PathBuf {
        let path = bench.path(&format!("{name}.yaml"));
        let (address, access) = (self.relay.address, server::ACCESS_KEY);
        let text = format!(
            "imageService:\n  {more}\n  s3:\n    bucket: {bucket}\n    prefix: images\n    endpoint: http://{address}\n    region: us-east-1\n    \
             pathStyle: true\n    accessKey: {access}\n    secretKey: {secret}\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// clipctl of the bench, configured to come here.
    pub fn clipctl(&self, bench: &Bench, arguments: &[&str]) -> Command {
        let mut command = bench.clipctl(arguments);
        command.env("CLIP_CONFIG", self.config(bench, "s3", ""));
        command
    }

    /// The URL of a key.
    pub fn url(key: &str) -> String {
        format!("s3://{BUCKET}/{key}")
    }

    /// The file that an object is in.
    pub fn file(&self, key: &str) -> PathBuf {
        self.server.path(key)
    }

    /// Puts an object there behind everybody's back.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.server.store(key, bytes);
    }

    /// The keys of all objects, and the parts of uploads that have not ended.
    pub fn all(&self) -> Vec<String> {
        fn walk(dir: &Path, root: &Path, out: &mut Vec<String>) {
            for path in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
                match path.is_dir() {
                    true => walk(&path, root, out),
                    false => out.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
                }
            }
        }
        let (root, mut out) = (self.server.path(""), self.server.leftovers());
        walk(&root, &root, &mut out);
        out.sort();
        out
    }

    /// Spoils the next request whose head, in lower case, holds `text`.
    pub fn next(&self, text: &'static str, fault: Fault) {
        self.relay.next(text, fault);
    }

    /// Faults that nobody has met.
    pub fn faults_left(&self) -> usize {
        self.relay.left()
    }

    /// Requests so far whose heads hold `text`.
    pub fn count(&self, text: &str) -> usize {
        self.relay.count(text)
    }
}
