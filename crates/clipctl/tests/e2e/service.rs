//! The unit that we ship: systemd takes it as it is, and its command is one that clipctl knows.

use std::fs;

use crate::listing::repository;
use crate::support::{Bench, bounded, said};

const UNIT: &str = "systemd/clip-mount@.service";

#[test]
fn systemd_has_nothing_to_say_about_the_unit() {
    let bench = Bench::new();
    // Where the package puts clipctl there need not be one here.
    let unit = fs::read_to_string(repository().join(UNIT)).unwrap().replace("/usr/bin/clipctl", env!("CARGO_BIN_EXE_clipctl"));
    let path = bench.path("clip-mount@python.service");
    let verify = |text: &str| {
        fs::write(&path, text).unwrap();
        let output = bounded("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
        assert_ne!(output.status.code(), Some(127), "systemd-analyze is missing (package systemd)");
        (output.status.success(), said(&output))
    };
    assert_eq!(verify(&unit), (true, String::new()));
    // And it would say something.
    let (_, complaint) = verify(&unit.replace("LockPersonality=", "LockPersonalty="));
    assert!(complaint.contains("LockPersonalty"), "{complaint}");
}

#[test]
fn the_units_command_is_ours() {
    let bench = Bench::new();
    let unit = fs::read_to_string(repository().join(UNIT)).unwrap();
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/clipctl ")).unwrap();
    let here = bench.path("");
    let command = command
        .replace("%i", "python")
        .replace("/var/", &format!("{}var/", here.display()))
        .replace("/mnt/", &format!("{}mnt/", here.display()));
    let complaint = bench.fails(command.split(' '));
    let archive = bench.path("var/lib/clip/python.clip");
    assert!(complaint.contains(archive.to_str().unwrap()) && complaint.contains("No such file"), "{complaint}");
}
