//! Real mounts of a small archive, looked at by other programs: a process that reads its own mount can wait for itself for ever.
//!
//! They need root and /dev/fuse and are skipped without, loudly. Every command runs under `timeout -s KILL`, every mount is detached at the end.

mod fixture;
mod resumed;

use std::path::Path;
use std::time::{Duration, Instant};

use backend::faults::Fault;
use fixture::{Fixture, bytes, shell};
use mount::{Error, MountOptions};

/// Runs the test on a mount, or says that it cannot.
macro_rules! mounted {
    (mut $fixture:ident) => {
        mounted!($fixture);
        let mut $fixture = $fixture;
    };
    ($fixture:ident) => {
        mounted!($fixture, MountOptions::default());
    };
    ($fixture:ident, $options:expr) => {
        let Some($fixture) = Fixture::start($options) else {
            eprintln!("SKIPPED: needs root and /dev/fuse");
            return;
        };
    };
}

#[test]
fn attributes_are_those_of_an_unpacked_image() {
    mounted!(f);
    let stat = |name: &str| f.run(&format!("stat -c '%F %a %u %g %s %h %t:%T %Y' {name}"));
    assert_eq!(stat("."), "directory 755 0 0 ".to_owned() + &f.run("stat -c %s .") + " 4 0:0 1600000000");
    assert_eq!(stat("file"), "regular file 644 1000 100000 5000 2 0:0 1600000000");
    assert_eq!(stat("suid"), "regular file 4755 0 0 5000 1 0:0 1600000000");
    assert_eq!(stat("old"), "regular file 600 0 0 10 1 0:0 -2");
    assert_eq!(f.run("stat -c %y old"), "1969-12-31 23:59:58.250000000 +0000");
    assert_eq!(stat("tty"), "character special file 620 0 5 0 1 4:40 1600000000");
    assert_eq!(stat("disk"), "block special file 660 0 6 0 1 103:10001 1600000000");
    assert_eq!(stat("fifo"), "fifo 600 0 0 0 1 0:0 1600000000");
    assert_eq!(stat("socket"), "socket 600 0 0 0 1 0:0 1600000000");
    assert_eq!(stat("link"), "symbolic link 777 0 0 8 1 0:0 1600000000");
    assert_eq!(f.run("stat -c %i ."), "1");
    assert_eq!(f.run("stat -c '%i %b' file"), f.run("stat -c '%i 16' sub/hard"), "one inode, two names, two blocks");
}

#[test]
fn names_and_directories() {
    mounted!(f);
    assert_eq!(f.run("readlink link"), "sub/hard");
    assert_eq!(f.run("ls many | wc -l"), "3000");
    assert_eq!(f.run("ls -U many | sort | head -1; ls -l many | tail -1 | sed 's/.* //'"), "file-00000\nfile-02999");
    assert_eq!(f.run("ls -a sub"), ".\n..\nhard\nodd \\\u{1}name".replace('\u{1}', ""));
    assert_eq!(f.run("find . | wc -l"), (fixture::INODES + 1).to_string());
    assert_eq!(f.fails("ls none"), "ls: cannot access 'none': No such file or directory");
    assert_eq!(f.fails("ls file/x"), "ls: cannot access 'file/x': Not a directory");
    assert_eq!(f.fails("readlink -v file"), "readlink: file: Invalid argument");
}

#[test]
fn files_hold_their_bytes() {
    mounted!(f);
    for (name, expected) in [("file", bytes(0, 5000)), ("suid", bytes(0, 5000)), ("big", bytes(8192, fixture::BIG_BYTES))] {
        assert!(f.read(name) == expected, "{name}");
    }
    assert_eq!(f.run("head -c 1000100 big | tail -c 100 | md5sum"), f.piped("md5sum", &bytes(8192 + 1_000_000, 100)));
    assert_eq!(f.run("cat < file | wc -c; wc -c < old; cat many/file-00007 | wc -c"), "5000\n10\n0");
    let ops = f.mounted().ops();
    assert!(ops.read_far > 0, "the cache was empty: {ops:?}");
    assert_eq!(ops.faults, 0);
}

