//! The units that we ship: systemd takes them as they are, they mount where all can see it, they are as closed as that allows, and their commands are known.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;

use crate::listing::repository;
use crate::support::{Bench, Mount, bounded, eventually, layout, said};

const MOUNT_UNIT: &str = "clip-mount@.service";
const WORKER_UNIT: &str = "clip-worker.service";

/// What gives a service a mount namespace of its own, by systemd.exec(5) and `exec_needs_mount_namespace` in execute.c of systemd 252 and 256: for PrivateUsers see the unit.
const NAMESPACING: &[&str] = &[
    "BindPaths",
    "BindReadOnlyPaths",
    "DynamicUser",
    "ExecPaths",
    "ExtensionDirectories",
    "ExtensionImages",
    "IPCNamespacePath",
    "InaccessibleDirectories",
    "InaccessiblePaths",
    "JoinsNamespaceOf",
    "LogNamespace",
    "MountFlags",
    "MountImages",
    "NetworkNamespacePath",
    "NoExecPaths",
    "PrivateDevices",
    "PrivateIPC",
    "PrivateMounts",
    "PrivateNetwork",
    "PrivatePIDs",
    "PrivateTmp",
    "PrivateUsers",
    "ProcSubset",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "ReadOnlyDirectories",
    "ReadOnlyPaths",
    "ReadWriteDirectories",
    "ReadWritePaths",
    "RootDirectory",
    "RootImage",
    "TemporaryFileSystem",
];

/// What `systemd-analyze security` may find at most, in tenths. All that is left above zero is being root, CAP_SYS_ADMIN and mount(2), having a network, and what [`NAMESPACING`] would take away.
const EXPOSURE_MAX: &str = "45";

fn unit(name: &str) -> String {
    fs::read_to_string(repository().join("systemd").join(name)).unwrap()
}

/// The directives of a unit, in order: key and value.
fn directives(unit: &str) -> impl Iterator<Item = (&str, &str)> {
    unit.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='))
}

/// The value of a directive that is there once.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let mut values = directives(unit).filter(|(found, _)| *found == key).map(|(_, value)| value);
    let first = values.next();
    assert_eq!(values.next(), None, "{key}");
    first.unwrap_or_else(|| panic!("{key} is missing"))
}

/// Writes a unit down with programs that are there: where the package puts ours there need not be any here.
fn written(bench: &Bench, name: &str, unit: &str) -> PathBuf {
    let worker = bench.path("clip-worker");
    if !worker.exists() {
        symlink("/bin/true", &worker).unwrap();
    }
    let unit = unit.replace("/usr/bin/clipctl", env!("CARGO_BIN_EXE_clipctl")).replace("/usr/bin/clip-worker", worker.to_str().unwrap());
    let path = bench.path(&name.replace('@', "@python"));
    fs::write(&path, unit).unwrap();
    path
}

/// What systemd says about a unit, but that it is too old for FileDescriptorStorePreserve (254), which the unit speaks of.
fn verified(bench: &Bench, name: &str, unit: &str) -> (bool, String) {
    let output = bounded("systemd-analyze").args(["verify", "--man=no"]).arg(written(bench, name, unit)).output().unwrap();
    assert_ne!(output.status.code(), Some(127), "systemd-analyze is missing (package systemd)");
    let said = said(&output);
    let about = said.lines().filter(|line| !line.contains("'FileDescriptorStorePreserve' in section"));
    (output.status.success(), about.collect())
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let bench = Bench::new();
    for name in [MOUNT_UNIT, WORKER_UNIT] {
        let unit = unit(name);
        assert_eq!(verified(&bench, name, &unit), (true, String::new()), "{name}");
        // And it would say something.
        let (_, complaint) = verified(&bench, name, &unit.replace("LockPersonality=", "LockPersonalty="));
        assert!(complaint.contains("LockPersonalty"), "{name}: {complaint}");
    }
}

#[test]
fn the_units_stay_in_the_hosts_mount_namespace() {
    for name in [MOUNT_UNIT, WORKER_UNIT] {
        let unit = unit(name);
        let wrong: Vec<_> = directives(&unit).filter(|(key, _)| NAMESPACING.contains(key)).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
    }
}

