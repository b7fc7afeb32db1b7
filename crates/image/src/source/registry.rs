//! Images in registries.

use std::sync::Arc;

use archive::{Location, Storage};
use backend::{Blob, Reference, Registry};

use super::{DOCUMENT_BYTES_MAX, Image};
use crate::Error;

/// An image in a registry.
pub(super) struct Remote {
    registry: Registry,
    reference: Reference,
}

impl Remote {
    pub fn new(registry: &Registry, reference: &Reference) -> Remote {
        Remote { registry: registry.clone(), reference: reference.clone() }
    }

    /// The manifest that the reference names, and the digest that it must have, if the reference gives one.
    pub async fn root(&self) -> Result<(Option<String>, Vec<u8>), Error> {
        let raw = self.registry.manifest(&self.reference).await?;
        Ok((self.reference.digest().map(str::to_string), raw.bytes.to_vec()))
    }

    pub async fn manifest(&self, digest: &str) -> Result<Vec<u8>, Error> {
        Ok(self.registry.manifest(&self.reference.with_digest(digest)?).await?.bytes.to_vec())
    }

    pub async fn document(&self, digest: &str) -> Result<Vec<u8>, Error> {
        Ok(self.registry.fetch_blob(self.reference.repository(), digest, DOCUMENT_BYTES_MAX).await?.to_vec())
    }

    pub fn blob(&self, digest: &str, size: u64) -> Arc<dyn Blob> {
        self.registry.open(self.reference.repository(), digest, size)
    }

    pub fn storage(&self) -> Storage {
        storage(&self.reference)
    }
}

fn storage(reference: &Reference) -> Storage {
    let repository = reference.repository();
    Storage::Registry { host: repository.host().into(), repository: repository.name().into() }
}

/// Makes an archive of a local image look for its blobs in a repository, which is asked for each of them.
pub(super) async fn point_at(registry: &Registry, reference: &Reference, image: &mut Image) -> Result<(), Error> {
    for layer in &mut image.layers {
        let Some(digest) = &layer.digest else { continue };
        let size = registry.head_blob(reference.repository(), digest).await?;
        if size != layer.blob.size() {
            let detail = format!("{} has {size} bytes of {digest}, the image {}", reference.repository(), layer.blob.size());
            return Err(Error::Image { image: image.name.clone(), detail });
        }
        layer.location = Location::Registry;
    }
    image.storage = storage(reference);
    Ok(())
}
