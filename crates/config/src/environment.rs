//! Names of variables, and the switch's other names.

use std::ffi::{OsStr, OsString};

use crate::error::Error;
use crate::keys::{self, KEYS, Key};
use crate::layer::{self, Layer};
use crate::origin::Origin;
use crate::spelling;

/// Other names of the switch, strongest first; its regular name is weaker.
const SWITCHES: [&str; 2] = ["CLIP_VERSION", "B9_CLIP_VERSION"];
/// The key that they set.
const SWITCH_KEY: &str = "imageService.clipVersion";
/// Its regular name, for errors; a test holds it to [`variable`].
const SWITCH_REGULAR: &str = "CLIP_IMAGE_SERVICE__CLIP_VERSION";

/// The variable of a key: `imageService.s3.pathStyle` is `CLIP_IMAGE_SERVICE__S3__PATH_STYLE`.
pub(crate) fn variable(path: &str) -> String {
    let mut name = String::from("CLIP_");
    for letter in path.chars() {
        match letter {
            '.' => name.push_str("__"),
            upper if upper.is_ascii_uppercase() => name.extend(['_', upper]),
            other => name.push(other.to_ascii_uppercase()),
        }
    }
    name
}

/// The way back: what a variable below `CLIP_` would be as a key.
fn path(variable: &str) -> String {
    let camel = |level: &str| {
        let mut words = level.split('_').map(str::to_ascii_lowercase);
        let first = words.next().unwrap_or_default();
        words.fold(first, |name, word| {
            let mut letters = word.chars();
            name + &letters.next().map(|first| first.to_ascii_uppercase().to_string()).unwrap_or_default() + letters.as_str()
        })
    };
    variable.trim_start_matches("CLIP_").split("__").map(camel).collect::<Vec<_>>().join(".")
}

/// The layers of an environment, weakest first. With `decided`, a flag has set the switch, and its variables may disagree.
pub(crate) fn layers(environment: &[(OsString, OsString)], decided: bool) -> Result<Vec<Layer>, Error> {
    let mut layers = Vec::new();
    let prefixes: Vec<String> = keys::below("").iter().map(|section| variable(section) + "__").collect();
    for (name, value) in environment {
        // A name that is not UTF-8 is nobody's.
        let Some((name, prefix)) = name.to_str().and_then(|name| Some((name, prefixes.iter().find(|prefix| name.starts_with(*prefix))?)))
        else {
            continue;
        };
        let key = KEYS.iter().find(|key| variable(key.path) == name).ok_or_else(|| unknown(name, prefix))?;
        layers.push(Layer::single(key, Origin::Variable(name.into()), text(name, value)?)?);
    }
    layers.extend(switches(environment, decided)?);
    Ok(layers)
}

/// The layers of the switch's other names, weakest first, after a look at whether all its names agree.
fn switches(environment: &[(OsString, OsString)], decided: bool) -> Result<Vec<Layer>, Error> {
    let Some(key) = Key::at(SWITCH_KEY) else { return Err(Error::Internal { key: SWITCH_KEY.into() }) };
    let mut said: Vec<(&'static str, String)> = Vec::new();
    let mut layers = Vec::new();
    for name in SWITCHES.into_iter().chain([SWITCH_REGULAR]) {
        let Some((_, value)) = environment.iter().find(|(given, _)| given == name) else { continue };
        let (text, origin) = (text(name, value)?, Origin::Variable(name.into()));
        let form = layer::read(key, text, origin.clone().into())?.into_string().unwrap_or_default();
        said.push((name, form));
        if name != SWITCH_REGULAR {
            layers.push(Layer::single(key, origin, text)?);
        }
    }
    layers.reverse();
    let conflict = said.first().and_then(|first| Some((first, said.iter().find(|other| other.1 != first.1)?)));
    match conflict {
        Some((first, second)) if !decided => Err(Error::ConflictingSwitches {
            first: first.0,
            first_value: first.1.clone(),
            second: second.0,
            second_value: second.1.clone(),
        }),
        _ => Ok(layers),
    }
}

fn text<'a>(name: &str, value: &'a OsStr) -> Result<&'a str, Error> {
    value.to_str().ok_or_else(|| Error::NotText { place: Origin::Variable(name.into()).into() })
}

fn unknown(name: &str, prefix: &str) -> Error {
    let valid: Vec<String> = KEYS.iter().map(|key| variable(key.path)).filter(|variable| variable.starts_with(prefix)).collect();
    let near = spelling::nearest(name, valid.iter().map(String::as_str)).map(Into::into);
    let place = Origin::Variable(spelling::shown(name)).into();
    Error::UnknownKey { key: spelling::shown(&path(name)), place, near, valid: valid.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(variable("imageService.s3.pathStyle"), "CLIP_IMAGE_SERVICE__S3__PATH_STYLE");
        assert_eq!(variable("registry.insecureSkipTlsVerify"), "CLIP_REGISTRY__INSECURE_SKIP_TLS_VERIFY");
        assert_eq!(variable(SWITCH_KEY), SWITCH_REGULAR);
        for key in &KEYS {
            assert_eq!(path(&variable(key.path)), key.path);
        }
    }
}
