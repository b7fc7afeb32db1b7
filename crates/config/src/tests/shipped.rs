//! The files of config/ are good.

use std::fs;
use std::path::Path;

use crate::{Config, Effective, Origin, Sources, yaml};

fn shipped() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

#[test]
fn every_file_is_what_it_should_be() {
    let mut names = Vec::new();
    for entry in fs::read_dir(shipped()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match name.as_str() {
            // docker-registry's own.
            "registry.yml" => assert!(matches!(yaml::parse(&text).unwrap().content, yaml::Content::Map(_))),
            "fstab.example" => fstab(&text),
            name if name.ends_with(".yaml") => {
                let sources = Sources::gather(Path::new("/none"), Some(&path), [], Vec::new()).unwrap();
                Effective::load(&sources).unwrap_or_else(|error| panic!("{error}"));
            }
            other => panic!("config/{other}: say here how it is checked"),
        }
        names.push(name);
    }
    for name in ["worker.yaml", "registry.yml", "fstab.example"] {
        assert!(names.iter().any(|there| there == name), "config/{name} is gone");
    }
}

fn fstab(text: &str) {
    let lines: Vec<Vec<&str>> = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_whitespace().collect()).collect();
    assert!(!lines.is_empty());
    for fields in lines {
        assert_eq!((fields.len(), fields[2]), (6, "fuse.clip"), "{fields:?}");
    }
}

/// The example has every key, with the value that holds without it.
#[test]
fn the_example_is_complete_and_has_the_defaults() {
    let path = shipped().join("worker.yaml");
    let effective = Effective::load(&Sources::gather(Path::new("/none"), Some(&path), [], Vec::new()).unwrap()).unwrap();
    assert_eq!(effective.config, Config::default());
    for entry in effective.entries() {
        assert_eq!(entry.origin, Origin::File(path.clone()), "{} is not in the example", entry.key);
    }
}
