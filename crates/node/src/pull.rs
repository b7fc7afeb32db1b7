//! From a reference to an archive in the store, in the version that the switch says.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use archive::ArchiveVersion;
use config::{ClipVersion, ImageService};
use image::{ArchiveOptions, Image, ImageName, IndexOptions, Platform, Progress};
use pack::PackOptions;
use serde::Serialize;
use store::{ImageId, Record, Store};

use crate::{Registries, jobs};

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Pulled {
    /// The image, as it is in the store now.
    #[serde(flatten)]
    pub record: Record,
    /// Whether the store had it.
    pub cached: bool,
}

/// What is pulled, and how.
#[derive(Debug, Clone)]
pub struct Pull {
    /// The image.
    pub name: ImageName,
    /// Which of its platforms; none: this machine's.
    pub platform: Option<Platform>,
    /// Make it anew, also if the store has it.
    pub force: bool,
    /// How archives are made.
    pub service: ImageService,
    /// Where what is learned of layers is kept.
    pub layer_dir: Option<PathBuf>,
}

impl Pull {
    /// Makes the image's archive in `store`, unless it is there.
    ///
    /// # Errors
    /// An image that cannot be resolved or read, a store that cannot be written; where no v2 archive can be made and v1 is not allowed instead.
    pub async fn run(self, store: Store, registries: &Registries, progress: Arc<Progress>) -> Result<Pulled> {
        let host = if let ImageName::Registry(reference) = &self.name { Some(reference.repository().host()) } else { None };
        let registry = registries.to(host)?;
        progress.enter("resolve");
        let image = Arc::new(Image::resolve(&self.name, self.platform.as_ref(), &registry, None).await?);
        Puller { pull: self, store, image, progress }.pull().await
    }
}

/// One image on its way into the store.
struct Puller {
    pull: Pull,
    store: Store,
    image: Arc<Image>,
    progress: Arc<Progress>,
}

/// An archive that was made.
struct Made {
    version: ArchiveVersion,
    archive_bytes: u64,
    file_bytes: u64,
    fallback: Option<String>,
}

impl Puller {
    async fn pull(&self) -> Result<Pulled> {
        let version = match self.pull.service.clip_version {
            ClipVersion::V1 => ArchiveVersion::V1,
            ClipVersion::V2 => ArchiveVersion::V2,
        };
        let platform = platform(&self.image.config);
        let id = ImageId::of(&self.image.digest, &platform, version, &self.options(version));
        let may_fall_back = self.pull.service.fallback;
        if let Some(record) = self.usable(&id, may_fall_back).await? {
            return Ok(Pulled { record, cached: true });
        }
        let _claim = self.store.claim(&id).await?;
        // Whoever had the claim before may have made it.
        if let Some(record) = self.usable(&id, may_fall_back).await? {
            return Ok(Pulled { record, cached: true });
        }
        let made = match version {
            ArchiveVersion::V1 => self.v1(&id, None).await.context("make the v1 archive")?,
            ArchiveVersion::V2 => self.v2_or_v1(&id, may_fall_back).await?,
        };
        let record = Record {
            id: id.to_string(),
            image: self.image.name.clone(),
            manifest: self.image.digest.clone(),
            platform,
            version: made.version.to_string(),
            archive_bytes: made.archive_bytes,
            file_bytes: made.file_bytes,
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            fallback: made.fallback,
        };
        self.store.commit(&record).await?;
        Ok(Pulled { record, cached: false })
    }

    /// What the store has, if it will do.
    async fn usable(&self, id: &ImageId, may_fall_back: bool) -> Result<Option<Record>> {
        let found = self.found(id).await?;
        Ok(found.filter(|record| !self.pull.force && (may_fall_back || record.fallback.is_none())))
    }

    /// What the store has. A damaged record is none: it is written anew.
    async fn found(&self, id: &ImageId) -> Result<Option<Record>> {
        match self.store.find(id).await {
            Err(error @ store::Error::Record { .. }) => {
                tracing::warn!("{error}; that is what is done now");
                Ok(None)
            }
            found => Ok(found?),
        }
    }

    /// What changes the bytes of an archive.
    fn options(&self, version: ArchiveVersion) -> String {
        let service = &self.pull.service;
        match version {
            ArchiveVersion::V1 => format!("level={} span={}", service.level, service.span_kib),
            // It says where the layers are.
            ArchiveVersion::V2 => {
                let locations: Vec<_> = self.image.layers.iter().map(|layer| &layer.location).collect();
                format!("checkpoint={} storage={:?} layers={locations:?}", service.checkpoint_mib, self.image.storage)
            }
        }
    }

