//! What a tree holds, entry by entry, and where two trees differ. `tests/images/tree.py` does the listing, of ours as of the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{bounded, said};

/// Entries by path, as tree.py prints them: type, mode, owner, mtime, xattrs; size, nlink and group of links, rdev, target, sha256.
pub type Listing = BTreeMap<String, Value>;

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Lists what is below `root`, contents included.
#[track_caller]
pub fn list(root: &Path) -> Listing {
    tree(root, &[])
}

/// The same without reading any file.
#[track_caller]
pub fn list_metadata(root: &Path) -> Listing {
    tree(root, &["--no-content"])
}

#[track_caller]
fn tree(root: &Path, options: &[&str]) -> Listing {
    let mut command = bounded("python3");
    let output = command.arg("-B").arg(repository().join("tests/images/tree.py")).arg(root).args(options).output().unwrap();
    assert!(output.status.success(), "list {}: {}", root.display(), said(&output));
    parse(std::str::from_utf8(&output.stdout).unwrap())
}

/// What another tool made of an image (`scripts/truth`). An mtime of null is one that the tool has spoilt by its own work: umoci does so to
/// some directories, and containers/storage, where it takes the image, has theirs; bsdtar does to those that a later layer adds to.
#[track_caller]
pub fn truth(image: &str, tool: &str) -> Listing {
    let dir = truths();
    let load = |tool: &str| std::fs::read_to_string(Path::new(&dir).join(image).join(format!("{tool}.jsonl"))).map(|text| parse(&text));
    let mut tree = load(tool).unwrap_or_else(|e| panic!("{dir}/{image}/{tool}.jsonl: {e} (scripts/truth makes it)"));
    let second = load("overlay").unwrap_or_default();
    for (path, entry) in tree.iter_mut().filter(|(_, entry)| entry["mtime"].is_null()) {
        match second.get(path) {
            Some(other) => entry["mtime"] = other["mtime"].clone(),
            None if tool == "bsdtar" => drop(entry.as_object_mut().unwrap().remove("mtime")),
            None => {}
        }
    }
    tree
}

fn parse(lines: &str) -> Listing {
    let entries = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.map(|entry| (entry["path"].as_str().unwrap().to_owned(), entry)).collect()
}

/// Reads all files below a directory of a mount; their contents must be those of the image's full unpack.
#[track_caller]
pub fn assert_contents(image: &str, mount: &Path, dir: &str) {
    let hashes = |tree: Listing| -> BTreeMap<String, Value> {
        let files = tree.into_iter().filter(|(_, entry)| entry["type"] == "file");
        files.map(|(path, entry)| (path, entry["sha256"].clone())).collect()
    };
    let file = Path::new(&truths()).join(image).join("umoci.jsonl");
    // Only what is compared is parsed, as torture has 26,000 entries.
    let above = format!(r#"{{"path": "/{dir}/"#);
    let text = std::fs::read_to_string(file).unwrap();
    let lines: String = text.lines().filter_map(|line| Some(format!("{{\"path\": \"/{}\n", line.strip_prefix(&above)?))).collect();
    let (theirs, ours) = (hashes(parse(&lines)), hashes(list(&mount.join(dir))));
    let wrong: Vec<&String> = theirs.keys().filter(|path| ours.get(*path) != theirs.get(*path)).collect();
    assert!(wrong.is_empty() && theirs.len() == ours.len() && !theirs.is_empty(), "{image}/{dir}: {wrong:?} of {} files", ours.len());
}

/// Where the truths are.
fn truths() -> String {
    std::env::var("CLIP_TEST_TRUTH").expect("CLIP_TEST_TRUTH is set by scripts/test")
}

/// Each difference as `PATH FIELD`, `+PATH` and `-PATH`, with what either side says. Where the truth's mtime is null, the image says nothing:
/// it must be 0 with us (SEMANTICS.md `implied-directory`). Where the truth has no mtime, nobody knows it.
pub fn differences(truth: &Listing, ours: &Listing) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for path in truth.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
        match (truth.get(path), ours.get(path)) {
            (Some(theirs), Some(ours)) => {
                let unknown = theirs.get("mtime").is_none();
                let fields = |entry: &Value| entry.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
                for field in &fields(theirs) | &fields(ours) {
                    let (theirs, ours) = (&theirs[&field], &ours[&field]);
                    let untold = field == "mtime" && (unknown || theirs.is_null() && ours == 0);
                    if theirs != ours && !untold {
                        found.insert(format!("{path} {field}"), format!("{theirs} -> {ours}"));
                    }
                }
            }
            (Some(theirs), None) => drop(found.insert(format!("-{path}"), theirs["type"].to_string())),
            (None, ours) => drop(found.insert(format!("+{path}"), ours.map_or_else(String::new, |o| o["type"].to_string()))),
        }
    }
    found
}

/// The first differences as lines, for a message.
pub fn shown(differences: &BTreeMap<String, String>) -> String {
    const LINES: usize = 30;
    let lines: Vec<String> = differences.iter().take(LINES).map(|(what, how)| format!("  {what}: {how}")).collect();
    format!("{} differences\n{}", differences.len(), lines.join("\n"))
}

/// Directories whose nlink is not 2 and one for each directory in them.
#[track_caller]
pub fn wrong_directory_links(root: &Path) -> Vec<String> {
    let output = bounded("find").arg(root).args(["-type", "d", "-printf", "%n %P\\0"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let mut links: BTreeMap<&[u8], (u64, u64)> = BTreeMap::new();
    for line in output.stdout.split(|b| *b == 0).filter(|line| !line.is_empty()) {
        let space = line.iter().position(|b| *b == b' ').unwrap();
        let (count, path) = (std::str::from_utf8(&line[..space]).unwrap().parse().unwrap(), &line[space + 1..]);
        links.entry(path).or_default().0 = count;
        if !path.is_empty() {
            let above = path.iter().rposition(|b| *b == b'/').map_or(&path[..0], |slash| &path[..slash]);
            links.entry(above).or_default().1 += 1;
        }
    }
    assert!(!links.is_empty());
    let wrong = links.into_iter().filter(|(_, (count, directories))| *count != 2 + directories);
    wrong
        .map(|(path, (count, directories))| format!("{}: {count} links, {directories} directories", String::from_utf8_lossy(path)))
        .collect()
}
