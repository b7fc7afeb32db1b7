//! YAML → tree with lines.
//!
//! On the events of saphyr-parser, because no tree type keeps lines, raw texts of scalars and duplicate keys at once; and because a
//! configuration needs little of YAML: aliases, tags, further documents and keys that are not text are refused, which leaves nothing
//! that grows beyond the size of the file.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

/// How deep lists and mappings may lie in each other: ours need three.
const DEPTH_MAX: usize = 16;
/// Longest key, in bytes: every key below a mapping repeats its path, so that long ones would multiply.
const KEY_BYTES_MAX: usize = 256;

/// A value and the line where it begins, from 1.
#[derive(Debug, PartialEq)]
pub(crate) struct Node {
    pub line: usize,
    pub content: Content,
}

/// What a value is. Texts of scalars are as they stand in the file.
#[derive(Debug, PartialEq)]
pub(crate) enum Content {
    Nothing,
    Text(String),
    List(Vec<Node>),
    Map(Vec<Pair>),
}

/// A key, the line where it stands, and its value.
#[derive(Debug, PartialEq)]
pub(crate) struct Pair {
    pub key: String,
    pub line: usize,
    pub value: Node,
}

/// What is wrong with a text that is no tree.
#[derive(Debug, PartialEq)]
pub(crate) enum Bad {
    /// Not YAML, or YAML that is not supported here.
    Syntax { line: usize, reason: String },
    /// A key that stands twice in one mapping; with dots.
    Duplicate { key: String, line: usize, first: usize },
}

/// The tree of a text. One without a document is [`Content::Nothing`].
pub(crate) fn parse(text: &str) -> Result<Node, Bad> {
    let mut events = Events(Parser::new_from_str(text));
    let mut root = Node { line: 1, content: Content::Nothing };
    let mut documents = 0;
    loop {
        match events.next()? {
            (Event::StreamEnd, _) => return Ok(root),
            (Event::DocumentStart(_), span) => {
                documents += 1;
                if documents > 1 {
                    return Err(syntax(span, "a second document"));
                }
                let (event, span) = events.next()?;
                root = node(&mut events, event, span, "", 0)?;
            }
            _ => {}
        }
    }
}

struct Events<'t>(Parser<'t, StrInput<'t>>);

impl<'t> Events<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Bad> {
        match self.0.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(scan(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }
}

/// The node that begins with `event`, at a dotted path.
fn node(events: &mut Events<'_>, event: Event<'_>, span: Span, path: &str, depth: usize) -> Result<Node, Bad> {
    if depth > DEPTH_MAX {
        return Err(syntax(span, "nested too deeply"));
    }
    let content = match event {
        Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
            return Err(syntax(span, "tags are not supported"));
        }
        Event::Scalar(text, style, ..) => scalar(text, style),
        Event::SequenceStart(..) => Content::List(list(events, path, depth)?),
        Event::MappingStart(..) => Content::Map(map(events, path, depth)?),
        Event::Alias(_) => return Err(syntax(span, "aliases are not supported")),
        _ => return Err(syntax(span, "a value is missing")),
    };
    Ok(Node { line: span.start.line(), content })
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Content {
    let nothing = style == ScalarStyle::Plain && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
    if nothing { Content::Nothing } else { Content::Text(text.into_owned()) }
}

fn list(events: &mut Events<'_>, path: &str, depth: usize) -> Result<Vec<Node>, Bad> {
    let mut items = Vec::new();
    loop {
        match events.next()? {
            (Event::SequenceEnd, _) => return Ok(items),
            (event, span) => items.push(node(events, event, span, path, depth + 1)?),
        }
    }
}

fn map(events: &mut Events<'_>, path: &str, depth: usize) -> Result<Vec<Pair>, Bad> {
    let mut pairs = Vec::new();
    // Looked up by name: a hostile file of a mebibyte has 200,000 keys.
    let mut lines = std::collections::HashMap::new();
    loop {
        let (key, line) = match events.next()? {
            (Event::MappingEnd, _) => return Ok(pairs),
            (Event::Scalar(key, _, _, None), span) if key.len() <= KEY_BYTES_MAX => (key.into_owned(), span.start.line()),
            (_, span) => return Err(syntax(span, "a key is not plain text, or too long")),
        };
        let inner = crate::keys::join(path, &key);
        if let Some(first) = lines.insert(key.clone(), line) {
            return Err(Bad::Duplicate { key: inner, line, first });
        }
        let (event, span) = events.next()?;
        let value = node(events, event, span, &inner, depth + 1)?;
        pairs.push(Pair { key, line, value });
    }
}

fn syntax(span: Span, reason: &str) -> Bad {
    Bad::Syntax { line: span.start.line(), reason: reason.into() }
}

fn scan(error: &ScanError) -> Bad {
    Bad::Syntax { line: error.marker().line(), reason: error.info().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: usize, text: &str) -> Node {
        Node { line, content: Content::Text(text.into()) }
    }

    #[test]
    fn trees_have_lines() {
        let tree = parse("# head\na: 1\nb:\n  c: [x, 'null']\n  d: null\n").unwrap();
        let inner = vec![
            Pair { key: "c".into(), line: 4, value: Node { line: 4, content: Content::List(vec![text(4, "x"), text(4, "null")]) } },
            Pair { key: "d".into(), line: 5, value: Node { line: 5, content: Content::Nothing } },
        ];
        let pairs = vec![
            Pair { key: "a".into(), line: 2, value: text(2, "1") },
            Pair { key: "b".into(), line: 3, value: Node { line: 4, content: Content::Map(inner) } },
        ];
        assert_eq!(tree.content, Content::Map(pairs));
    }

    #[test]
    fn no_document_is_nothing() {
        for empty in ["", "\n", "# only a comment\n", "---\n", "---\n...\n", "\u{feff}"] {
            assert_eq!(parse(empty).map(|node| node.content), Ok(Content::Nothing), "{empty:?}");
        }
    }

    #[test]
    fn refused() {
        let line = |text: &str| match parse(text) {
            Err(Bad::Syntax { line, .. }) => line,
            other => panic!("{text:?}: {other:?}"),
        };
        for (text, expected) in [
            ("a: 1\n---\nb: 2\n", 2),
            ("a: &x 1\nb: *x\n", 2),
            ("a: !!str 1\n", 1),
            ("a: 1\n? [b]\n: 2\n", 2),
            ("a: [1\nb: 2\n", 2),
            ("a: 1\nb: 'x\n", 2),
            ("a: 1\n\tb: 2\n", 1),
        ] {
            assert!(line(text) >= expected, "{text:?}: {}", line(text));
        }
        line("\0");
        line(&"[".repeat(1 << 16));
        line(&"- ".repeat(1 << 16));
        line(&format!("{}: 1\n", "k".repeat(KEY_BYTES_MAX + 1)));
        assert_eq!(parse("a:\n  b: 1\n  c: 2\n  b: 3\n"), Err(Bad::Duplicate { key: "a.b".into(), line: 4, first: 2 }));
    }
}
