//! The index is EROFS: the kernel's own driver mounts that of every archive, and shows the tree that our mount shows.

use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use archive::header::SectionKind;
use archive::{Archive, Location, Stream};
use rustix::mount::{MountFlags, mount};

use crate::listing::{Listing, differences, list, list_metadata, shown};
use crate::support::{Bench, Mount, bounded, layout, registry, said, sh};

/// Images whose archives the kernel is shown, with all `odd-*`.
const IMAGES: &[&str] = &["python", "torture", "multi", "codec-gzip-go", "codec-zstd-chunked"];

/// Writes the index section of an archive to a file of its own: before 6.16 the kernel cannot mount at an offset.
fn index_section(bench: &Bench, archive: &Archive, name: &str) -> PathBuf {
    let section = archive.header().section(SectionKind::Index).unwrap();
    let mut bytes = vec![0; section.length as usize];
    File::open(archive.path()).unwrap().read_exact_at(&mut bytes, section.offset).unwrap();
    let image = bench.path(&format!("{name}.erofs"));
    std::fs::write(&image, bytes).unwrap();
    image
}

/// Mounts an index by mount(2), with `device` for each stream: mount(8) would make a loop device of the image.
fn kernel_mount(bench: &Bench, archive: &Archive, name: &str, device: impl Fn(usize, &Stream) -> PathBuf) -> Mount {
    let image = index_section(bench, archive, name);
    let target = bench.path(&format!("kernel-{name}"));
    std::fs::create_dir(&target).unwrap();
    let devices = archive.streams().iter().enumerate().map(|(i, stream)| format!("device={}", device(i, stream).display()));
    let options = CString::new(devices.collect::<Vec<_>>().join(",")).unwrap();
    let mounted = mount(&image, &target, "erofs", MountFlags::RDONLY, Some(options.as_c_str()));
    let guard = Mount::guard(&target);
    mounted.unwrap_or_else(|e| panic!("{name}: the kernel refuses the index: {e}"));
    guard
}

/// A file of no bytes on disk that is as long as a stream.
fn sparse(bench: &Bench, name: &str, i: usize, stream: &Stream) -> PathBuf {
    let path = bench.path(&format!("{name}.{i}"));
    File::create(&path).unwrap().set_len(stream.size.next_multiple_of(512)).unwrap();
    path
}

fn names() -> Vec<String> {
    let images = layout("python").parent().unwrap().to_owned();
    let built = std::fs::read_dir(images).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = built.filter(|name| name.starts_with("odd-")).collect();
    names.extend(IMAGES.iter().map(ToString::to_string));
    names.sort();
    names
}

#[test]
fn the_kernel_and_our_mount_show_the_same_tree_of_v2() {
    the_kernel_and_our_mount_show_the_same_tree("index");
}

#[test]
fn the_kernel_and_our_mount_show_the_same_tree_of_v1() {
    the_kernel_and_our_mount_show_the_same_tree("archive");
}

