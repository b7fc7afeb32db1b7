//! The configuration, and what it leads to: a way to S3, and the store.

use std::path::Path;

use anyhow::Result;
use config::{Effective, Flag, PathStyle, RegistryStore, Sources};
use s3::{Credentials, S3, S3Options};
use store::{LocalStore, S3Store, Store};
use tokio::sync::OnceCell;

/// Variables that are older than the configuration and mean one of its keys.
const VARIABLES: [(&str, &str); 4] =
    [("CLIP_CACHE_DIR", "cache.dir"), ("CLIP_CACHE_SIZE", "cache.size"), ("CLIP_CA_FILE", "registry.caFile"), ("CLIP_LOG", "log.level")];

/// The configuration that holds.
#[derive(Debug)]
pub struct Settings {
    /// Every value, with its origin.
    pub effective: Effective,
    /// Made when first needed, and then the same for all.
    s3: OnceCell<S3>,
}

impl Settings {
    /// Reads all of it: /etc/clip, the file that is `named` or else the one of `CLIP_CONFIG`, the environment, and `flags`, those that were given
    /// and stand for keys.
    ///
    /// # Errors
    /// As [`Sources::gather`] and [`Effective::load`].
    pub fn gather(named: Option<&Path>, flags: Vec<Flag>) -> Result<Settings> {
        let flags = variables().into_iter().chain(flags).collect();
        let sources = Sources::gather(Path::new(config::DIRECTORY), named, std::env::vars_os(), flags)?;
        Ok(Settings { effective: Effective::load(&sources)?, s3: OnceCell::new() })
    }

    /// The service of images.
    pub fn image_service(&self) -> &config::ImageService {
        &self.effective.config.image_service
    }

    /// The way to S3. Nothing is sent yet.
    ///
    /// # Errors
    /// Options that cannot be used.
    pub async fn s3(&self) -> Result<S3> {
        Ok(self.s3.get_or_try_init(|| S3::new(self.s3_options())).await?.clone())
    }

    fn s3_options(&self) -> S3Options {
        let given = &self.image_service().s3;
        let secret = |secret: &Option<config::Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        let credentials = match (secret(&given.access_key), secret(&given.secret_key)) {
            _ if given.anonymous => Credentials::Anonymous,
            (Some(access_key), Some(secret_key)) => {
                Credentials::Static { access_key, secret_key, session_token: secret(&given.session_token) }
            }
            _ => Credentials::DefaultChain,
        };
        let path_style = match given.path_style {
            PathStyle::Auto => None,
            PathStyle::Always => Some(true),
            PathStyle::Never => Some(false),
        };
        S3Options {
            endpoint: given.endpoint.clone(),
            region: given.region.clone(),
            path_style,
            credentials,
            ca_file: given.ca_file.clone(),
            ..S3Options::default()
        }
    }

    /// The store.
    ///
    /// # Errors
    /// A directory that cannot be made, and as [`Settings::s3`].
    pub async fn store(&self) -> Result<Store> {
        let service = self.image_service();
        Ok(match service.registry_store {
            RegistryStore::Local => Store::Local(LocalStore::open(&service.store_path)?),
            RegistryStore::S3 => {
                let bucket = service.s3.bucket.as_deref().unwrap_or_default(); // the configuration insists on it
                Store::S3(S3Store::new(self.s3().await?.bucket(bucket)?, &service.s3.prefix))
            }
        })
    }
}

/// Those variables that are set, as the configuration wants them.
fn variables() -> Vec<Flag> {
    let set = VARIABLES.iter().filter_map(|(name, key)| Some((name, key, std::env::var(name).ok().filter(|value| !value.is_empty())?)));
    set.map(|(name, key, value)| Flag { key, name: (*name).into(), value }).collect()
}
