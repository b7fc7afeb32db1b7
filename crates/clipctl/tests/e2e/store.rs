//! The store: pulled once, found by id, the same from a directory and from a bucket; and what it does when it was left half-written.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::proxy::{Fault, Proxy};
use crate::s3_server::Bucket;
use crate::support::{Bench, Mount, eventually, layout, registry, said, sh};

/// A store of either kind, with its configuration.
struct Kept {
    bench: Bench,
    bucket: Option<Bucket>,
    config: PathBuf,
}

impl Kept {
    fn local() -> Kept {
        let bench = Bench::new();
        let config = bench.path("config.yaml");
        fs::write(&config, format!("imageService:\n  storePath: {}\n", bench.path("store").display())).unwrap();
        Kept { bench, bucket: None, config }
    }

    fn remote() -> Kept {
        let (bench, bucket) = (Bench::new(), Bucket::start());
        let config = bucket.config(&bench, "config", "registryStore: s3");
        Kept { bench, bucket: Some(bucket), config }
    }

    /// The S3 server that `scripts/test --full` starts (Garage), else the one that tests bring along.
    fn real() -> Kept {
        match std::env::var_os("CLIP_TEST_S3_CONFIG") {
            Some(config) => Kept { bench: Bench::new(), bucket: None, config: config.into() },
            None => Kept::remote(),
        }
    }

    fn both() -> [Kept; 2] {
        [Kept::local(), Kept::remote()]
    }

    fn clipctl(&self, arguments: &[&str]) -> Command {
        let mut command = self.bench.clipctl(arguments);
        command.args(["--config", self.config.to_str().unwrap()]);
        command
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.clipctl(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.clipctl(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stderr).unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// Pulls quickly, and returns the id.
    #[track_caller]
    fn pull(&self, image: &str, more: &[&str]) -> String {
        let out = self.ok(&[&["pull", image, "--level", "1"], more].concat());
        let id = out.strip_suffix('\n').unwrap();
        assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "the id alone: {out}");
        id.to_owned()
    }

    #[track_caller]
    fn mount(&self, id: &str) -> Mount {
        let target = self.bench.path("mnt");
        fs::create_dir_all(&target).unwrap();
        let mount = Mount::guard(&target);
        self.ok(&["mount", id, target.to_str().unwrap()]);
        mount
    }

    /// The file that an object or file of the store is in.
    fn file(&self, name: &str) -> PathBuf {
        match &self.bucket {
            Some(bucket) => bucket.file(&format!("images/{name}")),
            None => self.bench.path("store").join(name),
        }
    }

    /// The names of all that the store has, also of what is half-written.
    fn names(&self) -> Vec<String> {
        if let Some(bucket) = &self.bucket {
            return bucket.all().iter().map(|key| key.trim_start_matches("images/").to_owned()).collect();
        }
        let entries = fs::read_dir(self.bench.path("store")).into_iter().flatten();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        // The locks stay: files without content.
        let mut names: Vec<String> = names.filter(|name| name != "locks").collect();
        names.sort();
        names
    }

    /// What the store has for these ids, whole.
    fn whole(ids: &[&str]) -> Vec<String> {
        let mut names: Vec<String> = ids.iter().flat_map(|id| [format!("{id}.clip"), format!("{id}.json")]).collect();
        names.sort();
        names
    }
}

/// An image that is made in no time.
fn small() -> String {
    format!("oci:{}", layout("odd-duplicates").display())
}

#[test]
fn pulled_once_listed_mounted_and_removed() {
    for kept in Kept::both() {
        let proxy = Proxy::start(None, |_, _| Fault::None);
        let image = format!("{}/python", proxy.address);
        let v1 = kept.pull(&image, &["--clip-version", "1"]);
        let fetched = proxy.blobs.load(Ordering::SeqCst);
        assert!(fetched >= 5);
        assert_eq!(kept.pull(&image, &[]), v1, "v1 is the default");
        assert_eq!(kept.json(&["pull", &image, "--level", "1"])["cached"], true);
        // The config may be looked at again, layers may not.
        assert!(proxy.blobs.load(Ordering::SeqCst) <= fetched + 2, "layers are fetched again");
        let v2 = kept.json(&["pull", &image, "--clip-version", "v2"]);
        assert_eq!((&v2["cached"], &v2["version"], v2.get("fallback")), (&false.into(), &"v2".into(), None));
        let v2 = v2["id"].as_str().unwrap();
        assert_ne!(v1, v2);
        assert_eq!(kept.names(), Kept::whole(&[&v1, v2]));
        let listed = kept.json(&["images"]);
        let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|record| record["id"].as_str().unwrap()).collect();
        assert!(ids.len() == 2 && ids.contains(&v1.as_str()) && ids.contains(&v2), "{listed}");
        let shown = kept.ok(&["images"]);
        let line = |id: &str| shown.lines().find(|line| line.starts_with(&id[..12])).unwrap_or_else(|| panic!("{shown}")).to_owned();
        assert!(line(&v1).contains(" v1 ") && line(&v1).ends_with("/python:latest") && line(v2).contains(" v2 "), "{shown}");
        assert!(kept.ok(&["diff", &v1, v2]).starts_with("the same: "));
        for id in [&v1, &v1[..8], v2] {
            let mounted = kept.mount(id);
            let script = "import numpy; print(numpy.arange(10).sum())";
            assert_eq!(sh(&format!("chroot {} python3 -B -c '{script}'", mounted.path().display())), "45\n");
            kept.bench.umount(mounted);
        }
        assert_eq!(kept.ok(&["rmi", &v1[..10], v2]), format!("{v1}\n{v2}\n"));
        assert_eq!(kept.names(), [""; 0]);
        assert_eq!(kept.json(&["images"]), Value::Array(Vec::new()));
        for id in [v1.as_str(), &v1[..10]] {
            for command in [&["rmi", id][..], &["ls", id]] {
                let said = kept.fails(command);
                assert!(said.contains(id) && said.contains("no such image") && said.contains("clipctl pull"), "{said}");
            }
        }
    }
}

