//! Images in local files: OCI layouts, as directories or in a tar, and what `docker save` writes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::{Location, Storage};
use backend::{Blob, FileBlob};
use oci_spec::image::ImageIndex;
use serde::Deserialize;
use serde_json::json;

use super::{DOCUMENT_BYTES_MAX, Image, Layer};
use crate::tar::{EntryKind, Item, Walker};
use crate::{Error, manifest};

/// The annotation that names an image of a layout (OCI image-spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Most entries of an archive file: each is remembered.
const MEMBERS_MAX: usize = 100_000;

/// An OCI layout.
pub(super) struct Local {
    files: Files,
    tag: Option<String>,
}

/// Where the files of a layout are.
enum Files {
    Directory(PathBuf),
    Tar(Tar),
}

/// A tar with the places of its members.
struct Tar {
    path: PathBuf,
    /// Name to (offset, size).
    members: HashMap<String, (u64, u64)>,
}

impl Local {
    pub fn layout(dir: &Path, tag: Option<&str>) -> Result<Local, Error> {
        let dir = canonical(dir)?;
        Ok(Local { files: Files::Directory(dir), tag: tag.map(str::to_string) })
    }

    pub fn archive(file: &Path, tag: Option<&str>) -> Result<Local, Error> {
        Ok(Local { files: Files::Tar(Tar::open(file)?), tag: tag.map(str::to_string) })
    }

    /// The manifest or index that the layout's `index.json` names.
    pub fn root(&self, image: &str) -> Result<(Option<String>, Vec<u8>), Error> {
        let broken = |detail: String| Error::Image { image: image.into(), detail };
        let bytes = self.files.read(image, "index.json")?;
        let index: ImageIndex = serde_json::from_slice(&bytes).map_err(|e| broken(format!("its index.json is malformed: {e}")))?;
        let tag_of = |m: &oci_spec::image::Descriptor| m.annotations().as_ref().and_then(|a| a.get(REF_NAME).cloned());
        let all = index.manifests();
        let tags = || all.iter().filter_map(tag_of).collect::<Vec<_>>().join(", ");
        let chosen = match (&self.tag, &all[..]) {
            (None, [only]) => only,
            (None, []) => return Err(broken("its index.json names no image".into())),
            (None, _) => return Err(broken(format!("it has several images: name one of {} behind a colon", tags()))),
            (Some(tag), _) => all
                .iter()
                .find(|m| tag_of(m).as_ref() == Some(tag) || m.digest().as_ref() == tag)
                .ok_or_else(|| broken(format!("it has no image '{tag}'; it has: {}", tags())))?,
        };
        let digest = chosen.digest().to_string();
        Ok((Some(digest.clone()), self.document(image, &digest)?))
    }

    /// A small blob, whole.
    pub fn document(&self, image: &str, digest: &str) -> Result<Vec<u8>, Error> {
        self.files.read(image, &blob_path(image, digest)?)
    }

    /// A blob to read from.
    pub fn blob(&self, image: &str, digest: &str, size: Option<u64>) -> Result<(Arc<dyn Blob>, Location), Error> {
        self.files.blob(image, &blob_path(image, digest)?, size)
    }
}

fn blob_path(image: &str, digest: &str) -> Result<String, Error> {
    match digest.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(format!("blobs/sha256/{hex}")),
        _ => Err(Error::Image { image: image.into(), detail: format!("'{digest}' is no sha256 digest") }),
    }
}

fn canonical(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|source| Error::Io { path: path.into(), source })
}

impl Files {
    /// Where a member is: file, offset, size.
    fn find(&self, image: &str, name: &str) -> Result<(PathBuf, u64, u64), Error> {
        let missing = || Error::Image { image: image.into(), detail: format!("{name} is missing: is it a whole image?") };
        match self {
            Files::Directory(dir) => {
                let path = dir.join(name);
                let size = match fs::metadata(&path) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(missing()),
                    other => other.map_err(|source| Error::Io { path: path.clone(), source })?.len(),
                };
                Ok((path, 0, size))
            }
            Files::Tar(tar) => {
                let (offset, size) = *tar.members.get(name).ok_or_else(missing)?;
                Ok((tar.path.clone(), offset, size))
            }
        }
    }

    fn read(&self, image: &str, name: &str) -> Result<Vec<u8>, Error> {
        let (path, offset, size) = self.find(image, name)?;
        if size > DOCUMENT_BYTES_MAX {
            let detail = format!("{name} has {size} bytes (at most {DOCUMENT_BYTES_MAX})");
            return Err(Error::Image { image: image.into(), detail });
        }
        let mut bytes = vec![0; size as usize];
        let read = || {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(&mut bytes)
        };
        let mut read = read;
        read().map_err(|source| Error::Io { path: path.clone(), source })?;
        Ok(bytes)
    }

    fn blob(&self, image: &str, name: &str, expected: Option<u64>) -> Result<(Arc<dyn Blob>, Location), Error> {
        let (path, offset, size) = self.find(image, name)?;
        if expected.is_some_and(|expected| expected != size) {
            let detail = format!("{name} has {size} bytes where the manifest says {}", expected.unwrap_or_default());
            return Err(Error::Image { image: image.into(), detail });
        }
        let text = path.to_str().ok_or_else(|| Error::Image { image: image.into(), detail: "its path is not UTF-8".into() })?;
        let location = Location::File { path: text.into(), offset };
        Ok((Arc::new(FileBlob::open(&path, offset, size)?), location))
    }
}

