//! Full fidelity: what a mount shows is what a full unpack of the same image leaves on disk, entry by entry, field by field.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

use serde_json::Value;

use crate::listing::{Listing, differences, list, repository, shown, truth, wrong_directory_links};
use crate::support::{Bench, layout, registry, sh};

/// Who says what an image holds.
enum Truth {
    /// `umoci unpack`: the standard.
    Umoci,
    /// containers/storage over overlay, where umoci refuses the image.
    Overlay,
    /// libarchive, where both refuse.
    Bsdtar,
    /// Nobody unpacks it: `TYPE MODE PATH WHAT` of every entry, WHAT being the size, the target of a symlink or the names of xattrs.
    Written(&'static [&'static str]),
}
use Truth::{Bsdtar, Overlay, Umoci, Written};

/// Every image that there is a truth of. A new one is a line here (and, where its truth is not ours, a line below).
const IMAGES: &[(&str, Truth)] = &[
    ("python", Umoci),
    ("torture", Umoci),
    ("odd-chardev00", Umoci),
    ("odd-contiguous", Bsdtar),
    (
        "odd-dup_full_dir",
        Written(&[
            "dir 0755 / ",
            "dir 0755 /full ",
            "file 0644 /full/dir 11",
            "symlink 0777 /full/dir2 dir",
            "dir 0755 /full/file ",
            "file 0644 /full/file/child 21",
        ]),
    ),
    ("odd-duplicates", Umoci),
    ("odd-far_times", Bsdtar),
    ("odd-global_comment", Overlay),
    ("odd-global_path", Overlay),
    ("odd-link_fields", Umoci),
    ("odd-link_to_lower", Umoci),
    ("odd-names_dots", Umoci),
    ("odd-negative_times", Umoci),
    ("odd-no_end", Umoci),
    ("odd-opaque_bare", Umoci),
    ("odd-opaque_file", Umoci),
    ("odd-opaque_root", Umoci),
    ("odd-same_layer_whiteouts", Umoci),
    ("odd-sparse_gnu", Bsdtar),
    ("odd-sparse_huge", Bsdtar),
    ("odd-sparse_map", Bsdtar),
    ("odd-through_symlink", Umoci),
    ("odd-uid_max", Umoci),
    ("odd-unknown_type", Bsdtar),
    ("odd-wh_empty", Written(&["dir 0755 / ", "dir 0755 /wh ", "file 0644 /wh/kept 1", "file 0644 /wh/upper 1"])),
    ("odd-wh_names", Umoci),
    ("odd-xattr_empty", Umoci),
    (
        "odd-xattr_large",
        Written(&["dir 0755 / ", "dir 0755 /xattrs ", "file 0644 /xattrs/65536 1 user.max", "file 0644 /xattrs/many 1 50"]),
    ),
    ("odd-xattr_overlay", Umoci),
    (
        "odd-xattr_symlink",
        Written(&[
            "dir 0755 / ",
            "dir 0755 /xattrs ",
            "fifo 0644 /xattrs/fifo  trusted.clip",
            "symlink 0777 /xattrs/trusted target trusted.clip",
            "symlink 0777 /xattrs/user target",
        ]),
    ),
];

/// Where we differ on purpose: the exception's name in SEMANTICS.md, the image, and each difference. All of them must be there, and no others.
const EXCEPTIONS: &[(&str, &str, &[&str])] = &[
    ("root-mode", "odd-global_comment", &["/ mode"]),
    ("root-mode", "odd-global_path", &["/ mode"]),
    ("global-header", "odd-global_comment", &["-/PaxHeaders"]),
    ("global-header", "odd-global_path", &["-/PaxHeaders"]),
    ("times-beyond-ext4", "odd-far_times", &["/far/header mtime", "/far/pax mtime"]),
    ("sparse-without-map", "odd-sparse_map", &["-/map/empty", "+/GNUSparseFile.0", "+/GNUSparseFile.0/x"]),
    ("xattr-size", "odd-xattr_large", &["-file 0644 /xattrs/65536 1 user.max", "+file 0644 /xattrs/65536 1"]),
];

/// v2: the layers, where they lie.
#[test]
fn every_indexed_image_is_as_its_full_unpack() {
    every_image_is_as_its_full_unpack("index");
}

/// v1: the layers, flattened and packed.
#[test]
fn every_archived_image_is_as_its_full_unpack() {
    every_image_is_as_its_full_unpack("archive");
}

