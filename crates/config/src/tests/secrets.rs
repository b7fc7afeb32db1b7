//! Secrets are not in anything that can be printed.

use super::{A, environment, file, flag, refused, with_file, with_variables};
use crate::{Effective, Secret, Sources};

const SECRET: &str = "hunter2";

#[test]
fn nothing_printable_has_a_secret() {
    let sources = Sources {
        files: vec![file(A, &format!("imageService: {{s3: {{accessKey: {SECRET}a}}}}"))],
        environment: environment(&[("CLIP_IMAGE_SERVICE__S3__SECRET_KEY", &format!("{SECRET}s"))]),
        flags: vec![flag("imageService.s3.sessionToken", "--session-token", &format!("{SECRET}t"))],
    };
    let effective = Effective::load(&sources).unwrap();
    let s3 = &effective.config.image_service.s3;
    let exposed = [&s3.access_key, &s3.secret_key, &s3.session_token].map(|secret| secret.as_ref().map(Secret::expose));
    assert_eq!(exposed, [Some("hunter2a"), Some("hunter2s"), Some("hunter2t")]);

    let shown: Vec<String> = effective.entries().iter().map(|entry| format!("{entry:?} {}", entry.shown())).collect();
    for printed in [
        format!("{effective:?} {effective:#?}"),
        format!("{sources:?} {sources:#?}"),
        format!("{:?}", sources.files),
        effective.yaml(),
        effective.json().to_string(),
        serde_json::to_string(&effective.config).unwrap(),
        shown.join("\n"),
    ] {
        assert!(!printed.contains(SECRET), "{printed}");
    }
    assert!(effective.yaml().contains("secretKey: \"****\"  # CLIP_IMAGE_SERVICE__S3__SECRET_KEY\n"), "{}", effective.yaml());
    assert_eq!(effective.json()["config"]["imageService"]["s3"]["sessionToken"], "****");
}

#[test]
fn errors_have_no_secret() {
    let bad = format!("{SECRET}\n");
    for message in [
        refused(with_variables(&[("CLIP_IMAGE_SERVICE__S3__SECRET_KEY", &bad)])),
        refused(with_file(&format!("imageService: {{s3: {{secretKey: \"{SECRET}\\n\"}}}}"))),
        refused(with_file(&format!("imageService: {{s3: {{secretKey: [{SECRET}]}}}}"))),
        refused(with_file(&format!("imageService: {{s3: {{secretKey: {SECRET}, secretKey: {SECRET}}}}}"))),
        refused(with_file(&format!("imageService: {{s3: {{secretKey: {SECRET}}}}}"))),
        // The space after the colon is missing: one text.
        refused(with_file(&format!("imageService:\n  s3:\n    secretKey:{SECRET}\n"))),
        refused(with_file(&format!("imageService:\n  s3:\n    secretKey: '{SECRET}\n"))),
        refused(with_variables(&[("CLIP_IMAGE_SERVICE__S3__SECRET", SECRET)])),
        refused(with_variables(&[("CLIP_IMAGE_SERVICE__S3__ENDPOINT", &format!("http://me:{SECRET}@minio:9000"))])),
    ] {
        assert!(!message.contains(SECRET), "{message}");
    }
}

/// Those of the worker too, the database's URL included, which may have a password.
#[test]
fn nothing_of_the_worker_has_a_secret() {
    let token = |letter: char| format!("{SECRET}-0123456789-{letter}");
    let text = format!(
        "worker: {{database: 'postgres://clip:{SECRET}@db/clip', readToken: {}, adminToken: {}, webhook: 'http://h', webhookToken: {SECRET}}}",
        token('r'),
        token('a')
    );
    let effective = with_file(&text).unwrap();
    let worker = &effective.config.worker;
    let exposed = [&worker.database, &worker.read_token, &worker.admin_token, &worker.webhook_token];
    let exposed = exposed.map(|secret| secret.as_ref().unwrap().expose().to_owned());
    assert_eq!(exposed, [format!("postgres://clip:{SECRET}@db/clip"), token('r'), token('a'), SECRET.into()]);
    let printed = format!("{effective:?} {} {} {}", effective.yaml(), effective.json(), serde_json::to_string(worker).unwrap());
    assert!(!printed.contains(SECRET), "{printed}");
    assert!(effective.yaml().contains("  database: \"****\"  # /etc/clip/a.yaml\n"), "{}", effective.yaml());

    for message in [
        refused(with_file(&format!("worker: {{database: 'mysql://clip:{SECRET}@db/clip'}}"))),
        refused(with_variables(&[("CLIP_WORKER__DATABASE", &format!("{SECRET}@db"))])),
        refused(with_variables(&[("CLIP_WORKER__DATABASE", "****")])),
        refused(with_file(&format!("worker: {{adminToken: {SECRET}}}"))),
        refused(with_file(&format!("worker: {{webhook: 'http://me:{SECRET}@h/?x'}}"))),
        refused(with_file(&format!("worker: {{readToken: {0}, adminToken: {0}}}", token('x')))),
    ] {
        assert!(!message.contains(SECRET), "{message}");
    }
}

/// What `config show` printed is no configuration: the mask would be taken for a key.
#[test]
fn the_mask_is_no_secret() {
    assert_eq!(
        refused(with_file("imageService: {s3: {secretKey: '****'}}")),
        "invalid imageService.s3.secretKey '****' from /etc/clip/a.yaml:1: valid options are text of one line, not empty, not the mask **** (default none)"
    );
}
