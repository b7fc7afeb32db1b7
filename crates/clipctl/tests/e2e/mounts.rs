//! Mounting: in the background and in the foreground, many times at once, with a cache that is too small, from fstab, as an ordinary
//! user; and what happens when the mountpoint is wrong, the server dies, or the registry does not answer.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::listing::truth;
use crate::support::{Bench, Mount, bounded, eventually, layout, registry, said, sh};

/// The sha256 of all files below a directory, as one.
fn sum(dir: &Path) -> String {
    sh(&format!("cd '{}' && find . -xdev -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum", dir.display()))
}

/// Writes the archive of the Python image.
fn python(bench: &Bench) -> std::path::PathBuf {
    bench.index(&format!("{}/python", registry()), "python")
}

#[test]
fn programs_run_in_it_and_umount_ends_the_server() {
    let bench = Bench::new();
    let mount = bench.mount(&python(&bench), "mnt");
    let at = mount.path().display();
    assert_eq!(sh(&format!("chroot '{at}' python3 -c 'import numpy; print(numpy.arange(5).sum())'")), "10\n");
    let stats: serde_json::Value = serde_json::from_str(&bench.ok(["stats", &at.to_string(), "--json"])).unwrap();
    let number = |section: &str, name: &str| stats[section][name].as_u64().unwrap();
    assert!(number("backend", "bytes") > 0 && number("backend", "requests") > 0 && number("read", "misses") > 0, "{stats}");
    bench.ok(["umount", &at.to_string()]);
    let pid = stats["pid"].as_u64().unwrap();
    eventually("the server's end", || !Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
}

#[test]
fn many_mounts_share_one_cache_that_is_too_small() {
    let bench = Bench::new();
    let archive = python(&bench);
    let reference = bench.path("reference");
    bench.ok(["extract", archive.to_str().unwrap(), reference.to_str().unwrap()]);
    let expected = sum(&reference);
    let mounts: Vec<Mount> = (0..3)
        .map(|i| {
            let target = bench.path(&format!("mnt{i}"));
            fs::create_dir(&target).unwrap();
            let small = bench.path("small-cache");
            bench.ok([
                "mount",
                "--cache-size=16M",
                "--cache-dir",
                small.to_str().unwrap(),
                archive.to_str().unwrap(),
                target.to_str().unwrap(),
            ]);
            Mount::guard(&target)
        })
        .collect();
    let readers: Vec<_> = mounts
        .iter()
        .map(|m| {
            std::thread::spawn({
                let path = m.path().to_owned();
                move || sum(&path)
            })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), expected);
    }
    let used = sh(&format!("du -s --block-size=1 '{}' | cut -f1", bench.path("small-cache").display()));
    assert!(used.trim().parse::<u64>().unwrap() < 24 << 20, "the cache holds {used} bytes");
}

#[test]
fn a_wrong_mountpoint_is_named() {
    let bench = Bench::new();
    let archive = python(&bench);
    let archive = archive.to_str().unwrap();
    let fails = |target: &Path| bench.fails(["mount", archive, target.to_str().unwrap()]);
    assert!(fails(&bench.path("missing")).contains("does not exist"));
    fs::write(bench.path("file"), "").unwrap();
    assert!(fails(&bench.path("file")).contains("not a directory"));
    fs::create_dir_all(bench.path("full/x")).unwrap();
    assert!(fails(&bench.path("full")).contains("not empty"));
    let mount = bench.mount(Path::new(archive), "mnt");
    assert!(fails(mount.path()).contains("mountpoint already"));
    let busy = Command::new("sleep").arg("60").current_dir(mount.path()).spawn();
    let mut busy = busy.unwrap();
    let target = mount.path().to_str().unwrap();
    assert!(bench.fails(["umount", target]).contains("is in use"));
    bench.ok(["umount", "--lazy", target]);
    busy.kill().unwrap();
    busy.wait().unwrap();
    assert!(bench.fails(["umount", target]).contains("is not a mountpoint"));
    let page = bench.path("page.clip");
    fs::write(&page, "<html>").unwrap();
    fs::create_dir(bench.path("other")).unwrap();
    assert!(bench.fails(["mount", page.to_str().unwrap(), bench.path("other").to_str().unwrap()]).contains("not a clip archive"));
}

