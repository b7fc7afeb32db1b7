//! What people read when something is wrong.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::{A, environment, file, refused, with_file, with_flag, with_variables};
use crate::{Effective, Sources};

#[track_caller]
fn check(given: &str, message: &str) {
    assert_eq!(refused(with_file(given)), message, "{given}");
}

#[test]
fn bad_values() {
    let message = |place: &str| format!("invalid clip version 'v99' from {place}: valid options are v1, v2 (default v1)");
    assert_eq!(refused(with_variables(&[("CLIP_VERSION", "v99")])), message("CLIP_VERSION"));
    assert_eq!(refused(with_variables(&[("B9_CLIP_VERSION", "v99")])), message("B9_CLIP_VERSION"));
    assert_eq!(refused(with_flag("imageService.clipVersion", "--clip-version", "v99")), message("flag --clip-version"));
    check("imageService:\n  clipVersion: v99\n", &message("/etc/clip/a.yaml:2"));

    check("imageService: {level: 23}", "invalid imageService.level '23' from /etc/clip/a.yaml:1: valid options are 1 to 22 (default 9)");
    check(
        "imageService: {jobs: x}",
        "invalid imageService.jobs 'x' from /etc/clip/a.yaml:1: valid options are 1 to 32, auto (default auto)",
    );
    check(
        "imageService: {checkpointMib: 9}",
        "invalid imageService.checkpointMib '9' from /etc/clip/a.yaml:1: valid options are 0.0625 to 8 (default 2.0)",
    );
    check(
        "cache: {size: big}",
        "invalid cache.size 'big' from /etc/clip/a.yaml:1: valid options are sizes of at least 1M, such as 512M, 10G or 1.5T (default 10G)",
    );
    check(
        "registry:\n  plainHttp:\n  - good\n  - http://bad\n",
        "invalid registry.plainHttp 'http://bad' from /etc/clip/a.yaml:4: valid options are lists of HOST or HOST:PORT (default none)",
    );
}

#[test]
fn a_bad_value_is_refused_also_where_a_higher_layer_hides_it() {
    let sources = Sources {
        files: vec![file(A, "imageService: {clipVersion: v99}")],
        environment: environment(&[("CLIP_VERSION", "2")]),
        flags: vec![super::flag("imageService.clipVersion", "--clip-version", "2")],
    };
    assert!(refused(Effective::load(&sources)).contains("'v99' from /etc/clip/a.yaml:1"));
}

#[test]
fn unknown_keys() {
    let service = "valid keys are clipVersion, registryStore, storePath, s3, fallback, checkpointMib, level, spanKib, jobs";
    check(
        "# ours\nimageService:\n  clipVersoin: v2\n",
        &format!("unknown key 'imageService.clipVersoin' in /etc/clip/a.yaml:3: did you mean 'clipVersion'? {service}"),
    );
    check("imageService: {zzz: 1}", &format!("unknown key 'imageService.zzz' in /etc/clip/a.yaml:1: {service}"));
    check(
        "clipVersion: v2",
        "unknown key 'clipVersion' in /etc/clip/a.yaml:1: did you mean 'imageService.clipVersion'? valid keys are imageService, cache, registry, log, worker",
    );
    check("log: {a.level: x}", "unknown key 'log.a.level' in /etc/clip/a.yaml:1: valid keys are level");
    assert!(refused(with_file("imageService.clipVersion: v2")).starts_with("unknown key 'imageService.clipVersion' in"));
    assert!(refused(with_file("imageService: {s3.bucket: b}")).starts_with("unknown key 'imageService.s3.bucket' in"));
    assert_eq!(
        refused(with_variables(&[("CLIP_CACHE__SIZ", "1G")])),
        "unknown key 'cache.siz' in CLIP_CACHE__SIZ: did you mean 'CLIP_CACHE__SIZE'? valid keys are CLIP_CACHE__DIR, CLIP_CACHE__SIZE"
    );
    assert!(
        refused(with_variables(&[("CLIP_IMAGE_SERVICE__S3", "x")]))
            .starts_with("unknown key 'imageService.s3' in CLIP_IMAGE_SERVICE__S3: ")
    );
    assert_eq!(
        refused(with_flag("cache.dri", "--cache-dir", "x")),
        "unknown key 'cache.dri' in flag --cache-dir: valid keys are dir, size"
    );
}

