//! What is printed: text for people, JSON for machines.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

/// Prints a document on standard output.
pub(crate) fn json(document: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(document)?;
    print(&format!("{text}\n"))
}

/// Prints what came of a work: a document for machines, else text for people, unless they want to be left alone.
pub(crate) fn report(document: &impl Serialize, as_json: bool, quiet: bool, text: impl FnOnce() -> String) -> Result<()> {
    match (as_json, quiet) {
        (true, _) => json(document),
        (false, false) => print(&text()),
        (false, true) => Ok(()),
    }
}

/// Who reads our output has gone away (`| head`): the work ends, and it is no failure.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl std::fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody reads the output")
    }
}

impl std::error::Error for ReaderGone {}

/// Prints text.
pub(crate) fn print(text: &str) -> Result<()> {
    write(text.as_bytes())
}

/// Writes bytes to standard output.
pub(crate) fn write(bytes: &[u8]) -> Result<()> {
    match io::stdout().lock().write_all(bytes) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
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

/// A message as it can be shown: names and answers from outside may hide in it, so control characters become `\xNN`.
pub(crate) fn printable(message: &str) -> String {
    let shown = |c: char| if c.is_control() { format!("\\x{:02x}", u32::from(c)) } else { c.to_string() };
    message.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_harmless_and_unambiguous() {
        assert_eq!(name(b"plain \xc3\xa4"), "plain ä");
        assert_eq!(printable("a\\b\x1b]0;x\x07\u{9b}"), "a\\b\\x1b]0;x\\x07\\x9b");
        assert_eq!(name(b"a\nb\\\x1b[2J\xff"), "a\\x0ab\\x5c\\x1b[2J\\xff");
    }
}