#[test]
fn reads_arrive_in_large_pieces_and_only_once() {
    mounted!(f);
    f.run("cat big > /dev/null");
    let first = f.mounted().ops();
    let mean_bytes = first.read_bytes / first.read;
    assert!(mean_bytes >= 512 << 10, "read-ahead is not wide: {mean_bytes} bytes on average, {first:?}");
    f.run("cat big > /dev/null; cat big > /dev/null");
    assert_eq!(f.mounted().ops().read, first.read, "pages stay over close and open");
}

#[test]
fn what_is_known_is_not_asked_again() {
    mounted!(f);
    let look = "stat none none2 sub file; ls -l . sub many; readlink link; stat -f . > /dev/null; true";
    f.run(look);
    let first = f.mounted().ops();
    assert_eq!(first.lookup_negative, 2);
    for _ in 0..3 {
        f.run(look);
    }
    // The kernel caches neither totals nor extended attributes (which ls -l asks for).
    let cacheable = |ops| mount::OpsSnapshot { statfs: 0, xattr: 0, ..ops };
    assert_eq!(cacheable(f.mounted().ops()), cacheable(first));
}

#[test]
fn holes_stay_holes() {
    mounted!(f);
    assert_eq!(f.run("stat -c '%s %b' sparse"), format!("{} 16", fixture::SPARSE_BYTES));
    let copy = f.outside("copy");
    f.run(&format!("cp --sparse=auto sparse {0} && cmp sparse {0}", copy.display()));
    assert_eq!(shell(&format!("stat -c %b {}", copy.display()), Path::new("/")).0, "16");
    let tar_bytes: u64 = f.run("tar -S -cf - sparse | wc -c").parse().unwrap();
    assert!(tar_bytes < 64 << 10, "{tar_bytes}");
}

#[test]
fn extended_attributes_and_acls() {
    mounted!(f);
    assert_eq!(f.run("getfattr --only-values -n user.color guarded"), "blue");
    assert_eq!(f.fails("getfattr -n user.none guarded"), "guarded: user.none: No such attribute");
    assert_eq!(f.run("getfattr -m - guarded | sort | xargs"), "# file: guarded system.posix_acl_access user.color");
    assert_eq!(f.run("getfattr -m - file"), "");
    let as_uid = |uid: u32| format!("setpriv --reuid {uid} --regid {uid} --clear-groups cat guarded");
    assert_eq!(f.run(&format!("{} | wc -c", as_uid(1234))), "5000", "the ACL lets this one in");
    assert_eq!(f.fails(&as_uid(1235)), "cat: guarded: Permission denied");
}

#[test]
fn without_extended_attributes_nothing_is_asked() {
    let Some(f) = Fixture::start_plain(MountOptions::default()) else { return };
    assert_eq!(f.fails("getfattr -n user.color guarded"), "guarded: user.color: Operation not supported");
    f.run("ls -l > /dev/null; cp file /dev/null");
    assert!(f.mounted().ops().xattr <= 2, "one ENOSYS for get, one for list: {:?}", f.mounted().ops());
}

#[test]
fn a_silent_backend_stops_nobody_but_its_readers() {
    let options = MountOptions { read_deadline: Duration::from_secs(1), ..MountOptions::default() };
    let Some(f) = Fixture::start_faulty(Fault::Delay(Duration::from_secs(3600)), options) else { return };
    let begun = Instant::now();
    let mut reader = f.spawn("cat file 2>&1");
    assert_eq!(f.run("ls many | wc -l"), "3000");
    assert!(begun.elapsed() < Duration::from_secs(1), "metadata waits for data");
    assert_eq!(reader.finish(), "cat: file: Connection timed out");
    // The kernel asks twice: first as read-ahead, whose error it drops, then for the page that is waited for.
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert!(f.mounted().ops().faults >= 1);
}

