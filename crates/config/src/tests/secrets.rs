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

/// What `config show` printed is no configuration: the mask would be taken for a key.
#[test]
fn the_mask_is_no_secret() {
    assert_eq!(
        refused(with_file("imageService: {s3: {secretKey: '****'}}")),
        "invalid imageService.s3.secretKey '****' from /etc/clip/a.yaml:1: valid options are text of one line, not empty, not the mask **** (default none)"
    );
}
