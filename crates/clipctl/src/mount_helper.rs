//! Being `mount.fuse.clip`: what mount(8) runs for `mount -t fuse.clip ARCHIVE DIR` and for lines of fstab.
//!
//! mount(8) calls `/sbin/mount.fuse.clip ARCHIVE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]` (mount(8), EXTERNAL HELPERS). If
//! clipctl is linked to that name, these arguments are turned into those of `clipctl mount`. No worker is asked: fstab says where mounts are, not
//! worker.mountRoots, and what it says holds before a worker is there.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The names that make clipctl a helper.
const NAMES: [&str; 2] = ["mount.fuse.clip", "mount.clip"];
/// Options that say what a mount of an archive is anyway, or that speak to mount(8) and fstab.
const IGNORED: [&str; 23] = [
    "ro",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "_netdev",
    "nofail",
    "defaults",
    "exec",
    "suid",
    "dev",
    "rw",
    "async",
    "sync",
    "relatime",
    "norelatime",
    "noatime",
    "nodiratime",
    "strictatime",
    "lazytime",
];
/// Options that are flags of `clipctl mount`.
const FLAGS: [&str; 5] = ["nonempty", "nosuid", "plain-http", "insecure-skip-tls-verify", "foreground"];
/// Options with a value that are flags of `clipctl mount`.
const VALUES: [&str; 6] = ["cache-dir", "cache-size", "ca-file", "log", "log-level", "read-timeout"];

/// The arguments of clipctl, made from those of the helper if it was called as one.
pub(crate) fn arguments(given: impl Iterator<Item = OsString>) -> Result<Vec<OsString>, String> {
    let given: Vec<OsString> = given.collect();
    let called_as = given.first().and_then(|name| Path::new(name).file_name()).and_then(OsStr::to_str);
    if called_as.is_some_and(|name| NAMES.contains(&name)) { translate(&given[1..]) } else { Ok(given) }
}

fn translate(given: &[OsString]) -> Result<Vec<OsString>, String> {
    let mut out: Vec<OsString> = vec!["clipctl".into(), "mount".into(), "--no-worker".into()];
    let mut places = Vec::new();
    let mut words = given.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-o") => {
                let options = words.next().and_then(|o| o.to_str()).ok_or("-o needs options")?;
                for option in options.split(',').filter(|o| !o.is_empty()) {
                    out.extend(flag(option)?.map(OsString::from));
                }
            }
            Some("-t" | "-N") => drop(words.next()),
            Some(flags) if flags.starts_with('-') && flags[1..].chars().all(|c| "sfnvrw".contains(c)) => {
                if flags.contains('f') {
                    return Err("a fake mount (-f) mounts nothing".into());
                }
            }
            _ => places.push(word.clone()),
        }
    }
    if places.len() != 2 {
        return Err("an archive and a directory are needed".into());
    }
    out.push("--".into());
    out.extend(places);
    Ok(out)
}

/// The flag that an option of fstab is, if any.
fn flag(option: &str) -> Result<Option<String>, String> {
    let (name, value) = option.split_once('=').map_or((option, None), |(n, v)| (n, Some(v)));
    match value {
        _ if name.starts_with("x-") || name == "comment" || IGNORED.contains(&name) => Ok(None),
        None if name == "nodev" => Ok(Some("--nosuid".into())),
        None if FLAGS.contains(&name) => Ok(Some(format!("--{name}"))),
        Some(value) if VALUES.contains(&name) => Ok(Some(format!("--{name}={value}"))),
        _ => Err(format!("unknown option '{option}'; there are {}, and with a value {}", FLAGS.join(", "), VALUES.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str) -> Result<String, String> {
        let words = arguments(given.split(' ').map(OsString::from))?;
        Ok(words.iter().map(|w| w.to_str().unwrap()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_mount_says_becomes_what_we_say() {
        assert_eq!(check("clipctl ls -l x").unwrap(), "clipctl ls -l x");
        let fstab = check("/sbin/mount.fuse.clip a.clip /mnt -o ro,noauto,_netdev,cache-size=2G,nonempty,x-systemd.automount -n").unwrap();
        assert_eq!(fstab, "clipctl mount --no-worker --cache-size=2G --nonempty -- a.clip /mnt");
        assert_eq!(check("mount.clip a.clip /mnt -t fuse.clip").unwrap(), "clipctl mount --no-worker -- a.clip /mnt");
        // mount(8) says rw where fstab says nothing.
        assert_eq!(check("mount.fuse.clip a.clip /mnt -o rw,noatime").unwrap(), "clipctl mount --no-worker -- a.clip /mnt");
        assert!(check("mount.fuse.clip a.clip /mnt -o rw,bogus").unwrap_err().contains("bogus"));
        assert!(check("mount.fuse.clip a.clip").is_err());
    }
}
