//! What each key accepts, in files and in variables.

use super::{with_file, with_flag, with_variables};
use crate::environment::variable;
use crate::keys::{KEYS, Key, lookup};
use crate::{ClipVersion, Config, LogFormat, Shutdown};

#[test]
fn the_table_and_the_structs_have_the_same_keys_in_the_same_order() {
    let paths: Vec<&str> = KEYS.iter().map(|key| key.path).collect();
    let effective = with_file("").unwrap();
    let text = serde_json::to_string(&Config::default()).unwrap();
    let mut last = 0;
    for path in &paths {
        assert!(lookup(&serde_json::to_value(Config::default()).unwrap(), path).is_some(), "{path}");
        let at = last
            + text[last..].find(&format!("\"{}\":", path.rsplit('.').next().unwrap())).unwrap_or_else(|| panic!("{path} is out of order"));
        last = at + 1;
    }
    // As many leaves as keys.
    fn leaves(value: &serde_json::Value) -> usize {
        value.as_object().map_or(1, |fields| fields.values().map(leaves).sum())
    }
    assert_eq!(leaves(&serde_json::to_value(Config::default()).unwrap()), paths.len());
    assert_eq!(effective.config, Config::default());
    assert_eq!(effective.entries().len(), paths.len());
}

#[test]
fn clip_version() {
    for (spelling, version) in
        [("0", ClipVersion::V1), ("1", ClipVersion::V1), ("v1", ClipVersion::V1), ("2", ClipVersion::V2), ("v2", ClipVersion::V2)]
    {
        for text in [format!("imageService:\n  clipVersion: {spelling}\n"), format!("imageService: {{\"clipVersion\": \"{spelling}\"}}")] {
            assert_eq!(with_file(&text).unwrap().config.image_service.clip_version, version, "{text}");
        }
        for name in ["CLIP_VERSION", "B9_CLIP_VERSION", "CLIP_IMAGE_SERVICE__CLIP_VERSION"] {
            assert_eq!(with_variables(&[(name, spelling)]).unwrap().config.image_service.clip_version, version, "{name}={spelling}");
        }
        let flag = with_flag("imageService.clipVersion", "--clip-version", spelling).unwrap();
        assert_eq!(flag.config.image_service.clip_version, version, "--clip-version {spelling}");
    }
    for bad in ["v0", "3", "V2", "", " 2", "2.0", "02", "v99", "-1", "true"] {
        assert!(with_variables(&[("CLIP_VERSION", bad)]).is_err(), "{bad:?}");
        assert!(with_file(&format!("imageService: {{clipVersion: '{bad}'}}")).is_err(), "{bad:?}");
    }
}

/// A key, what it takes (with what is shown of it then), and what it refuses.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

