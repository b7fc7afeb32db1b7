//! `clipctl inspect`.

use std::process::ExitCode;

use anyhow::Result;
use archive::{Archive, Location, Storage, StreamId};
use seek::{Codec, Restart};
use serde_json::{Value, json};

use crate::cli::InspectArgs;
use crate::invocation::{Invocation, runtime};
use crate::{output, size};

pub(super) fn run(args: &InspectArgs, call: &Invocation) -> Result<ExitCode> {
    let located = call.located(&args.archive, None, &runtime()?)?;
    let document = describe(&located.archive, &located.name);
    if call.global.json {
        output::json(&document)?;
    } else {
        output::print(&text(&document))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(archive: &Archive, name: &str) -> Value {
    let header = archive.header();
    let hex = |digest: [u8; 32]| digest.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let sections: Vec<Value> = header
        .sections
        .iter()
        .map(|s| json!({"kind": s.kind.name(), "offset": s.offset, "bytes": s.length, "blake3": hex(s.checksum)}))
        .collect();
    let streams: Vec<Value> = (0..archive.streams().len()).map(|i| stream(archive, StreamId(i as u16))).collect();
    let total = |field: &str| streams.iter().filter_map(|s| s[field].as_u64()).sum::<u64>();
    let storage = match archive.storage() {
        Storage::Files => json!({"kind": "files"}),
        Storage::Archive => json!({"kind": "archive"}),
        Storage::Registry { host, repository } => json!({"kind": "registry", "host": host, "repository": repository}),
    };
    let verbatim = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_else(|_| output::name(bytes).into());
    json!({
        "archive": name,
        "id": hex(archive.id()),
        "version": header.version.to_string(),
        "format": archive::header::FORMAT_VERSION,
        "bytes": header.file_bytes,
        "storage": storage,
        "fallback": archive.fallback(),
        "sections": sections,
        "streams": streams,
        "windows": archive.windows(),
        "nodes": archive.index().inodes(),
        "xattrs": archive.index().has_xattrs(),
        "compressed_bytes": total("compressed_bytes"),
        "uncompressed_bytes": total("uncompressed_bytes"),
        "manifest": verbatim(archive.manifest()),
        "config": verbatim(archive.config()),
    })
}

fn stream(archive: &Archive, id: StreamId) -> Value {
    let stream = &archive.streams()[usize::from(id.0)];
    let spans = archive.spans(id);
    let count = |wanted: fn(Restart) -> bool| spans.iter().filter(|s| wanted(s.restart)).count();
    let location = match &stream.location {
        Location::Registry => json!("registry"),
        Location::File { path, offset } => json!({"file": path, "offset": offset}),
        Location::Archive { offset } => json!({"archive_offset": offset}),
    };
    json!({
        "blob": stream.blob,
        "diff_id": stream.diff_id,
        "compression": match stream.codec {
            Codec::Raw => "none",
            Codec::Gzip => "gzip",
            Codec::Zstd => "zstd",
        },
        "compressed_bytes": stream.blob_size,
        "uncompressed_bytes": stream.size,
        "location": location,
        "spans": spans.len(),
        "longest_span_bytes": spans.iter().map(|s| s.length).max().unwrap_or(0),
        "restart_points": {
            "between_blocks": count(|r| matches!(r, Restart::Deflate { .. })),
            "frames_or_members": count(|r| r == Restart::Frame),
            "anywhere": count(|r| r == Restart::Raw),
            "none": count(|r| r == Restart::Continue),
        },
    })
}

fn text(d: &Value) -> String {
    let bytes = |v: &Value| size::human(v.as_u64().unwrap_or_default());
    let plain = |v: &Value| output::printable(v.as_str().unwrap_or_default());
    let mut out = format!("{}\n", plain(&d["archive"]));
    let mut row = |name: &str, value: String| out.push_str(&format!("  {name:<12} {value}\n"));
    row("version", format!("{} (format {})", plain(&d["version"]), d["format"]));
    row("id", plain(&d["id"]));
    let storage = match d["storage"]["kind"].as_str() {
        Some("registry") => format!("registry {}/{}", plain(&d["storage"]["host"]), plain(&d["storage"]["repository"])),
        Some("archive") => "the archive".into(),
        _ => "local files".into(),
    };
    row("data in", storage);
    if let Some(reason) = d["fallback"].as_str() {
        row("fallback", format!("v1 instead of v2: {}", output::printable(reason)));
    }
    row("bytes", bytes(&d["bytes"]));
    row("image", format!("{} compressed, {} uncompressed", bytes(&d["compressed_bytes"]), bytes(&d["uncompressed_bytes"])));
    row("nodes", d["nodes"].to_string());
    out.push_str("sections\n");
    for section in d["sections"].as_array().into_iter().flatten() {
        out.push_str(&format!("  {:<13} {:>10} at {}\n", plain(&section["kind"]), bytes(&section["bytes"]), section["offset"]));
    }
    out.push_str("layers\n");
    for stream in d["streams"].as_array().into_iter().flatten() {
        let points = &stream["restart_points"];
        out.push_str(&format!(
            "  {} {:>10} {:<4} -> {:>10}  {} spans (restart: {} between blocks, {} at frames, {} anywhere, {} nowhere)\n",
            plain(&stream["blob"]).chars().take(19).collect::<String>(),
            bytes(&stream["compressed_bytes"]),
            plain(&stream["compression"]),
            bytes(&stream["uncompressed_bytes"]),
            stream["spans"],
            points["between_blocks"],
            points["frames_or_members"],
            points["anywhere"],
            points["none"],
        ));
    }
    out.push_str("config\n");
    let config = &d["config"]["config"];
    for field in ["User", "WorkingDir", "Entrypoint", "Cmd", "Env", "ExposedPorts", "Labels"] {
        if !config[field].is_null() {
            out.push_str(&format!("  {field:<12} {}\n", config[field]));
        }
    }
    out.push_str(&format!("  {:<12} {}/{}\n", "Platform", plain(&d["config"]["os"]), plain(&d["config"]["architecture"])));
    out
}