#[test]
fn a_server_that_was_killed_leaves_a_place_that_can_be_cleaned_and_a_cache_that_is_right() {
    let bench = Bench::new();
    let archive = python(&bench);
    let mount = bench.mount(&archive, "mnt");
    let target = mount.path().to_str().unwrap().to_string();
    let mut reader = bounded("sh").args(["-c", &format!("cat '{target}'/usr/lib/*/* >/dev/null 2>&1")]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(150));
    let stats: serde_json::Value = serde_json::from_str(&bench.ok(["stats", &target, "--json"])).unwrap();
    sh(&format!("kill -9 {}", stats["pid"]));
    reader.wait().unwrap();
    let complaint = bench.fails(["mount", archive.to_str().unwrap(), &target]);
    assert!(complaint.contains("dead mount") && complaint.contains("umount --lazy"), "{complaint}");
    bench.ok(["umount", "--lazy", &target]);
    let again = bench.mount(&archive, "mnt");
    let reference = bench.path("reference");
    bench.ok(["extract", archive.to_str().unwrap(), reference.to_str().unwrap()]);
    assert_eq!(sum(again.path()), sum(&reference));
}

#[test]
fn in_the_foreground_sigterm_unmounts() {
    let bench = Bench::new();
    let archive = python(&bench);
    let target = bench.path("mnt");
    fs::create_dir(&target).unwrap();
    let _guard = Mount::guard(&target);
    let mut server = bench.clipctl(["mount", "--foreground", archive.to_str().unwrap(), target.to_str().unwrap()]).spawn().unwrap();
    let seen = || fs::read_to_string("/proc/self/mountinfo").unwrap().contains(target.to_str().unwrap());
    eventually("the mount", seen);
    sh(&format!("kill -TERM {}", server.id())); // timeout(1) passes it on
    assert!(server.wait().unwrap().success() || !seen());
    eventually("the unmount", || !seen());
}

#[test]
fn as_mount_and_fstab_have_it() {
    let bench = Bench::new();
    let archive = python(&bench);
    let target = bench.path("mnt");
    fs::create_dir(&target).unwrap();
    let _guard = Mount::guard(&target);
    let helper = Path::new("/sbin/mount.fuse.clip");
    let _ = fs::remove_file(helper);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_clipctl"), helper).unwrap();
    let cache = bench.path("cache");
    let (a, t, c) = (archive.display(), target.display(), cache.display());
    sh(&format!("mount -t fuse.clip '{a}' '{t}' -o cache-dir='{c}',cache-size=1G && test -e '{t}/usr/bin/python3' && umount '{t}'"));
    let fstab = bench.path("fstab");
    fs::write(&fstab, format!("{a} {t} fuse.clip _netdev,noatime,cache-dir={c} 0 0\n")).unwrap();
    sh(&format!("mount -T '{}' '{t}' && test -e '{t}/usr/bin/python3' && umount '{t}'", fstab.display()));
    let unknown = bounded("mount").args(["-t", "fuse.clip", "-o", "bogus"]).args([&archive, &target]).output().unwrap();
    assert!(!unknown.status.success() && said(&unknown).contains("bogus"), "{}", said(&unknown));
    // The example that we ship: every option in it is known, and only the archive is missing.
    let example = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/fstab.example")).unwrap();
    let lines: Vec<&str> = example.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    assert!(!lines.is_empty());
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let tried = bounded(helper).args([fields[0], fields[1], "-o", fields[3]]).env("CLIP_CACHE_DIR", &cache).output().unwrap();
        assert!(said(&tried).contains(fields[0]) && !said(&tried).contains("option"), "{line}: {}", said(&tried));
    }
    fs::remove_file(helper).unwrap();
}

