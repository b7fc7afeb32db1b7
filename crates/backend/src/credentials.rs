//! Who asks: user names and passwords for registries.
//!
//! In this order: a [`Login`] that the caller gives for the host, the environment
//! (`CLIP_REGISTRY_USER_<HOST>`, `CLIP_REGISTRY_PASS_<HOST>`), Docker's `config.json` with its helpers, nobody.
//! They are looked up anew whenever a registry asks, because what a helper gives may expire. A helper that fails does not
//! stop the request: many images are public. What went wrong is kept for the hint of the denial that may follow.

use std::{fmt, fs::File, io::BufReader, path::PathBuf, sync::Arc, time::Duration};

use docker_credential::{CredentialRetrievalError, DockerCredential};
use tokio::sync::{Semaphore, oneshot};

use crate::reference::HUB;

/// Helpers ask cloud services, which takes seconds at worst.
const HELPER_TIMEOUT: Duration = Duration::from_secs(20);
/// Helpers that run at once. Each has a thread, and one that hangs keeps it.
const HELPERS_MAX: usize = 4;
/// Docker Hub's name in Docker's own files.
const HUB_SERVER: &str = "https://index.docker.io/v1/";

type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A user name and password for one registry. Never sent to another.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The registry as references name it, with its port if it has one: `docker.io`, `localhost:5000`.
    pub host: String,
    /// The user name.
    pub username: String,
    /// The password or access token.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("host", &self.host).field("username", &self.username).finish_non_exhaustive()
    }
}

/// Where credentials are looked for.
#[derive(Clone)]
pub struct Credentials {
    logins: Vec<Login>,
    environment: Environment,
    helpers: Arc<Semaphore>,
    helper_timeout: Duration,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("logins", &self.logins).finish_non_exhaustive()
    }
}

/// What a registry is to be told.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    Password {
        username: String,
        password: String,
    },
    /// What Docker calls an identity token: an OAuth2 refresh token.
    IdentityToken(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The end of a search.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Nothing: ask as nobody.
    pub(crate) secret: Option<Secret>,
    /// Where the secret is from, or what went wrong, for messages.
    pub(crate) note: Option<String>,
}

impl Credentials {
    /// Looks into the environment and Docker's `config.json` (under `$DOCKER_CONFIG`, else `$HOME/.docker`).
    pub fn from_environment() -> Self {
        Self::with_environment(|name| std::env::var(name).ok())
    }

    /// Looks nowhere, whatever the environment holds.
    pub fn anonymous() -> Self {
        Self::with_environment(|_| None)
    }

    /// Looks into this environment instead of the process's.
    pub fn with_environment(environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let helpers = Arc::new(Semaphore::new(HELPERS_MAX));
        Self { logins: Vec::new(), environment: Arc::new(environment), helpers, helper_timeout: HELPER_TIMEOUT }
    }

    /// Adds a login that goes before everything else for its host.
    pub fn with_login(mut self, login: Login) -> Self {
        self.logins.insert(0, login);
        self
    }

    /// What to tell the registry `host` (with port, as references name it).
    pub(crate) async fn find(&self, host: &str) -> Found {
        if let Some(login) = self.logins.iter().find(|login| login.host.eq_ignore_ascii_case(host)) {
            return found(&login.username, &login.password, "those given");
        }
        if let Some(found) = self.find_in_environment(host) {
            return found;
        }
        self.find_in_docker(host).await
    }

    fn find_in_environment(&self, host: &str) -> Option<Found> {
        environment_suffixes(host).into_iter().find_map(|suffix| {
            let (user, pass) = (format!("CLIP_REGISTRY_USER_{suffix}"), format!("CLIP_REGISTRY_PASS_{suffix}"));
            match ((self.environment)(&user), (self.environment)(&pass)) {
                (Some(username), Some(password)) => Some(found(&username, &password, &user)),
                (Some(_), None) => Some(Found { secret: None, note: Some(format!("{user} is set, but {pass} is not")) }),
                (None, _) => None,
            }
        })
    }

