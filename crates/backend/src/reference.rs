//! Names of images in registries. Parsing is `oci-client`'s, so that short names mean what they mean to Docker.

use std::{fmt, str::FromStr};

use crate::Error;

/// Docker Hub's name in references, and the host that serves its API.
pub(crate) const HUB: &str = "docker.io";
const HUB_API: &str = "registry-1.docker.io";
/// What registries bear as host and repository.
const REFERENCE_BYTES_MAX: usize = 255;

/// A repository: where manifests and blobs of one name live.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repository {
    host: String,
    name: String,
}

impl Repository {
    /// The repository `name` on `host`, which may end in `:port`, as an archive records them.
    ///
    /// # Errors
    /// [`Error::InvalidReference`] if the two together are no repository.
    pub fn new(host: &str, name: &str) -> Result<Self, Error> {
        // Not by the parser, whose regular expression takes longer to compile than all else that a mount does.
        let fits = host.len() + name.len() < REFERENCE_BYTES_MAX;
        // What the parser would make something else of: the names of Docker Hub that have short forms.
        let is_short = host == "index.docker.io" || (host == HUB && !name.contains('/'));
        if !fits || is_short || !is_host(host) || !name.split('/').all(is_component) {
            let reason = format!("'{host}' and '{name}' are no host and repository");
            return Err(Error::InvalidReference { reference: format!("{host}/{name}"), reason });
        }
        Ok(Self { host: host.to_owned(), name: name.to_owned() })
    }

    /// The registry as users write it, with its port if it has one: `docker.io`, `localhost:5000`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The name within the registry: `library/alpine`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host that serves the registry's API.
    pub(crate) fn api_host(&self) -> &str {
        if self.host == HUB { HUB_API } else { &self.host }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)
    }
}

/// Whether this is a host with or without port, and not the first part of a name (the reference grammar of distribution, without IPv6).
fn is_host(text: &str) -> bool {
    let (bare, port) = text.split_once(':').map_or((text, None), |(bare, port)| (bare, Some(port)));
    let is_label = |label: &str| {
        let inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        inside && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let tells_itself = port.is_some() || bare.contains('.') || bare == "localhost";
    let has_port = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    tells_itself && has_port && bare.split('.').all(is_label)
}

/// Whether this is one part of a repository's name: lower-case letters and digits, with one `.`, one or two `_` or any number of `-` between.
fn is_component(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = text.split(is_plain).filter(|run| !run.is_empty());
    let sound = |run: &str| matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-');
    text.starts_with(is_plain) && text.ends_with(is_plain) && separators.into_iter().all(sound)
}

/// A manifest in a repository, by tag, by digest, or by both (then the digest counts).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    repository: Repository,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag. A reference without tag and digest has the tag `latest`.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, as `sha256:…`.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The manifest with this digest in the same repository: what an index points to. The tag is dropped.
    ///
    /// # Errors
    /// [`Error::InvalidReference`] if `digest` is none.
    pub fn with_digest(&self, digest: &str) -> Result<Self, Error> {
        format!("{}@{digest}", self.repository).parse()
    }

    /// What the registry is asked for: the digest if there is one.
    pub(crate) fn target(&self) -> &str {
        self.digest().or(self.tag()).unwrap_or("latest")
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// Reads `[docker://][host/]name[:tag][@digest]`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bare = text.strip_prefix("docker://").unwrap_or(text);
        let invalid = |reason: String| Error::InvalidReference { reference: text.to_owned(), reason };
        let parsed = oci_client::Reference::try_from(bare).map_err(|error| invalid(error.to_string()))?;
        // What looks like a host but is none slips through there as a part of the name.
        if parsed.repository().contains(|c: char| c.is_ascii_uppercase()) {
            return Err(invalid("the name must be lower-case".to_owned()));
        }
        Ok(Self {
            repository: Repository { host: parsed.registry().to_owned(), name: parsed.repository().to_owned() },
            tag: parsed.tag().map(str::to_owned),
            digest: parsed.digest().map(str::to_owned),
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    fn check(text: &str, whole: &str) {
        assert_eq!(text.parse::<Reference>().unwrap().to_string(), whole, "{text}");
    }

    #[test]
    fn short_and_long_names() {
        check("alpine", "docker.io/library/alpine:latest");
        check("docker://alpine:3.20", "docker.io/library/alpine:3.20");
        check("index.docker.io/bitnami/redis", "docker.io/bitnami/redis:latest");
        check("localhost:5000/a/b:1", "localhost:5000/a/b:1");
        check("localhost/a", "localhost/a:latest");
        check("ghcr.io/o/app:1", "ghcr.io/o/app:1");
        check(&format!("r.example/app@{DIGEST}"), &format!("r.example/app@{DIGEST}"));
        check(&format!("r.example/app:1@{DIGEST}"), &format!("r.example/app:1@{DIGEST}"));
    }

    #[test]
    fn what_is_asked_for() {
        let both: Reference = format!("app:1@{DIGEST}").parse().unwrap();
        assert_eq!(both.target(), DIGEST);
        assert_eq!(both.repository().api_host(), "registry-1.docker.io");
        let child = both.with_digest(DIGEST).unwrap();
        assert_eq!(child.to_string(), format!("docker.io/library/app@{DIGEST}"));
        assert!(both.with_digest("latest").is_err());
    }

    #[test]
    fn repositories_from_archives_are_checked() {
        assert_eq!(Repository::new("localhost:5000", "a/b").unwrap().to_string(), "localhost:5000/a/b");
        assert_eq!(Repository::new("docker.io", "library/alpine").unwrap().name(), "library/alpine");
        for (host, name) in
            [("r.example", "a:1"), ("r.example", "../v2/x"), ("", "a"), ("nohost", "a"), ("r.example/a", "b"), ("u@r.example", "b")]
        {
            assert!(matches!(Repository::new(host, name), Err(Error::InvalidReference { .. })), "{host} {name}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_advice() {
        for text in ["", "UPPER/case", "a b", "r.example/app@sha256:12", "https://r.example/app"] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(error.to_string().contains("host/name:tag"), "{error}");
        }
    }

    #[test]
    fn a_repository_is_what_the_parser_makes_of_it() {
        let hosts = [
            "r.example",
            "localhost",
            "localhost:5000",
            "127.0.0.1:5",
            "[::1]:5000",
            "[::1]",
            "docker.io",
            "index.docker.io",
            "R.example:80",
        ];
        let hosts =
            hosts.into_iter().chain(["", "r", "r.example:", "r.example:x", "-r.example", "r-.example", "r..example", "[::1", "r_.example"]);
        let names = ["a", "a/b", "library/alpine", "a-b/c.d/e_f/g__h/i---j/0"];
        let names = names
            .into_iter()
            .chain(["", "/", "a/", "/a", "a//b", "A/b", "a..b", "a___b", "a_.b", "-a", "a.", "a:b", "a@b", "a b", "\u{e4}"]);
        for (host, name) in hosts.flat_map(|host| names.clone().map(move |name| (host, name))) {
            let parsed = format!("{host}/{name}").parse::<Reference>().ok().map(|parsed| parsed.repository);
            let expected = parsed.filter(|parsed| parsed.host == host && parsed.name == name);
            assert_eq!(Repository::new(host, name).ok(), expected, "{host} {name}");
        }
    }
}
