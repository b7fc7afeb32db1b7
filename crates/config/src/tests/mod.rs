mod errors;
mod files;
mod origins;
mod precedence;
mod secrets;
mod shipped;
mod spellings;

use std::ffi::OsString;

use crate::{Effective, Error, Flag, SourceFile, Sources};

/// Where test files claim to lie.
const A: &str = "/etc/clip/a.yaml";

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.into(), text: text.into() }
}

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn flag(key: &'static str, name: &str, value: &str) -> Flag {
    Flag { key, name: name.into(), value: value.into() }
}

fn with_file(text: &str) -> Result<Effective, Error> {
    Effective::load(&Sources { files: vec![file(A, text)], ..Sources::default() })
}

fn with_variables(variables: &[(&str, &str)]) -> Result<Effective, Error> {
    Effective::load(&Sources { environment: environment(variables), ..Sources::default() })
}

fn with_flag(key: &'static str, name: &str, value: &str) -> Result<Effective, Error> {
    Effective::load(&Sources { flags: vec![flag(key, name, value)], ..Sources::default() })
}

/// The message of what must be an error.
fn refused(loaded: Result<Effective, Error>) -> String {
    loaded.map(|effective| effective.yaml()).unwrap_err().to_string()
}
