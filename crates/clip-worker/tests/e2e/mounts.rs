//! Mounts over the API: by every name, once at a place, gone when they are unmounted by whomever.

use std::path::Path;
use std::process::Command;

use control::Mount;
use serde_json::json;

use crate::support::{Bench, eventually, mounts_below, sh, sum, unpacked};

#[test]
fn an_archive_is_mounted_by_each_of_its_names_and_has_the_images_bytes() {
    let worker = Bench::new().start();
    let expected = sum(unpacked(&worker.bench, "codec-gzip-1"));
    for version in ["v1", "v2"] {
        let image = worker.pull("codec-gzip-1", version);
        let id = image.archive.unwrap().id;
        let by_image = worker.mount(&image.id, &format!("{version}-image"));
        assert_eq!((by_image.version.as_str(), by_image.state, by_image.resumed), (version, control::MountState::Serving, 0));
        let ways = [("archive", by_image.archive.as_str()), ("archive", &id), ("archive", &id[..10]), ("image", &id)];
        for ((field, name), n) in ways.into_iter().zip(0..) {
            let point = worker.point(&format!("{version}-{n}"));
            let mount: Mount = worker.post("/mounts", json!({ field: name, "mountpoint": point })).read(201);
            assert_eq!((&mount.archive, &mount.mountpoint), (&by_image.archive, &point));
            if n == 0 {
                assert_eq!(sum(&point), expected);
            }
        }
        assert_eq!(sum(&by_image.mountpoint), expected);
    }
    assert_eq!(worker.mounts().len(), 10);
    let read: u64 = worker.mounts().iter().map(|mount| mount.figures.read_bytes).sum();
    assert!(read > 80 << 20, "{read}");
}

#[test]
fn a_mountpoint_has_one_archive() {
    let worker = Bench::new().start();
    let (one, other) = (worker.pull("multi", "v2"), worker.pull("multi", "v1"));
    let mount = worker.mount(&one.id, "a");
    let again: Mount = worker.post("/mounts", json!({ "image": one.id, "mountpoint": worker.point("a") })).read(200);
    assert_eq!(again.id, mount.id);
    let conflict = worker.post("/mounts", json!({ "image": other.id, "mountpoint": worker.point("a") })).problem("conflict");
    assert!(conflict.detail.contains(&mount.archive), "{conflict:?}");
    // Many at once: one mount.
    let made: Vec<u16> = std::thread::scope(|scope| {
        let ask = || worker.post("/mounts", json!({ "image": one.id, "mountpoint": worker.point("b") })).status;
        let askers: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).collect()
    });
    assert_eq!(
        (made.iter().filter(|status| **status == 201).count(), made.iter().filter(|status| **status == 200).count()),
        (1, 7),
        "{made:?}"
    );
    assert_eq!(mounts_below(&worker.path("mnt")).len(), 2);
}

#[test]
fn a_mount_in_use_goes_only_by_force() {
    let worker = Bench::new().start();
    let mount = worker.mount(&worker.pull("multi", "v2").id, "a");
    let path = format!("/mounts/{}", mount.id);
    let mut user = Command::new("sleep").arg("50").current_dir(&mount.mountpoint).spawn().unwrap();
    worker.delete(&path).problem("busy");
    assert_eq!(worker.get::<Mount>(&path).state, control::MountState::Serving);
    worker.delete(&format!("{path}?force=true")).none();
    assert!(mounts_below(&worker.path("mnt")).is_empty() && !Path::new(&mount.mountpoint).exists());
    let inside = format!("ls /proc/{}/cwd/", user.id());
    assert!(!sh(&inside).is_empty(), "who is inside goes on");
    user.kill().unwrap();
    user.wait().unwrap();
    eventually("the end of the mount", || worker.mounts().is_empty());
    worker.delete(&path).problem("not-found");
    // The place is free, at once and again.
    for _ in 0..5 {
        let next = worker.mount(&worker.pull("multi", "v2").id, "a");
        worker.delete(&format!("/mounts/{}", next.id)).none();
        assert!(!Path::new(&next.mountpoint).exists());
    }
    let next = worker.mount(&worker.pull("multi", "v2").id, "a");
    worker.delete(&format!("/mounts/{}", next.id)).none();
    assert!(!Path::new(&next.mountpoint).exists(), "the directory that was made for it goes with it");
}

#[test]
fn an_unmount_from_outside_is_noticed() {
    let worker = Bench::new().supervised();
    let image = worker.pull("multi", "v2");
    std::fs::create_dir(worker.point("mine")).unwrap();
    let (made, mine) = (worker.mount(&image.id, "made"), worker.mount(&image.id, "mine"));
    for mount in [&made, &mine] {
        sh(&format!("umount '{}'", mount.mountpoint));
    }
    eventually("an empty list", || worker.mounts().is_empty());
    eventually("the directory's end", || !Path::new(&made.mountpoint).exists());
    assert!(Path::new(&mine.mountpoint).exists(), "this one was not made for it");
    let gone = worker.events().into_iter().filter(|event| event.event == "mount.gone").filter_map(|event| event.mountpoint);
    let mut gone: Vec<String> = gone.collect();
    gone.sort();
    assert_eq!(gone, [made.mountpoint, mine.mountpoint]);
    assert_eq!(std::fs::read_dir(worker.path("state/mounts")).unwrap().count(), 0, "nothing is left written down");
    assert_eq!(worker.count("mount.ready", None), 2);
}
