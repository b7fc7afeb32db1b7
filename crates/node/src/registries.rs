//! How registries are reached.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use backend::{Credentials, Error, Login, Registry, RegistryOptions, Transport};

/// What flags and configuration say about registries.
#[derive(Clone, Default)]
pub struct RegistryAccess {
    /// Plain HTTP to all of them.
    pub plain_http: bool,
    /// Any certificate will do.
    pub insecure_skip_tls_verify: bool,
    /// PEM file of certificates to trust as well.
    pub ca_file: Option<PathBuf>,
    /// User name and password for the one registry that is asked for; others are reached with what environment and Docker's config.json have.
    pub login: Option<(String, String)>,
    /// Hosts that are spoken to in plain HTTP.
    pub plain_http_hosts: Vec<String>,
    /// Hosts whose certificates are not checked.
    pub insecure_hosts: Vec<String>,
}

impl RegistryAccess {
    /// What the configuration says.
    pub fn configured(config: &config::Registry) -> RegistryAccess {
        RegistryAccess {
            ca_file: config.ca_file.clone(),
            plain_http_hosts: config.plain_http.clone(),
            insecure_hosts: config.insecure_skip_tls_verify.clone(),
            ..RegistryAccess::default()
        }
    }

    fn way(&self, host: Option<&str>) -> Way {
        let insecure = self.insecure_skip_tls_verify || is_among(&self.insecure_hosts, host);
        // Who names certificates means TLS, also to a registry on this machine.
        let transport = match (self.plain_http, self.ca_file.is_some() || insecure) {
            (true, _) => Transport::Http,
            _ if is_among(&self.plain_http_hosts, host) => Transport::Http,
            (false, true) => Transport::Https,
            (false, false) => Transport::Auto,
        };
        let login_host = self.login.as_ref().and_then(|_| host.map(str::to_owned));
        Way { transport, insecure, login_host }
    }

    fn connect(&self, way: &Way) -> Result<Registry, Error> {
        let mut credentials = Credentials::from_environment();
        if let (Some((username, password)), Some(host)) = (&self.login, &way.login_host) {
            credentials = credentials.with_login(Login { host: host.clone(), username: username.clone(), password: password.clone() });
        }
        Registry::new(RegistryOptions {
            transport: way.transport,
            ca_file: self.ca_file.clone(),
            insecure_skip_tls_verify: way.insecure,
            credentials,
            ..RegistryOptions::default()
        })
    }
}

/// The password is not shown.
impl fmt::Debug for RegistryAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryAccess")
            .field("plain_http", &self.plain_http)
            .field("insecure_skip_tls_verify", &self.insecure_skip_tls_verify)
            .field("ca_file", &self.ca_file)
            .field("user", &self.login.as_ref().map(|(user, _)| user))
            .field("plain_http_hosts", &self.plain_http_hosts)
            .field("insecure_hosts", &self.insecure_hosts)
            .finish()
    }
}

/// What makes two ways to registries different ones. There are a handful at most, as a login is for one host only.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    transport: Transport,
    insecure: bool,
    login_host: Option<String>,
}

/// Ways to registries. Who asks for the same way gets the same connections, tokens and limits, with counters of his own.
#[derive(Debug, Default)]
pub struct Registries {
    access: RegistryAccess,
    ways: Mutex<Vec<(Way, Registry)>>,
}

impl Registries {
    /// As `access` says. Nothing is connected yet.
    pub fn new(access: RegistryAccess) -> Registries {
        Registries { access, ways: Mutex::default() }
    }

    /// A way to registries; `host` is the one that an explicit login is for, and whose transport the configuration may say.
    ///
    /// # Errors
    /// A CA file that cannot be used, or no trusted certificates at all.
    pub fn to(&self, host: Option<&str>) -> Result<Registry, Error> {
        let way = self.access.way(host);
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, registry)) = ways.iter().find(|(known, _)| *known == way) {
            return Ok(registry.counted_apart());
        }
        let registry = self.access.connect(&way)?;
        ways.push((way, registry.clone()));
        Ok(registry)
    }
}

fn is_among(hosts: &[String], host: Option<&str>) -> bool {
    host.is_some_and(|host| hosts.iter().any(|known| known.eq_ignore_ascii_case(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_mean_tls_and_lists_are_by_host() {
        let access = RegistryAccess {
            plain_http_hosts: vec!["Plain.example:5000".into()],
            insecure_hosts: vec!["odd.example".into()],
            ..RegistryAccess::default()
        };
        assert_eq!(access.way(Some("plain.example:5000")).transport, Transport::Http);
        assert_eq!(access.way(Some("odd.example")), Way { transport: Transport::Https, insecure: true, login_host: None });
        assert_eq!(access.way(Some("other.example")).transport, Transport::Auto);
        let named = RegistryAccess { ca_file: Some("/ca.pem".into()), ..RegistryAccess::default() };
        assert_eq!(named.way(Some("localhost:5000")).transport, Transport::Https);
        assert_eq!(RegistryAccess { plain_http: true, ..named }.way(None).transport, Transport::Http);
    }

    #[test]
    fn a_login_is_for_one_host_and_does_not_print() {
        let access = RegistryAccess { login: Some(("me".into(), "hunter2".into())), ..RegistryAccess::default() };
        assert_ne!(access.way(Some("a")), access.way(Some("b")));
        assert!(!format!("{access:?}").contains("hunter2"));
    }

    #[test]
    fn ways_are_shared_and_counted_apart() {
        let registries = Registries::default();
        let (a, b) = (registries.to(Some("a.example")).unwrap(), registries.to(Some("b.example")).unwrap());
        assert!(!std::sync::Arc::ptr_eq(a.traffic(), b.traffic()));
        assert_eq!(registries.ways.lock().unwrap().len(), 1);
    }
}
