//! `config show`: what is printed, and where each value comes from.

use super::{A, environment, file, flag, with_file};
use crate::{Effective, Sources};

fn mixed() -> Effective {
    let text = "imageService:\n  clipVersion: 2\n  s3: {bucket: '123', pathStyle: true}\n  level: 3\n";
    let sources = Sources {
        files: vec![file(A, text), file("/home/me/x.yaml", "registry: {plainHttp: ['a:5000', b]}")],
        environment: environment(&[
            ("CLIP_VERSION", "2"),
            ("CLIP_CACHE__SIZE", "1.5T"),
            ("CLIP_WORKER__SOCKET_MODE", "666"),
            ("CLIP_WORKER__MOUNT_ROOTS", "/a b, /c"),
        ]),
        flags: vec![flag("imageService.spanKib", "--span-kib", "64"), flag("worker.shutdown", "--shutdown", "unmount")],
    };
    Effective::load(&sources).unwrap()
}

#[test]
fn entries() {
    let effective = mixed();
    let origin = |key: &str| effective.entries().iter().find(|entry| entry.key == key).unwrap().origin.to_string();
    for (key, expected) in [
        ("imageService.clipVersion", "CLIP_VERSION"),
        ("imageService.storePath", "default"),
        ("imageService.s3.bucket", A),
        ("imageService.s3.prefix", "default"),
        ("imageService.s3.accessKey", "default"),
        ("imageService.level", A),
        ("imageService.spanKib", "flag --span-kib"),
        ("cache.size", "CLIP_CACHE__SIZE"),
        ("registry.plainHttp", "/home/me/x.yaml"),
        ("registry.insecureSkipTlsVerify", "default"),
    ] {
        assert_eq!(origin(key), expected, "{key}");
    }
}

#[test]
fn as_yaml() {
    let expected = "\
imageService:
  clipVersion: v2  # CLIP_VERSION
  registryStore: local  # default
  storePath: /var/lib/clip/store  # default
  s3:
    bucket: \"123\"  # /etc/clip/a.yaml
    prefix: clip  # default
    endpoint: null  # default
    region: null  # default
    pathStyle: true  # /etc/clip/a.yaml
    accessKey: null  # default
    secretKey: null  # default
    sessionToken: null  # default
    anonymous: false  # default
    caFile: null  # default
  fallback: true  # default
  checkpointMib: 2.0  # default
  level: 3  # /etc/clip/a.yaml
  spanKib: 64  # flag --span-kib
  jobs: auto  # default
cache:
  dir: null  # default
  size: 1536G  # CLIP_CACHE__SIZE
registry:
  plainHttp: [\"a:5000\",\"b\"]  # /home/me/x.yaml
  insecureSkipTlsVerify: []  # default
  caFile: null  # default
log:
  level: info  # default
worker:
  stateDir: /var/lib/clip/worker  # default
  database: null  # default
  socket: /run/clip/worker.sock  # default
  socketMode: \"0666\"  # CLIP_WORKER__SOCKET_MODE
  listen: null  # default
  tlsCert: null  # default
  tlsKey: null  # default
  readToken: null  # default
  adminToken: null  # default
  mountRoots: [\"/a b\",\"/c\"]  # CLIP_WORKER__MOUNT_ROOTS
  jobs: 2  # default
  queueMax: 10000  # default
  attempts: 5  # default
  shutdown: unmount  # flag --shutdown
  shutdownSeconds: 30  # default
  idleUnmountAfter: 0  # default
  webhook: null  # default
  webhookToken: null  # default
  logFormat: auto  # default
";
    assert_eq!(mixed().yaml(), expected);
    assert_eq!(with_file(expected).unwrap().config, mixed().config);
}

/// Whatever a text looks like, and whatever a file is called: what is printed is read as the same.
#[test]
fn printed_yaml_is_read_as_the_same() {
    for odd in ["true", "null", "~", "123", "a: b", "# x", "- x", "'", "\"\\", "é\u{2028}\t x ", "[", "%", "1e3", ".inf", "a\nb", "yes"] {
        let sources = Sources { flags: vec![flag("imageService.storePath", "--x\n#", odd)], ..Sources::default() };
        let effective = Effective::load(&sources).unwrap();
        let again = with_file(&effective.yaml()).unwrap_or_else(|error| panic!("{odd:?}: {error}"));
        assert_eq!(again.config, effective.config, "{odd:?}");
    }
}

#[test]
fn as_json() {
    let json = mixed().json();
    assert_eq!(json["config"], serde_json::to_value(mixed().config).unwrap());
    assert_eq!(json["origins"]["imageService.s3.bucket"], A);
    assert_eq!(json["origins"].as_object().unwrap().len(), mixed().entries().len());
}
