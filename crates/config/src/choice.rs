//! Values that are one of a few words.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// Which archives are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ClipVersion {
    /// Archives that carry the image's data. Also written `1`, `0`, `"1"`, `"0"`.
    #[default]
    #[serde(rename = "v1")]
    V1,
    /// Small archives that point into the image's layers in their registry. Also written `2`, `"2"`.
    #[serde(rename = "v2")]
    V2,
}

impl fmt::Display for ClipVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClipVersion::V1 => "v1",
            ClipVersion::V2 => "v2",
        })
    }
}

/// Where finished archives are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistryStore {
    /// A directory of this machine: `imageService.storePath`.
    #[default]
    Local,
    /// A bucket: `imageService.s3`.
    S3,
}

impl fmt::Display for RegistryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RegistryStore::Local => "local",
            RegistryStore::S3 => "s3",
        })
    }
}

/// Whether the bucket stands in the path of an S3 URL, or in its host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
pub enum PathStyle {
    /// `true`: always in the path, as MinIO and its like want it.
    #[serde(rename = "true")]
    Always,
    /// `false`: always in the host name.
    #[serde(rename = "false")]
    Never,
    /// `auto`: the store decides, by its endpoint.
    #[default]
    #[serde(rename = "auto")]
    Auto,
}

/// As it is written in files: two booleans and a word.
impl Serialize for PathStyle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            PathStyle::Always => serializer.serialize_bool(true),
            PathStyle::Never => serializer.serialize_bool(false),
            PathStyle::Auto => serializer.serialize_str("auto"),
        }
    }
}

/// What becomes of mounts when the worker stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shutdown {
    /// They stay, for the next worker to serve.
    #[default]
    Handover,
    /// They are unmounted.
    Unmount,
}

/// How lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Whether lines are JSON, where the log goes to a terminal or not.
    pub fn is_json(self, on_terminal: bool) -> bool {
        match self {
            LogFormat::Auto => !on_terminal,
            LogFormat::Human => false,
            LogFormat::Json => true,
        }
    }
}
