//! Credentials, region and endpoint from the environment and from profiles, as AWS's tools find them.
//!
//! A process's environment is set before it begins: the test runs this program again for each case, against a server that answers whoever
//! signs well.

use std::path::Path;

use s3::{S3, S3Options};

use crate::{
    relay::Relay,
    server::{ACCESS_KEY, BUCKET, SECRET_KEY, Server},
};

/// Set for the program that is run again.
const CHILD: &str = "CLIP_TEST_S3_CHILD";
/// Before what it says.
const ANSWER: &str = "answer: ";

/// What the program does when it is run again; nothing else.
#[tokio::test]
async fn as_a_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let s3 = S3::new(S3Options::default()).await.unwrap();
    match s3.bucket(BUCKET).unwrap().get_small("k", 100).await {
        Ok(bytes) => println!("{ANSWER}read {}", String::from_utf8_lossy(&bytes)),
        Err(error) => println!("{ANSWER}error {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn environment_and_profiles_are_found() {
    let server = Server::start(true).await;
    server.store("k", b"content");
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let file = |name: &str, text: String| std::fs::write(home.path().join(".aws").join(name), text).unwrap();
    let keys = format!("aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n");
    file("credentials", format!("[work]\n{keys}[broken]\naws_access_key_id = {ACCESS_KEY}\n"));
    file("config", "[profile work]\nregion = eu-north-1\n".to_owned());
    let relay = Relay::start(server.address).await;
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
}

async fn run(home: &Path, endpoint: &str, variables: Vec<(&str, &str)>) -> String {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "chain::as_a_child", "--nocapture"])
        .env_clear()
        .env(CHILD, "1")
        .env("HOME", home)
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(variables);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    // Among what the test harness says.
    let answer = said.lines().find_map(|line| line.find(ANSWER).map(|at| &line[at + ANSWER.len()..]));
    answer.unwrap_or_else(|| panic!("no answer: {said}")).to_owned()
}