    async fn find_in_docker(&self, host: &str) -> Found {
        let Some(path) = self.docker_config() else { return Found::default() };
        let server = if host == HUB { HUB_SERVER } else { host }.to_owned();
        let shown = path.display().to_string();
        match tokio::time::timeout(self.helper_timeout, self.run_docker(path, server)).await {
            Ok(Ok(credential)) => Found { secret: Some(secret(credential)), note: Some(shown) },
            Ok(Err(error)) if is_nothing(&error) => Found::default(),
            Ok(Err(error)) => trouble(host, format!("{shown}: {error}")),
            Err(_) => trouble(host, format!("{shown}: the credential helper gave no answer in {:?}", self.helper_timeout)),
        }
    }

    /// The file, if there is one.
    fn docker_config(&self) -> Option<PathBuf> {
        let get = |name| (self.environment)(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = get("DOCKER_CONFIG").or_else(|| get("HOME").map(|home| home.join(".docker")))?;
        Some(folder.join("config.json")).filter(|path| path.exists())
    }

    /// On a thread of its own, not one of the runtime's: those would hold up its shutdown while a helper hangs.
    async fn run_docker(&self, path: PathBuf, server: String) -> Result<DockerCredential, CredentialRetrievalError> {
        use CredentialRetrievalError::{ConfigReadError, HelperCommunicationError};
        let permit = self.helpers.clone().acquire_owned().await.map_err(|_| HelperCommunicationError)?;
        let (answer, answered) = oneshot::channel();
        let run = move || {
            let file = File::open(path).map_err(|_| ConfigReadError);
            let credential = file.and_then(|file| docker_credential::get_credential_from_reader(BufReader::new(file), &server));
            drop(permit);
            // Nobody may be waiting any more.
            let _ = answer.send(credential);
        };
        std::thread::Builder::new().name("credentials".into()).spawn(run).map_err(|_| HelperCommunicationError)?;
        answered.await.map_err(|_| HelperCommunicationError)?
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self::from_environment()
    }
}

/// How to give credentials for `host`, for messages.
pub(crate) fn how_to_give(host: &str) -> String {
    let suffix = environment_suffix(host);
    format!("give a user name and password, set CLIP_REGISTRY_USER_{suffix} and CLIP_REGISTRY_PASS_{suffix}, or run 'docker login {host}'")
}

fn found(username: &str, password: &str, note: &str) -> Found {
    let secret = Secret::Password { username: username.to_owned(), password: password.to_owned() };
    Found { secret: Some(secret), note: Some(note.to_owned()) }
}

fn trouble(host: &str, note: String) -> Found {
    tracing::warn!(host, note, "no credentials from Docker's configuration; ask without");
    Found { secret: None, note: Some(note) }
}

fn secret(credential: DockerCredential) -> Secret {
    match credential {
        DockerCredential::UsernamePassword(username, password) => Secret::Password { username, password },
        DockerCredential::IdentityToken(token) => Secret::IdentityToken(token),
    }
}

/// Whether this only says that there are no credentials. Helpers say it in words, all in the same.
fn is_nothing(error: &CredentialRetrievalError) -> bool {
    match error {
        CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound => true,
        CredentialRetrievalError::HelperFailure { stdout, stderr, .. } => {
            [stdout, stderr].iter().any(|text| text.contains("credentials not found"))
        }
        _ => false,
    }
}

/// The ends of the variables' names: with the port, then without.
fn environment_suffixes(host: &str) -> Vec<String> {
    let bare = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit())).map(|(bare, _)| bare);
    std::iter::once(host).chain(bare).map(environment_suffix).collect()
}

