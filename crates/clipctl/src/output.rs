//! What is printed: text for people, JSON for machines.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

/// Prints a document on standard output.
pub(crate) fn json(document: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(document)?;
    print(&format!("{text}\n"))
}

/// Prints text. A reader that has gone away (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Bytes of a name as text: what is not UTF-8, and control characters, as `\xNN`, so that no name can play tricks on a terminal.
pub(crate) fn name(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                c.to_string().bytes().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
            } else {
                out.push(c);
            }
        }
        chunk.invalid().iter().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_harmless_and_unambiguous() {
        assert_eq!(name(b"plain \xc3\xa4"), "plain ä");
        assert_eq!(name(b"a\nb\\\x1b[2J\xff"), "a\\x0ab\\x5c\\x1b[2J\\xff");
    }
}
