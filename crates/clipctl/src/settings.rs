//! The configuration, and what it leads to: a way to S3, and the store.

use std::path::Path;

use anyhow::Result;
use config::{Effective, Flag, PathStyle, RegistryStore, Sources};
use s3::{Credentials, S3, S3Options};
use store::{LocalStore, S3Store, Store};

use crate::cli::Global;
use crate::configured;

/// The configuration that holds for this command.
pub(crate) struct Settings {
    pub effective: Effective,
}

impl Settings {
    /// Reads all of it; `flags` are those that were given and stand for keys.
    pub fn load(global: &Global, flags: Vec<Flag>) -> Result<Settings> {
        let flags = configured::variables().into_iter().chain(flags).collect();
        let sources = Sources::gather(Path::new(config::DIRECTORY), global.config.as_deref(), std::env::vars_os(), flags)?;
        Ok(Settings { effective: Effective::load(&sources)? })
    }

    /// The service of images.
    pub fn image_service(&self) -> &config::ImageService {
        &self.effective.config.image_service
    }

    /// The way to S3. Nothing is sent yet.
    pub async fn s3(&self) -> Result<S3> {
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
        let options = S3Options {
            endpoint: given.endpoint.clone(),
            region: given.region.clone(),
            path_style,
            credentials,
            ca_file: given.ca_file.clone(),
            ..S3Options::default()
        };
        Ok(S3::new(options).await?)
    }

    /// The store.
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
