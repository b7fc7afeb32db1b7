//! `clipctl pull`.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ::archive::ArchiveVersion;
use anyhow::{Context, Result, bail};
use config::{ClipVersion, Flag};
use image::{ArchiveOptions, Image, ImageName, IndexOptions, Progress};
use pack::PackOptions;
use serde::Serialize;
use store::{ImageId, Record, Store};

use super::index::{jobs, layer_options};
use crate::cli::{Global, PullArgs};
use crate::settings::Settings;
use crate::{long_work, output};

/// What came of it.
#[derive(Serialize)]
struct Pulled {
    #[serde(flatten)]
    record: Record,
    /// Whether the store had it.
    cached: bool,
}

pub(super) fn run(args: &PullArgs, global: &Global) -> Result<ExitCode> {
    let settings = Settings::load(global, flags(args))?;
    let name: ImageName = args.image.parse()?;
    let host = if let ImageName::Registry(reference) = &name { Some(reference.repository().host()) } else { None };
    let registry = args.from.registry.registry(host)?;
    let quiet = args.quiet || global.json;
    let pulled = long_work::run(quiet, async |progress| {
        let store = settings.store().await?;
        let image = Arc::new(Image::resolve(&name, args.from.platform.as_ref(), &registry, None).await?);
        let puller = Puller { args, settings: &settings, store, image, progress };
        puller.pull().await
    })?;
    if global.json {
        output::json(&pulled)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let (Some(reason), false) = (&pulled.record.fallback, args.quiet) {
        eprintln!("clipctl: fell back to v1: {reason}");
    }
    output::print(&format!("{}\n", pulled.record.id))?;
    Ok(ExitCode::SUCCESS)
}

/// The flags that were given and stand for keys of the configuration.
fn flags(args: &PullArgs) -> Vec<Flag> {
    let flag = |key, name: &str, value: Option<String>| value.map(|value| Flag { key, name: name.into(), value });
    let text = |number: Option<u32>| number.map(|number| number.to_string());
    [
        flag("imageService.clipVersion", "--clip-version", args.clip_version.clone()),
        flag("imageService.fallback", "--no-fallback", args.no_fallback.then(|| "false".into())),
        flag("imageService.level", "--level", text(args.level)),
        flag("imageService.spanKib", "--span-kib", text(args.span_kib)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One image on its way into the store.
struct Puller<'a> {
    args: &'a PullArgs,
    settings: &'a Settings,
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

impl Puller<'_> {
    async fn pull(&self) -> Result<Pulled> {
        let version = match self.settings.image_service().clip_version {
            ClipVersion::V1 => ArchiveVersion::V1,
            ClipVersion::V2 => ArchiveVersion::V2,
        };
        let platform = platform(&self.image.config);
        let id = ImageId::of(&self.image.digest, &platform, version, &self.options(version));
        let may_fall_back = self.settings.image_service().fallback;
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
        Ok(found.filter(|record| !self.args.force && (may_fall_back || record.fallback.is_none())))
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
        let service = self.settings.image_service();
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
                Err(error) if matches!(error.downcast_ref(), Some(image::Error::Archive(::archive::Error::Unrepresentable(_)))) => {
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
        let Some(layer) = layer.filter(|layer| layer.location == ::archive::Location::Registry) else { return Ok(None) };
        let body = layer.blob.get(1..2).await.with_context(|| format!("ask for a range of {}", layer.blob.name()))?;
        Ok((body.offset == 0)
            .then(|| format!("the server of {} ignores ranges, so every read would fetch whole layers", layer.blob.name())))
    }

    async fn v1(&self, id: &ImageId, fallback: Option<String>) -> Result<Made> {
        let service = self.settings.image_service();
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
        let service = self.settings.image_service();
        IndexOptions { jobs: jobs(service.jobs), overwrite: true, ..layer_options(&self.args.from, Some(service.checkpoint_mib)) }
    }
}

/// Writes a file's bytes to an output.
fn copy(path: &std::path::Path, mut output: Box<dyn ::archive::Output + Send>) -> io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    let mut header = [0; ::archive::header::HEADER_BYTES];
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