#[test]
fn wrong_types() {
    let version = "valid options are v1, v2 (default v1)";
    check(
        "imageService:\n  clipVersion: [v2]\n",
        &format!("invalid clip version from /etc/clip/a.yaml:2: a list where text is expected: {version}"),
    );
    check(
        "imageService: {clipVersion: {v: 2}}",
        &format!("invalid clip version from /etc/clip/a.yaml:1: a mapping where text is expected: {version}"),
    );
    check(
        "imageService: {clipVersion: }",
        &format!("invalid clip version from /etc/clip/a.yaml:1: nothing where text is expected: {version}"),
    );
    check(
        "imageService: {level: [1]}",
        "invalid imageService.level from /etc/clip/a.yaml:1: a list where an integer is expected: valid options are 1 to 22 (default 9)",
    );
    check(
        "registry: {plainHttp: localhost}",
        "invalid registry.plainHttp from /etc/clip/a.yaml:1: text where a list is expected: valid options are lists of HOST or HOST:PORT (default none)",
    );
    check("cache: big", "invalid cache from /etc/clip/a.yaml:1: text where a mapping is expected: valid keys are dir, size");
    check(
        "[a]",
        "invalid configuration from /etc/clip/a.yaml:1: a list where a mapping is expected: valid keys are imageService, cache, registry, log, worker",
    );
    assert!(refused(with_file("registry: {plainHttp: [[a]]}")).starts_with("invalid registry.plainHttp 'a list' from"));
}

#[test]
fn files_that_are_no_yaml() {
    let message = refused(with_file("imageService:\n  clipVersion: 'v2\n"));
    assert!(message.starts_with("/etc/clip/a.yaml:") && message.contains("not a YAML configuration: "), "{message}");
    check("a: 1\n---\nb: 2\n", "/etc/clip/a.yaml:2: not a YAML configuration: a second document");
    check("cache: &c {dir: /x}\nlog: *c\n", "/etc/clip/a.yaml:2: not a YAML configuration: aliases are not supported");
    check("cache: !!map {dir: /x}\n", "/etc/clip/a.yaml:1: not a YAML configuration: tags are not supported");
    check(
        "imageService:\n  level: 1\n  level: 2\n",
        "duplicate key 'imageService.level' in /etc/clip/a.yaml:3: it stands in line 2 already",
    );
}

#[test]
fn conflicting_switches() {
    let end = "unset one of them, or decide with a flag";
    assert_eq!(
        refused(with_variables(&[("B9_CLIP_VERSION", "1"), ("CLIP_VERSION", "2")])),
        format!("conflicting switches: CLIP_VERSION says v2, B9_CLIP_VERSION says v1: {end}")
    );
    assert_eq!(
        refused(with_variables(&[("B9_CLIP_VERSION", "0"), ("CLIP_VERSION", "1"), ("CLIP_IMAGE_SERVICE__CLIP_VERSION", "2")])),
        format!("conflicting switches: CLIP_VERSION says v1, CLIP_IMAGE_SERVICE__CLIP_VERSION says v2: {end}")
    );
    assert!(
        refused(with_variables(&[("B9_CLIP_VERSION", "2"), ("CLIP_IMAGE_SERVICE__CLIP_VERSION", "1")])).contains("B9_CLIP_VERSION says v2")
    );
}

#[test]
fn values_that_need_others() {
    assert_eq!(
        refused(with_file("imageService: {registryStore: s3}")),
        "imageService.s3.bucket is required because imageService.registryStore: s3 is given (from /etc/clip/a.yaml): \
         set it in a file or as CLIP_IMAGE_SERVICE__S3__BUCKET"
    );
    assert!(with_file("imageService: {registryStore: s3, s3: {bucket: b}}").is_ok());
    let needs = |given: &str, needed: &str| {
        let message = refused(with_variables(&[(&format!("CLIP_IMAGE_SERVICE__S3__{given}"), "x")]));
        assert!(message.starts_with(&format!("imageService.s3.{needed} is required because")), "{message}");
        assert!(message.contains(&format!("(from CLIP_IMAGE_SERVICE__S3__{given})")), "{message}");
    };
    needs("ACCESS_KEY", "secretKey");
    needs("SECRET_KEY", "accessKey");
    needs("SESSION_TOKEN", "accessKey");
    assert_eq!(
        refused(with_file("imageService: {s3: {anonymous: true, accessKey: a, secretKey: b}}")),
        "imageService.s3.anonymous (from /etc/clip/a.yaml) and imageService.s3.accessKey (from /etc/clip/a.yaml) exclude each other: remove one of them"
    );
}

