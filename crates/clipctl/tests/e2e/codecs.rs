//! Every way in which layers come compressed gives the same tree and the same bytes: one tar, in images `codec-*`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use archive::Archive;

use crate::listing::{Listing, differences, list, shown};
use crate::support::{Bench, bounded, layout, registry, said, sh};

/// Images whose tar differs from that of the others in its headers, not in its files.
const OTHER_HEADERS: &[&str] = &["codec-gzip-bsdtar"];
/// Random reads of one image.
const READS: u32 = 300;
/// Files that `clipctl cat` writes of one image.
const CATS: usize = 3;

/// Reads the same random ranges of random files of two trees: ours, and the tar unpacked. Ends with the number of bytes compared.
const RANDOM_READS: &str = r#"
import os, random, sys
ours, truth, count, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
files = sorted(os.path.relpath(os.path.join(d, f), truth) for d, _, fs in os.walk(truth) for f in fs
               if not os.path.islink(os.path.join(d, f)) and os.path.getsize(os.path.join(d, f)) > 0)
assert len(files) > 100, len(files)
chance, total = random.Random(seed), 0
for _ in range(count):
    name = chance.choice(files)
    size = os.path.getsize(os.path.join(truth, name))
    at, length = chance.randrange(size), chance.choice([1, 511, 4096, 70_000, 1 << 20])
    a, b = (os.open(os.path.join(tree, name), os.O_RDONLY) for tree in (ours, truth))
    found, wanted = os.pread(a, length, at), os.pread(b, length, at)
    assert found == wanted, f"{name} {at}+{length}: {len(found)} bytes"
    total += len(wanted)
    os.close(a), os.close(b)
print(total)
"#;

fn names() -> Vec<String> {
    let images = layout("codec-tar").parent().unwrap().to_owned();
    let built = std::fs::read_dir(images).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = built.filter(|name| name.starts_with("codec-")).collect();
    names.sort();
    names
}

/// The tar unpacked by tar, and the largest files of it.
fn reference(bench: &Bench) -> (PathBuf, Vec<PathBuf>) {
    let dir = bench.path("reference");
    let blobs = layout("codec-tar").join("blobs/sha256");
    let digest = sh(&format!("skopeo inspect --raw oci:{}:latest | jq -r '.layers[0].digest'", layout("codec-tar").display()));
    let layer = blobs.join(digest.trim().trim_start_matches("sha256:"));
    sh(&format!("mkdir {0} && tar -xpf {1} -C {0} --numeric-owner", dir.display(), layer.display()));
    let largest = sh(&format!("cd {} && find . -type f -printf '%s %P\\n' | sort -rn | sed -n 1,{CATS}p | cut -d' ' -f2-", dir.display()));
    (dir, largest.lines().map(PathBuf::from).collect())
}

#[test]
fn every_codec_gives_the_same_tree_and_bytes() {
    let bench = Bench::new();
    let (reference, largest) = reference(&bench);
    let mut trees: BTreeMap<String, (String, Listing)> = BTreeMap::new();
    let names = names();
    assert!(names.len() >= 21, "{names:?}");
    for (seed, name) in names.iter().enumerate() {
        let archive = bench.index(&format!("{}/{name}:latest", registry()), name);
        let verified: serde_json::Value =
            serde_json::from_str(&bench.ok(["verify".as_ref(), "--deep".as_ref(), "--json".as_ref(), archive.as_os_str()])).unwrap();
        let opened = Archive::open(&archive).unwrap();
        let stream = &opened.streams()[0];
        assert_eq!(verified["span_bytes"].as_u64(), Some(opened.streams().iter().map(|s| s.size).sum()), "{name}: {verified}");
        let mount = bench.mount(&archive, &format!("mnt-{name}"));
        compare_reads(mount.path(), &reference, seed);
        let tree = list(mount.path());
        let (first, same) = trees.entry(stream.diff_id.clone()).or_insert_with(|| (name.clone(), tree.clone()));
        let found = differences(same, &tree);
        assert!(found.is_empty(), "{first} -> {name}: {}", shown(&found));
        drop(mount);
        for file in &largest {
            let output = bench.clipctl(["cat".as_ref(), archive.as_os_str(), file.as_os_str()]).output().unwrap();
            assert!(output.status.success(), "{name}: {}", said(&output));
            assert!(output.stdout == std::fs::read(reference.join(file)).unwrap(), "{name}: {} differs", file.display());
        }
    }
    let others: Vec<&String> = trees.values().map(|(first, _)| first).filter(|name| OTHER_HEADERS.contains(&name.as_str())).collect();
    assert_eq!(trees.len(), 1 + others.len(), "unexpected diff_ids: {:?}", trees.values().map(|t| &t.0).collect::<Vec<_>>());
    let contents = |tree: &Listing| tree.iter().map(|(path, e)| (path.clone(), e["sha256"].clone())).collect::<BTreeMap<_, _>>();
    let mut all = trees.values().map(|(_, tree)| contents(tree));
    let one = all.next().unwrap();
    assert!(all.all(|other| other == one), "files differ between images");
}

/// In a child process: a hanging mount must not take the test with it.
#[track_caller]
fn compare_reads(ours: &Path, truth: &Path, seed: usize) {
    let mut command = bounded("python3");
    command.args(["-c", RANDOM_READS]).arg(ours).arg(truth).args([READS.to_string(), seed.to_string()]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).trim().parse::<u64>().unwrap() > 1 << 20, "hardly anything was read");
}
