//! The command line: names of images, platforms, what is reused, what is refused, and that nothing half-written stays.

use std::fs;

use serde_json::Value;

use crate::support::{Bench, layout, registry, said, sh};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Everything in the bench's directory but the cache.
fn left(bench: &Bench) -> Vec<String> {
    let names = fs::read_dir(bench.path("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|n| n != "cache").collect()
}

#[test]
fn every_command_has_help_with_its_flags_and_wrong_usage_exits_2() {
    let bench = Bench::new();
    let all = bench.ok(["--help"]);
    for command in ["index", "mount", "umount", "inspect", "ls", "cat", "extract", "verify", "stats", "completions"] {
        assert!(all.contains(command));
        assert!(bench.ok([command, "--help"]).contains("Usage: clipctl"), "{command}");
    }
    let index = bench.ok(["index", "--help"]);
    let flags =
        "platform checkpoint-mib plain-http insecure-skip-tls-verify ca-file username password-stdin jobs storage-image force quiet json";
    assert!(flags.split(' ').all(|flag| index.contains(&format!("--{flag}"))), "{index}");
    for wrong in [
        &["index"][..],
        &["bogus"],
        &["index", "x", "-o", "y", "--checkpoint-mib", "9"],
        &["mount", "x"],
        &["index", "x", "-o", "y", "--jobs", "0"],
    ] {
        assert_eq!(bench.clipctl(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(bench.ok(["completions", shell]).contains("clipctl"), "{shell}");
    }
}

#[test]
fn the_same_image_under_all_its_names() {
    let bench = Bench::new();
    let local = layout("codec-gzip-go");
    let l = local.display();
    let (oci, docker) = (bench.path("oci.tar"), bench.path("docker.tar"));
    sh(&format!("skopeo --insecure-policy copy -q 'oci:{l}:latest' 'oci-archive:{}:one'", oci.display()));
    sh(&format!("skopeo --insecure-policy copy -q 'oci:{l}:latest' 'docker-archive:{}:app:1'", docker.display()));
    let remote = format!("{}/codec-gzip-go", registry());
    let by_tag = json(&bench.ok(["index", &remote, "-o", bench.path("tag.clip").to_str().unwrap(), "--json"]));
    let digest = by_tag["manifest"].as_str().unwrap();
    let names = [
        format!("docker://{remote}:latest"),
        format!("{remote}@{digest}"),
        format!("oci:{l}"),
        format!("oci:{l}:latest"),
        format!("oci-archive:{}:one", oci.display()),
        format!("docker-archive:{}:app:1", docker.display()),
    ];
    let tree = |archive: &str| bench.ok(["ls", "-lR", archive]);
    let expected = tree(bench.path("tag.clip").to_str().unwrap());
    for (i, name) in names.iter().enumerate() {
        let archive = bench.path(&format!("{i}.clip"));
        let archive = archive.to_str().unwrap();
        bench.ok(["index", name, "-o", archive, "--quiet"]);
        assert!(tree(archive) == expected, "{name} has another tree");
        bench.ok(["verify", "--deep", archive]);
    }
    assert_eq!(fs::read(bench.path("0.clip")).unwrap(), fs::read(bench.path("tag.clip")).unwrap(), "the same image gives the same bytes");
}

#[test]
fn a_local_image_can_point_at_a_registry() {
    let bench = Bench::new();
    let copy = bench.path("layout");
    sh(&format!("cp -r '{}' '{}'", layout("codec-gzip-go").display(), copy.display()));
    let (image, archive) = (format!("oci:{}", copy.display()), bench.path("x.clip"));
    let archive = archive.to_str().unwrap();
    let remote = format!("{}/codec-gzip-go", registry());
    bench.ok(["index", &image, "-o", archive, "--quiet", "--storage-image", &remote]);
    fs::remove_dir_all(&copy).unwrap();
    bench.ok(["verify", "--deep", archive]);
    let elsewhere = format!("{}/codec-tar", registry());
    sh(&format!("cp -r '{}' '{}'", layout("torture").display(), copy.display()));
    let nothing = bench.fails(["index", &image, "-o", bench.path("y.clip").to_str().unwrap(), "--storage-image", &elsewhere]);
    assert!(nothing.contains("not found"), "{nothing}");
}

#[test]
fn platforms() {
    let bench = Bench::new();
    let image = format!("{}/multi", registry());
    let archive = bench.path("x.clip");
    let archive = archive.to_str().unwrap();
    for platform in ["linux/amd64", "linux/arm64", "linux/arm64/v8", "linux/arm/v6", "linux/arm/v7"] {
        bench.ok(["index", &image, "-o", archive, "--quiet", "--force", "--platform", platform]);
        let arch = platform.split('/').nth(1).unwrap();
        assert_eq!(json(&bench.ok(["inspect", archive, "--json"]))["config"]["architecture"], arch, "{platform}");
    }
    let missing = bench.fails(["index", &image, "-o", archive, "--force", "--platform", "linux/s390x"]);
    assert!(missing.contains("linux/s390x") && missing.contains("linux/arm/v7"), "{missing}");
    let other = format!("{}/python", registry());
    assert!(bench.fails(["index", &other, "-o", archive, "--force", "--platform", "linux/arm64"]).contains("linux/amd64"));
}

#[test]
fn a_layer_is_indexed_once() {
    let bench = Bench::new();
    let image = format!("{}/python", registry());
    let index = |name: &str, more: &[&str]| {
        let path = bench.path(name);
        let report = json(&bench.ok(["index", &image, "-o", path.to_str().unwrap(), "--json"].iter().chain(more)));
        let reused = report["layers"].as_array().unwrap().iter().filter(|l| l["reused"] == true).count();
        (reused, report["layers"].as_array().unwrap().len(), fs::read(path).unwrap())
    };
    let (none, layers, first) = index("a.clip", &[]);
    let (all, _, second) = index("b.clip", &["--jobs", "1"]);
    assert_eq!((none, all), (0, layers));
    assert!(first == second);
    let (other_spacing, _, third) = index("c.clip", &["--checkpoint-mib", "1"]);
    assert!(other_spacing == 0 && third.len() > first.len());
}

#[test]
fn what_is_there_is_kept_and_nothing_half_written_stays() {
    let bench = Bench::new();
    let image = format!("{}/python", registry());
    let archive = bench.path("x.clip");
    fs::write(&archive, "mine").unwrap();
    let out = archive.to_str().unwrap();
    assert!(bench.fails(["index", &image, "-o", out]).contains("--force"));
    assert_eq!(fs::read(&archive).unwrap(), b"mine");
    assert!(bench.fails(["index", &image, "-o", bench.path("").to_str().unwrap()]).contains("directory"));
    assert!(bench.fails(["index", &image, "-o", bench.path("no/x.clip").to_str().unwrap()]).contains("x.clip"));
    assert_eq!(left(&bench), ["x.clip"]);
}

#[test]
fn a_full_disk_is_an_error_and_no_file() {
    let bench = Bench::new();
    let small = bench.path("small");
    fs::create_dir(&small).unwrap();
    let s = small.display();
    sh(&format!("mount -t tmpfs -o size=256k tmpfs '{s}'"));
    let image = format!("{}/python", registry());
    let output = bench.clipctl(["index", &image, "-o", small.join("x.clip").to_str().unwrap()]).output().unwrap();
    let listed = fs::read_dir(&small).unwrap().count();
    sh(&format!("umount '{s}'"));
    assert!(!output.status.success() && said(&output).contains("No space left"), "{}", said(&output));
    assert_eq!(listed, 0);
}

#[test]
fn looking_in() {
    let bench = Bench::new();
    let archive = bench.index(&format!("{}/python", registry()), "python");
    let a = archive.to_str().unwrap();
    let inspected = bench.ok(["inspect", a]);
    for word in ["version", "registry", "sections", "index", "windows", "layers", "Entrypoint", "linux/amd64"] {
        assert!(inspected.contains(word), "{word}: {inspected}");
    }
    let document = json(&bench.ok(["inspect", a, "--json"]));
    assert_eq!(document["version"], "v2");
    assert!(document["nodes"].as_u64().unwrap() > 5_000 && document["streams"].as_array().unwrap().len() >= 5);
    let (bytes, unpacked) = (document["bytes"].as_f64().unwrap(), document["uncompressed_bytes"].as_f64().unwrap());
    assert!(bytes / unpacked <= 0.004, "the archive has {} % of the unpacked size", bytes / unpacked * 100.0);
    assert!(bench.ok(["ls", a, "/usr/bin"]).lines().any(|l| l == "python3.11"));
    let long = bench.ok(["ls", "-l", a, "/usr/bin/passwd"]);
    assert!(long.starts_with("-rwsr-xr-x"), "{long}");
    assert!(bench.ok(["cat", a, "/etc/debian_version"]).starts_with("12."));
    assert!(bench.fails(["cat", a, "/usr"]).contains("not a regular file"));
    assert!(bench.fails(["cat", a, "/none"]).contains("no such file"));
    let verified = json(&bench.ok(["verify", "--deep", a, "--json"]));
    assert_eq!(verified["span_bytes"].as_u64(), document["uncompressed_bytes"].as_u64());
    assert!(bench.fails(["inspect", "/dev/null"]).contains("not a clip archive"));
}