#[test]
fn values_of_the_worker_that_need_others() {
    let token = "0123456789abcdef";
    let needs = |given: &str, needed: &str| {
        let message = refused(with_file(&format!("worker: {{{given}}}")));
        assert!(message.starts_with(&format!("{needed} is required because worker.")), "{given}: {message}");
    };
    needs("tlsCert: /c", "worker.tlsKey");
    needs("tlsKey: /k", "worker.tlsCert");
    needs("webhookToken: x", "worker.webhook");
    needs(&format!("listen: '0.0.0.0:80', adminToken: {token}"), "worker.tlsCert");
    needs(&format!("listen: 'localhost.example:80', readToken: {token}, tlsCert: /c"), "worker.tlsKey");
    needs("listen: '[::]:80', tlsCert: /c, tlsKey: /k", "worker.readToken or worker.adminToken");
    assert_eq!(
        refused(with_file("worker: {listen: 'localhost:80'}")),
        "worker.readToken or worker.adminToken is required because worker.listen is given (from /etc/clip/a.yaml): \
         set it in a file or as CLIP_WORKER__READ_TOKEN or CLIP_WORKER__ADMIN_TOKEN"
    );
    assert_eq!(
        refused(with_variables(&[("CLIP_WORKER__LISTEN", "node:80"), ("CLIP_WORKER__READ_TOKEN", token)])),
        "worker.tlsCert is required because worker.listen with a host other than loopback is given (from CLIP_WORKER__LISTEN): \
         set it in a file or as CLIP_WORKER__TLS_CERT"
    );
    for good in [
        format!("listen: '127.0.0.1:80', readToken: {token}"),
        format!("listen: '[::1]:80', adminToken: {token}"),
        format!("listen: '0.0.0.0:80', adminToken: {token}, tlsCert: /c, tlsKey: /k"),
        format!("readToken: {token}"),
        "tlsCert: /c, tlsKey: /k".into(),
        "webhook: 'http://h/?x=1', webhookToken: x".into(),
    ] {
        with_file(&format!("worker: {{{good}}}")).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
}

#[test]
fn tokens_differ() {
    let token = "0123456789abcdef";
    let message = |first: &str, second: &str| {
        format!("worker.{first} (from /etc/clip/a.yaml) and worker.{second} (from /etc/clip/a.yaml) are the same: give each its own")
    };
    for (first, second) in [("readToken", "adminToken"), ("readToken", "webhookToken"), ("adminToken", "webhookToken")] {
        let given = format!("worker: {{webhook: 'http://h', {first}: {token}, {second}: {token}}}");
        check(&given, &message(first, second));
        assert!(with_file(&given.replacen(token, "fedcba9876543210", 1)).is_ok());
    }
}

#[test]
fn bad_values_of_the_worker() {
    let roots = "valid options are lists of absolute paths without '.' and '..' (default /mnt, /run/clip/mnt, /var/lib/clip/mnt)";
    check(
        "worker:\n  mountRoots:\n  - /mnt/../etc\n",
        &format!("invalid worker.mountRoots '/mnt/../etc' from /etc/clip/a.yaml:3: {roots}"),
    );
    check(
        "worker: {mountRoots: /mnt}",
        &format!("invalid worker.mountRoots from /etc/clip/a.yaml:1: text where a list is expected: {roots}"),
    );
    let many = format!("worker: {{mountRoots: [{}]}}", "/a,".repeat(257));
    check(&many, &format!("invalid worker.mountRoots '257 items' from /etc/clip/a.yaml:1: {roots}"));
    check(
        "worker: {socketMode: 0060}",
        "invalid worker.socketMode '0060' from /etc/clip/a.yaml:1: \
         valid options are octal modes from 0600 to 0777 with which the owner can read and write (default 0660)",
    );
    check(
        "worker: {listen: ':80'}",
        "invalid worker.listen ':80' from /etc/clip/a.yaml:1: valid options are HOST:PORT, an IPv6 address in brackets (default none)",
    );
    check(
        "worker: {adminToken: short}",
        "invalid worker.adminToken '****' from /etc/clip/a.yaml:1: \
         valid options are 16 or more visible ASCII characters without spaces, not the mask **** (default none)",
    );
    check(
        "worker: {database: 'mysql://u:p@h/db'}",
        "invalid worker.database '****' from /etc/clip/a.yaml:1: valid options are URLs that begin with postgres:// or postgresql:// (default none)",
    );
}

#[test]
fn variables_that_are_not_text() {
    let bad = || OsString::from_vec(vec![b'v', 0xff]);
    for name in ["CLIP_VERSION", "B9_CLIP_VERSION", "CLIP_CACHE__DIR"] {
        let sources = Sources { environment: vec![(name.into(), bad())], ..Sources::default() };
        assert_eq!(refused(Effective::load(&sources)), format!("{name} is not UTF-8 text"));
    }
    let sources = Sources { environment: vec![(bad(), "x".into()), ("CLIP_LOG".into(), bad())], ..Sources::default() };
    assert!(Effective::load(&sources).is_ok());
}
