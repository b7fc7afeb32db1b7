//! Text → checked value, by kind of key. What comes out is in the one form that the structs of model.rs read.

use figment::value::{Empty, Tag, Value};

use crate::secret::MASK;
use crate::size::ByteSize;

/// Most items in a list: far more than a node has registries, or places for mounts.
const ITEMS_MAX: usize = 256;
/// Longest text of any value, in bytes: paths have at most 4,096, session tokens a few thousand.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Smallest cache, in bytes: below, it holds nothing (`cache` refuses it too).
const CACHE_BYTES_MIN: u64 = 1 << 20;

/// What a key accepts.
pub(crate) enum Kind {
    /// One of some spellings; each with the form that it stands for.
    Choice { spellings: &'static [(&'static str, &'static str)], options: &'static str },
    /// `true` or `false`.
    Switch,
    /// A whole number, or, with `auto`, that word.
    Integer { min: u32, max: u32, auto: bool },
    /// A number.
    Number { min: f64, max: f64 },
    /// Bytes.
    Size,
    /// Text of a form.
    Text { fits: fn(&str) -> bool, options: &'static str },
    /// Text of a form that is never shown.
    Secret { fits: fn(&str) -> bool, options: &'static str },
    /// Several texts, each of a form: a list in files, with commas between them elsewhere.
    List { fits: fn(&str) -> bool, options: &'static str },
}

impl Kind {
    /// The value that `text` stands for, if it is one.
    pub(crate) fn read(&self, text: &str) -> Option<Value> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        match self {
            Kind::Choice { spellings, .. } => spellings.iter().find(|(spelling, _)| *spelling == text).map(|(_, form)| Value::from(*form)),
            Kind::Switch => text.parse::<bool>().ok().map(Value::from),
            Kind::Integer { auto: true, .. } if text == "auto" => Some(Value::from(text)),
            Kind::Integer { min, max, .. } => {
                let number = decimal(text).then(|| text.parse::<u32>().ok()).flatten();
                number.filter(|number| (*min..=*max).contains(number)).map(Value::from)
            }
            Kind::Number { min, max } => {
                let number = decimal(text).then(|| text.parse::<f64>().ok()).flatten();
                number.filter(|number| (*min..=*max).contains(number)).map(Value::from)
            }
            Kind::Size => {
                text.parse::<ByteSize>().ok().filter(|size| *size >= ByteSize(CACHE_BYTES_MIN)).map(|size| Value::from(size.to_string()))
            }
            Kind::Text { fits, .. } => fits(text).then(|| Value::from(text)),
            Kind::Secret { fits, .. } => (text != MASK && fits(text)).then(|| Value::from(text)),
            Kind::List { .. } if text.is_empty() => self.read_list(&[]),
            Kind::List { .. } => self.read_list(&text.split(',').map(str::trim).collect::<Vec<_>>()),
        }
    }

    /// The value that a list stands for, if this is a kind of list and every item fits.
    pub(crate) fn read_list(&self, items: &[&str]) -> Option<Value> {
        let Kind::List { fits, .. } = self else { return None };
        let all = items.len() <= ITEMS_MAX && items.iter().all(|item| item.len() <= TEXT_BYTES_MAX && fits(item));
        all.then(|| Value::from(items))
    }

    /// What an empty place in a file (`key:`) means if the key has a value for "none".
    pub(crate) fn nothing(&self, optional: bool) -> Option<Value> {
        match self {
            Kind::List { .. } => self.read_list(&[]),
            Kind::Integer { auto: true, .. } => Some(Value::from("auto")),
            _ => optional.then_some(Value::Empty(Tag::Default, Empty::None)),
        }
    }

    /// What is accepted, for people: follows "valid options are".
    pub(crate) fn options(&self) -> String {
        match self {
            Kind::Choice { options, .. } | Kind::Text { options, .. } | Kind::Secret { options, .. } | Kind::List { options, .. } => {
                (*options).into()
            }
            Kind::Switch => "true, false".into(),
            Kind::Integer { min, max, auto } => format!("{min} to {max}{}", if *auto { ", auto" } else { "" }),
            Kind::Number { min, max } => format!("{min} to {max}"),
            Kind::Size => "sizes of at least 1M, such as 512M, 10G or 1.5T".into(),
        }
    }

    /// The shape that is expected, for people.
    pub(crate) fn shape(&self) -> &'static str {
        match self {
            Kind::Choice { .. } | Kind::Secret { .. } | Kind::Text { .. } => "text",
            Kind::Switch => "true or false",
            Kind::Integer { .. } => "an integer",
            Kind::Number { .. } => "a number",
            Kind::Size => "a size",
            Kind::List { .. } => "a list",
        }
    }
}

/// No sign, exponent, `inf` or `nan`, which Rust would read.
fn decimal(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit() || c == '.')
}
