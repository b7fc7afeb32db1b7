//! What people and scripts see: the help of every command, and what the commands that look into things print. Each is a file in
//! tests/snapshots; what differs from run to run (paths, ports, times) is masked there.
//!
//! After a change that is meant, `CLIP_BLESS=1 scripts/test` (or `cargo nextest run snapshots` in its environment) writes them anew.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Bench, bounded, registry};

fn bless() -> bool {
    std::env::var_os("CLIP_BLESS").is_some()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots")
}

/// Snapshots of one test: they share the beginning of their names, and there are no others of that name.
struct Snapshots {
    prefix: &'static str,
    seen: BTreeSet<String>,
    differences: String,
}

impl Snapshots {
    fn new(prefix: &'static str) -> Snapshots {
        Snapshots { prefix, seen: BTreeSet::new(), differences: String::new() }
    }

    /// Compares with `PREFIX-NAME.txt`.
    fn check(&mut self, name: &str, text: &str) {
        let name = format!("{}-{name}.txt", self.prefix);
        let path = directory().join(&name);
        if bless() {
            fs::create_dir_all(directory()).unwrap();
            fs::write(&path, text).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != text {
            self.differences += &diff(&path, text);
        }
        assert!(self.seen.insert(name), "two snapshots of one name");
    }

    #[track_caller]
    fn finish(self) {
        let files = fs::read_dir(directory()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        for name in files.filter(|name| name.starts_with(&format!("{}-", self.prefix)) && !self.seen.contains(name)) {
            assert!(bless(), "{name} is a snapshot of nothing");
            fs::remove_file(directory().join(name)).unwrap();
        }
        assert!(self.differences.is_empty(), "what is printed has changed (CLIP_BLESS=1 if that is meant):\n{}", self.differences);
    }
}

/// The difference between a snapshot and what is now, as people read it.
fn diff(path: &Path, text: &str) -> String {
    let mut command = bounded("diff");
    command.args(["-uN", "--label", &path.display().to_string(), "--label", "now"]).arg(path).arg("-");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// Nothing of the machine's settings shows.
fn bare(mut command: Command) -> Command {
    for name in ["CLIP_CACHE_DIR", "CLIP_CACHE_SIZE", "CLIP_LOG", "CLIP_CA_FILE", "CLIP_PLAIN_HTTP", "CLIP_NO_WORKER", "COLUMNS"] {
        command.env_remove(name);
    }
    command
}

/// The commands that a help lists.
fn subcommands(help: &str) -> Vec<&str> {
    let listed = help.split("Commands:\n").nth(1).unwrap_or_default().lines().take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").collect()
}

#[test]
fn the_help_of_every_command() {
    let (bench, mut snapshots) = (Bench::new(), Snapshots::new("help"));
    let help = |arguments: &[&str]| {
        let output = bare(bench.clipctl(arguments)).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let all = help(&["--help"]);
    let commands = subcommands(&all);
    assert!(commands.len() > 10 && commands.contains(&"index") && commands.contains(&"worker"), "{commands:?}");
    snapshots.check("clipctl", &all);
    for command in commands {
        let text = help(&[command, "--help"]);
        snapshots.check(command, &text);
        for below in subcommands(&text) {
            snapshots.check(&format!("{command}-{below}"), &help(&[command, below, "--help"]));
        }
    }
    snapshots.finish();
}

#[test]
fn what_is_printed_for_people_and_for_programs() {
    let (bench, mut snapshots) = (Bench::new(), Snapshots::new("output"));
    let image = format!("{}/torture", registry());
    let archive = bench.path("torture.clip");
    let a = archive.to_str().unwrap();
    let here = bench.path("").display().to_string();
    let masked = |text: String| text.replace(&here, "DIR/").replace(&registry(), "HOST:PORT");
    let run = |arguments: &[&str]| masked(bench.ok(arguments));
    snapshots.check("index", &without_seconds(&run(&["index", &image, "-o", a])));
    let mut report = json(&run(&["index", &image, "-o", a, "--force", "--json"]));
    report["seconds"] = "SECONDS".into();
    snapshots.check("index-json", &pretty(&report));
    // The port is in the metadata: it changes their digest, and with it the archive's.
    let id = json(&run(&["inspect", a, "--json"]))["id"].as_str().unwrap().to_owned();
    snapshots.check("inspect", &run(&["inspect", a]).replace(&id, "ID"));
    let mut inspected = json(&run(&["inspect", a, "--json"]).replace(&id, "ID"));
    for section in inspected["sections"].as_array_mut().unwrap().iter_mut().filter(|section| section["kind"] == "meta") {
        section["blake3"] = "DIGEST".into();
    }
    snapshots.check("inspect-json", &pretty(&inspected));
    snapshots.check("ls", &run(&["ls", a]));
    snapshots.check("ls-lR", &run(&["ls", "-lR", a, "/types"]));
    snapshots.check("ls-lR-json", &run(&["ls", "-lR", "--json", a, "/hardlinks"]));
    snapshots.check("verify", &run(&["verify", a]));
    snapshots.check("verify-json", &run(&["verify", "--json", a]));
    snapshots.check("verify-deep", &run(&["verify", "--deep", a]));
    snapshots.check("verify-deep-json", &run(&["verify", "--deep", "--json", a]));
    let mount = bench.mount(&archive, "mnt");
    assert_eq!(fs::read(mount.path().join("types/regular")).unwrap(), b"regular\n");
    let at = mount.path().to_str().unwrap();
    snapshots.check("stats", &without_values(&run(&["stats", at]).replace(&id, "ID")));
    let mut stats = json(&run(&["stats", "--json", at]).replace(&id, "ID"));
    without_numbers(&mut stats);
    snapshots.check("stats-json", &pretty(&stats));
    snapshots.finish();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn pretty(document: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(document).unwrap())
}

/// The last line ends with how long it took.
fn without_seconds(text: &str) -> String {
    let (before, seconds) = text.trim_end().rsplit_once(", ").unwrap();
    assert!(seconds.strip_suffix(" s").is_some_and(|number| number.parse::<f64>().is_ok()), "{seconds}");
    format!("{before}, SECONDS s\n")
}

/// Lines of a name and a value: numbers depend on the kernel and the machine.
fn without_values(text: &str) -> String {
    let mask = |line: &str| match line.split_once(' ').map(|(name, value)| (name, value.trim())) {
        Some((name, value)) if value.starts_with(|c: char| c.is_ascii_digit()) => format!("{name:<32} N\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(mask).collect()
}

fn without_numbers(value: &mut Value) {
    match value {
        Value::Number(_) => *value = "N".into(),
        Value::Array(items) => items.iter_mut().for_each(without_numbers),
        Value::Object(fields) => fields.values_mut().for_each(without_numbers),
        _ => {}
    }
}
