//! Forged archives are not listed as something that they are not: nothing outside of the image, and an error that says what is wrong.

use std::ffi::OsStr;

use crate::forge::{FORGED, Forged};
use crate::support::{Bench, said};

#[test]
fn nothing_forged_is_listed_and_verify_says_what_is_wrong() {
    for forged @ Forged { name, says, .. } in FORGED {
        let bench = Bench::new();
        let path = forged.write(&bench);
        let all: [&[&str]; 4] = [&["ls", "-R"], &["ls", "-lR", "--json"], &["verify"], &["verify", "--json"]];
        for command in all {
            let output = bench.clipctl(command).arg(&path).output().unwrap();
            let (printed, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            let expected = format!("clipctl: {} is damaged: ", path.display());
            assert_eq!((output.status.code(), &*printed), (Some(1), ""), "{name}: {command:?} {complaint}");
            assert!(complaint.starts_with(&expected) && complaint.contains(says), "{name}: {command:?} {complaint}");
        }
        // A way that leads out of the image leads nowhere: `..` of the root is the root.
        for outside in ["/..", "/../outside", "/dir/../../etc", "/link/../../../tmp", "../../etc/passwd"] {
            for command in ["ls", "cat"] {
                let output = bench.clipctl([OsStr::new(command), path.as_ref(), outside.as_ref()]).output().unwrap();
                let printed = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(matches!(output.status.code(), Some(0 | 1)), "{name}: {command} {outside}: {}", said(&output));
                let names = ["dir", "a", "b", "link", "escaped", "below", "again", "shared"];
                assert!(printed.lines().all(|line| names.contains(&line)), "{name}: {command} {outside}: {printed}");
            }
        }
    }
}