#[test]
fn an_ordinary_user_mounts_through_fusermount3() {
    let bench = Bench::new();
    let archive = python(&bench);
    let home = Path::new("/var/tmp").join(format!("clip-user-{}", std::process::id()));
    fs::create_dir_all(home.join("mnt")).unwrap();
    fs::copy(&archive, home.join("python.clip")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_clipctl"), home.join("clipctl")).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    let _guard = Mount::guard(&home.join("mnt"));
    let device = fs::metadata("/dev/fuse").unwrap().permissions();
    let h = home.display();
    let outcome = std::panic::catch_unwind(|| {
        sh(&format!(
            "chmod 0666 /dev/fuse; chown -R nobody '{h}'; cd '{h}'
             as() {{ setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME='{h}' \"$@\"; }}
             as ./clipctl mount python.clip mnt
             as sha256sum mnt/usr/bin/python3.11 | cut -d' ' -f1
             as ./clipctl stats mnt --json >/dev/null
             as ./clipctl umount mnt"
        ))
    });
    fs::set_permissions("/dev/fuse", device).unwrap();
    let printed = outcome.unwrap();
    drop(_guard);
    fs::remove_dir_all(&home).unwrap();
    let expected = sh(&format!(
        "'{}' cat '{}' /usr/bin/python3.11 --cache-dir '{}' | sha256sum | cut -d' ' -f1",
        env!("CARGO_BIN_EXE_clipctl"),
        archive.display(),
        bench.path("cache").display()
    ));
    assert_eq!(printed, expected);
}

/// A registry that takes connections and never says anything.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn a_reader_of_a_registry_that_hangs_can_be_killed_and_gets_an_error_in_time() {
    let bench = Bench::new();
    let (listener, port) = silent();
    let upstream = registry();
    // Passes bytes to the real registry while the file exists.
    let alive = bench.path("alive");
    fs::write(&alive, "").unwrap();
    let flag = alive.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(mut client), true) = (client, flag.exists()) else {
                std::thread::sleep(Duration::from_secs(60)); // holds the connection, says nothing
                continue;
            };
            let mut server = std::net::TcpStream::connect(&upstream).unwrap();
            let (mut client2, mut server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let flag = flag.clone();
            std::thread::spawn(move || std::io::copy(&mut client2, &mut server2));
            std::thread::spawn(move || {
                let mut buffer = [0; 65536];
                while let Ok(n) = server.read(&mut buffer) {
                    while !flag.exists() {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    if n == 0 || std::io::Write::write_all(&mut client, &buffer[..n]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    let archive = bench.index(&format!("127.0.0.1:{port}/python"), "python");
    let target = bench.path("mnt");
    fs::create_dir(&target).unwrap();
    bench.ok(["mount", "--read-timeout=3", archive.to_str().unwrap(), target.to_str().unwrap()]);
    let mount = Mount::guard(&target);
    fs::remove_file(&alive).unwrap();
    let file = mount.path().join("usr/bin/python3.11");
    for signal in ["KILL", "INT"] {
        let start = Instant::now();
        let killed = Command::new("timeout").args(["-s", signal, "0.5", "cat"]).arg(&file).stdout(Stdio::null()).status().unwrap();
        assert!(!killed.success() && start.elapsed() < Duration::from_millis(2500), "SIG{signal}: {:?}", start.elapsed());
    }
    let start = Instant::now();
    let failed = bounded("cat").arg(&file).output().unwrap();
    assert!(!failed.status.success() && start.elapsed() < Duration::from_secs(20), "{:?} {}", start.elapsed(), said(&failed));
    fs::write(&alive, "").unwrap();
    eventually("the registry's return", || bounded("cmp").args([&file, &file]).status().unwrap().success());
}

#[test]
fn an_overlay_lies_on_it() {
    let bench = Bench::new();
    let mount = bench.mount(&python(&bench), "mnt");
    let (lower, base) = (mount.path().display(), bench.path("").display().to_string());
    sh(&format!(
        "mkdir -p '{base}/upper' '{base}/work' '{base}/merged'
         mount -t overlay overlay -o lowerdir='{lower}',upperdir='{base}/upper',workdir='{base}/work' '{base}/merged'
         trap \"umount -l '{base}/merged'\" EXIT
         echo more >> '{base}/merged/etc/hostname-new'; echo more >> '{base}/merged/etc/debian_version'
         rm '{base}/merged/etc/issue'; chroot '{base}/merged' python3 -c 'print(1)'
         test \"$(wc -l < '{base}/merged/etc/debian_version')\" = 2; test ! -e '{base}/merged/etc/issue'; test -e '{lower}/etc/issue'"
    ));
}

/// Reads files in pieces, in an order of its own, and prints the sha256 of each: `direct` past the kernel's cache, `mmap` by page faults.
const IN_PIECES: &str = r#"
import hashlib, mmap, os, random, sys
way, buffer, pick = sys.argv[1], mmap.mmap(-1, 1 << 20), random.Random(1)
for path in sys.argv[2:]:
    file = os.open(path, os.O_RDONLY | (os.O_DIRECT if way == "direct" else 0))
    size, pieces, at = os.fstat(file).st_size, [], 0
    while at < size:
        pieces.append((at, pick.choice([4096, 12288, 131072, 1 << 20])))
        at += pieces[-1][1]
    pick.shuffle(pieces)
    whole = bytearray(size)
    mapped = mmap.mmap(file, size, mmap.MAP_PRIVATE, mmap.PROT_READ) if way == "mmap" and size else None
    for at, length in pieces:
        if mapped:
            whole[at:at + length] = mapped[at:at + length]
            continue
        count = os.preadv(file, [memoryview(buffer)[:length]], at)
        assert count == min(length, size - at), f"{path} {at}+{length}: {count} bytes"
        whole[at:at + count] = buffer[:count]
    if not mapped:
        assert os.preadv(file, [memoryview(buffer)[:4096]], (size + 4095) & ~4095) == 0, f"{path}: bytes behind the end"
    print(hashlib.sha256(whole).hexdigest())
    os.close(file)
"#;

#[test]
fn direct_and_mapped_reads_are_right() {
    const DIRS: [&str; 3] = ["/large/", "/sparse/", "/types/size-"];
    let bench = Bench::new();
    let archive = bench.index(&format!("oci:{}", layout("torture").display()), "torture");
    let mut files = truth("torture", "umoci");
    files.retain(|path, e| e["type"] == "file" && DIRS.iter().any(|dir| path.starts_with(dir)) && e["size"].as_u64() < Some(8 << 20));
    let expected: String = files.values().map(|e| format!("{}\n", e["sha256"].as_str().unwrap())).collect();
    assert!(files.len() > 30 && files.values().any(|e| e["size"].as_u64() > Some(4 << 20)));
    // Each way has a mount of its own: what one has read, the kernel does not keep for the other.
    for way in ["direct", "mmap"] {
        let mount = bench.mount(&archive, way);
        let paths = files.keys().map(|path| mount.path().join(&path[1..]));
        let output = bounded("python3").args(["-c", IN_PIECES, way]).args(paths).output().unwrap();
        assert_eq!(said(&output), expected, "{way}: {:?}", files.keys().collect::<Vec<_>>());
    }
}

/// README: a mount by root honours set-user-id bits and device nodes, and everybody may enter it; `--nosuid` shows both and honours neither.
#[test]
fn set_user_id_bits_and_devices_are_honoured_unless_nosuid() {
    let bench = Bench::new();
    let archive = python(&bench);
    for (flags, honoured) in [(&[][..], true), (&["--nosuid"], false)] {
        let (mount, _) = bench.mount_with(&archive, if honoured { "mnt" } else { "nosuid" }, flags);
        let at = mount.path().display();
        let shown = sh(&format!("stat -c '%A %t:%T' '{at}/usr/bin/passwd' '{at}/dev/zero'"));
        assert_eq!(shown, "-rwsr-xr-x 0:0\ncrw-rw-rw- 1:5\n", "they are shown in either case");
        // Only who is root by passwd's bit can look into /etc/shadow, where it says that nobody is locked.
        let status = sh(&format!("chroot --userspec=nobody:nogroup '{at}' passwd -S nobody"));
        assert_eq!(status.starts_with("nobody L "), honoured, "{flags:?}: {status}");
        let zeros = bounded("head").args(["-c", "4"]).arg(mount.path().join("dev/zero")).output().unwrap();
        assert_eq!(zeros.stdout == [0; 4], honoured, "{flags:?}: {}", said(&zeros));
        assert_eq!(said(&zeros).contains("Permission denied"), !honoured, "{flags:?}: {}", said(&zeros));
    }
}