#[test]
fn going_down_answers_who_still_waits() {
    let Some(mut f) = Fixture::start_faulty(Fault::Delay(Duration::from_secs(3600)), MountOptions::default()) else { return };
    let mut reader = f.spawn("cat file 2>&1");
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    drop(f.take_mounted());
    assert_eq!(reader.finish(), "cat: file: Transport endpoint is not connected");
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[test]
fn totals_are_real_and_changes_are_refused() {
    mounted!(f);
    assert_eq!(f.run("stat -f -c '%c %d %a %l %s' ."), format!("{} 0 0 255 4096", fixture::INODES));
    for change in ["touch new", "rm file", "mkdir d", "chmod 0 file", "mv file file2", "ln file file2", "truncate -s 0 file"] {
        assert!(f.fails(change).ends_with("Read-only file system"), "{change}");
    }
}

#[test]
fn set_uid_and_devices_work_unless_turned_off() {
    let options = |dir: &Path| shell(&format!("grep ' {} ' /proc/self/mountinfo | cut -d' ' -f6", dir.display()), Path::new("/")).0;
    mounted!(f);
    assert_eq!(options(f.mountpoint()), "ro,relatime");
    mounted!(safe, MountOptions { suid_and_devices: false, ..MountOptions::default() });
    assert_eq!(options(safe.mountpoint()), "ro,nosuid,nodev,relatime");
}

#[test]
fn a_mount_in_use_is_kept_unless_detached_lazily() {
    mounted!(f);
    let mut user = f.spawn("exec 3< file; sleep 2; cat <&3 | wc -c");
    std::thread::sleep(Duration::from_millis(300));
    assert!(matches!(mount::unmount(f.mountpoint(), false), Err(Error::Busy { .. })));
    assert!(matches!(f.mounted().unmount(false), Err(Error::Busy { .. })));
    f.mounted().unmount(true).unwrap();
    assert!(matches!(f.mounted().unmount(false), Err(Error::NotMounted { .. })));
    assert_eq!(user.finish(), "5000", "who has it open reads on");
}

#[test]
fn wait_ends_when_somebody_else_unmounts() {
    mounted!(mut f);
    let (mountpoint, minor) = (f.mountpoint().to_owned(), f.mounted().minor());
    assert!(mount::list().unwrap().iter().any(|entry| entry.minor == minor && entry.mountpoint == mountpoint));
    mount::unmount(&mountpoint, false).unwrap();
    let begun = Instant::now();
    f.runtime().block_on(f.mounted().ended());
    f.take_mounted().wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(matches!(mount::unmount(&mountpoint, false), Err(Error::NotMounted { .. })));
}

#[test]
fn dropping_takes_the_mount_down() {
    mounted!(mut f);
    let mountpoint = f.mountpoint().to_owned();
    drop(f.take_mounted());
    assert!(!mount::list().unwrap().iter().any(|entry| entry.mountpoint == mountpoint));
}

#[test]
fn the_mount_tells_about_itself() {
    mounted!(f, MountOptions { traffic: Some(Box::new(|| serde_json::json!({ "requests": 7 }))), ..MountOptions::default() });
    f.run("cat file > /dev/null");
    let stats = mount::stats(f.mountpoint()).unwrap();
    assert_eq!(stats["pid"], std::process::id());
    assert_eq!(stats["archive"]["version"], 2);
    assert_eq!(stats["backend"]["requests"], 7);
    assert!(stats["operations"]["read"].as_u64().unwrap() >= 1, "{stats}");
    assert!(stats["read"].is_object(), "{stats}");
}

#[test]
fn nothing_is_mounted_over_a_mount() {
    mounted!(f);
    assert!(matches!(f.mount_again(), Err(Error::MountpointBusy { .. })));
}

/// Opening by handle is what FUSE_EXPORT_SUPPORT is for. Overlayfs with an index does it, and keeps inode numbers and hard links only if it works.
#[test]
fn handles_open_again() {
    mounted!(f);
    let layers = f.outside("overlay");
    let script = format!(
        "O={0}; mkdir -p $O/u $O/w $O/m; mount -t overlay o -o lowerdir=.,upperdir=$O/u,workdir=$O/w,index=on $O/m || exit; cd $O/m
         stat -c %i file; echo x >> file; stat -c %i file; tail -c 2 sub/hard; cd /; umount $O/m",
        layers.display()
    );
    let printed = f.run(&script);
    if printed.is_empty() {
        return eprintln!("SKIPPED: no overlayfs");
    }
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!((lines[0], lines[2]), (lines[1], "x"), "{printed}");
}
