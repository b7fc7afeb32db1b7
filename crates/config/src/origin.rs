//! Where a value comes from.

use std::fmt;
use std::path::PathBuf;

use figment::{Metadata, Source};

/// Where a value comes from. Shown as `default`, `/etc/clip/a.yaml`, `CLIP_VERSION`, `flag --clip-version`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A file.
    File(PathBuf),
    /// A variable of the environment, by its name.
    Variable(String),
    /// A flag, by its name with dashes.
    Flag(String),
}

// What figment remembers of a layer is a name and a source: the name is the variant, the source its contents.
const FILE: &str = "file";
const VARIABLE: &str = "variable";
const FLAG: &str = "flag";

impl Origin {
    pub(crate) fn metadata(&self) -> Metadata {
        match self {
            Origin::Default => Metadata::named("default"),
            Origin::File(path) => Metadata::named(FILE).source(Source::File(path.clone())),
            Origin::Variable(name) => Metadata::named(VARIABLE).source(Source::Custom(name.clone())),
            Origin::Flag(name) => Metadata::named(FLAG).source(Source::Custom(name.clone())),
        }
    }

    /// The way back from what figment remembers of a value.
    pub(crate) fn of(metadata: Option<&Metadata>) -> Origin {
        match metadata.map(|metadata| (metadata.name.as_ref(), &metadata.source)) {
            Some((FILE, Some(Source::File(path)))) => Origin::File(path.clone()),
            Some((VARIABLE, Some(Source::Custom(name)))) => Origin::Variable(name.clone()),
            Some((FLAG, Some(Source::Custom(name)))) => Origin::Flag(name.clone()),
            _ => Origin::Default,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => path.display().fmt(f),
            Origin::Variable(name) => f.write_str(name),
            // A variable that is older than the configuration is handed in as a flag, by its own name.
            Origin::Flag(name) if !name.starts_with("--") => f.write_str(name),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// An origin, and in a file the line: what an error points at. Shown as `/etc/clip/a.yaml:3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which layer.
    pub origin: Origin,
    /// Line in the file, from 1.
    pub line: Option<usize>,
}

impl From<Origin> for Place {
    fn from(origin: Origin) -> Place {
        Place { origin, line: None }
    }
}

impl From<Origin> for Box<Place> {
    fn from(origin: Origin) -> Box<Place> {
        Box::new(origin.into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.origin),
            None => self.origin.fmt(f),
        }
    }
}
