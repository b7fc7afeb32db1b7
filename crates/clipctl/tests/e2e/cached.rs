//! The cache where it is hard to keep one: on a full disk, on a disk that cannot be written, shared by images, older than the machine's boot.
//! A read is right, or it is an error; a cache that cannot keep bytes costs time and nothing else.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use crate::listing::assert_contents;
use crate::support::{Bench, Mount, layout, registry, said, sh};

/// A file system in memory for a cache.
fn tmpfs(bench: &Bench, options: &str) -> Mount {
    let target = bench.path("disk");
    fs::create_dir_all(&target).unwrap();
    sh(&format!("mount -t tmpfs -o {options} tmpfs '{}'", target.display()));
    Mount::guard(&target)
}

/// Takes what is left of a file system.
fn fill(disk: &Mount) {
    let d = disk.path().display();
    sh(&format!("! head -c 1G /dev/zero >'{d}/rest' 2>'{d}/../full' && grep -q 'No space left' '{d}/../full'"));
}

fn python(bench: &Bench) -> std::path::PathBuf {
    bench.index(&format!("{}/python", registry()), "python")
}

fn torture(bench: &Bench) -> std::path::PathBuf {
    bench.index(&format!("oci:{}", layout("torture").display()), "torture")
}

#[test]
fn a_cache_on_a_full_disk_serves_without_keeping() {
    for full_before in [false, true] {
        let bench = Bench::new();
        let archive = torture(&bench);
        let disk = tmpfs(&bench, "size=1m");
        let (cache, log) = (disk.path().join("cache"), bench.path("log"));
        fs::create_dir(&cache).unwrap();
        if full_before {
            fill(&disk);
        }
        let (mount, printed) = bench.mount_with(&archive, "mnt", &["--cache-dir", cache.to_str().unwrap(), "--log", log.to_str().unwrap()]);
        assert_eq!(printed, "");
        if !full_before {
            fill(&disk);
        }
        let noise = mount.path().join("large/noise");
        assert_contents("torture", mount.path(), "large");
        let fetched = |stats: &serde_json::Value| stats["read"]["spans_fetched"].as_u64().unwrap();
        let first = bench.stats(&mount);
        assert!(first["read"]["not_kept"].as_u64() > Some(0), "the disk was not full: {first}");
        sh(&format!("dd if='{}' iflag=nocache count=0 status=none", noise.display()));
        assert_contents("torture", mount.path(), "large");
        let second = bench.stats(&mount);
        assert!(fetched(&second) > fetched(&first), "something was kept: {second}");
        let log = fs::read_to_string(&log).unwrap();
        assert!(log.contains("No space left") && log.contains("cache"), "nobody is told: {log}");
        assert!(!log.contains("ERROR"), "a read failed: {log}");
        let cat = ["cat".as_ref(), archive.as_os_str(), "/large/noise".as_ref(), "--cache-dir".as_ref(), cache.as_os_str()];
        let cat = bench.clipctl(cat).output().unwrap();
        assert!(cat.status.success() && cat.stdout == fs::read(&noise).unwrap(), "{}", String::from_utf8_lossy(&cat.stderr));
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_done_without_and_that_is_said() {
    let bench = Bench::new();
    let archive = torture(&bench);
    let disk = tmpfs(&bench, "size=64m,ro");
    let cache = disk.path().join("cache");
    let flags = ["--cache-dir", cache.to_str().unwrap()];
    // At first there is none; then one that was written before.
    for is_warm in [false, true] {
        if is_warm {
            sh(&format!("mount -o remount,rw '{}'", disk.path().display()));
            let (mount, printed) = bench.mount_with(&archive, "mnt", &flags);
            assert_eq!(printed, "");
            assert_contents("torture", mount.path(), "large");
            bench.umount(mount);
            sh(&format!("mount -o remount,ro '{}'", disk.path().display()));
        }
        let (mount, printed) = bench.mount_with(&archive, "mnt", &flags);
        assert!(printed.contains("warning") && printed.contains("without a cache") && printed.contains("Read-only"), "{printed}");
        assert_contents("torture", mount.path(), "large");
        assert!(bench.stats(&mount)["read"]["spans_fetched"].as_u64() > Some(0));
        bench.umount(mount);
        // With a log of its own it is the log that says it.
        let log = bench.path("log");
        let (mount, printed) = bench.mount_with(&archive, "mnt", &[&flags[..], &["--log", log.to_str().unwrap()]].concat());
        let logged = fs::read_to_string(&log).unwrap();
        assert!(printed.is_empty() && logged.contains("WARN") && logged.contains("without a cache"), "{printed} {logged}");
        bench.umount(mount);
        fs::remove_file(&log).unwrap();
    }
    let cat = bench.clipctl(["cat".as_ref(), archive.as_os_str(), "/types/regular".as_ref()]).args(flags).output().unwrap();
    let warned = String::from_utf8_lossy(&cat.stderr).into_owned();
    assert!(cat.status.success() && cat.stdout == b"regular\n" && warned.contains("without a cache"), "{}", said(&cat));
}

#[test]
fn two_images_share_a_cache_directory() {
    let bench = Bench::new();
    let images = [("python", python(&bench), "usr/bin"), ("torture", torture(&bench), "large")];
    // The second time everything is there, each image's own.
    for fetches in [true, false] {
        let mounts = images.each_ref().map(|(image, archive, _)| bench.mount(archive, &format!("mnt-{image}")));
        thread::scope(|scope| {
            for ((image, _, dir), mount) in images.iter().zip(&mounts) {
                scope.spawn(|| assert_contents(image, mount.path(), dir));
            }
        });
        for mount in mounts {
            let stats = bench.stats(&mount);
            assert_eq!(stats["backend"]["bytes"].as_u64() > Some(0), fetches, "{stats}");
            bench.umount(mount);
        }
    }
}

/// Where the record file of a stream says in which boot its records are to be believed (cache/src/table.rs).
const BOOT_ID_AT: u64 = 32;

#[test]
fn what_an_earlier_boot_has_left_is_compared_before_it_is_served() {
    let bench = Bench::new();
    let archive = python(&bench);
    let mount = bench.mount(&archive, "mnt");
    assert_contents("python", mount.path(), "usr/bin");
    bench.umount(mount);
    // Another boot wrote the records; and of one layer all that the disk has kept is wrong.
    let mut streams: Vec<_> = fs::read_dir(bench.path("cache/data/streams")).unwrap().map(|e| e.unwrap().path()).collect();
    streams.sort_by_key(|dir| fs::metadata(dir.join("data")).unwrap().len());
    for dir in &streams {
        let spans = fs::File::options().write(true).open(dir.join("spans")).unwrap();
        spans.write_all_at(&[0xb0; 16], BOOT_ID_AT).unwrap();
    }
    assert!(damage(&streams[streams.len() - 2].join("data")) > 100);
    let mount = bench.mount(&archive, "mnt");
    assert_contents("python", mount.path(), "usr/bin");
    let stats = bench.stats(&mount);
    let read = |name: &str| stats["read"][name].as_u64().unwrap();
    assert!(read("confirmed") > 0 && read("discarded") > 0 && read("spans_fetched") >= read("discarded"), "{stats}");
    bench.umount(mount);
    // Now it is this boot's, and believed.
    let mount = bench.mount(&archive, "mnt");
    assert_contents("python", mount.path(), "usr/bin");
    let stats = bench.stats(&mount);
    assert_eq!([&stats["read"]["confirmed"], &stats["read"]["discarded"], &stats["backend"]["bytes"]], [0, 0, 0], "{stats}");
    bench.umount(mount);
}

/// Changes a byte in each block of a file that is not a hole; returns how many.
fn damage(path: &Path) -> usize {
    const BLOCK: usize = 4096;
    let bytes = fs::read(path).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    let blocks = bytes.chunks(BLOCK).enumerate().filter(|(_, block)| block.iter().any(|b| *b != 0));
    blocks.map(|(i, block)| file.write_all_at(&[!block[0]], (i * BLOCK) as u64).unwrap()).count()
}