fn environment_suffix(host: &str) -> String {
    host.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, fs, os::unix::fs::PermissionsExt, path::Path};

    use super::*;

    fn with(variables: &[(&str, &str)]) -> Credentials {
        let variables: HashMap<String, String> = variables.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Credentials::with_environment(move |name| variables.get(name).cloned())
    }

    fn password(found: &Found) -> (&str, &str) {
        match &found.secret {
            Some(Secret::Password { username, password }) => (username, password),
            other => panic!("no password: {other:?}, {:?}", found.note),
        }
    }

    fn docker(folder: &Path, config: &str) -> Credentials {
        fs::write(folder.join("config.json"), config).unwrap();
        with(&[("DOCKER_CONFIG", folder.to_str().unwrap())])
    }

    #[test]
    fn names_of_variables() {
        assert_eq!(environment_suffixes("my-reg.example.com:5000"), ["MY_REG_EXAMPLE_COM_5000", "MY_REG_EXAMPLE_COM"]);
        assert_eq!(environment_suffixes("docker.io"), ["DOCKER_IO"]);
        assert_eq!(environment_suffixes("[::1]"), ["___1_"]);
    }

    #[tokio::test]
    async fn given_then_environment_with_port_then_without() {
        let credentials = with(&[
            ("CLIP_REGISTRY_USER_R_EXAMPLE", "bare"),
            ("CLIP_REGISTRY_PASS_R_EXAMPLE", "1"),
            ("CLIP_REGISTRY_USER_R_EXAMPLE_5000", "port"),
            ("CLIP_REGISTRY_PASS_R_EXAMPLE_5000", "2"),
        ]);
        assert_eq!(password(&credentials.find("r.example:5000").await), ("port", "2"));
        assert_eq!(password(&credentials.find("r.example:81").await), ("bare", "1"));
        assert_eq!(credentials.find("other.example").await, Found::default());
        let given = credentials.with_login(Login { host: "r.example".into(), username: "me".into(), password: "3".into() });
        assert_eq!(password(&given.find("r.example").await), ("me", "3"));
        assert_eq!(password(&given.find("r.example:81").await), ("bare", "1"), "a login is for one host and port");
    }

    #[tokio::test]
    async fn half_a_pair_is_explained() {
        let found = with(&[("CLIP_REGISTRY_USER_R_EXAMPLE", "me")]).find("r.example").await;
        assert_eq!(found.secret, None);
        assert!(found.note.unwrap().contains("CLIP_REGISTRY_PASS_R_EXAMPLE is not"));
    }

    #[tokio::test]
    async fn docker_auths_and_the_hub() {
        let folder = tempfile::tempdir().unwrap();
        let auth = |text| format!(r#"{{"auth": "{text}"}}"#);
        let config = format!(
            r#"{{"auths": {{"r.example": {}, "https://index.docker.io/v1/": {}}}}}"#,
            auth("bWU6c2VjcmV0"),
            auth("aHViOnNlY3JldA==")
        );
        let credentials = docker(folder.path(), &config);
        assert_eq!(password(&credentials.find("r.example").await), ("me", "secret"));
        assert_eq!(password(&credentials.find("docker.io").await), ("hub", "secret"));
        assert_eq!(credentials.find("other.example").await, Found::default());
    }

    #[tokio::test]
    async fn a_broken_file_or_helper_is_a_note_not_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let found = docker(folder.path(), "{").find("r.example").await;
        assert!(found.secret.is_none() && found.note.unwrap().contains("config.json"));
        let found = docker(folder.path(), r#"{"credsStore": "no-such-helper-of-clip"}"#).find("r.example").await;
        assert!(found.secret.is_none() && found.note.is_some());
    }

    /// Helpers are found by `PATH`, which a test must not change in its own process: so it runs itself in another.
    #[test]
    fn helpers_answer_or_are_given_up() {
        let folder = tempfile::tempdir().unwrap();
        for (name, script) in [
            ("good", r#"cat > /dev/null; echo '{"ServerURL": "r", "Username": "me", "Secret": "secret"}'"#),
            ("empty", "cat > /dev/null; echo 'credentials not found in native keychain'; exit 1"),
            ("hangs", "exec sleep 3"),
        ] {
            let path = folder.path().join(format!("docker-credential-clip-{name}"));
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "credentials::tests::with_helpers_in_path", "--ignored"])
            .env("PATH", format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap()))
            .status();
        assert!(status.unwrap().success());
    }

    #[tokio::test]
    #[ignore = "run by helpers_answer_or_are_given_up, with helpers in PATH"]
    async fn with_helpers_in_path() {
        let folder = tempfile::tempdir().unwrap();
        let config = r#"{"credsStore": "clip-empty", "credHelpers": {"good.example": "clip-good", "hangs.example": "clip-hangs"}}"#;
        let mut credentials = docker(folder.path(), config);
        assert_eq!(password(&credentials.find("good.example").await), ("me", "secret"));
        assert_eq!(credentials.find("other.example").await, Found::default());
        credentials.helper_timeout = Duration::from_millis(100);
        let found = credentials.find("hangs.example").await;
        assert!(found.secret.is_none() && found.note.unwrap().contains("no answer"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let login = Login { host: "h".into(), username: "u".into(), password: "hidden-word".into() };
        let all = format!("{:?} {:?}", Credentials::anonymous().with_login(login.clone()), found(&login.username, &login.password, "n"));
        assert!(!all.contains("hidden-word"), "{all}");
    }
}
