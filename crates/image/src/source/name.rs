//! How images are named: in a registry, in an OCI layout, in an archive file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use backend::Reference;

use crate::Error;

/// The name of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageName {
    /// `[docker://]host/repository[:tag][@digest]`, Docker Hub's short names among them.
    Registry(Reference),
    /// `oci:DIR[:TAG]`: an OCI image layout.
    Layout {
        /// The directory.
        dir: PathBuf,
        /// Which of its images.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`: a tar of an OCI image layout.
    OciArchive {
        /// The tar.
        file: PathBuf,
        /// Which of its images.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:TAG]`: what `docker save` writes.
    DockerArchive {
        /// The tar.
        file: PathBuf,
        /// Which of its images, as `name:tag`.
        tag: Option<String>,
    },
}

impl FromStr for ImageName {
    type Err = Error;

    fn from_str(name: &str) -> Result<ImageName, Error> {
        let split = |rest: &str| -> Result<(PathBuf, Option<String>), Error> {
            let (path, tag) = match rest.split_once(':') {
                Some((path, tag)) => (path, Some(tag.to_string()).filter(|t| !t.is_empty())),
                None => (rest, None),
            };
            if path.is_empty() {
                let detail = "a path must follow the colon, as in oci:DIR:TAG".into();
                return Err(Error::Name { name: name.into(), detail });
            }
            Ok((path.into(), tag))
        };
        if let Some(rest) = name.strip_prefix("oci:") {
            return split(rest).map(|(dir, tag)| ImageName::Layout { dir, tag });
        }
        if let Some(rest) = name.strip_prefix("oci-archive:") {
            return split(rest).map(|(file, tag)| ImageName::OciArchive { file, tag });
        }
        if let Some(rest) = name.strip_prefix("docker-archive:") {
            return split(rest).map(|(file, tag)| ImageName::DockerArchive { file, tag });
        }
        Ok(ImageName::Registry(name.parse()?))
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path, tag) = match self {
            ImageName::Registry(reference) => return reference.fmt(f),
            ImageName::Layout { dir, tag } => ("oci", dir, tag),
            ImageName::OciArchive { file, tag } => ("oci-archive", file, tag),
            ImageName::DockerArchive { file, tag } => ("docker-archive", file, tag),
        };
        write!(f, "{kind}:{}", path.display())?;
        tag.iter().try_for_each(|tag| write!(f, ":{tag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let parse = |name: &str| name.parse::<ImageName>();
        assert_eq!(parse("oci:/a/b:c").unwrap(), ImageName::Layout { dir: "/a/b".into(), tag: Some("c".into()) });
        assert_eq!(parse("oci-archive:x.tar").unwrap(), ImageName::OciArchive { file: "x.tar".into(), tag: None });
        let saved = ImageName::DockerArchive { file: "x.tar".into(), tag: Some("app:1".into()) };
        assert_eq!(parse("docker-archive:x.tar:app:1").unwrap(), saved);
        assert_eq!(parse("alpine").unwrap().to_string(), "docker.io/library/alpine:latest");
        assert!(parse("oci:").is_err() && parse("UPPER CASE").is_err());
    }
}
