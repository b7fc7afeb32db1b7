//! Which layer wins.

use super::{A, environment, file, flag, with_flag, with_variables};
use crate::{ClipVersion, Effective, Origin, Sources};

const KEY: &str = "imageService.clipVersion";
const REGULAR: &str = "CLIP_IMAGE_SERVICE__CLIP_VERSION";

/// Layers that can say something of the switch, weakest first.
const LAYERS: [&str; 5] = ["file a", "file b", "named file", "environment", "flag"];

/// The sources where the layers of the bits in `present` speak, and the strongest of them says `top`, all others the opposite.
fn speaking(present: u32, variable: &str, top: &str) -> (Sources, Option<Origin>) {
    let opposite = if top == "v1" { "v2" } else { "v1" };
    let mut sources = Sources::default();
    let mut strongest = None;
    for layer in (0..LAYERS.len()).filter(|layer| present >> layer & 1 == 1) {
        let value = if present >> layer == 1 { top } else { opposite };
        let text = format!("imageService:\n  clipVersion: {value}\n");
        let path = [A, "/etc/clip/b.yaml", "/home/me/clip.yaml"].get(layer);
        strongest = Some(match (path, LAYERS[layer]) {
            (Some(path), _) => {
                sources.files.push(file(path, &text));
                Origin::File(path.into())
            }
            (None, "environment") => {
                sources.environment = environment(&[(variable, value)]);
                Origin::Variable(variable.into())
            }
            _ => {
                sources.flags = vec![flag(KEY, "--clip-version", value)];
                Origin::Flag("--clip-version".into())
            }
        });
    }
    (sources, strongest)
}

/// Every set of layers, every variable, both answers.
#[test]
fn every_combination_of_layers() {
    for variable in ["CLIP_VERSION", "B9_CLIP_VERSION", REGULAR] {
        for (top, version) in [("v1", ClipVersion::V1), ("v2", ClipVersion::V2)] {
            for present in 0..1 << LAYERS.len() {
                let (sources, strongest) = speaking(present, variable, top);
                let effective = Effective::load(&sources).unwrap();
                let (expected, origin) = strongest.map_or((ClipVersion::V1, Origin::Default), |origin| (version, origin));
                assert_eq!(effective.config.image_service.clip_version, expected, "{present:05b} {variable} {top}");
                assert_eq!(effective.origin(KEY), origin, "{present:05b} {variable} {top}");
            }
        }
    }
}

#[test]
fn names_of_the_switch_that_agree_give_the_strongest_as_origin() {
    let origin = |variables: &[(&str, &str)]| with_variables(variables).unwrap().origin(KEY).to_string();
    // In any order of the environment, in any spelling.
    assert_eq!(origin(&[(REGULAR, "v2"), ("B9_CLIP_VERSION", "2"), ("CLIP_VERSION", "v2")]), "CLIP_VERSION");
    assert_eq!(origin(&[("CLIP_VERSION", "0"), (REGULAR, "v1")]), "CLIP_VERSION");
    assert_eq!(origin(&[("B9_CLIP_VERSION", "1"), (REGULAR, "0")]), "B9_CLIP_VERSION");
}

#[test]
fn a_flag_decides_between_variables_that_disagree() {
    let sources = Sources {
        environment: environment(&[("CLIP_VERSION", "1"), ("B9_CLIP_VERSION", "2")]),
        flags: vec![flag(KEY, "--clip-version", "2")],
        ..Sources::default()
    };
    let effective = Effective::load(&sources).unwrap();
    assert_eq!(
        (effective.config.image_service.clip_version, effective.origin(KEY).to_string().as_str()),
        (ClipVersion::V2, "flag --clip-version")
    );
}

#[test]
fn lists_are_replaced_and_sections_are_merged() {
    let a = "registry:\n  plainHttp: [a, b]\n  caFile: /a.pem\ncache: {size: 1G}\n";
    let b = "registry:\n  plainHttp: [c]\nimageService:\n";
    let sources = Sources { files: vec![file(A, a), file("/etc/clip/b.yaml", b)], ..Sources::default() };
    let config = Effective::load(&sources).unwrap().config;
    assert_eq!(config.registry.plain_http, ["c"]);
    assert_eq!((config.registry.ca_file, config.cache.size.to_string().as_str()), (Some("/a.pem".into()), "1G"));
}

#[test]
fn a_higher_layer_can_say_none() {
    let (a, b) = (
        "cache: {dir: /a}\nregistry: {plainHttp: [a]}\nimageService: {jobs: 3}\nworker: {database: 'postgres://h/db'}\n",
        "cache: {dir: }\nregistry: {plainHttp: }\nimageService: {jobs: }\nworker: {database: , mountRoots: }\n",
    );
    let sources = Sources { files: vec![file(A, a), file("/b.yaml", b)], ..Sources::default() };
    let effective = Effective::load(&sources).unwrap();
    assert_eq!((&effective.config.cache.dir, effective.config.image_service.jobs), (&None, None));
    assert!(effective.config.registry.plain_http.is_empty());
    assert!(effective.config.worker.database.is_none() && effective.config.worker.mount_roots.is_empty());
    for key in ["cache.dir", "registry.plainHttp", "imageService.jobs", "worker.database", "worker.mountRoots"] {
        assert_eq!(effective.origin(key).to_string(), "/b.yaml");
    }
}

#[test]
fn of_two_flags_the_later_holds() {
    let flags = vec![flag(KEY, "--clip-version", "2"), flag(KEY, "--clip-version", "1")];
    let effective = Effective::load(&Sources { flags, ..Sources::default() }).unwrap();
    assert_eq!(effective.config.image_service.clip_version, ClipVersion::V1);
    assert!(with_flag("imageService.jobs", "--jobs", "4").is_ok_and(|effective| effective.config.image_service.jobs == Some(4)));
}
