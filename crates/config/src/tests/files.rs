//! Which files are read, and what can be wrong with them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::refused;
use crate::{Effective, Error, FILE_BYTES_MAX, FILES_MAX, Sources};

fn directory(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn gather(dir: &Path, named: Option<&Path>, variable: Option<&Path>) -> Result<Sources, Error> {
    let environment = variable.map(|path| (OsString::from("CLIP_CONFIG"), path.into()));
    Sources::gather(dir, named, environment, Vec::new())
}

fn load(dir: &Path, named: Option<&Path>, variable: Option<&Path>) -> Result<Effective, Error> {
    Effective::load(&gather(dir, named, variable)?)
}

fn level(level: u32) -> String {
    format!("imageService: {{level: {level}}}\n")
}

#[test]
fn the_directory_in_order_of_names() {
    let dir = directory(&[
        ("b.yaml", &level(2)),
        ("a.yaml", &level(1)),
        ("c.yml", "bad:"),
        (".d.yaml", "bad:"),
        ("e.yaml~", "bad:"),
        ("empty.yaml", ""),
    ]);
    let names: Vec<PathBuf> = gather(dir.path(), None, None).unwrap().files.into_iter().map(|file| file.path).collect();
    assert_eq!(names, ["a.yaml", "b.yaml", "empty.yaml"].map(|name| dir.path().join(name)));
    assert_eq!(load(dir.path(), None, None).unwrap().config.image_service.level, 2);
    assert!(gather(&dir.path().join("none"), None, None).unwrap().files.is_empty());
}

#[test]
fn the_named_file_is_above_the_directory_and_the_flag_above_the_variable() {
    let dir = directory(&[("z.yaml", &level(1))]);
    let other = directory(&[("flag", &level(2)), ("variable", &level(3))]);
    let (flag, variable) = (other.path().join("flag"), other.path().join("variable"));
    let of = |named, variable| load(dir.path(), named, variable).unwrap().config.image_service.level;
    assert_eq!(of(None, None), 1);
    assert_eq!(of(None, Some(variable.as_path())), 3);
    assert_eq!(of(Some(flag.as_path()), Some(variable.as_path())), 2);
    // The variable's file is not even looked at.
    assert_eq!(of(Some(flag.as_path()), Some(Path::new("/none"))), 2);
}

#[test]
fn named_files_must_be_there() {
    let dir = directory(&[]);
    let none = dir.path().join("none.yaml");
    let shown = none.display();
    assert_eq!(refused(load(dir.path(), Some(&none), None)), format!("configuration file {shown}, named by flag --config, does not exist"));
    assert_eq!(refused(load(dir.path(), None, Some(&none))), format!("configuration file {shown}, named by CLIP_CONFIG, does not exist"));
    assert_eq!(
        refused(load(&none, Some(dir.path()), None)),
        format!("configuration file {}, named by flag --config, is not a file", dir.path().display())
    );
    assert_eq!(refused(load(dir.path(), None, Some(Path::new("")))), "configuration file , named by CLIP_CONFIG, does not exist");
}

#[test]
fn files_that_are_none() {
    let dir = directory(&[]);
    let path = dir.path().join("x.yaml");
    let (shown, parent) = (path.display(), dir.path().display());
    fs::create_dir(&path).unwrap();
    assert_eq!(refused(load(dir.path(), None, None)), format!("configuration file {shown}, named by {parent}, is not a file"));
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    assert_eq!(refused(load(dir.path(), None, None)), format!("configuration file {shown}, named by {parent}, does not exist"));
    // Nobody writes into it: opening would wait for ever.
    fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_eq!(refused(load(dir.path(), None, None)), format!("configuration file {shown}, named by {parent}, is not a file"));
}

#[test]
fn files_that_cannot_be_read() {
    let dir = directory(&[("x", "")]);
    // ENOTDIR holds for root too, which permissions do not.
    let path = dir.path().join("x/y");
    let error = load(dir.path(), Some(&path), None).unwrap_err();
    assert_eq!(error.to_string(), format!("configuration {} cannot be read", path.display()));
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("Not a directory"));
    assert!(matches!(load(&dir.path().join("x"), None, None), Err(Error::Read { .. })));
}

#[test]
fn files_that_are_not_text() {
    let dir = directory(&[]);
    let path = dir.path().join("x.yaml");
    fs::write(&path, b"log: {level: \xff}").unwrap();
    assert_eq!(refused(load(dir.path(), None, None)), format!("{} is not UTF-8 text", path.display()));
}

#[test]
fn limits() {
    let dir = directory(&[]);
    let path = dir.path().join("x.yaml");
    let text = "#".repeat(FILE_BYTES_MAX as usize);
    fs::write(&path, &text).unwrap();
    assert!(load(dir.path(), None, None).is_ok());
    fs::write(&path, text + "#").unwrap();
    assert_eq!(refused(load(dir.path(), None, None)), format!("configuration file {} is larger than 1048576 bytes", path.display()));
    assert!(matches!(load(&dir.path().join("none"), Some(Path::new("/dev/zero")), None), Err(Error::TooLarge { .. })));

    let many: Vec<String> = (0..FILES_MAX).map(|n| format!("{n}.yaml")).collect();
    let dir = directory(&many.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>());
    assert!(load(dir.path(), None, None).is_ok());
    fs::write(dir.path().join("last.yaml"), "").unwrap();
    assert_eq!(refused(load(dir.path(), None, None)), format!("{} has more than 64 configuration files", dir.path().display()));
}

/// A file of the largest size that is all keys, or all depth, takes no longer than its size explains.
#[test]
fn hostile_files_end_soon() {
    let keys: String = (0..100_000).map(|n| format!("k{n}: 1\n")).collect();
    let hosts = format!("registry: {{plainHttp: [{}]}}", "a,".repeat(500_000));
    let start = std::time::Instant::now();
    for text in [keys, hosts, "[".repeat(1 << 20), "{".repeat(1 << 20), "- ".repeat(1 << 19), "a: \n ".repeat(1 << 17)] {
        assert!(super::with_file(&text).is_err());
    }
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
