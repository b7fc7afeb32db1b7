//! The worker itself: how it is, what it tells watchers, its cache, and that its description is true.

use std::collections::BTreeSet;

use control::{CacheUsage, Freed, LogLevel, Version};
use serde_json::{Value, json};

use crate::support::{Bench, eventually, sum};

#[test]
fn watchers_are_told_how_it_is() {
    let worker = Bench::new().start();
    let mount = worker.mount(&worker.pull("multi", "v2").id, "a");
    sum(&mount.mountpoint);
    assert_eq!(
        (worker.ask("GET", "/healthz", None).text(), worker.ask("GET", "/readyz", None).text()),
        ("alive\n".into(), "ready\n".into())
    );
    let version: Version = worker.get("/version");
    assert_eq!((version.name.as_str(), version.archive_versions), ("clip-worker", vec!["v1".into(), "v2".into()]));
    let metrics = worker.ask("GET", "/metrics", None);
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = metrics.text();
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("clip_") && value.parse::<f64>().is_ok(), "{line}");
    }
    for start in [
        "clip_mounts 1",
        "clip_jobs{state=\"success\"} 1",
        "clip_cache_bytes_max ",
        &format!("clip_mount_operations_total{{mountpoint=\"{}\"}} ", mount.mountpoint),
    ] {
        assert!(text.lines().any(|line| line.starts_with(start)), "{start}: {text}");
    }
    let level: LogLevel = worker.ask("PUT", "/log-level", Some(&json!({ "level": "debug" }))).read(200);
    assert_eq!(level.level, "debug");
    eventually("more lines", || {
        worker.ask("GET", "/healthz", None).status == 200 && worker.log().iter().any(|line| line["level"] == "DEBUG")
    });
    worker.ask("PUT", "/log-level", Some(&json!({ "level": "=/&" }))).problem("invalid-request");
}

#[test]
fn what_is_pinned_survives_pruning() {
    let worker = Bench::new().start();
    let (kept, other) = (worker.pull("codec-gzip-1", "v2"), worker.pull("codec-gzip-pigz", "v2"));
    for image in [&kept, &other] {
        sum(worker.mount(&image.id, &image.id).mountpoint);
    }
    let full: CacheUsage = worker.get("/cache");
    let pinned: CacheUsage = worker.post("/cache/pins", json!({ "image": kept.id })).read(200);
    assert!(pinned.bytes_pinned > 0 && pinned.bytes_pinned < pinned.bytes && full.bytes_pinned == 0, "{pinned:?}");
    let archive = kept.archive.unwrap().id;
    assert!(pinned.streams.iter().any(|stream| stream.pins == [archive.clone()]), "{pinned:?}");
    let freed: Freed = worker.post("/cache/prune", json!({})).read(200);
    let now: CacheUsage = worker.get("/cache");
    assert!(freed.bytes > 0 && now.bytes == pinned.bytes_pinned && now.bytes_pinned == pinned.bytes_pinned, "{freed:?} {now:?}");
    worker.delete(&format!("/cache/pins/{}", kept.id)).none();
    worker.delete(&format!("/cache/pins/{}", kept.id)).problem("not-found");
    worker.post("/cache/prune", json!({ "keep_bytes": 0 })).read::<Freed>(200);
    assert_eq!(worker.get::<CacheUsage>("/cache").bytes, 0);
    worker.post("/cache/pins", json!({ "image": "0123456789" })).problem("not-found");
}

#[test]
fn the_description_of_the_api_is_true() {
    let worker = Bench::new().start();
    let document: Value = worker.get("/openapi.json");
    let mut all = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            all.insert(format!("{method} {path}"));
            let at = path.replace("{id}", "x").replace("{image}", "x");
            let at = at.strip_prefix(control::PREFIX).unwrap_or(&at);
            if at == "/events" {
                worker.follow(at, None);
                continue;
            }
            let body = ["post", "put"].contains(&method.as_str()).then(|| json!({}));
            let answer = worker.ask(&method.to_uppercase(), at, body.as_ref());
            assert!(answer.status != 405 && !answer.text().contains("no-such-endpoint"), "{method} {path}: {}", answer.text());
            let status = answer.status.to_string();
            if answer.status == 404 {
                assert!(methods[method]["responses"][&status].is_object(), "{method} {path}: {status} is not described");
            }
        }
    }
    assert!(all.len() >= 22, "{all:?}");
    // Answers that have something in them are as they are described.
    let image = worker.pull("multi", "v2");
    let mount = worker.mount(&image.id, "a");
    let job = image.job.clone().unwrap();
    for (described, at) in [
        ("/api/v1/images", "/images".to_owned()),
        ("/api/v1/images/{id}", format!("/images/{}", image.id)),
        ("/api/v1/jobs", "/jobs".into()),
        ("/api/v1/jobs/{id}", format!("/jobs/{job}")),
        ("/api/v1/jobs/{id}/log", format!("/jobs/{job}/log")),
        ("/api/v1/mounts", "/mounts".into()),
        ("/api/v1/mounts/{id}", format!("/mounts/{}", mount.id)),
        ("/api/v1/cache", "/cache".into()),
        ("/api/v1/status", "/status".into()),
        ("/api/v1/version", "/version".into()),
    ] {
        let schema = &document["paths"][described]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{described} has no schema");
        check(&document, schema, &worker.get(&at), described);
    }
    let problem = worker.ask("GET", "/mounts/x", None).json();
    check(&document, &json!({ "$ref": "#/components/schemas/Problem" }), &problem, "problem");
}

/// Checks a value against a schema: references, types, required and unknown properties, items, enums, alternatives.
#[track_caller]
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Err(error) = fits(document, schema, value, at) {
        panic!("{error}");
    }
}

fn fits(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let found = document.pointer(reference.trim_start_matches('#')).ok_or_else(|| format!("{reference} is not there"))?;
        return fits(document, found, value, at);
    }
    if let Some(alternatives) = schema["oneOf"].as_array() {
        let fitting = alternatives.iter().any(|one| fits(document, one, value, at).is_ok());
        return if fitting { Ok(()) } else { Err(format!("{at}: {value} fits none of {schema}")) };
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |wanted: &Value| wanted == kind || (wanted == "number" && kind == "integer");
    let right = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(is),
        wanted => wanted.is_null() || is(wanted),
    };
    if !right || schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        return Err(format!("{at}: {value} is not {schema}"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        value.get(name.as_str().unwrap_or_default()).ok_or_else(|| format!("{at}: no {name} in {value}"))?;
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let described = &schema["properties"][name];
        if described.is_null() {
            return Err(format!("{at}.{name} is not described"));
        }
        fits(document, described, inner, &format!("{at}.{name}"))?;
    }
    value.as_array().into_iter().flatten().try_for_each(|item| fits(document, &schema["items"], item, at))
}
