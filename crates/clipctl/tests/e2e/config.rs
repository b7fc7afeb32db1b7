//! The configuration through the real binary: what holds, where it comes from, what is refused, and that no secret is shown.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::{Bench, said};

/// `clipctl config show` with these variables, and those of nobody else.
fn show(bench: &Bench, variables: &[(&str, &str)], flags: &[&str]) -> Command {
    let mut command = bench.clipctl(["config", "show"]);
    command.args(flags).envs(variables.iter().copied());
    command
}

#[track_caller]
fn shown(bench: &Bench, variables: &[(&str, &str)], flags: &[&str]) -> String {
    let output = show(bench, variables, flags).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(bench: &Bench, variables: &[(&str, &str)], flags: &[&str]) -> String {
    let output = show(bench, variables, flags).output().unwrap();
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{}", said(&output));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_holds_and_where_it_comes_from() {
    let bench = Bench::new();
    let file = bench.path("mine.yaml");
    fs::write(&file, "imageService:\n  level: 3\n  spanKib: 512\n").unwrap();
    let (variables, path) = ([("CLIP_VERSION", "2"), ("CLIP_IMAGE_SERVICE__LEVEL", "5")], file.to_str().unwrap());
    for flags in [&["--config", path][..], &[]] {
        let mut variables = variables.to_vec();
        if flags.is_empty() {
            variables.push(("CLIP_CONFIG", path));
        }
        let text = shown(&bench, &variables, flags);
        for line in [
            "  clipVersion: v2  # CLIP_VERSION".to_owned(),
            "  level: 5  # CLIP_IMAGE_SERVICE__LEVEL".to_owned(),
            format!("  spanKib: 512  # {path}"),
            "  registryStore: local  # default".to_owned(),
        ] {
            assert!(text.lines().any(|found| found.starts_with(&line)), "{line}: not in\n{text}");
        }
        let document: Value = serde_json::from_str(&shown(&bench, &variables, &[flags, &["--json"]].concat())).unwrap();
        let service = &document["config"]["imageService"];
        assert_eq!((&service["clipVersion"], &service["level"], &service["spanKib"]), (&"v2".into(), &5.into(), &512.into()));
        let origin = |key: &str| document["origins"][format!("imageService.{key}")].as_str().unwrap().to_owned();
        assert!(origin("clipVersion").contains("CLIP_VERSION") && origin("spanKib").contains(path) && origin("fallback") == "default");
    }
}

#[test]
fn secrets_are_masked() {
    let bench = Bench::new();
    let file = bench.path("mine.yaml");
    fs::write(&file, "imageService:\n  s3:\n    bucket: b-1\n    accessKey: AKIDHUNTER\n    secretKey: hunter2-of-file\n").unwrap();
    let path = file.to_str().unwrap();
    let variables = [("CLIP_IMAGE_SERVICE__S3__SESSION_TOKEN", "hunter2-of-env")];
    for flags in [&["--config", path][..], &["--config", path, "--json"], &["--config", path, "--log-level", "trace"]] {
        let output = show(&bench, &variables, flags).output().unwrap();
        assert!(output.status.success());
        let text = said(&output);
        assert!(text.contains("secretKey") && !text.contains("hunter2"), "{text}");
    }
    // Nor when they are refused.
    fs::write(&file, "imageService:\n  s3:\n    secretKey: [hunter2]\n").unwrap();
    let text = refused(&bench, &[], &["--config", path]);
    assert!(text.contains("secretKey") && !text.contains("hunter2"), "{text}");
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    let bench = Bench::new();
    let wrong = refused(&bench, &[("CLIP_VERSION", "v99")], &[]);
    assert_eq!(wrong, "clipctl: invalid clip version 'v99' from CLIP_VERSION: valid options are v1, v2 (default v1)\n");
    let disagree = refused(&bench, &[("CLIP_VERSION", "v1"), ("B9_CLIP_VERSION", "v2")], &[]);
    assert!(disagree.contains("CLIP_VERSION") && disagree.contains("B9_CLIP_VERSION"), "{disagree}");
    let file = bench.path("mine.yaml");
    let path = file.to_str().unwrap();
    for (text, expected) in [
        ("imageService:\n  clipVersoin: v2\n", &["clipVersoin", "clipVersion", "2"][..]),
        ("imageService:\n  level: 99\n", &["level", "99", "22"]),
        ("imageService:\n  clipVersion: v3\n", &["'v3'", "v1, v2"]),
        ("imageService:\n  registryStore: s3\n", &["bucket"]),
        ("imageService: [\n", &[]),
    ] {
        fs::write(&file, text).unwrap();
        let said = refused(&bench, &[], &["--config", path]);
        assert!((text.contains("registryStore") || said.contains(path)) && expected.iter().all(|word| said.contains(word)), "{text}{said}");
    }
    let none = bench.path("none.yaml");
    for (variables, flags) in [(&[][..], &["--config", none.to_str().unwrap()][..]), (&[("CLIP_CONFIG", none.to_str().unwrap())], &[])] {
        let said = refused(&bench, variables, flags);
        assert!(said.contains(none.to_str().unwrap()) && said.contains("does not exist"), "{said}");
    }
    let unknown = refused(&bench, &[("CLIP_IMAGE_SERVICE__LEVLE", "1")], &[]);
    assert!(unknown.contains("CLIP_IMAGE_SERVICE__LEVLE"), "{unknown}");
    // Not only where it is shown.
    let pull = bench.clipctl(["pull", "x", "--clip-version", "v99"]).output().unwrap();
    assert!(
        pull.status.code() == Some(1) && said(&pull).contains("'v99' from flag --clip-version: valid options are v1, v2"),
        "{}",
        said(&pull)
    );
}