    async fn v2_or_v1(&self, id: &ImageId, may_fall_back: bool) -> Result<Made> {
        let reason = match self.obstacle().await? {
            Some(reason) => reason,
            None => match self.v2(id).await {
                Ok(made) => return Ok(made),
                // What the format cannot hold as an index it may hold as data. Everything else would fail again.
                Err(error) if matches!(error.downcast_ref(), Some(image::Error::Archive(archive::Error::Unrepresentable(_)))) => {
                    format!("{error:#}")
                }
                Err(error) => return Err(error.context("make the v2 archive")),
            },
        };
        if !may_fall_back {
            bail!("no v2 archive can be made: {reason}; and falling back to v1 is not allowed (--no-fallback, or imageService.fallback)");
        }
        tracing::warn!(image = self.image.name, reason, "no v2 archive can be made; falling back to v1");
        self.v1(id, Some(reason)).await.context("make the v1 archive, as no v2 archive can be made")
    }

    /// Why the layers cannot be read by ranges, if they cannot.
    async fn obstacle(&self) -> Result<Option<String>> {
        let layer = self.image.layers.iter().max_by_key(|layer| layer.blob.size()).filter(|layer| layer.blob.size() > 1);
        let Some(layer) = layer.filter(|layer| layer.location == archive::Location::Registry) else { return Ok(None) };
        let body = layer.blob.get(1..2).await.with_context(|| format!("ask for a range of {}", layer.blob.name()))?;
        Ok((body.offset == 0)
            .then(|| format!("the server of {} ignores ranges, so every read would fetch whole layers", layer.blob.name())))
    }

    async fn v1(&self, id: &ImageId, fallback: Option<String>) -> Result<Made> {
        let service = &self.pull.service;
        let jobs = jobs(service.jobs);
        let pack = PackOptions { level: service.level, jobs, span_bytes: service.span_kib << 10 };
        let options = ArchiveOptions { layers: self.index_options(), pack, fallback: fallback.clone() };
        let output = self.store.output(id)?;
        let report = image::archive_image(Arc::clone(&self.image), output, &options, Arc::clone(&self.progress)).await?;
        let (archive_bytes, file_bytes) = (report.archive_bytes, report.file_bytes);
        Ok(Made { version: ArchiveVersion::V1, archive_bytes, file_bytes, fallback })
    }

    /// Indexed beside the store, then brought there: an index is small.
    async fn v2(&self, id: &ImageId) -> Result<Made> {
        let dir = tempfile::tempdir().context("make a directory for the archive")?;
        let path = dir.path().join("archive.clip");
        let report = image::index(Arc::clone(&self.image), &path, &self.index_options(), Arc::clone(&self.progress)).await?;
        let output = self.store.output(id)?;
        let copied = tokio::task::spawn_blocking(move || copy(&path, output)).await.context("store the archive")?;
        copied.context("store the archive")?;
        Ok(Made { version: ArchiveVersion::V2, archive_bytes: report.archive_bytes, file_bytes: report.uncompressed_bytes, fallback: None })
    }

    fn index_options(&self) -> IndexOptions {
        let service = &self.pull.service;
        IndexOptions {
            checkpoint_bytes: (service.checkpoint_mib * f64::from(1 << 20)) as u32,
            jobs: jobs(service.jobs),
            overwrite: true,
            layer_dir: self.pull.layer_dir.clone(),
        }
    }
}

/// Writes a file's bytes to an output.
fn copy(path: &std::path::Path, mut output: Box<dyn archive::Output + Send>) -> io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    let mut header = [0; archive::header::HEADER_BYTES];
    io::Read::read_exact(&mut file, &mut header)?;
    io::Write::write_all(&mut output, &header)?;
    io::copy(&mut file, &mut output)?;
    output.publish(&header)
}

/// What an image is for, as its config says.
fn platform(config: &[u8]) -> String {
    let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    let parts = ["os", "architecture", "variant"].map(|field| config[field].as_str().unwrap_or_default());
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    #[test]
    fn platforms() {
        let platform = |config: &str| super::platform(config.as_bytes());
        assert_eq!(platform(r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#), "linux/arm64/v8");
        assert_eq!(platform(r#"{"os":"linux","architecture":"amd64"}"#), "linux/amd64");
        assert_eq!(platform("nonsense"), "");
    }
}
