//! Where a program may be that is named without its directory.

use serde::Deserialize;

/// Where programs are, if the image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Most directories that are looked into.
const DIRECTORIES_MAX: usize = 32;

/// The part of an image's config (OCI image-spec, config.md) that says so.
#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    config: Option<Started>,
}

#[derive(Debug, Default, Deserialize)]
struct Started {
    #[serde(default, rename = "Env")]
    env: Option<Vec<String>>,
}

/// Paths where a program of this name may be, by the order in which a shell would try them, as the image's `config` says. One that says nothing is as
/// good as none.
pub(crate) fn candidates(config: &[u8], name: &str) -> Vec<String> {
    let started = serde_json::from_slice::<Config>(config).unwrap_or_default().config.unwrap_or_default();
    let path = started.env.iter().flatten().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(PATH);
    path.split(':').filter(|dir| dir.starts_with('/')).take(DIRECTORIES_MAX).map(|dir| format!("{dir}/{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_image_decides() {
        let config = br#"{"config":{"Env":["A=b","PATH=/opt/bin:/bin:x"]}}"#;
        assert_eq!(candidates(config, "python3"), ["/opt/bin/python3", "/bin/python3"]);
    }

    #[test]
    fn a_config_that_says_nothing_leaves_the_usual_places() {
        for config in [&b"{}"[..], b"nonsense", br#"{"config":null}"#, br#"{"config":{"Env":null}}"#] {
            assert!(candidates(config, "sh").contains(&"/bin/sh".to_owned()));
        }
    }
}
