//! v1 archives: what is carried is what was there, from images and from directories, and damage is noticed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::listing::{differences, list, shown};
use crate::support::{Bench, layout, sh};

/// A directory with one of everything.
fn everything(bench: &Bench) -> PathBuf {
    let root = bench.path("root");
    sh(&format!(
        "mkdir -p {root}/usr/bin {root}/dev {root}/sticky && cd {root}
        echo hello >usr/bin/hello; chmod 4755 usr/bin/hello; chown 12:70000 usr/bin/hello
        setcap cap_net_raw+ep usr/bin/hello 2>/dev/null || setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 usr/bin/hello
        ln usr/bin/hello usr/bin/again; ln -s hello usr/bin/link; ln -s /nowhere dangling
        setfattr -n user.note -v text usr/bin/hello; setfattr -n user.dir -v x usr
        mkfifo fifo; mknod dev/null c 1 3; mknod dev/disk b 8 300; chmod 1777 sticky
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'
        head -c 5000000 /dev/urandom >large; cat large large >twice; : >empty
        truncate -s 3G sparse; echo data | dd of=sparse bs=1 seek=2000000000 conv=notrunc status=none
        mkdir deep; cd deep; for i in $(seq 60); do mkdir d; cd d; done; echo bottom >bottom; cd {root}
        touch \"$(printf 'new\\nline')\" \"$(printf 'latin\\xe9')\"; touch -d '1969-12-31 23:59:59.5 UTC' old; touch -d '2030-01-01 00:00:00.123456789 UTC' usr",
        root = root.display()
    ));
    root
}

fn archive(bench: &Bench, source: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let path = bench.path(name);
    let arguments = ["archive", source.to_str().unwrap(), "-o", path.to_str().unwrap(), "--quiet", "--force"];
    bench.ok(arguments.iter().chain(flags));
    path
}

#[test]
fn a_directory_is_as_it_was() {
    let bench = Bench::new();
    let root = everything(&bench);
    let path = archive(&bench, &root, "root.clip", &[]);
    let mount = bench.mount(&path, "mnt");
    let found = differences(&list(&root), &list(mount.path()));
    assert!(found.is_empty(), "{}", shown(&found));
    let report: serde_json::Value = serde_json::from_str(&bench.ok(["inspect", "--json", path.to_str().unwrap()])).unwrap();
    assert_eq!((&report["version"], &report["storage"]["kind"]), (&"v1".into(), &"archive".into()));
    assert!(path.metadata().unwrap().len() < 12_000_000, "repeated data and holes are not carried");
}

#[test]
fn the_same_directory_gives_the_same_bytes() {
    let bench = Bench::new();
    let root = everything(&bench);
    let one = fs::read(archive(&bench, &root, "1.clip", &["--jobs", "1"])).unwrap();
    let four = fs::read(archive(&bench, &root, "2.clip", &["--jobs", "4"])).unwrap();
    assert!(one == four, "the bytes depend on the number of threads");
}

#[test]
fn what_is_no_source_is_said() {
    let bench = Bench::new();
    let out = bench.path("x.clip");
    let fails = |source: &str| bench.fails(["archive", source, "-o", out.to_str().unwrap()]);
    assert!(fails("./nowhere").contains("./nowhere is not a directory"));
    assert!(fails("dir:/etc/passwd").contains("/etc/passwd is not a directory"));
    assert!(fails("oci:/nowhere").contains("/nowhere"));
    fs::write(&out, "mine").unwrap();
    assert!(fails("/etc").contains("--force"));
    assert_eq!(fs::read(&out).unwrap(), b"mine");
    assert_eq!(
        fs::read_dir(bench.path("")).unwrap().filter(|e| e.as_ref().unwrap().file_name() != "cache").count(),
        1,
        "a file was left behind"
    );
}

#[test]
fn both_versions_of_an_image_are_the_same_to_a_reader_and_turn_into_each_other() {
    let bench = Bench::new();
    let image = format!("oci:{}", layout("torture").display());
    let v2 = bench.index(&image, "v2");
    let v1 = bench.path("v1.clip");
    bench.ok(["archive", &image, "-o", v1.to_str().unwrap(), "--quiet"]);
    assert!(bench.ok(["diff".as_ref(), v1.as_os_str(), v2.as_ref()]).starts_with("the same: "));
    let (to_v1, to_v2) = (bench.path("to-v1.clip"), bench.path("to-v2.clip"));
    bench.ok(["convert".as_ref(), v2.as_os_str(), "-o".as_ref(), to_v1.as_ref()]);
    bench.ok(["diff".as_ref(), v1.as_os_str(), to_v1.as_ref()]);
    assert!(bench.fails(["convert".as_ref(), v1.as_os_str(), "-o".as_ref(), to_v2.as_ref()]).contains("--image"));
    let other = format!("oci:{}", layout("odd-no_end").display());
    let convert = |image: &str| ["convert", v1.to_str().unwrap(), "-o", to_v2.to_str().unwrap(), "--image", image].map(str::to_owned);
    assert!(bench.fails(convert(&other)).contains("is not the image"));
    bench.ok(convert(&image));
    assert!(fs::read(&to_v2).unwrap() == fs::read(&v2).unwrap(), "a v2 archive depends on the image alone");
}

