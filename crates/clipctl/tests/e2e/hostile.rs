//! Hostile images: each ends with a clear error and no file, or with a harmless tree.
//!
//! tests/images/hostile.py makes them and says what may come of each: `refuse`, `contain` (refused, or inside its directory), `accept`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::listing::list_metadata;
use crate::support::{Bench, bounded, layout, said};

/// Longest that indexing a hostile image may take.
const SECONDS_MAX: &str = "60";
/// Most memory that it may take.
const RSS_MIB_MAX: u64 = 400;
/// An archive whose files have more is not extracted here: a bomb of 1 GiB is honest, but slow to unpack.
const EXTRACT_BYTES_MAX: u64 = 100 << 20;

/// Runs a command and prints the most memory that it took, in KiB, as its last line.
const MEASURED: &str = "import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)";

/// What `clipctl index` says of each image; nothing: it takes it.
const SAYS: &[(&str, &str)] = &[
    ("manifest-not-json", "its manifest is no JSON"),
    ("manifest-empty", "its manifest is no JSON"),
    ("manifest-array", "its manifest"),
    ("manifest-is-config", "neither an image manifest nor an image index"),
    ("manifest-schema-1", "Docker's schema 1, which clip does not read"),
    ("manifest-missing", "is missing: is it a whole image?"),
    ("manifest-digest-wrong", "its manifest has digest sha256:"),
    ("manifest-huge", "has 33554461 bytes (at most 8388608)"),
    ("no-layers", ""),
    ("artifact", "layer 1 has media type application/vnd.example.chart.content"),
    ("layer-type-unknown", "layer 1 has media type application/vnd.example.layer.v9"),
    ("layer-type-encrypted", "layer 1 has media type application/vnd.oci.image.layer.v1.tar+gzip+encrypted"),
    ("layer-foreign", ""),
    ("layer-digest-wrong", "the blob's digest is sha256:"),
    ("layer-missing", "is missing: is it a whole image?"),
    ("layer-size-small", "has 95 bytes where the manifest says 85"),
    ("layer-size-large", "has 95 bytes where the manifest says 1095"),
    ("layer-size-absurd", "has 95 bytes where the manifest says 9223372036854775807"),
    ("layer-size-negative", "its manifest is malformed: invalid value: integer `-1`"),
    ("digest-malformed", "its manifest is malformed"),
    ("digest-unknown-algorithm", "is no sha256 digest"),
    ("diff-id-wrong", "the diff_id is sha256:"),
    ("diff-ids-too-few", "its config has 0 diff_ids for 1 layers"),
    ("diff-ids-too-many", "its config has 2 diff_ids for 1 layers"),
    ("config-missing", "is missing: is it a whole image?"),
    ("config-not-json", "its config is malformed"),
    ("index-empty", "it is for no platform at all"),
    ("index-of-other-platforms", "it is for linux/s390x (choose with --platform)"),
    ("index-nested-forever", "nested more than 3 deep"),
    ("layers-10000", "it has 10000 layers (at most 1000)"),
    ("layer-twice", ""),
    ("dotdot", ""),
    ("absolute", ""),
    ("symlink-out", ""),
    ("link-out", "entry passwd: a hard link to ../../../../../../etc/passwd, which is not there"),
    ("link-absolute-out", "entry passwd: a hard link to /etc/passwd, which is not there"),
    ("link-to-nowhere", "entry link: a hard link to no/such/file, which is not there"),
    ("link-to-itself", "entry self: a hard link to self, which is not there"),
    ("link-cycle", "entry a: a hard link to b, which is not there"),
    ("link-to-directory", "entry dir-link: a hard link to the directory dir"),
    ("link-with-data", "tar header at byte 1536: the checksum is wrong"),
    ("symlink-loop-parent", "entry a/file: too many symlinks on the way to it"),
    ("symlink-self-parent", "entry self/self/self/file: too many symlinks"),
    ("symlink-chain-parent", ""),
    ("symlink-doubling", "entry x40/file: too many symlinks"),
    ("parent-is-a-file", ""),
    ("parent-is-a-device", ""),
    ("root-is-a-file", "entry .: it would replace the root directory"),
    ("root-whiteout", ""),
    ("root-symlink", "entry ./: it would replace the root directory"),
    ("name-empty", "it would replace the root directory"),
    ("name-too-long", "a name of 256 bytes (at most 255)"),
    ("name-huge", "an extended header of 16777217 bytes (at most 4194304)"),
    ("name-nul", "a name in a pax record has a NUL"),
    ("path-longest", ""),
    ("symlink-too-long", "entry link: a symlink to a path of 5000 bytes"),
    ("symlink-empty", "entry link: a symlink to a path of 0 bytes"),
    ("deep-10000", ""),
    ("size-absurd", "the tar ends inside an entry (4611686018427386880 bytes are missing)"),
    ("size-max", "tar header at byte 1024: a number is too large"),
    ("size-negative", "tar header at byte 1024: a size of -1"),
    ("size-lies", "the tar ends inside an entry (10484224 bytes are missing)"),
    ("size-garbage", "is no octal number"),
    ("size-of-directory", ""),
    ("numbers-absurd", "uid: owner 1099511627776 does not fit 32 bits"),
    ("pax-size-absurd", "an extended header of 8589934592 bytes"),
    ("pax-malformed", "tar header at byte 1536: a pax record is malformed"),
    ("pax-number-malformed", "\"many\" in a pax record is no number"),
    ("pax-size-negative", "x: a negative size"),
    ("pax-xattr-absurd", "a name in a pax record has a NUL"),
    ("pax-alone", ""),
    ("pax-xattr-count", "entry many: 100000 extended attributes of more than 256 KiB"),
    ("sparse-overlap", "x: a sparse map overlaps itself"),
    ("sparse-backwards", "x: a sparse map overlaps itself"),
    ("sparse-beyond-size", "x: a sparse map overlaps itself or the end of its file"),
    ("sparse-more-than-data", "x: a sparse map has 5000 bytes where its data has 100"),
    ("sparse-count-absurd", "a sparse map of more than 1048576 segments"),
    ("sparse-overflow", "x: a sparse file of 9223372036854775807 bytes (at most 16 TiB)"),
    ("sparse-exabytes", "x: a sparse file of 9223372036854775807 bytes (at most 16 TiB)"),
    ("checksum", "tar header at byte 1024: the checksum is wrong"),
    ("not-a-tar", "tar header at byte 0: the checksum is wrong: this is no tar header"),
    ("tar-of-nothing", ""),
    ("tar-of-end-blocks", ""),
    ("tar-with-tail", ""),
    ("tar-one-zero-block", "tar header at byte 1536: a block of zeros is not followed by another"),
    ("tar-cut-in-header", "the tar ends inside an entry (312 bytes are missing)"),
    ("tar-cut-in-data", "the tar ends inside an entry (3000 bytes are missing)"),
    ("tar-cut-in-padding", "the tar ends inside an entry (100 bytes are missing)"),
    ("gzip-truncated", "compressed data ends early"),
    ("gzip-no-trailer", "compressed data ends early"),
    ("gzip-corrupt-block", "tar header at byte"),
    ("gzip-wrong-crc", ""),
    ("gzip-wrong-length", ""),
    ("gzip-trailing-garbage", "trailing bytes after the last member?"),
    ("gzip-trailing-zeros", ""),
    ("gzip-is-plain-tar", "invalid gzip data at byte 0"),
    ("gzip-empty", "the diff_id is sha256:e3b0c4"),
    ("gzip-claims-plain", ""),
    ("gzip-far-distance", "invalid gzip data at byte 10"),
    ("gzip-bomb", ""),
    ("zstd-truncated", "compressed data ends early"),
    ("zstd-window-absurd", "invalid zstd data at byte 0"),
];

