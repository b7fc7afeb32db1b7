//! Platforms: `os/arch[/variant]`, and which manifest of an image index is for one.

use std::fmt;
use std::str::FromStr;

use oci_spec::image::Descriptor;

/// An operating system and a processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    os: String,
    arch: String,
    variant: Option<String>,
}

impl Default for Platform {
    /// This machine's. Go's names for processors, which OCI uses, are not Rust's.
    fn default() -> Self {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Platform { os: "linux".into(), arch: arch.into(), variant: None }
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|p| p.is_empty()) {
            return Err("a platform is os/arch or os/arch/variant, for example linux/arm64/v8".into());
        }
        match parts[..] {
            [os, arch] => Ok(Platform { os: os.into(), arch: arch.into(), variant: None }),
            [os, arch, variant] => Ok(Platform { os: os.into(), arch: arch.into(), variant: Some(variant.into()) }),
            _ => Err("a platform is os/arch or os/arch/variant, for example linux/arm64/v8".into()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        self.variant.iter().try_for_each(|v| write!(f, "/{v}"))
    }
}

impl Platform {
    /// The one of `manifests` that is for this platform. Where no variant is asked for: one without (any machine can run it), else the first.
    pub(crate) fn choose<'a>(&self, manifests: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let of_this = |m: &&Descriptor| {
            m.platform().as_ref().is_some_and(|p| {
                let variant = p.variant().as_deref().or((self.arch == "arm64").then_some("v8"));
                self.is(&p.os().to_string(), &p.architecture().to_string())
                    && self.variant.as_deref().is_none_or(|wanted| variant == Some(wanted))
            })
        };
        let plain = |m: &&Descriptor| m.platform().as_ref().is_some_and(|p| p.variant().is_none());
        let candidates = || manifests.iter().filter(of_this);
        candidates().find(plain).or_else(|| candidates().next())
    }

    /// Whether this is a platform of that system and processor.
    pub(crate) fn is(&self, os: &str, arch: &str) -> bool {
        self.os == os && self.arch == arch
    }

    /// The platforms that `manifests` are for, for a message.
    pub(crate) fn list(manifests: &[Descriptor]) -> String {
        let names: Vec<String> = manifests
            .iter()
            .filter_map(|m| m.platform().as_ref())
            .map(|p| match p.variant() {
                Some(variant) => format!("{}/{}/{variant}", p.os(), p.architecture()),
                None => format!("{}/{}", p.os(), p.architecture()),
            })
            .filter(|name| name != "unknown/unknown") // attestations
            .collect();
        if names.is_empty() { "no platform at all".into() } else { names.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let entry = |p: &&str| {
            let parts: Vec<&str> = p.split('/').collect();
            let variant = parts.get(2).map(|v| format!(r#","variant":"{v}""#)).unwrap_or_default();
            let digest = format!("sha256:{}", "0".repeat(64));
            let json = format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":1,"platform":{{"os":"{}","architecture":"{}"{variant}}}}}"#,
                parts[0], parts[1]
            );
            serde_json::from_str(&json).unwrap()
        };
        platforms.iter().map(entry).collect()
    }

    #[test]
    fn chooses_by_what_is_asked_for() {
        let manifests = index(&["windows/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8", "linux/amd64", "unknown/unknown"]);
        let chosen = |p: &str| p.parse::<Platform>().unwrap().choose(&manifests).map(|m| m.platform().clone().unwrap());
        assert_eq!(chosen("linux/arm/v7").unwrap().variant().as_deref(), Some("v7"));
        assert_eq!(chosen("linux/arm").unwrap().variant().as_deref(), Some("v6"));
        assert!(chosen("linux/arm64/v8").is_some() && chosen("linux/arm64").is_some());
        let levels = index(&["linux/amd64/v3", "linux/amd64"]);
        assert!(Platform::from_str("linux/amd64").unwrap().choose(&levels).unwrap().platform().clone().unwrap().variant().is_none());
        assert!(chosen("linux/s390x").is_none());
        assert_eq!(Platform::list(&manifests), "windows/amd64, linux/arm/v6, linux/arm/v7, linux/arm64/v8, linux/amd64");
        assert!("linux".parse::<Platform>().is_err() && "linux//x".parse::<Platform>().is_err());
    }
}
