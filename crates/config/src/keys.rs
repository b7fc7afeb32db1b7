//! The table of keys, in the order of the structs in model.rs.

use serde_json::Value as Json;

use crate::form;
use crate::kind::Kind;
use crate::model::Config;

/// A key that has a value.
pub(crate) struct Key {
    /// Where it is, with dots: `imageService.s3.bucket`.
    pub path: &'static str,
    /// What people call its value in an error; the path if empty.
    noun: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// Whether it can be none.
    pub optional: bool,
}

const CLIP_VERSION: Kind =
    Kind::Choice { spellings: &[("v1", "v1"), ("v2", "v2"), ("0", "v1"), ("1", "v1"), ("2", "v2")], options: "v1, v2" };
const STORE: Kind = Kind::Choice { spellings: &[("local", "local"), ("s3", "s3")], options: "local, s3" };
const PATH_STYLE: Kind =
    Kind::Choice { spellings: &[("true", "true"), ("false", "false"), ("auto", "auto")], options: "true, false, auto" };
const PATH: Kind = Kind::Text { fits: form::path, options: "paths, not empty" };
const WORD: Kind = Kind::Text { fits: form::word, options: "names of letters, digits, '.', '-' and '_'" };
const PREFIX: Kind = Kind::Text { fits: form::prefix, options: "names with '/' between them, or nothing" };
const URL: Kind = Kind::Text { fits: form::url, options: "URLs that begin with http:// or https://, without user and password" };
const FILTER: Kind =
    Kind::Text { fits: form::log_filter, options: "off, error, warn, info, debug, trace, or filters such as info,read=debug" };
const SECRET: Kind = Kind::Secret { fits: form::line, options: "text of one line, not empty, not the mask ****" };
const TOKEN: Kind = Kind::Secret { fits: form::token, options: "16 or more visible ASCII characters without spaces, not the mask ****" };
const BEARER: Kind = Kind::Secret { fits: form::bearer, options: "visible ASCII characters without spaces, not the mask ****" };
const DATABASE: Kind = Kind::Secret { fits: form::database, options: "URLs that begin with postgres:// or postgresql://" };
const HOSTS: Kind = Kind::List { fits: form::host, options: "lists of HOST or HOST:PORT" };
const ROOTS: Kind = Kind::List { fits: form::root, options: "lists of absolute paths without '.' and '..'" };
const MODE: Kind = Kind::Text { fits: form::socket_mode, options: "octal modes from 0600 to 0777 with which the owner can read and write" };
const LISTEN: Kind = Kind::Text { fits: form::listen, options: "HOST:PORT, an IPv6 address in brackets" };
const WEBHOOK: Kind = Kind::Text {
    fits: form::webhook,
    options: "URLs that begin with http:// or https://, without user and password; a query is allowed, a fragment is not",
};
const SHUTDOWN: Kind = Kind::Choice { spellings: &[("handover", "handover"), ("unmount", "unmount")], options: "handover, unmount" };
const LOG_FORMAT: Kind =
    Kind::Choice { spellings: &[("auto", "auto"), ("human", "human"), ("json", "json")], options: "auto, human, json" };

/// Every key. A test compares it with what [`Config`] serialises to.
pub(crate) static KEYS: [Key; 43] = [
    Key { noun: "clip version", ..required("imageService.clipVersion", CLIP_VERSION) },
    required("imageService.registryStore", STORE),
    required("imageService.storePath", PATH),
    optional("imageService.s3.bucket", WORD),
    required("imageService.s3.prefix", PREFIX),
    optional("imageService.s3.endpoint", URL),
    optional("imageService.s3.region", WORD),
    required("imageService.s3.pathStyle", PATH_STYLE),
    optional("imageService.s3.accessKey", SECRET),
    optional("imageService.s3.secretKey", SECRET),
    optional("imageService.s3.sessionToken", SECRET),
    required("imageService.s3.anonymous", Kind::Switch),
    optional("imageService.s3.caFile", PATH),
    required("imageService.fallback", Kind::Switch),
    required("imageService.checkpointMib", Kind::Number { min: 0.0625, max: 8.0 }),
    required("imageService.level", Kind::Integer { min: 1, max: 22, auto: false }),
    required("imageService.spanKib", Kind::Integer { min: 64, max: 8192, auto: false }),
    required("imageService.jobs", Kind::Integer { min: 1, max: 32, auto: true }),
    optional("cache.dir", PATH),
    required("cache.size", Kind::Size),
    required("registry.plainHttp", HOSTS),
    required("registry.insecureSkipTlsVerify", HOSTS),
    optional("registry.caFile", PATH),
    required("log.level", FILTER),
    required("worker.stateDir", PATH),
    optional("worker.database", DATABASE),
    required("worker.socket", PATH),
    required("worker.socketMode", MODE),
    optional("worker.listen", LISTEN),
    optional("worker.tlsCert", PATH),
    optional("worker.tlsKey", PATH),
    optional("worker.readToken", TOKEN),
    optional("worker.adminToken", TOKEN),
    required("worker.mountRoots", ROOTS),
    required("worker.jobs", Kind::Integer { min: 1, max: 64, auto: false }),
    required("worker.queueMax", Kind::Integer { min: 1, max: 1_000_000, auto: false }),
    required("worker.attempts", Kind::Integer { min: 1, max: 100, auto: false }),
    required("worker.shutdown", SHUTDOWN),
    required("worker.shutdownSeconds", Kind::Integer { min: 1, max: 3600, auto: false }),
    required("worker.idleUnmountAfter", Kind::Integer { min: 0, max: 31_536_000, auto: false }),
    optional("worker.webhook", WEBHOOK),
    optional("worker.webhookToken", BEARER),
    required("worker.logFormat", LOG_FORMAT),
];

const fn required(path: &'static str, kind: Kind) -> Key {
    Key { path, noun: "", kind, optional: false }
}

const fn optional(path: &'static str, kind: Kind) -> Key {
    Key { path, noun: "", kind, optional: true }
}

impl Key {
    /// The key at a dotted path.
    pub(crate) fn at(path: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.path == path)
    }

    /// What people call its value.
    pub(crate) fn noun(&self) -> &'static str {
        if self.noun.is_empty() { self.path } else { self.noun }
    }

    /// The built-in value, for people.
    pub(crate) fn default_shown(&self) -> String {
        // Plain structs and strings: serialising the defaults cannot fail, and an error message has no use for another error.
        let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
        shown(lookup(&defaults, self.path).unwrap_or(&Json::Null))
    }
}

/// The value at a dotted path.
pub(crate) fn lookup<'a>(tree: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('.').try_fold(tree, |value, name| value.get(name))
}

/// A value, for people.
pub(crate) fn shown(value: &Json) -> String {
    match value {
        Json::Null => "none".into(),
        Json::String(text) => text.clone(),
        Json::Array(items) if items.is_empty() => "none".into(),
        Json::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// `section.name`, or `name` at the top.
pub(crate) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.into() } else { format!("{section}.{name}") }
}

/// Names of the keys and sections right below `section` (empty: the top), in order; none if there is no such section.
pub(crate) fn below(section: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for key in &KEYS {
        let rest = if section.is_empty() { Some(key.path) } else { key.path.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')) };
        if let Some(name) = rest.and_then(|rest| rest.split('.').next())
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}
