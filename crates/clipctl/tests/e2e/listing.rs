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

/// What another tool made of an image (`scripts/truth`).
#[track_caller]
pub fn truth(image: &str, tool: &str) -> Listing {
    let dir = std::env::var("CLIP_TEST_TRUTH").expect("CLIP_TEST_TRUTH is set by scripts/test");
    let path = Path::new(&dir).join(image).join(format!("{tool}.jsonl"));
    parse(&std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e} (scripts/truth makes it)", path.display())))
}

fn parse(lines: &str) -> Listing {
    let entries = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.map(|entry| (entry["path"].as_str().unwrap().to_owned(), entry)).collect()
}

/// Each difference as `PATH FIELD`, `+PATH` and `-PATH`, with what either side says. An mtime of null, where the image says nothing and the
/// tool left the time of its own work, must be 0 with us (SEMANTICS.md `implied-directory`).
pub fn differences(truth: &Listing, ours: &Listing) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for path in truth.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
        match (truth.get(path), ours.get(path)) {
            (Some(theirs), Some(ours)) => {
                let fields = |entry: &Value| entry.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
                for field in &fields(theirs) | &fields(ours) {
                    let (theirs, ours) = (&theirs[&field], &ours[&field]);
                    if theirs != ours && !(field == "mtime" && theirs.is_null() && ours == 0) {
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
