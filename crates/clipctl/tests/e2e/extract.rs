//! `clipctl extract`: all of an image on disk, as its full unpack; and nothing outside of the directory, whatever the archive says.

use std::fs;
use std::path::{Path, PathBuf};

use crate::forge::{FORGED, Forged};
use crate::listing::{differences, list, shown, truth};
use crate::support::{Bench, bounded, layout, registry, said, sh};

/// Images that are extracted and compared with umoci's unpack.
const IMAGES: &[&str] =
    &["python", "torture", "odd-chardev00", "odd-duplicates", "odd-link_to_lower", "odd-negative_times", "odd-same_layer_whiteouts"];

/// A directory that rm takes away: some trees are deeper than a recursive removal in this process may go.
struct Target(PathBuf);

impl Target {
    fn new(bench: &Bench, name: &str) -> Target {
        Target(bench.path(name))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = bounded("rm").arg("-rf").arg(&self.0).status();
    }
}

#[test]
fn root_gets_what_a_full_unpack_gives() {
    let bench = Bench::new();
    for image in IMAGES {
        let reference = match *image {
            "python" | "torture" => format!("{}/{image}:latest", registry()),
            odd => format!("oci:{}:latest", layout(odd).display()),
        };
        let archive = bench.index(&reference, image);
        let target = Target::new(&bench, &format!("x-{image}"));
        bench.ok(["extract".as_ref(), archive.as_os_str(), target.0.as_os_str()]);
        let found = differences(&truth(image, "umoci"), &list(&target.0));
        assert!(found.is_empty(), "{image}: {}", shown(&found));
    }
}

/// Who is not root owns what it extracts and goes without devices and privileged attributes; the rest is the same.
#[test]
fn a_user_gets_what_it_may_have() {
    let bench = Bench::new();
    let archive = bench.index(&format!("oci:{}:latest", layout("torture").display()), "torture");
    sh(&format!("chmod 755 {0} && mkdir {0}/user && chown nobody {0}/user && chmod 644 {1}", bench.path("").display(), archive.display()));
    let (target, cache) = (bench.path("user/x"), bench.path("user/cache"));
    let mut command = bounded("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(env!("CARGO_BIN_EXE_clipctl"));
    command.args(["extract", "--json"]).arg(&archive).arg(&target).env("CLIP_CACHE_DIR", cache);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let done: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (theirs, ours) = (truth("torture", "umoci"), list(&target));
    let devices = theirs.values().filter(|e| e["type"] == "char" || e["type"] == "block").count();
    assert!(devices > 0 && done["devices_left_out"].as_u64() >= Some(devices as u64), "{done}");
    let mut wrong = differences(&theirs, &ours);
    wrong.retain(|what, how| {
        let path = what.trim_start_matches(['-', '+']).rsplit_once(' ').map_or(what.trim_start_matches('-'), |(path, _)| path);
        let privileged = theirs.get(path).is_some_and(|e| {
            let xattrs = e["xattrs"].as_object().unwrap();
            xattrs.keys().any(|name| name.starts_with("trusted.") || name.starts_with("security."))
        });
        let device = what.starts_with('-') && (how == "\"char\"" || how == "\"block\"");
        !(device || what.ends_with(" uid") || what.ends_with(" gid") || (what.ends_with(" xattrs") && privileged))
    });
    assert!(wrong.is_empty(), "{}", shown(&wrong));
}

#[test]
fn nothing_is_written_outside() {
    for forged @ Forged { name, says, .. } in FORGED {
        let bench = Bench::new();
        let path = forged.write(&bench);
        fs::create_dir_all(bench.path("arena/outside")).unwrap();
        fs::create_dir_all(bench.path("arena/inside")).unwrap();
        let target = bench.path("arena/inside");
        let output = bench.clipctl(["extract".as_ref(), path.as_os_str(), target.as_os_str()]).output().unwrap();
        let said = said(&output);
        assert!(output.status.code() == Some(1) && said.contains(says), "{name}: {:?} {said}", output.status);
        let outside: Vec<String> = list(&bench.path("arena")).into_keys().filter(|p| !p.starts_with("/inside/")).collect();
        assert_eq!(outside, ["/", "/inside", "/outside"], "{name}: {said}");
        assert!(!Path::new("/tm").exists() && !bench.path("arena/escaped").exists(), "{name}");
    }
}
