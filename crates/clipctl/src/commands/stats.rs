//! `clipctl stats`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use crate::cli::{Global, StatsArgs};
use crate::{output, size};

pub(super) fn run(args: &StatsArgs, global: &Global) -> Result<ExitCode> {
    let stats = ::mount::stats(&args.mountpoint)?;
    if global.json {
        output::json(&stats)?;
    } else {
        let mut text = String::new();
        lines("", &stats, &mut text);
        output::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One line for each number: its path, and the value with its unit.
fn lines(path: &str, value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                lines(&path, value, out);
            }
        }
        Value::Number(number) => {
            let n = number.as_u64().unwrap_or_default();
            let text = if path.ends_with("bytes") || path.contains(".bytes_") {
                size::human(n)
            } else if path.ends_with("_micros") {
                format!("{:.1} ms", n as f64 / 1000.0)
            } else {
                number.to_string()
            };
            out.push_str(&format!("{path:<32} {text}\n"));
        }
        Value::String(text) => out.push_str(&format!("{path:<32} {text}\n")),
        other => out.push_str(&format!("{path:<32} {other}\n")),
    }
}