#[test]
fn diff_tells_every_kind_of_difference() {
    let bench = Bench::new();
    let root = everything(&bench);
    let a = archive(&bench, &root, "a.clip", &[]);
    sh(&format!(
        "cd {}; chmod 0700 sticky; chown 5:6 empty; setfattr -n user.note -v other usr/bin/hello; rm dangling fifo; mkdir fifo
        printf X | dd of=large bs=1 seek=4000000 conv=notrunc status=none; touch -d @1 old; ln -sfn other usr/bin/link; rm dev/null; mknod dev/null c 1 5
        rm usr/bin/again; cp -a usr/bin/hello usr/bin/again",
        root.display()
    ));
    let b = archive(&bench, &root, "b.clip", &[]);
    let told = bench.clipctl(["diff".as_ref(), a.as_os_str(), b.as_ref()]).output().unwrap();
    assert_eq!(told.status.code(), Some(1));
    let told = String::from_utf8(told.stdout).unwrap();
    for expected in [
        "/sticky: mode: 1777 / 0700",
        "/empty: owner: 0 / 5",
        "/usr/bin/hello: extended attributes",
        "/dangling: name: symlink / missing",
        "/fifo: type: FIFO / directory",
        "/large: time",
        "/old: time",
        "/usr/bin/link: target: hello / other",
        "/dev/null: device: 1:3 / 1:5",
        "/usr/bin/hello: links: 2 / 1",
    ] {
        assert!(told.contains(expected), "{expected}: not in\n{told}");
    }
    // With its time put back, only the byte tells.
    sh(&format!("cd {0}; touch -r large {0}/../ref; rm -rf {0}", root.display()));
    let same = |name: &str| {
        fs::create_dir(bench.path(name)).unwrap();
        bench.path(name)
    };
    let (one, two) = (same("one"), same("two"));
    fs::write(one.join("f"), vec![1; 3_000_000]).unwrap();
    let mut bytes = vec![1; 3_000_000];
    bytes[2_999_999] = 2;
    fs::write(two.join("f"), bytes).unwrap();
    sh(&format!("touch -d @7 {0}/f {1}/f {0} {1}", one.display(), two.display()));
    let (a, b) = (archive(&bench, &one, "a.clip", &[]), archive(&bench, &two, "b.clip", &[]));
    let told = bench.clipctl(["diff".as_ref(), a.as_os_str(), b.as_ref()]).output().unwrap();
    assert_eq!(String::from_utf8(told.stdout).unwrap(), "/f: content: 0x01 at 2999999 / 0x02 at 2999999\n");
    bench.ok(["diff".as_ref(), "--metadata".as_ref(), a.as_os_str(), b.as_ref()]);
}

#[test]
fn damage_anywhere_is_noticed() {
    let bench = Bench::new();
    let root = bench.path("root");
    sh(&format!("mkdir {0}; seq 200000 >{0}/numbers; head -c 3000000 /dev/urandom >{0}/noise", root.display()));
    let path = archive(&bench, &root, "root.clip", &[]);
    let good = fs::read(&path).unwrap();
    let spoiled = bench.path("spoiled.clip");
    for i in 0..40 {
        let mut bad = good.clone();
        let at = (i * 7919 * 104_729) % bad.len();
        bad[at] ^= 1 << (i % 8);
        fs::write(&spoiled, bad).unwrap();
        let padding =
            good[at] == 0 && bench.clipctl(["verify".as_ref(), "--deep".as_ref(), spoiled.as_os_str()]).output().unwrap().status.success();
        if !padding {
            bench.fails(["verify".as_ref(), "--deep".as_ref(), spoiled.as_os_str()]);
        }
        let read = bench.clipctl(["cat".as_ref(), spoiled.as_os_str(), "/numbers".as_ref()]).output().unwrap();
        assert!(!read.status.success() || read.stdout == fs::read(root.join("numbers")).unwrap(), "a wrong byte, damaged at {at}");
    }
    for cut in [0, 1, 1023, 1024, good.len() / 2, good.len() - 1024, good.len() - 1] {
        fs::write(&spoiled, &good[..cut]).unwrap();
        bench.fails(["verify".as_ref(), spoiled.as_os_str()]);
    }
}