const CASES: &[Case] = &[
    ("imageService.clipVersion", &[("2", "v2")], &["3"]),
    ("imageService.registryStore", &[("local", "local")], &["S3", "gcs", ""]),
    ("imageService.storePath", &[("/srv/x", "/srv/x"), ("rel", "rel")], &[""]),
    ("imageService.s3.bucket", &[("b", "b"), ("0123", "0123"), ("true", "true")], &["", "a/b", "s3://b"]),
    ("imageService.s3.prefix", &[("", ""), ("a/b", "a/b")], &["/a", "a/", "a//b"]),
    ("imageService.s3.endpoint", &[("http://127.0.0.1:9000", "http://127.0.0.1:9000")], &["minio:9000", ""]),
    ("imageService.s3.region", &[("eu-central-1", "eu-central-1")], &["", "eu central"]),
    ("imageService.s3.pathStyle", &[("true", "true"), ("false", "false"), ("auto", "auto")], &["yes", "1", ""]),
    ("imageService.s3.accessKey", &[], &["", "****", "a\u{7}b"]),
    ("imageService.s3.secretKey", &[], &["", "****"]),
    ("imageService.s3.sessionToken", &[], &["", "****"]),
    ("imageService.s3.anonymous", &[("true", "true"), ("false", "false")], &["yes", "1", "True", ""]),
    ("imageService.s3.caFile", &[("/ca.pem", "/ca.pem")], &[""]),
    ("imageService.fallback", &[("false", "false")], &["no", "0"]),
    ("imageService.checkpointMib", &[("0.0625", "0.0625"), ("8", "8.0"), ("0.5", "0.5")], &["0.06", "8.1", "nan", "inf", "-1", "1e0", ""]),
    ("imageService.level", &[("1", "1"), ("22", "22")], &["0", "23", "9.0", "+9", "-1", "nine", "", "auto", "4294967305"]),
    ("imageService.spanKib", &[("64", "64"), ("8192", "8192")], &["63", "8193"]),
    ("imageService.jobs", &[("auto", "auto"), ("1", "1"), ("32", "32")], &["0", "33", "Auto", ""]),
    ("cache.dir", &[("/cache", "/cache")], &[""]),
    ("cache.size", &[("1M", "1M"), ("1.5T", "1536G"), ("1073741824", "1G"), ("20GiB", "20G")], &["1023K", "0", "-1G", "10X", "", "1e30T"]),
    ("registry.plainHttp", &[("", "none"), ("a", "a"), ("a:5000, [::1]:80", "a:5000, [::1]:80")], &["http://a", ",", "a,", "a:0"]),
    ("registry.insecureSkipTlsVerify", &[("r.example", "r.example")], &["a/b"]),
    ("registry.caFile", &[("ca.pem", "ca.pem")], &[""]),
    ("log.level", &[("warn", "warn"), ("info,read=debug", "info,read=debug")], &["loud", "", "read="]),
    ("worker.stateDir", &[("/x", "/x"), ("rel", "rel")], &[""]),
    (
        "worker.database",
        &[("postgres://u:p@h/db", "****"), ("postgresql:///db", "****")],
        &["", "****", "mysql://h/db", "postgres://", "postgres://a b"],
    ),
    ("worker.socket", &[("/run/x.sock", "/run/x.sock")], &[""]),
    (
        "worker.socketMode",
        &[("0600", "0600"), ("660", "0660"), ("0666", "0666"), ("0777", "0777")],
        &["", "0060", "1660", "0o660", "0680", "rw"],
    ),
    ("worker.listen", &[], &["", "80", ":80", "h:0", "h:65536", "::1:80", "http://h:80"]),
    ("worker.tlsCert", &[], &[""]),
    ("worker.tlsKey", &[], &[""]),
    ("worker.readToken", &[("0123456789abcdef", "****")], &["", "****", "0123456789abcde", "0123456789 abcdef"]),
    ("worker.adminToken", &[("0123456789abcdef", "****")], &["", "****", "0123456789abcde", "0123456789abcde\n"]),
    (
        "worker.mountRoots",
        &[("", "none"), ("/", "/"), ("/a, /b c", "/a, /b c"), ("/a/", "/a/")],
        &["a", "/a,", "/a/..", "/a/./b", ",", "/a,../b"],
    ),
    ("worker.jobs", &[("1", "1"), ("64", "64")], &["0", "65", "auto", ""]),
    ("worker.queueMax", &[("1", "1"), ("1000000", "1000000")], &["0", "1000001", "1e3"]),
    ("worker.attempts", &[("1", "1"), ("100", "100")], &["0", "101"]),
    ("worker.shutdown", &[("handover", "handover"), ("unmount", "unmount")], &["", "Unmount", "kill"]),
    ("worker.shutdownSeconds", &[("1", "1"), ("3600", "3600")], &["0", "3601", "30s"]),
    ("worker.idleUnmountAfter", &[("0", "0"), ("31536000", "31536000")], &["-1", "31536001", "never"]),
    ("worker.webhook", &[("https://h/x?y=z", "https://h/x?y=z")], &["", "h", "ftp://h", "https://u:p@h", "https://h/#x", "https://h/?a b"]),
    ("worker.webhookToken", &[], &["", "****", "a b", "é"]),
    ("worker.logFormat", &[("auto", "auto"), ("human", "human"), ("json", "json")], &["", "JSON", "text"]),
];