impl Tar {
    /// Notes where the members of a tar are; contents are passed over by seeking.
    fn open(path: &Path) -> Result<Tar, Error> {
        let path = canonical(path)?;
        let members = members(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        Ok(Tar { path, members })
    }
}

fn members(path: &Path) -> io::Result<HashMap<String, (u64, u64)>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let (mut walker, mut at, mut block) = (Walker::new(), 0u64, vec![0; 64 << 10]);
    let (mut found, mut links) = (HashMap::new(), Vec::new());
    let name_of = |path: &[u8]| String::from_utf8_lossy(path).trim_start_matches("./").trim_start_matches('/').to_string();
    while at < length {
        let skip = walker.skippable().min(length - at);
        if skip > block.len() as u64 {
            walker.skip(skip);
            at = file.seek(SeekFrom::Start(at + skip))?;
            continue;
        }
        // One block at a time while headers are read: what follows one may be a gigabyte to pass over.
        let want = if skip > 0 { skip as usize } else { 512 };
        let n = file.read(&mut block[..want])?;
        if n == 0 {
            break;
        }
        at += n as u64;
        let mut sink = |item| {
            let Item::Entry(entry) = item else { return };
            match entry.kind {
                EntryKind::File { size, block } => {
                    found.insert(name_of(&entry.path), (u64::from(block) * 512, size));
                }
                EntryKind::Symlink(target) | EntryKind::HardLink(target) => links.push((name_of(&entry.path), target)),
                _ => {}
            }
        };
        walker.push(&block[..n], &mut sink).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
        if found.len() + links.len() > MEMBERS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {MEMBERS_MAX} members")));
        }
    }
    // Old `docker save` writes a layer that occurs twice as a symlink `../OTHER/layer.tar`.
    for (name, target) in links {
        let target = name_of(String::from_utf8_lossy(&target).trim_start_matches("../").as_bytes());
        if let Some(place) = found.get(&target).copied() {
            found.insert(name, place);
        }
    }
    Ok(found)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An image of a docker-archive. It has no manifest of OCI's kind, so one is made, the same for the same image.
pub(super) fn docker_archive(image: &str, file: &Path, tag: Option<&str>) -> Result<Image, Error> {
    let broken = |detail: String| Error::Image { image: image.into(), detail };
    let files = Files::Tar(Tar::open(file)?);
    let bytes = files.read(image, "manifest.json")?;
    let saved: Vec<Saved> = serde_json::from_slice(&bytes).map_err(|e| broken(format!("its manifest.json is malformed: {e}")))?;
    let tags = |s: &Saved| s.repo_tags.clone().unwrap_or_default();
    let chosen = match (tag, &saved[..]) {
        (None, [only]) => only,
        (None, _) => {
            let all: Vec<String> = saved.iter().flat_map(tags).collect();
            return Err(broken(format!("it has {} images: name one of {} behind a colon", saved.len(), all.join(", "))));
        }
        (Some(tag), _) => saved
            .iter()
            .find(|s| tags(s).iter().any(|t| t == tag || t.rsplit_once('/').is_some_and(|(_, short)| short == tag)))
            .ok_or_else(|| broken(format!("it has no image '{tag}'")))?,
    };
    let config = files.read(image, &chosen.config)?;
    let diff_ids = manifest::diff_ids(&config, chosen.layers.len()).map_err(broken)?;
    let mut layers = Vec::new();
    for (name, diff_id) in chosen.layers.iter().zip(diff_ids) {
        let (blob, location) = files.blob(image, name, None)?;
        // Docker 25 and later keeps blobs as they were pulled, under their digests; before, layers are plain tars.
        let hex = name.strip_prefix("blobs/sha256/").filter(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let digest = hex.map(|hex| format!("sha256:{hex}"));
        layers.push(Layer { blob, digest, diff_id, location });
    }
    let described: Vec<_> = layers
        .iter()
        .map(|l| {
            let digest = l.digest.as_ref().unwrap_or(&l.diff_id);
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": l.blob.size()})
        })
        .collect();
    let made = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": crate::digest::sha256(&config), "size": config.len()},
        "layers": described,
    });
    let manifest = made.to_string().into_bytes();
    let digest = crate::digest::sha256(&manifest);
    Ok(Image { name: image.into(), digest, manifest, config, storage: Storage::Files, layers })
}
