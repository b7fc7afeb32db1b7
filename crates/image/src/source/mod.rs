//! Where an image is, and what it consists of: its manifest and config verbatim, and its layers, each a blob that can be read.

mod local;
mod name;
mod registry;

use std::sync::Arc;

use archive::{Location, Storage};
use backend::{Blob, Reference, Registry};
pub use name::ImageName;

use crate::manifest::{self, Manifest};
use crate::{Error, Platform};

/// How deep image indexes may be nested.
const INDEX_DEPTH_MAX: usize = 3;
/// Largest manifest, index or config; the specification asks registries to take manifests of 4 MiB.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

/// A layer of an image.
#[derive(Debug)]
pub struct Layer {
    /// Its compressed bytes.
    pub blob: Arc<dyn Blob>,
    /// The digest that the manifest gives them; a docker-archive gives none.
    pub digest: Option<String>,
    /// The digest that the config gives the uncompressed bytes.
    pub diff_id: String,
    /// Where an archive will find the blob.
    pub location: Location,
}

/// An image, found.
#[derive(Debug)]
pub struct Image {
    /// How it was named.
    pub name: String,
    /// Digest of the manifest.
    pub digest: String,
    /// The manifest, verbatim.
    pub manifest: Vec<u8>,
    /// The config, verbatim.
    pub config: Vec<u8>,
    /// Where an archive will find the blobs.
    pub storage: Storage,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// Where documents and blobs of one image come from.
enum Store {
    Registry(registry::Remote),
    Local(local::Local),
}

impl Image {
    /// Finds an image, for `platform` or else for this machine. With `storage_image`, an archive of a local image will look for the blobs in that repository, which must
    /// have them.
    ///
    /// # Errors
    /// [`Error::Backend`] where the registry or file fails, [`Error::Platform`], and [`Error::Image`] for what is no image.
    pub async fn resolve(
        name: &ImageName,
        platform: Option<&Platform>,
        registry: &Registry,
        storage_image: Option<&Reference>,
    ) -> Result<Image, Error> {
        let store = match name {
            ImageName::Registry(reference) => Store::Registry(registry::Remote::new(registry, reference)),
            ImageName::DockerArchive { file, tag } => return local::docker_archive(&name.to_string(), file, tag.as_deref()),
            ImageName::OciArchive { file, tag } => Store::Local(local::Local::archive(file, tag.as_deref())?),
            ImageName::Layout { dir, tag } => Store::Local(local::Local::layout(dir, tag.as_deref())?),
        };
        let mut image = store.image(&name.to_string(), platform).await?;
        if let (Some(reference), Store::Local(_)) = (storage_image, &store) {
            registry::point_at(registry, reference, &mut image).await?;
        }
        Ok(image)
    }
}

impl Store {
    /// Follows indexes to the platform's manifest, and reads the config.
    async fn image(&self, name: &str, platform: Option<&Platform>) -> Result<Image, Error> {
        let broken = |detail: String| Error::Image { image: name.into(), detail };
        let wanted = platform.cloned().unwrap_or_default();
        let (mut digest, mut bytes) = self.root(name).await?;
        for _ in 0..INDEX_DEPTH_MAX {
            match Manifest::parse(&bytes).map_err(broken)? {
                Manifest::Index(index) => {
                    let chosen = wanted.choose(index.manifests()).ok_or_else(|| Error::Platform {
                        image: name.into(),
                        wanted: wanted.to_string(),
                        available: Platform::list(index.manifests()),
                    })?;
                    digest = chosen.digest().to_string();
                    bytes = self.manifest(name, &digest).await?;
                }
                Manifest::Image(manifest) => {
                    let config = self.document(name, manifest.config().digest().as_ref()).await?;
                    check_platform(name, platform, &config)?;
                    let diff_ids = manifest::diff_ids(&config, manifest.layers().len()).map_err(broken)?;
                    let layers = manifest.layers().iter().zip(diff_ids).map(|(descriptor, diff_id)| {
                        let (blob, location) = self.blob(name, descriptor.digest().as_ref(), descriptor.size())?;
                        Ok(Layer { blob, digest: Some(descriptor.digest().to_string()), diff_id, location })
                    });
                    let layers = layers.collect::<Result<_, Error>>()?;
                    return Ok(Image { name: name.into(), digest, manifest: bytes, config, storage: self.storage(), layers });
                }
            }
        }
        Err(broken(format!("its image indexes are nested more than {INDEX_DEPTH_MAX} deep")))
    }

    /// The first manifest and its digest.
    async fn root(&self, name: &str) -> Result<(String, Vec<u8>), Error> {
        let (expected, bytes) = match self {
            Store::Registry(remote) => remote.root().await?,
            Store::Local(local) => local.root(name)?,
        };
        let found = crate::digest::sha256(&bytes);
        check_digest(name, "manifest", &bytes, expected.as_deref())?;
        Ok((found, bytes))
    }

    async fn manifest(&self, name: &str, digest: &str) -> Result<Vec<u8>, Error> {
        let bytes = match self {
            Store::Registry(remote) => remote.manifest(digest).await?,
            Store::Local(local) => local.document(name, digest)?,
        };
        check_digest(name, "manifest", &bytes, Some(digest))?;
        Ok(bytes)
    }

    async fn document(&self, name: &str, digest: &str) -> Result<Vec<u8>, Error> {
        let bytes = match self {
            Store::Registry(remote) => remote.document(digest).await?,
            Store::Local(local) => local.document(name, digest)?,
        };
        check_digest(name, "config", &bytes, Some(digest))?;
        Ok(bytes)
    }

    fn blob(&self, name: &str, digest: &str, size: u64) -> Result<(Arc<dyn Blob>, Location), Error> {
        match self {
            Store::Registry(remote) => Ok((remote.blob(digest, size), Location::Registry)),
            Store::Local(local) => local.blob(name, digest, Some(size)),
        }
    }

    fn storage(&self) -> Storage {
        match self {
            Store::Registry(remote) => remote.storage(),
            Store::Local(_) => Storage::Files,
        }
    }
}

/// A platform that was asked for must be the image's own, also where there is nothing to choose from.
fn check_platform(image: &str, platform: Option<&Platform>, config: &[u8]) -> Result<(), Error> {
    let (Some(wanted), Some((os, arch))) = (platform, manifest::platform(config)) else { return Ok(()) };
    if wanted.is(&os, &arch) {
        return Ok(());
    }
    Err(Error::Platform { image: image.into(), wanted: wanted.to_string(), available: format!("{os}/{arch}") })
}

fn check_digest(image: &str, what: &str, bytes: &[u8], expected: Option<&str>) -> Result<(), Error> {
    let found = crate::digest::sha256(bytes);
    match expected {
        Some(expected) if expected.starts_with("sha256:") && expected != found => {
            let detail = format!("its {what} has digest {found} where {expected} was expected: it is damaged or was tampered with");
            Err(Error::Image { image: image.into(), detail })
        }
        Some(expected) if !expected.starts_with("sha256:") => {
            Err(Error::Image { image: image.into(), detail: format!("its {what} is named by {expected}; clip reads sha256 digests only") })
        }
        _ => Ok(()),
    }
}
