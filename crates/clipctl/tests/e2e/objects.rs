//! Archives that are objects: made there, mounted from there, looked into there; and what goes wrong on the way.

use std::fs;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use crate::listing::{differences, list, list_metadata, shown};
use crate::s3_server::{BUCKET, Bucket, Fault, SECRET_KEY};
use crate::support::{Bench, Mount, eventually, layout, said, sh};

const SLOW_DOWN: Fault =
    Fault::Answer { status: "503 Slow Down", headers: "", body: "<Error><Code>SlowDown</Code><Message>slower</Message></Error>" };
const NO: Fault =
    Fault::Answer { status: "403 Forbidden", headers: "", body: "<Error><Code>AccessDenied</Code><Message>no</Message></Error>" };

/// Runs clipctl, which must succeed.
#[track_caller]
fn ok(bucket: &Bucket, bench: &Bench, arguments: &[&str]) -> Output {
    let output = bucket.clipctl(bench, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    output
}

/// Runs clipctl, which must fail by itself. Returns what it complained.
#[track_caller]
fn fails(bucket: &Bucket, bench: &Bench, arguments: &[&str]) -> String {
    let output = bucket.clipctl(bench, arguments).output().unwrap();
    assert!(output.status.code() == Some(1) && !said(&output).contains("panicked"), "{arguments:?}: {:?} {}", output.status, said(&output));
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn mount(bucket: &Bucket, bench: &Bench, source: &str, name: &str) -> Mount {
    let target = bench.path(name);
    fs::create_dir_all(&target).unwrap();
    let mount = Mount::guard(&target);
    ok(bucket, bench, &["mount", source, target.to_str().unwrap()]);
    mount
}

fn oci(image: &str) -> String {
    format!("oci:{}", layout(image).display())
}

/// An archive of noise that one part of an upload does not hold, as a file. It has the files `a` to `f`, each of 5 MB.
fn noise(bench: &Bench) -> (String, Vec<u8>) {
    let (root, path) = (bench.path("noise"), bench.path("noise.clip"));
    fs::create_dir(&root).unwrap();
    for name in ["a", "b", "c", "d", "e", "f"] {
        sh(&format!("head -c 5000000 /dev/urandom >{}/{name}", root.display()));
    }
    bench.ok(["archive", root.to_str().unwrap(), "-o", path.to_str().unwrap(), "--level", "1", "-q"]);
    (root.to_str().unwrap().to_owned(), fs::read(path).unwrap())
}

#[test]
fn an_image_in_a_bucket_is_the_archive_that_a_file_would_be() {
    let (bench, bucket) = (Bench::new(), Bucket::start());
    let (url, v2) = (Bucket::url("torture.clip"), bench.index(&oci("torture"), "v2"));
    ok(&bucket, &bench, &["archive", &oci("torture"), "-o", &url, "--level", "1", "-q"]);
    let local = bench.path("local.clip");
    bench.ok(["archive", &oci("torture"), "-o", local.to_str().unwrap(), "--level", "1", "-q"]);
    assert!(fs::read(&local).unwrap() == fs::read(bucket.file("torture.clip")).unwrap(), "the object has other bytes than the file");
    assert_eq!(bucket.all(), ["torture.clip"]);
    // Nothing of the head is known yet: at most two requests until the mount is there, and one when it is.
    let get = "get /archives/torture.clip";
    let before = bucket.count(get);
    let first = mount(&bucket, &bench, &url, "first");
    let needed = bucket.count(get) - before;
    assert!((1..=2).contains(&needed), "{needed} requests");
    let before = bucket.count(get);
    let second = mount(&bucket, &bench, &url, "second");
    assert_eq!(bucket.count(get) - before, 1, "the head is kept");
    bench.umount(second);
    let reference = bench.mount(&v2, "reference");
    let found = differences(&list_metadata(reference.path()), &list_metadata(first.path()));
    assert!(found.is_empty(), "{}", shown(&found));
    assert!(String::from_utf8(ok(&bucket, &bench, &["diff", &url, v2.to_str().unwrap()]).stdout).unwrap().starts_with("the same: "));
    bench.umount(first);
}

#[test]
fn a_directory_in_several_parts_and_all_that_looks_into_it() {
    let (bench, bucket) = (Bench::new(), Bucket::start());
    let (root, bytes) = noise(&bench);
    let url = Bucket::url("deep/noise.clip");
    ok(&bucket, &bench, &["archive", &root, "-o", &url, "--level", "1", "-q"]);
    assert!(bucket.count("uploadid=") > 3, "an upload in parts");
    assert!(fs::read(bucket.file("deep/noise.clip")).unwrap() == bytes);
    assert_eq!(bucket.all(), ["deep/noise.clip"]);
    let text = |arguments: &[&str]| String::from_utf8(ok(&bucket, &bench, arguments).stdout).unwrap();
    let inspected: serde_json::Value = serde_json::from_str(&text(&["inspect", "--json", &url])).unwrap();
    assert_eq!((&inspected["archive"], &inspected["bytes"]), (&url.as_str().into(), &bytes.len().into()));
    assert!(text(&["inspect", &url]).starts_with(&format!("{url}\n")));
    assert_eq!(text(&["ls", &url]), "a\nb\nc\nd\ne\nf\n");
    assert!(ok(&bucket, &bench, &["cat", &url, "/c"]).stdout == fs::read(format!("{root}/c")).unwrap());
    assert!(text(&["verify", "--deep", &url]).contains("match their digests"));
    let out = bench.path("out");
    ok(&bucket, &bench, &["extract", &url, out.to_str().unwrap()]);
    sh(&format!("diff -r {root} {}", out.display()));
    let (local, converted) = (bench.path("noise.clip"), bench.path("converted.clip"));
    assert!(text(&["diff", &url, local.to_str().unwrap()]).starts_with("the same: "));
    let mounted = mount(&bucket, &bench, &url, "mnt");
    let found = differences(&list(std::path::Path::new(&root)), &list(mounted.path()));
    assert!(found.is_empty(), "{}", shown(&found));
    bench.umount(mounted);
    let no = fails(&bucket, &bench, &["convert", &url, "-o", converted.to_str().unwrap(), "--image", &oci("torture")]);
    assert!(no.contains(&url) && no.contains("made from a directory"), "{no}");
}

#[test]
fn python_runs_from_a_bucket_and_an_index_lies_there_as_well() {
    let (bench, bucket) = (Bench::new(), Bucket::start());
    let image = format!("{}/python", crate::support::registry());
    let v2 = bench.index(&image, "v2");
    bucket.put("v2.clip", &fs::read(&v2).unwrap());
    let v1 = Bucket::url("v1.clip");
    ok(&bucket, &bench, &["archive", &image, "-o", &v1, "--level", "1", "-q"]);
    for url in [v1, Bucket::url("v2.clip")] {
        let mounted = mount(&bucket, &bench, &url, "mnt");
        let script = "import numpy; print(numpy.arange(10).sum())";
        assert_eq!(sh(&format!("chroot {} python3 -B -c '{script}'", mounted.path().display())), "45\n", "{url}");
        bench.umount(mounted);
    }
}

/// What a mount has not read yet is of an object that is another now, or none: no byte of it is given.
#[test]
fn an_object_that_changes_under_a_mount_is_never_mixed() {
    let (bench, bucket) = (Bench::new(), Bucket::start());
    let (root, bytes) = noise(&bench);
    bucket.put("x.clip", &bytes);
    // Of the same length, and an archive all the same.
    let mut other = bytes.clone();
    other[2_000_000..20_000_000].reverse();
    for (replaced, expected) in [(true, "changed while in use"), (false, "not found")] {
        bucket.put("x.clip", &bytes);
        let (log, target) = (bench.path(&format!("{replaced}.log")), bench.path("mnt"));
        fs::create_dir_all(&target).unwrap();
        let cache = bench.path(&format!("cache-{replaced}"));
        let mounted = Mount::guard(&target);
        ok(
            &bucket,
            &bench,
            &[
                "mount",
                &Bucket::url("x.clip"),
                target.to_str().unwrap(),
                "--log",
                log.to_str().unwrap(),
                "--cache-dir",
                cache.to_str().unwrap(),
            ],
        );
        let read = |name: &str| {
            let begun = Instant::now();
            let output = crate::support::bounded("cat").arg(target.join(name)).output().unwrap();
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
            output
        };
        assert!(read("a").stdout == fs::read(format!("{root}/a")).unwrap());
        match replaced {
            true => bucket.put("x.clip", &other),
            false => fs::remove_file(bucket.file("x.clip")).unwrap(),
        }
        let failed = read("f");
        assert!(!failed.status.success() && said(&failed).contains("Input/output error"), "{}", String::from_utf8_lossy(&failed.stderr));
        assert!(fs::read(format!("{root}/f")).unwrap().starts_with(&failed.stdout), "mixed bytes");
        assert!(sh(&format!("cmp {root}/a {}/a && echo same", target.display())) == "same\n", "what is cached is served");
        let log = fs::read_to_string(&log).unwrap();
        assert!(log.contains(&Bucket::url("x.clip")) && log.contains(expected), "{log}");
        bench.umount(mounted);
    }
}

#[test]
fn what_cannot_be_opened_is_named() {
    let (bench, bucket) = (Bench::new(), Bucket::start());
    let (_, bytes) = noise(&bench);
    bucket.put("good.clip", &bytes);
    bucket.put("text", b"no archive");
    bucket.put("large-text", &vec![b'x'; 3_000_000]);
    bucket.put("empty", b"");
    bucket.put("short.clip", &bytes[..bytes.len() - 5000]);
    bucket.put("shorter.clip", &bytes[..4_000_000]);
    let index = bench.index(&oci("codec-gzip-go"), "v2");
    let index = fs::read(index).unwrap();
    bucket.put("short-v2.clip", &index[..index.len() / 2]);
    let mut spoiled = bytes.clone();
    let at = spoiled.len() - 2000;
    spoiled[at] ^= 1;
    bucket.put("spoiled.clip", &spoiled);
    let fails = |url: &str, expected: &str| {
        let said = fails(&bucket, &bench, &["ls", url]);
        assert!(said.contains(url) && said.contains(expected), "{url}: {said}");
    };
    fails(&Bucket::url("none.clip"), "not found");
    for key in ["text", "large-text", "empty", "short.clip", "shorter.clip", "short-v2.clip"] {
        fails(&Bucket::url(key), "archive");
    }
    fails(&Bucket::url("spoiled.clip"), "is damaged");
    let said = self::fails(&bucket, &bench, &["ls", "s3://elsewhere/good.clip"]);
    assert!(said.contains("bucket 'elsewhere'") && said.contains("not found"), "{said}");
    for (name, bad) in [("s3://UPPER/x", "UPPER"), ("s3://archives", "s3://archives"), ("s3://archives/", "s3://archives")] {
        let said = self::fails(&bucket, &bench, &["ls", name]);
        assert!(said.contains(bad), "{said}");
    }
    let wrong = bucket.config_with(&bench, "wrong", "", BUCKET, "another-secret");
    let said = bench.fails(["ls", &Bucket::url("good.clip"), "--config", wrong.to_str().unwrap()]);
    assert!(said.contains("good.clip") && said.contains("secret key") && !said.contains("another-secret"), "{said}");
    assert!(!said.contains(SECRET_KEY));
    // What was refused left no head behind.
    let heads = fs::read_dir(bench.path("cache/heads")).map_or(0, Iterator::count);
    assert_eq!(heads, 0);
}

#[test]
fn what_is_there_is_kept_without_force() {
    let (bench, bucket) = (Bench::new(), Bucket::start());
    let root = bench.path("root");
    sh(&format!("mkdir {0}; echo hello >{0}/file", root.display()));
    let (url, root) = (Bucket::url("x.clip"), root.to_str().unwrap());
    bucket.put("x.clip", b"mine");
    let said = fails(&bucket, &bench, &["archive", root, "-o", &url]);
    assert!(said.contains(&url) && said.contains("--force"), "{said}");
    assert_eq!(fs::read(bucket.file("x.clip")).unwrap(), b"mine");
    ok(&bucket, &bench, &["archive", root, "-o", &url, "--force"]);
    assert_eq!(ok(&bucket, &bench, &["cat", &url, "/file"]).stdout, b"hello\n");
    let said = fails(&bucket, &bench, &["archive", root, "-o", "s3://elsewhere/x.clip", "--force"]);
    assert!(said.contains("elsewhere"), "{said}");
    assert_eq!(bucket.all(), ["x.clip"]);
}

#[test]
fn an_upload_that_ends_early_leaves_nothing() {
    let (bench, bucket) = (Bench::new(), Bucket::start());
    let (root, _) = noise(&bench);
    let url = Bucket::url("x.clip");
    let archive = ["archive", &root, "-o", &url, "--level", "1", "-q"];
    // Refused for good: the second part, and then what puts them together.
    for text in ["partnumber=2", "post /archives/x.clip?uploadid"] {
        bucket.next(text, NO);
        let said = fails(&bucket, &bench, &archive);
        assert!(said.contains(&url) && said.contains("denied") && bucket.faults_left() == 0, "{said}");
        assert_eq!(bucket.all(), [""; 0], "{text}");
    }
    // More than is under way and in memory at once: packing waits for the bucket.
    sh(&format!("for i in g h i j k l m; do head -c 5000000 /dev/urandom >{root}/$i; done"));
    for signal in ["INT", "TERM"] {
        let before = bucket.count("partnumber=");
        for number in ["partnumber=2&", "partnumber=3&", "partnumber=4&", "partnumber=5&"] {
            bucket.next(number, Fault::Stall(Duration::from_secs(3)));
        }
        let child = bucket.clipctl(&bench, &archive).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("parts under way", || bucket.count("partnumber=") > before + 3);
        sh(&format!("kill -{signal} {}", child.id()));
        let begun = Instant::now();
        let output = child.wait_with_output().unwrap();
        let said = said(&output);
        assert_eq!((output.status.code(), said.as_str()), (Some(1), "clipctl: stopped by a signal; nothing was written\n"));
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
        assert_eq!(bucket.all(), [""; 0], "SIG{signal}");
    }
}

#[test]
fn faults_on_the_way_are_survived() {
    let (bench, bucket) = (Bench::new(), Bucket::start());
    let (root, bytes) = noise(&bench);
    bucket.put("x.clip", &bytes);
    let get = "get /archives/x.clip";
    // The first hits the head, the others data.
    bucket.next(get, SLOW_DOWN);
    bucket.next(get, Fault::Cut(1000));
    let mounted = mount(&bucket, &bench, &Bucket::url("x.clip"), "mnt");
    assert_eq!(bucket.faults_left(), 0);
    for fault in
        [SLOW_DOWN, Fault::Cut(0), Fault::Cut(700_000), Fault::NoRange, Fault::LostAnswer, Fault::Stall(Duration::from_millis(300))]
    {
        bucket.next(get, fault);
    }
    sh(&format!("diff -r {root} {}", mounted.path().display()));
    assert_eq!(bucket.faults_left(), 0);
    bench.umount(mounted);
    // And writing.
    bucket.next("partnumber=1&", SLOW_DOWN);
    bucket.next("partnumber=2&", Fault::LostAnswer);
    bucket.next("post /archives/y.clip?uploadid", Fault::LostAnswer);
    ok(&bucket, &bench, &["archive", &root, "-o", &Bucket::url("y.clip"), "--level", "1", "-q"]);
    assert_eq!(bucket.faults_left(), 0);
    assert!(fs::read(bucket.file("y.clip")).unwrap() == bytes);
}
