//! Credentials, region and endpoint from the environment and from profiles, as AWS's tools find them.
//!
//! A process's environment is set before it begins: this program runs itself for each case, with `read` as its argument, against
//! a server that answers whoever signs well.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;

use s3::{S3, S3Options};
use server::{ACCESS_KEY, BUCKET, SECRET_KEY, Server};

#[path = "../s3/relay.rs"]
#[allow(dead_code, reason = "only listens here")]
mod relay;
#[path = "../s3/server.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod server;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some("read") {
        let s3 = S3::new(S3Options::default()).await.unwrap();
        match s3.bucket(BUCKET).unwrap().get_small("k", 100).await {
            Ok(bytes) => println!("read {}", String::from_utf8_lossy(&bytes)),
            Err(error) => println!("error {error}"),
        }
        return;
    }
    let server = Server::start(true).await;
    server.store("k", b"content");
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let file = |name: &str, text: String| std::fs::write(home.path().join(".aws").join(name), text).unwrap();
    let keys = format!("aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n");
    file("credentials", format!("[work]\n{keys}[broken]\naws_access_key_id = {ACCESS_KEY}\n"));
    file("config", "[profile work]\nregion = eu-north-1\n".to_owned());
    let relay = relay::Relay::start(server.address).await;
    let endpoint = format!("http://{}", relay.address);
    let direct = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];

    for (case, variables, expected, region) in [
        ("nothing", vec![], "error s3://archives/k at http://127.0.0.1", None),
        ("keys", direct.to_vec(), "read content", Some("us-east-1")),
        ("keys and region", [&direct[..], &[("AWS_REGION", "eu-west-3")]].concat(), "read content", Some("eu-west-3")),
        ("profile", vec![("AWS_PROFILE", "work")], "read content", Some("eu-north-1")),
        ("half a profile", vec![("AWS_PROFILE", "broken")], "error s3://archives/k at http://127.0.0.1", None),
    ] {
        let said = run(home.path(), &endpoint, variables).await;
        assert!(said.starts_with(expected), "{case}: {said}");
        assert!(!said.contains(SECRET_KEY), "{case}: {said}");
        match region {
            Some(region) => assert_eq!(relay.count(&format!("/{region}/s3/aws4_request")), 1, "{case}"),
            None => assert!(said.contains("access denied") && said.contains("credentials"), "{case}: {said}"),
        }
    }
    println!("ok: credentials, region and endpoint of the environment and of profiles");
}

async fn run(home: &Path, endpoint: &str, variables: Vec<(&str, &str)>) -> String {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.arg("read").env_clear().env("HOME", home).env("AWS_ENDPOINT_URL", endpoint).env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(variables);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