#[test]
fn flag_environment_and_file_choose_the_version_and_the_flag_wins() {
    let kept = Kept::local();
    let version = |variable: Option<&str>, flag: &[&str]| {
        let mut command = kept.clipctl(&["pull", &small(), "--json"]);
        command.args(flag).envs(variable.map(|value| ("CLIP_VERSION", value)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["version"].as_str().unwrap().to_owned()
    };
    assert_eq!(version(None, &[]), "v1");
    assert_eq!(version(Some("2"), &[]), "v2");
    fs::write(&kept.config, format!("{}  clipVersion: v2\n", fs::read_to_string(&kept.config).unwrap())).unwrap();
    assert_eq!(version(None, &[]), "v2");
    assert_eq!(version(Some("v1"), &[]), "v1");
    assert_eq!(version(Some("v1"), &["--clip-version", "v2"]), "v2");
    assert_eq!(version(None, &["--clip-version", "1"]), "v1");
}

#[test]
fn ids_that_are_short_for_several_are_refused() {
    for kept in Kept::both() {
        let id = kept.pull(&small(), &[]);
        let record = fs::read_to_string(kept.file(&format!("{id}.json"))).unwrap();
        // Another of the same beginning.
        let last = if id.ends_with('0') { '1' } else { '0' };
        let other = format!("{}{last}", &id[..63]);
        let put = |name: String, bytes: &[u8]| match &kept.bucket {
            Some(bucket) => bucket.put(&format!("images/{name}"), bytes),
            None => fs::write(kept.file(&name), bytes).unwrap(),
        };
        put(format!("{other}.json"), record.replace(&id, &other).as_bytes());
        put(format!("{other}.clip"), &fs::read(kept.file(&format!("{id}.clip"))).unwrap());
        for command in ["ls", "rmi", "inspect"] {
            let said = kept.fails(&[command, &id[..10]]);
            assert!(said.contains(&id[..10]) && said.contains(&id) && said.contains(&other) && said.contains("give more"), "{said}");
        }
        kept.ok(&["ls", &id]);
        assert_eq!(kept.names(), Kept::whole(&[&id, &other]));
        // What is in the working directory is a file, and a short word is none of ours.
        assert!(kept.fails(&["ls", "abc"]).contains("No such file"));
    }
}

#[test]
fn two_who_pull_the_same_at_once_both_have_it() {
    let image = format!("{}/python", registry());
    for kept in Kept::both() {
        for version in ["v1", "v2"] {
            let arguments = ["pull", &image, "--level", "1", "--json", "--clip-version", version];
            let pulls: Vec<_> = (0..2)
                .map(|i| {
                    let mut command = kept.clipctl(&arguments);
                    // Two nodes: nothing but the store is shared.
                    command.env("CLIP_CACHE_DIR", kept.bench.path(&format!("node-{version}-{i}")));
                    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
                })
                .collect();
            let outputs: Vec<_> = pulls.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
            assert!(outputs.iter().all(|output| output.status.success()), "{}{}", said(&outputs[0]), said(&outputs[1]));
            let [one, other] = [0, 1].map(|i| serde_json::from_slice::<Value>(&outputs[i].stdout).unwrap());
            assert_eq!(one["id"], other["id"]);
            assert!(one["cached"] == true || other["cached"] == true, "the work was done twice");
            let id = one["id"].as_str().unwrap();
            assert_eq!(kept.names(), Kept::whole(&[id]));
            kept.ok(&["verify", "--deep", id]);
            kept.ok(&["rmi", id]);
        }
    }
}

#[test]
fn a_store_that_was_left_half_written_heals() {
    for kept in Kept::both() {
        let id = kept.pull(&small(), &[]);
        let (archive, record) = (kept.file(&format!("{id}.clip")), kept.file(&format!("{id}.json")));
        let (good, noted) = (fs::read(&archive).unwrap(), fs::read_to_string(&record).unwrap());
        let heals = |what: &str| {
            let pulled = kept.json(&["pull", &small(), "--level", "1"]);
            assert_eq!((pulled["id"].as_str(), &pulled["cached"]), (Some(id.as_str()), &false.into()), "{what}");
            assert!(fs::read(&archive).unwrap() == good, "{what}");
            kept.ok(&["verify", "--deep", &id]);
            assert_eq!(kept.names(), Kept::whole(&[&id]), "{what}");
        };
        // Killed between the two.
        fs::remove_file(&record).unwrap();
        assert_eq!(kept.json(&["images"]), Value::Array(Vec::new()));
        assert!(kept.fails(&["ls", &id]).contains("no such image"));
        heals("an archive without a record");
        // Somebody has deleted the large one.
        fs::remove_file(&archive).unwrap();
        for given in [id.as_str(), &id[..10]] {
            let said = kept.fails(&["ls", given]);
            assert!(said.contains("no such image") && said.contains("clipctl pull"), "{said}");
        }
        heals("a record without an archive");
        for damaged in ["", "{", &noted.replace(&id, &"0".repeat(64)), &noted.replace("\"image\"", "\"imago\"")] {
            fs::write(&record, damaged).unwrap();
            let said = kept.fails(&["ls", &id]);
            assert!(said.contains(&format!("{id}.json")) && said.contains("damaged") && said.contains("pull the image again"), "{said}");
            let listed = kept.clipctl(&["images", "--json"]).output().unwrap();
            assert!(listed.status.success() && listed.stdout == b"[]\n" && said.contains("damaged"), "{}", self::said(&listed));
            heals(damaged);
        }
        fs::write(&record, "{").unwrap();
        kept.ok(&["rmi", &id]);
        assert_eq!(kept.names(), [""; 0]);
        heals("nothing");
        // Asked for, all is made anew.
        fs::write(&archive, "rubbish").unwrap();
        assert_eq!(kept.json(&["pull", &small(), "--level", "1", "--force"])["cached"], false);
        heals_not_needed(&kept, &id, &good);
    }
}

fn heals_not_needed(kept: &Kept, id: &str, good: &[u8]) {
    assert_eq!(kept.json(&["pull", &small(), "--level", "1"])["cached"], true);
    assert!(fs::read(kept.file(&format!("{id}.clip"))).unwrap() == good);
}

#[test]
fn a_store_that_cannot_be_written_is_named() {
    let kept = Kept::local();
    let store = kept.bench.path("store");
    fs::write(&store, "a file").unwrap();
    let said = kept.fails(&["pull", &small()]);
    assert!(said.contains(store.to_str().unwrap()), "{said}");
    fs::remove_file(&store).unwrap();
    fs::create_dir(&store).unwrap();
    sh(&format!("mount -t tmpfs -o size=64k tmpfs {0} && mount -o remount,ro {0}", store.display()));
    let _guard = Mount::guard(&store);
    for version in ["v1", "v2"] {
        let said = kept.fails(&["pull", &small(), "--clip-version", version]);
        assert!(said.contains(store.to_str().unwrap()) && said.contains("Read-only file system"), "{said}");
    }
    assert_eq!(kept.json(&["images"]), Value::Array(Vec::new()), "it can be read");
    sh(&format!("mount -o remount,rw {}", store.display()));
    let torture = format!("{}/torture", registry());
    let said = kept.fails(&["pull", &torture]);
    assert!(said.contains("No space left"), "{said}");
    assert_eq!(kept.names(), [""; 0]);
}

#[test]
fn a_pull_that_is_interrupted_leaves_nothing_and_holds_nobody_up() {
    for kept in Kept::both() {
        // The config comes, all layers fall silent half-way.
        let proxy = Proxy::start(None, |n, _| if n > 0 { Fault::Silent } else { Fault::None });
        let image = format!("{}/python", proxy.address);
        let child = kept.clipctl(&["pull", &image]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("half a layer", || proxy.silences() > 0);
        let begun = Instant::now();
        sh(&format!("kill -INT {}", child.id()));
        let output = child.wait_with_output().unwrap();
        let told = said(&output);
        assert_eq!((output.status.code(), told.as_str()), (Some(1), "clipctl: stopped by a signal; nothing was written\n"));
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        assert_eq!(kept.names(), [""; 0]);
    }
}

#[test]
fn anybody_who_may_read_the_archives_may_list_them() {
    let kept = Kept::local();
    let id = kept.pull(&small(), &[]);
    let modes = sh(&format!("stat -c %a {0}/{id}.clip {0}/{id}.json", kept.bench.path("store").display()));
    let modes: Vec<&str> = modes.lines().collect();
    assert_eq!(modes[0], modes[1]);
}

#[test]
fn where_ranges_are_ignored_v2_becomes_v1_and_it_is_said_everywhere() {
    let proxy = Proxy::start(None, |_, _| Fault::NoRanges);
    let image = format!("{}/codec-gzip-go", proxy.address);
    for kept in Kept::both() {
        let refused = kept.fails(&["pull", &image, "--clip-version", "v2", "--no-fallback"]);
        assert!(refused.contains("no v2 archive can be made") && refused.contains("ignores ranges"), "{refused}");
        assert!(refused.contains("--no-fallback") && refused.contains(&proxy.address), "{refused}");
        assert_eq!(kept.names(), [""; 0]);
        let output = kept.clipctl(&["pull", &image, "--clip-version", "v2"]).output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && complaint.contains("fell back to v1") && complaint.contains("ignores ranges"), "{complaint}");
        let id = String::from_utf8(output.stdout).unwrap();
        let id = id.trim();
        assert!(id.len() == 64);
        let again = kept.json(&["pull", &image, "--clip-version", "v2"]);
        assert_eq!((&again["cached"], &again["version"], again["id"].as_str()), (&true.into(), &"v1".into(), Some(id)));
        let reason = again["fallback"].as_str().unwrap();
        assert!(reason.contains("ignores ranges"));
        assert_eq!(kept.json(&["images"])[0]["fallback"], reason);
        assert!(kept.ok(&["images"]).contains("fell back from v2"));
        let inspected = kept.json(&["inspect", id]);
        assert_eq!((inspected["fallback"].as_str(), &inspected["version"]), (Some(reason), &"v1".into()));
        let shown = kept.ok(&["inspect", id]);
        assert!(shown.contains("fallback") && shown.contains(reason), "{shown}");
        kept.ok(&["verify", "--deep", id]);
        // What was allowed once is not allowed to who forbids it.
        kept.fails(&["pull", &image, "--clip-version", "v2", "--no-fallback"]);
        assert_eq!(kept.names(), Kept::whole(&[id]));
    }
    let kept = Kept::local();
    let id = kept.pull(&small(), &["--clip-version", "v2"]);
    assert_eq!(kept.json(&["inspect", &id])["fallback"], Value::Null);
    assert!(!kept.ok(&["inspect", &id]).contains("fallback"));
}

/// The switch at 1 and at 2, then mount: real registry, real S3 server, layers of every kind.
#[test]
fn images_of_every_kind_are_pulled_in_both_versions_and_mounted() {
    let kept = Kept::real();
    for image in ["python", "torture", "codec-tar", "codec-gzip-go", "codec-zstd-one", "codec-zstd-chunked"] {
        let reference = format!("{}/{image}", registry());
        let ids = ["v1", "v2"].map(|version| kept.pull(&reference, &["--clip-version", version]));
        assert_ne!(ids[0], ids[1]);
        assert!(kept.ok(&["diff", &ids[0], &ids[1]]).starts_with("the same: "), "{image}");
        for id in ids.iter().filter(|_| image == "python") {
            let mount = kept.mount(id);
            let version = sh(&format!("chroot {} /usr/bin/python3 -c 'import numpy; print(numpy.__version__)'", mount.path().display()));
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{version}");
            kept.ok(&["umount", mount.path().to_str().unwrap()]);
        }
    }
}