/// hostile.json: what may come of each image.
fn outcomes() -> BTreeMap<String, String> {
    let path = layout("python").with_file_name("hostile.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn each_is_refused_or_contained() {
    let outcomes = outcomes();
    let listed: Vec<&str> = SAYS.iter().map(|(name, _)| *name).collect();
    assert!(outcomes.keys().all(|name| listed.contains(&name.as_str())) && outcomes.len() == listed.len(), "the table lacks an image");
    let mut wrong = Vec::new();
    for (name, says) in SAYS {
        if let Err(why) = check(name, &outcomes[*name], says) {
            wrong.push(format!("{name}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check(name: &str, outcome: &str, says: &str) -> Result<(), String> {
    let bench = Bench::new();
    let out = bench.path("out");
    std::fs::create_dir(&out).unwrap();
    let archive = out.join("hostile.clip");
    let image = format!("oci:{}:latest", layout(&format!("hostile-{name}")).display());
    let mut command = bounded("python3");
    command.args(["-c", MEASURED, "timeout", "-s", "KILL", SECONDS_MAX, env!("CARGO_BIN_EXE_clipctl"), "index", &image, "-q", "-o"]);
    let output = command.arg(&archive).env("CLIP_CACHE_DIR", bench.path("cache")).output().unwrap();
    let (text, code) = (said(&output), output.status.code());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let rss_mib = String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().map_err(|_| text.clone())? >> 10;
    if rss_mib > RSS_MIB_MAX {
        return Err(format!("took {rss_mib} MiB"));
    }
    let refused = match code {
        Some(0) => false,
        Some(1) if !text.contains("panicked") => true,
        code => return Err(format!("ended with {code:?}: {text}")),
    };
    match (outcome, refused) {
        ("refuse", false) => return Err("was taken".into()),
        ("accept", true) => return Err(format!("was refused: {text}")),
        _ => {}
    }
    if refused == says.is_empty() || !errors.contains(says) {
        return Err(format!("says {errors:?}, not {says:?}"));
    }
    if !refused {
        return contained(&bench, &archive, name);
    }
    if !errors.contains(&format!("hostile-{name}")) && !errors.contains("blobs/sha256/") && !errors.contains("digest") {
        return Err(format!("the message names neither the image nor what is wrong with it: {errors}"));
    }
    let left: Vec<_> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("left {left:?}")) }
}

/// What was taken stays inside: mounted, and extracted beside things that must stay as they are.
fn contained(bench: &Bench, archive: &Path, name: &str) -> Result<(), String> {
    let mount = bench.mount(archive, "mnt");
    let mounted = list_metadata(mount.path());
    bench.ok(["verify".as_ref(), "--deep".as_ref(), archive.as_os_str()]);
    drop(mount);
    if mounted.values().map(|e| e["size"].as_u64().unwrap_or(0)).sum::<u64>() > EXTRACT_BYTES_MAX {
        return Ok(());
    }
    let arena = bench.path("arena");
    std::fs::create_dir_all(arena.join("inside")).unwrap();
    bench.ok(["extract".as_ref(), archive.as_os_str(), arena.join("inside").as_os_str()]);
    let extracted = list_metadata(&arena.join("inside"));
    let around: Vec<_> = std::fs::read_dir(&arena).unwrap().map(|e| e.unwrap().file_name()).collect();
    // Trees of 10,000 levels are too deep for a removal that calls itself.
    let removed = bounded("rm").arg("-rf").arg(&arena).status().unwrap();
    let escaped: Vec<_> = std::fs::read_dir("/tmp").unwrap().map(|e| e.unwrap().file_name()).collect();
    let escaped = escaped.iter().any(|name| name.as_encoded_bytes().starts_with(b"clip-escaped"));
    if around != ["inside"] || escaped || !removed.success() {
        return Err(format!("something was written outside: {around:?}"));
    }
    let paths = |tree: &crate::listing::Listing| tree.keys().cloned().collect::<Vec<_>>();
    if paths(&extracted) == paths(&mounted) { Ok(()) } else { Err(format!("{name}: extract and mount differ")) }
}
