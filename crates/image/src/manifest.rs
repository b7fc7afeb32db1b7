//! What a manifest's bytes are: an image, an index of images, or something else. Parsing only.

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use serde::Deserialize;

/// Most layers of one image. Docker stops at 127; nobody needs a thousand.
const LAYERS_MAX: usize = 1000;

/// A parsed manifest.
#[derive(Debug)]
pub(crate) enum Manifest {
    Image(Box<ImageManifest>),
    Index(Box<ImageIndex>),
}

/// Enough of any manifest to tell what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Tells by the contents, as the media type may be missing.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        let shape: Shape = serde_json::from_slice(bytes).map_err(|e| format!("its manifest is no JSON of the kind expected: {e}"))?;
        if shape.fs_layers.is_some() || shape.schema_version == Some(1) {
            return Err("its manifest has Docker's schema 1, which clip does not read: push the image again with a current client".into());
        }
        if shape.manifests.is_some() {
            let index = serde_json::from_slice(bytes).map_err(|e| format!("its image index is malformed: {e}"))?;
            return Ok(Manifest::Index(index));
        }
        if shape.layers.is_none() {
            return Err("what its reference names is neither an image manifest nor an image index".into());
        }
        let manifest: Box<ImageManifest> = serde_json::from_slice(bytes).map_err(|e| format!("its manifest is malformed: {e}"))?;
        check_layers(manifest.layers())?;
        Ok(Manifest::Image(manifest))
    }
}

fn check_layers(layers: &[Descriptor]) -> Result<(), String> {
    if layers.len() > LAYERS_MAX {
        return Err(format!("it has {} layers (at most {LAYERS_MAX})", layers.len()));
    }
    for (i, layer) in layers.iter().enumerate() {
        let media_type = layer.media_type().to_string();
        let is_tar = media_type.contains("tar") && !media_type.contains("encrypted");
        if !is_tar {
            return Err(format!("layer {} has media type {media_type}, which is no filesystem layer that clip can read", i + 1));
        }
    }
    Ok(())
}

/// The system and processor that a config names.
pub(crate) fn platform(config: &[u8]) -> Option<(String, String)> {
    let config: ImageConfiguration = serde_json::from_slice(config).ok()?;
    Some((config.os().to_string(), config.architecture().to_string()))
}

/// The diff_ids of a config, one for each of `layers` layers.
pub(crate) fn diff_ids(config: &[u8], layers: usize) -> Result<Vec<String>, String> {
    let config: ImageConfiguration = serde_json::from_slice(config).map_err(|e| format!("its config is malformed: {e}"))?;
    let diff_ids = config.rootfs().diff_ids().clone();
    if layers > LAYERS_MAX {
        return Err(format!("it has {layers} layers (at most {LAYERS_MAX})"));
    }
    // They become names of files, so they must be what they say.
    let is_digest =
        |id: &&String| id.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if let Some(bad) = diff_ids.iter().find(|id| !is_digest(id)) {
        return Err(format!("its config has a diff_id {bad:?}, which is no sha256 digest"));
    }
    if diff_ids.len() != layers {
        return Err(format!("its config has {} diff_ids for {layers} layers", diff_ids.len()));
    }
    Ok(diff_ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_is_named() {
        let error = |text: &str| Manifest::parse(text.as_bytes()).unwrap_err();
        assert!(error("<html>").contains("no JSON"));
        assert!(error("{}").contains("neither"));
        assert!(error(r#"{"schemaVersion":1,"fsLayers":[]}"#).contains("schema 1"));
        let digest = format!("sha256:{}", "1".repeat(64));
        let wasm = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}},"layers":[{{"mediaType":"application/wasm","digest":"{digest}","size":2}}]}}"#
        );
        assert!(error(&wasm).contains("application/wasm"));
    }
}