fn every_image_is_as_its_full_unpack(command: &str) {
    let (bench, mut wrong, mut entries) = (Bench::new(), Vec::new(), 0);
    for (image, expected) in IMAGES {
        let reference = match *image {
            "python" | "torture" => format!("{}/{image}:latest", registry()),
            odd => format!("oci:{}:latest", layout(odd).display()),
        };
        let archive = bench.path(&format!("{image}.clip"));
        bench.ok([OsStr::new(command), reference.as_ref(), "-o".as_ref(), archive.as_ref(), "--quiet".as_ref()]);
        let mount = bench.mount(&archive, &format!("mnt-{image}"));
        let ours = list(mount.path());
        entries += ours.len();
        wrong.extend(wrong_directory_links(mount.path()).into_iter().map(|what| format!("{image}: {what}")));
        let found = match expected {
            Umoci => differences(&truth(image, "umoci"), &ours),
            Overlay => differences(&truth(image, "overlay"), &ours),
            Bsdtar => differences(&truth(image, "bsdtar"), &ours),
            Written(lines) => written_differences(lines, &ours),
        };
        let excepted: BTreeSet<&str> = EXCEPTIONS.iter().filter(|e| e.1 == *image).flat_map(|e| e.2).copied().collect();
        if found.keys().map(String::as_str).collect::<BTreeSet<_>>() != excepted {
            wrong.push(format!("{image}: {}\n  expected: {excepted:?}", shown(&found)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(entries > 10_000, "{entries} entries are not what the images hold");
}

/// An entry as [`Written`] has it. Of many xattrs their number will do.
fn written(entry: &Value) -> String {
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let what = if entry["target"].is_null() { entry["size"].as_u64().map_or_else(String::new, |n| n.to_string()) } else { text("target") };
    let names: Vec<&String> = entry["xattrs"].as_object().unwrap().keys().collect();
    let names = match names.len() {
        0 => String::new(),
        many @ 10.. => format!(" {many}"),
        _ => format!(" {}", names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(" ")),
    };
    format!("{} {} {} {what}{names}", text("type"), text("mode"), text("path"))
}

fn written_differences(lines: &[&str], ours: &Listing) -> BTreeMap<String, String> {
    let theirs: BTreeSet<String> = lines.iter().map(ToString::to_string).collect();
    let ours: BTreeSet<String> = ours.values().map(written).collect();
    let side = |sign: &'static str, lines: BTreeSet<String>| lines.into_iter().map(move |line| (format!("{sign}{line}"), String::new()));
    side("-", &theirs - &ours).chain(side("+", &ours - &theirs)).collect()
}

/// Exception `times-beyond-ext4`: the truth lies on ext4, which cannot say what the tar says.
#[test]
fn far_times_are_those_of_the_tar() {
    let bench = Bench::new();
    let archive = bench.index(&format!("oci:{}:latest", layout("odd-far_times").display()), "far");
    let rows: Vec<Value> = serde_json::from_str(&bench.ok(["ls", "--json", archive.to_str().unwrap(), "/far"])).unwrap();
    let times: BTreeMap<&str, (i64, u64)> =
        rows.iter().map(|r| (r["path"].as_str().unwrap(), (r["mtime"].as_i64().unwrap(), r["mtime_nsec"].as_u64().unwrap()))).collect();
    assert_eq!(times["header"], (1 << 40, 0));
    assert_eq!(times["pax"], (99_999_999_999, 500_000_000));
    let mount = bench.mount(&archive, "mnt");
    let shown = sh(&format!("stat -c %.Y {0}/far/header {0}/far/pax", mount.path().display()));
    assert_eq!(shown, "1099511627776.000000000\n99999999999.500000000\n");
}

#[test]
fn the_table_has_every_odd_image() {
    let images = layout("python");
    let built = std::fs::read_dir(images.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let built: BTreeSet<String> = built.filter(|name| name.starts_with("odd-")).collect();
    let listed: BTreeSet<String> = IMAGES.iter().map(|(name, _)| name.to_string()).filter(|name| name.starts_with("odd-")).collect();
    assert_eq!(built, listed);
}

/// SEMANTICS.md's exceptions are the table's, by name, and each gives its reason.
#[test]
fn semantics_md_names_each_exception() {
    let text = std::fs::read_to_string(repository().join("SEMANTICS.md")).unwrap();
    let (_, section) = text.split_once("\n## Exceptions\n").expect("a section of exceptions");
    let section = section.split("\n## ").next().unwrap();
    let items = section.lines().filter_map(|line| line.strip_prefix("- **`")).map(|line| line.split_once("`**").unwrap());
    let named: BTreeMap<&str, &str> = items.collect();
    let tested: BTreeSet<&str> = EXCEPTIONS.iter().map(|e| e.0).collect();
    assert_eq!(named.keys().copied().collect::<BTreeSet<_>>(), tested);
    assert!(named.values().all(|reason| reason.len() > 40), "an exception without a reason");
}