fn the_kernel_and_our_mount_show_the_same_tree(command: &str) {
    let (bench, mut wrong, mut entries) = (Bench::new(), Vec::new(), 0);
    for name in names() {
        let path = bench.path(&format!("{name}.clip"));
        let image = format!("oci:{}:latest", layout(&name).display());
        bench.ok([command.as_ref(), image.as_ref(), "-o".as_ref(), path.as_os_str(), "--quiet".as_ref()]);
        let archive = Archive::open(&path).unwrap();
        let kernel = kernel_mount(&bench, &archive, &name, |i, stream| sparse(&bench, &name, i, stream));
        let ours = bench.mount(&path, &format!("fuse-{name}"));
        let ours = list_metadata(ours.path());
        entries += ours.len();
        for (by, found) in [("kernel", list_metadata(kernel.path())), ("clipctl ls", listed(&bench, &path, &ours))] {
            let found = differences(&found, &ours);
            if !found.is_empty() {
                wrong.push(format!("{name}, {by} -> mount: {}", shown(&found)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(entries > 10_000, "{entries} entries are not what the images hold");
}

/// `clipctl ls -lR --json` in the form of tree.py. It lists what is below the root, so the root itself is taken from `ours`.
fn listed(bench: &Bench, archive: &Path, ours: &Listing) -> Listing {
    let json = bench.ok(["ls".as_ref(), "-lR".as_ref(), "--json".as_ref(), archive.as_os_str()]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let mut out = Listing::from([("/".to_owned(), ours["/"].clone())]);
    let mut first_names = std::collections::HashMap::new();
    for row in &rows {
        let path = format!("/{}", text(&row["path"]));
        let first = first_names.entry(row["nid"].as_u64().unwrap()).or_insert_with(|| path.clone());
        *first = first.clone().min(path);
    }
    for row in rows {
        let path = format!("/{}", text(&row["path"]));
        let kind = match row["type"].as_str().unwrap() {
            "directory" => "dir",
            "char-device" => "char",
            "block-device" => "block",
            other => other,
        };
        let nanoseconds = i128::from(row["mtime"].as_i64().unwrap()) * 1_000_000_000 + i128::from(row["mtime_nsec"].as_u64().unwrap());
        let mut entry = serde_json::json!({ "path": path, "type": kind, "xattrs": hexed(&row["xattrs"]) });
        for field in ["mode", "uid", "gid"] {
            entry[field] = row[field].clone();
        }
        // Far times in nanoseconds need more than 64 bits: parsed from text, as those of tree.py were.
        entry["mtime"] = serde_json::from_str(&nanoseconds.to_string()).unwrap();
        if kind != "dir" {
            entry["nlink"] = row["nlink"].clone();
            if row["nlink"].as_u64() > Some(1) {
                entry["group"] = first_names[&row["nid"].as_u64().unwrap()].clone().into();
            }
        }
        match kind {
            "file" | "symlink" => entry["size"] = row["size"].clone(),
            "char" | "block" => entry["rdev"] = format!("{}:{}", row["rdev"][0], row["rdev"][1]).into(),
            _ => {}
        }
        if kind == "symlink" {
            entry["target"] = text(&row["target"]).into();
        }
        out.insert(path, entry);
    }
    out
}

/// The bytes that clipctl prints as text with `\xNN`.
fn unescaped(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut out = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        out.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        out.extend_from_slice(&piece.as_bytes()[2..]);
    }
    out
}

/// Text of clipctl as tree.py prints it: only printable ASCII is left as it is.
fn text(value: &serde_json::Value) -> String {
    let escape = |b: u8| if (32..127).contains(&b) && b != b'\\' { char::from(b).to_string() } else { format!("\\x{b:02x}") };
    unescaped(value.as_str().unwrap()).into_iter().map(escape).collect()
}

/// Values of xattrs in hexadecimal, as tree.py prints them.
fn hexed(xattrs: &serde_json::Value) -> serde_json::Value {
    let hex = |value: &serde_json::Value| unescaped(value.as_str().unwrap()).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let xattrs = xattrs.as_object().into_iter().flatten();
    xattrs.map(|(name, value)| (name.clone(), hex(value).into())).collect::<serde_json::Map<_, _>>().into()
}

/// The same contents too, when the devices are the real layers.
#[test]
fn python_runs_from_the_kernel_mount() {
    let bench = Bench::new();
    let path = bench.index(&format!("{}/python:latest", registry()), "python");
    let archive = Archive::open(&path).unwrap();
    let blobs = layout("python").join("blobs/sha256");
    let kernel = kernel_mount(&bench, &archive, "python", |i, stream| {
        let device = bench.path(&format!("layer.{i}"));
        assert_eq!(stream.location, Location::Registry, "a layer without odd sparse files carries nothing");
        sh(&format!("gzip -dc {}/{} >{}", blobs.display(), stream.blob.trim_start_matches("sha256:"), device.display()));
        assert_eq!(std::fs::metadata(&device).unwrap().len(), stream.size);
        device
    });
    let ours = bench.mount(&path, "fuse");
    let found = differences(&list(kernel.path()), &list(ours.path()));
    assert!(found.is_empty(), "{}", shown(&found));
    let python = format!("chroot {} /usr/bin/python3 -c 'import numpy; print(numpy.arange(9).sum())'", kernel.path().display());
    assert_eq!(sh(&python), "36\n");
}

/// Debian's erofs-utils 1.5 knows no blocks of 512 bytes. How far it gets is pinned, so that we notice when it gets further.
#[test]
fn tools_of_debian_get_as_far_as_the_block_size() {
    let bench = Bench::new();
    let path = bench.index(&format!("oci:{}:latest", layout("torture").display()), "torture");
    let image = index_section(&bench, &Archive::open(&path).unwrap(), "torture");
    for tool in ["fsck.erofs", "dump.erofs"] {
        let output = bounded(tool).arg(&image).output().unwrap();
        let said = said(&output);
        assert!(!output.status.success() && said.contains("blksize 512 isn't supported on this platform"), "{tool}: {said}");
    }
}
