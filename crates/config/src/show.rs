//! The effective configuration as YAML and JSON. Entries come in masked, so nothing here can show a secret.

use serde_json::{Map, Value as Json};

use crate::effective::Entry;

/// `key: value  # origin`, one a line, in sections. What comes out can be read again, but for secrets, which are refused.
pub(crate) fn yaml(entries: &[Entry]) -> String {
    let mut out = String::new();
    let mut open: Vec<&str> = Vec::new();
    for entry in entries {
        let mut sections: Vec<&str> = entry.key.split('.').collect();
        let name = sections.pop().unwrap_or_default();
        let common = open.iter().zip(&sections).take_while(|(a, b)| a == b).count();
        for (depth, section) in sections.iter().enumerate().skip(common) {
            out += &format!("{}{section}:\n", "  ".repeat(depth));
        }
        let origin = entry.origin.to_string().replace(char::is_control, "?");
        out += &format!("{}{name}: {}  # {origin}\n", "  ".repeat(sections.len()), scalar(&entry.value));
        open = sections;
    }
    out
}

/// The nested values, and beside them the origins by dotted key.
pub(crate) fn json(entries: &[Entry]) -> Json {
    let mut config = Json::Object(Map::new());
    let mut origins = Map::new();
    for entry in entries {
        let place = entry.key.split('.').fold(&mut config, |tree, name| &mut tree[name]);
        *place = entry.value.clone();
        origins.insert(entry.key.into(), entry.origin.to_string().into());
    }
    serde_json::json!({ "config": config, "origins": origins })
}

/// A value in one line. JSON's spelling of texts is YAML's too; what needs no quotes gets none.
fn scalar(value: &Json) -> String {
    match value {
        Json::String(text) if plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether any YAML reader takes the bare word for that text: no number, no truth value, no punctuation that means something.
fn plain(text: &str) -> bool {
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/'));
    let size =
        text.strip_suffix(['K', 'M', 'G', 'T']).is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    let means_something = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    (word || size) && !means_something.iter().any(|meaning| meaning.eq_ignore_ascii_case(text))
}
