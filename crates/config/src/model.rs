//! The configuration as structs, and its defaults; the daemon's section is in worker.rs. In files the names are camelCase.
//!
//! The table in keys.rs says what each key accepts; a test holds the two together. Serialisation masks secrets.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::choice::{ClipVersion, PathStyle, RegistryStore};
use crate::secret::Secret;
use crate::size::ByteSize;
use crate::worker::Worker;

/// All that can be configured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// How archives are made, and where they are kept.
    pub image_service: ImageService,
    /// Verified data of images, kept near.
    pub cache: Cache,
    /// How registries are reached.
    pub registry: Registry,
    /// What is logged.
    pub log: Log,
    /// The daemon.
    pub worker: Worker,
}

/// How archives are made, and where they are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageService {
    /// Format of new archives: `v1` (also 0, 1) or `v2` (also 2). Default `v1`.
    pub clip_version: ClipVersion,
    /// Where finished archives are kept: `local` or `s3`. Default `local`.
    pub registry_store: RegistryStore,
    /// Directory of the local store. Default `/var/lib/clip/store`.
    pub store_path: PathBuf,
    /// The bucket, for `registryStore: s3`.
    pub s3: S3,
    /// Whether a v2 archive that cannot be made becomes a v1 archive. Default `true`.
    pub fallback: bool,
    /// MiB of uncompressed data between two points where reading of a v2 archive can begin: 0.0625 to 8. Default 2.
    pub checkpoint_mib: f64,
    /// Level of zstd in v1 archives: 1 to 22. Default 9.
    pub level: i32,
    /// KiB of uncompressed data that are compressed, fetched and verified as one in v1 archives: 64 to 8192. Default 1024.
    pub span_kib: u32,
    /// Layers (v2) or threads (v1) at work at the same time: 1 to 32. Default `auto`, none here: the number of processors, at most 16.
    #[serde(with = "auto")]
    pub jobs: Option<u16>,
}

/// A bucket of S3, or of what speaks its protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3 {
    /// Name of the bucket; required for `registryStore: s3`. Default none.
    pub bucket: Option<String>,
    /// What names of objects begin with, without `/` at either end; may be empty. Default `clip`.
    pub prefix: String,
    /// URL of the service, http:// or https://. Default none: AWS.
    pub endpoint: Option<String>,
    /// Region. Default none: as the AWS environment and profile say.
    pub region: Option<String>,
    /// Whether the bucket stands in the URL's path: `true`, `false` or `auto`. Default `auto`.
    pub path_style: PathStyle,
    /// Id of the access key. Default none: AWS's chain of credentials (environment, profile, web identity, instance).
    pub access_key: Option<Secret>,
    /// The key that belongs to `accessKey`; both or neither. Default none.
    pub secret_key: Option<Secret>,
    /// Token of a temporary `accessKey`. Default none.
    pub session_token: Option<Secret>,
    /// Whether requests are not signed at all; excludes `accessKey`. Default `false`.
    pub anonymous: bool,
    /// PEM file of certificates to trust as well. Default none.
    pub ca_file: Option<PathBuf>,
}

/// Verified data of images, kept near.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cache {
    /// Directory. Default none: found as `clipctl mount` finds it.
    pub dir: Option<PathBuf>,
    /// Most bytes of data that it holds: at least 1M, written `512M`, `10G`, `1.5T`. Default `10G`.
    pub size: ByteSize,
}

/// How registries are reached.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registry {
    /// Registries, as `HOST` or `HOST:PORT`, that are spoken to in plain HTTP. Default none (those on this machine are found out).
    pub plain_http: Vec<String>,
    /// Registries whose certificates are not checked: for tests of your own only. Default none.
    pub insecure_skip_tls_verify: Vec<String>,
    /// PEM file of certificates to trust as well. Default none.
    pub ca_file: Option<PathBuf>,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Log {
    /// `off`, `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,read=debug`. Default `info`.
    pub level: String,
}

impl Default for ImageService {
    fn default() -> Self {
        ImageService {
            clip_version: ClipVersion::V1,
            registry_store: RegistryStore::Local,
            store_path: "/var/lib/clip/store".into(),
            s3: S3::default(),
            fallback: true,
            checkpoint_mib: 2.0,
            level: 9,
            span_kib: 1024,
            jobs: None,
        }
    }
}

impl Default for S3 {
    fn default() -> Self {
        S3 {
            bucket: None,
            prefix: "clip".into(),
            endpoint: None,
            region: None,
            path_style: PathStyle::Auto,
            access_key: None,
            secret_key: None,
            session_token: None,
            anonymous: false,
            ca_file: None,
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Cache { dir: None, size: ByteSize(10 << 30) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { level: "info".into() }
    }
}

/// A number, or `auto` for none.
mod auto {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Number(u16),
        Word(String),
    }

    // serde's `with` hands fields over by reference.
    pub(super) fn serialize<S: Serializer>(number: &Option<u16>, serializer: S) -> Result<S::Ok, S::Error> {
        match number {
            Some(number) => serializer.serialize_u16(*number),
            None => serializer.serialize_str("auto"),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
        match Given::deserialize(deserializer)? {
            Given::Number(number) => Ok(Some(number)),
            Given::Word(word) if word == "auto" => Ok(None),
            Given::Word(_) => Err(de::Error::custom("neither a number nor auto")),
        }
    }
}
