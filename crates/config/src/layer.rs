//! A file, variable or flag → checked layer for figment.
//!
//! figment's own providers are not used: `Yaml` is on serde_yaml, which is abandoned, and knows no lines; `Env` reads the process.

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use crate::error::Error;
use crate::keys::{self, Key};
use crate::kind::Kind;
use crate::model::Config;
use crate::origin::{Origin, Place};
use crate::sources::{Flag, SourceFile};
use crate::spelling;
use crate::yaml::{self, Bad, Content, Node};

/// Values of one origin, each checked.
pub(crate) struct Layer {
    origin: Origin,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.origin.metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Layer {
    /// The lowest layer.
    pub(crate) fn defaults() -> Result<Layer, Error> {
        match Value::serialize(Config::default()) {
            Ok(Value::Dict(_, values)) => Ok(Layer { origin: Origin::Default, values }),
            _ => Err(Error::Internal { key: String::new() }),
        }
    }

    /// A file's contents.
    pub(crate) fn file(file: &SourceFile) -> Result<Layer, Error> {
        let origin = Origin::File(file.path.clone());
        let root = yaml::parse(&file.text).map_err(|bad| match bad {
            Bad::Syntax { line, reason } => Error::Syntax { path: file.path.clone(), line, reason },
            Bad::Duplicate { key, line, first } => Error::DuplicateKey { key: spelling::shown(&key), path: file.path.clone(), line, first },
        })?;
        Ok(Layer { values: section(&origin, "", &root)?, origin })
    }

    /// One variable or flag for one key.
    pub(crate) fn single(key: &'static Key, origin: Origin, text: &str) -> Result<Layer, Error> {
        let value = read(key, text, origin.clone().into())?;
        let values = key.path.rsplit('.').fold(value, |inner, name| Value::from(Dict::from([(name.to_string(), inner)])));
        match values {
            Value::Dict(_, values) => Ok(Layer { origin, values }),
            _ => Err(Error::Internal { key: key.path.into() }),
        }
    }

    /// A flag.
    pub(crate) fn flag(flag: &Flag) -> Result<Layer, Error> {
        let origin = Origin::Flag(flag.name.clone());
        match Key::at(flag.key) {
            Some(key) => Layer::single(key, origin, &flag.value),
            None => {
                let (section, name) = flag.key.rsplit_once('.').unwrap_or(("", flag.key));
                Err(unknown(section, name, origin.into()))
            }
        }
    }
}

/// The value that `text` stands for, or the error that says what `key` accepts.
pub(crate) fn read(key: &'static Key, text: &str, place: Box<Place>) -> Result<Value, Error> {
    key.kind.read(text).ok_or_else(|| invalid(key, text, place))
}

/// The values below one mapping.
fn section(origin: &Origin, path: &str, node: &Node) -> Result<Dict, Error> {
    let pairs = match &node.content {
        Content::Map(pairs) => pairs,
        // All its keys are commented out.
        Content::Nothing => return Ok(Dict::new()),
        other => {
            let noun = if path.is_empty() { "configuration".into() } else { path.into() };
            let valid = format!("valid keys are {}", keys::below(path).join(", "));
            return Err(Error::WrongType { noun, place: at(origin, node.line), found: found(other), expected: "a mapping", valid });
        }
    };
    let mut values = Dict::new();
    for pair in pairs {
        let inner = keys::join(path, &pair.key);
        // Asked by its name first: one with dots in it is no path.
        if !keys::below(path).contains(&pair.key.as_str()) {
            return Err(unknown(path, &pair.key, at(origin, pair.line)));
        }
        let value = match Key::at(&inner) {
            Some(key) => leaf(origin, key, &pair.value)?,
            None => Value::from(section(origin, &inner, &pair.value)?),
        };
        values.insert(pair.key.clone(), value);
    }
    Ok(values)
}

/// The value of one key.
fn leaf(origin: &Origin, key: &'static Key, node: &Node) -> Result<Value, Error> {
    let place = at(origin, node.line);
    match (&node.content, &key.kind) {
        (Content::Nothing, kind) => kind.nothing(key.optional).ok_or_else(|| wrong_type(key, &Content::Nothing, place)),
        (Content::List(items), Kind::List { .. }) => {
            let mut texts = Vec::new();
            for item in items {
                match &item.content {
                    Content::Text(text) if key.kind.read_list(&[text]).is_some() => texts.push(text.as_str()),
                    Content::Text(text) => return Err(invalid(key, text, at(origin, item.line))),
                    _ => return Err(invalid(key, found(&item.content), at(origin, item.line))),
                }
            }
            key.kind.read_list(&texts).ok_or_else(|| invalid(key, &format!("{} items", texts.len()), place))
        }
        (Content::Text(text), kind) if !matches!(kind, Kind::List { .. }) => read(key, text, place),
        (other, _) => Err(wrong_type(key, other, place)),
    }
}

fn invalid(key: &'static Key, text: &str, place: Box<Place>) -> Error {
    // An endpoint may have been given with user and password.
    let hidden = matches!(key.kind, Kind::Secret { .. }) || text.contains('@');
    let value = if hidden { crate::secret::MASK.into() } else { spelling::shown(text) };
    Error::InvalidValue { key: key.path, noun: key.noun(), value, place, options: key.kind.options(), default: key.default_shown() }
}

fn wrong_type(key: &'static Key, content: &Content, place: Box<Place>) -> Error {
    let valid = format!("valid options are {} (default {})", key.kind.options(), key.default_shown());
    Error::WrongType { noun: key.noun().into(), place, found: found(content), expected: key.kind.shape(), valid }
}

fn unknown(section: &str, name: &str, place: Box<Place>) -> Error {
    let names = keys::below(section);
    let near = spelling::nearest(name, names.iter().copied()).or_else(|| spelling::elsewhere(name)).map(Into::into);
    Error::UnknownKey { key: spelling::shown(&keys::join(section, name)), place, near, valid: names.join(", ") }
}

/// What is there, for people; a text that stands in the wrong place may be a secret.
fn found(content: &Content) -> &'static str {
    match content {
        Content::Nothing => "nothing",
        Content::Text(_) => "text",
        Content::List(_) => "a list",
        Content::Map(_) => "a mapping",
    }
}

fn at(origin: &Origin, line: usize) -> Box<Place> {
    Box::new(Place { origin: origin.clone(), line: Some(line) })
}