#[test]
fn the_worker_is_as_closed_as_its_mounts_allow() {
    let bench = Bench::new();
    let path = written(&bench, WORKER_UNIT, &unit(WORKER_UNIT));
    let mut command = bounded("systemd-analyze");
    let output = command.args(["security", "--no-pager", "--offline=yes", "--threshold", EXPOSURE_MAX]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// A process that is passed more than it takes back does not start, and all mounts are gone.
#[test]
fn the_worker_takes_back_all_that_systemd_keeps_for_it() {
    let unit = unit(WORKER_UNIT);
    let kept: u32 = value(&unit, "FileDescriptorStoreMax").parse().unwrap();
    let keep = fs::read_to_string(repository().join("crates/keep/src/received.rs")).unwrap();
    assert!(keep.contains(&format!("DESCRIPTORS_MAX: RawFd = {kept};")), "{kept}");
    // And has room for what goes with each mount.
    assert!(value(&unit, "LimitNOFILE").parse::<u32>().unwrap() >= 4 * kept);
}

/// The system calls that a unit allows, sets of systemd taken apart. A line that begins with ~ takes away.
fn allowed_calls(unit: &str) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for (_, list) in directives(unit).filter(|(key, _)| *key == "SystemCallFilter") {
        let (taken_away, list) = list.strip_prefix('~').map_or((false, list), |rest| (true, rest));
        for name in list.split(' ') {
            let calls = members(name);
            if taken_away {
                allowed = &allowed - &calls;
            } else {
                allowed.extend(calls);
            }
        }
    }
    allowed
}

fn members(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return BTreeSet::from([name.to_owned()]);
    }
    let output = bounded("systemd-analyze").args(["syscall-filter", "--no-pager", name]).output().unwrap();
    let listed = said(&output);
    assert!(output.status.success(), "{listed}");
    let entries = listed.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries.flat_map(members).collect()
}

#[test]
fn what_mounting_asks_of_the_kernel_the_worker_may() {
    let bench = Bench::new();
    let archive = bench.index(&format!("oci:{}", layout("torture").display()), "torture");
    let (target, trace) = (bench.path("mnt"), bench.path("trace"));
    fs::create_dir(&target).unwrap();
    let mut command = bounded("strace");
    command.args(["-f", "-qq", "-o"]).arg(&trace).arg(env!("CARGO_BIN_EXE_clipctl")).args(["mount", "--foreground"]);
    command.arg(&archive).arg(&target).env("CLIP_CACHE_DIR", bench.path("cache")).stderr(Stdio::null());
    let mut server = command.spawn().unwrap();
    let mount = Mount::guard(&target);
    eventually("the mount", || bench.clipctl(["stats".as_ref(), target.as_os_str()]).output().unwrap().status.success());
    assert!(bounded("grep").args(["-r", "-c", "x"]).arg(&target).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok());
    bench.ok(["umount".as_ref(), target.as_os_str()]);
    drop(mount);
    assert!(server.wait().unwrap().success());

    let trace = fs::read_to_string(trace).unwrap();
    let called: BTreeSet<String> = trace.lines().filter_map(call).collect();
    assert!(called.contains("mount"), "{called:?}");
    let allowed = allowed_calls(&unit(WORKER_UNIT));
    let refused: Vec<_> = called.difference(&allowed).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert!(!allowed.contains("setuid") && !allowed.contains("init_module"));
}

/// The call of a line of strace: `1234  mount("...`.
fn call(line: &str) -> Option<String> {
    let (name, _) = line.split_once(' ')?.1.trim_start().split_once('(')?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then(|| name.to_owned())
}

#[test]
fn the_mount_units_command_is_ours() {
    let bench = Bench::new();
    let unit = unit(MOUNT_UNIT);
    let command = value(&unit, "ExecStart").strip_prefix("/usr/bin/clipctl ").unwrap();
    let here = bench.path("");
    let command = command
        .replace("%i", "python")
        .replace("/var/", &format!("{}var/", here.display()))
        .replace("/mnt/", &format!("{}mnt/", here.display()));
    let complaint = bench.fails(command.split(' '));
    let archive = bench.path("var/lib/clip/python.clip");
    assert!(complaint.contains(archive.to_str().unwrap()) && complaint.contains("No such file"), "{complaint}");
}