#[test]
fn every_key_as_variable_and_as_flag() {
    assert_eq!(CASES.iter().map(|case| case.0).collect::<Vec<_>>(), KEYS.iter().map(|key| key.path).collect::<Vec<_>>());
    for (path, good, bad) in CASES {
        let variable = variable(path);
        for (text, expected) in *good {
            for effective in [with_variables(&[(&variable, text)]), with_flag(path, "--x", text)] {
                let effective = effective.unwrap_or_else(|error| panic!("{path}={text}: {error}"));
                let entry = effective.entries().iter().find(|entry| entry.key == *path).unwrap().clone();
                assert_eq!(entry.shown(), *expected, "{path}={text}");
            }
        }
        for text in *bad {
            for refused in [with_variables(&[(&variable, text)]), with_flag(path, "--x", text)] {
                let message = refused.map(|effective| effective.yaml()).unwrap_err().to_string();
                assert!(message.starts_with(&format!("invalid {}", Key::at(path).unwrap().noun())), "{path}={text}: {message}");
            }
        }
    }
}

#[test]
fn scalars_in_files_are_read_by_their_text() {
    let service = |line: &str| with_file(&format!("imageService:\n  {line}\n")).unwrap().config.image_service;
    assert_eq!(service("s3: {bucket: 0123}").s3.bucket.as_deref(), Some("0123"));
    assert_eq!(service("level: '12'").level, 12);
    assert_eq!(service("s3: {bucket: 'null'}").s3.bucket.as_deref(), Some("null"));
    assert_eq!(service("s3: {bucket: null}").s3.bucket, None);
    let keys = "s3: {accessKey: 00123, secretKey: 12345678901234567890123}";
    assert_eq!(service(keys).s3.access_key.unwrap().expose(), "00123");
    assert_eq!(service(keys).s3.secret_key.unwrap().expose(), "12345678901234567890123");
}

#[test]
fn what_the_worker_reads_of_its_texts() {
    let defaults = with_file("").unwrap().config.worker;
    assert_eq!((defaults.socket_mode.bits(), defaults.shutdown, defaults.shutdown_time().as_secs()), (0o660, Shutdown::Handover, 30));
    assert_eq!((defaults.idle_time(), defaults.log_format), (None, LogFormat::Auto));
    assert_eq!([LogFormat::Auto, LogFormat::Human, LogFormat::Json].map(|format| format.is_json(true)), [false, false, true]);
    assert_eq!([LogFormat::Auto, LogFormat::Human, LogFormat::Json].map(|format| format.is_json(false)), [true, false, true]);

    let text = "worker: {socketMode: 0600, listen: '[::1]:8080', readToken: 0123456789abcdef, idleUnmountAfter: 60, mountRoots: ['/a,b']}";
    let worker = with_file(text).unwrap().config.worker;
    let listen = worker.listen.as_ref().unwrap();
    assert_eq!((listen.host().as_str(), listen.port(), listen.is_loopback()), ("::1", 8080, true));
    assert_eq!((worker.socket_mode.bits(), worker.idle_time().unwrap().as_secs()), (0o600, 60));
    assert_eq!(worker.mount_roots, [std::path::PathBuf::from("/a,b")]);
}

#[test]
fn variables_of_others_are_passed_over() {
    let others = [
        ("CLIP_CACHE_DIR", "/x"),
        ("CLIP_CACHE_SIZE", "nonsense"),
        ("CLIP_CONFIG", "/none"),
        ("CLIP_LOG", "debug"),
        ("CLIP_REGISTRY_USER_R_EXAMPLE", "me"),
        ("CLIP_REGISTRY_PASS_R_EXAMPLE", "secret"),
        ("CLIP_TEST_IMAGES", "/x"),
        ("CLIP_PLAIN_HTTP", "true"),
        ("CLIP_OTHER__SECTION", "x"),
        ("CLIP_IMAGE_SERVICE", "x"),
        ("clip_image_service__level", "99"),
        ("PATH", "/bin"),
    ];
    let effective = with_variables(&others).unwrap();
    assert_eq!(effective.config, Config::default());
    assert!(effective.entries().iter().all(|entry| entry.origin == crate::Origin::Default));
}
