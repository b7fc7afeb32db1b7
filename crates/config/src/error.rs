//! All that can be wrong with a configuration. Each names the place and what would be right; none shows a secret.
//!
//! Places are boxed to keep results small.
//!
//! Nothing is repaired or skipped: whoever starts with a bad configuration ends before anything begins.

use std::io;
use std::path::PathBuf;

use crate::origin::{Origin, Place};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key that there is not: mend its spelling, or remove it.
    #[error("unknown key '{key}' in {place}: {}valid keys are {valid}", near.as_ref().map(|near| format!("did you mean '{near}'? ")).unwrap_or_default())]
    UnknownKey {
        /// The whole key, with dots.
        key: String,
        /// Where it stands.
        place: Box<Place>,
        /// What was probably meant.
        near: Option<String>,
        /// What there is in its place.
        valid: String,
    },
    /// A value that its key does not accept: choose one that it does.
    #[error("invalid {noun} '{value}' from {place}: valid options are {options} (default {default})")]
    InvalidValue {
        /// The key, with dots.
        key: &'static str,
        /// What its value is called.
        noun: &'static str,
        /// What was given; masked if secret.
        value: String,
        /// Where it was given.
        place: Box<Place>,
        /// What is accepted.
        options: String,
        /// What holds without it.
        default: String,
    },
    /// A list, a mapping or nothing where something else belongs: write what is expected.
    #[error("invalid {noun} from {place}: {found} where {expected} is expected: {valid}")]
    WrongType {
        /// What the value is called.
        noun: String,
        /// Where it stands.
        place: Box<Place>,
        /// What is there.
        found: &'static str,
        /// What belongs there.
        expected: &'static str,
        /// What is accepted, as a clause.
        valid: String,
    },
    /// One key, two values in one file: remove one.
    #[error("duplicate key '{key}' in {}:{line}: it stands in line {first} already", path.display())]
    DuplicateKey {
        /// The key, with dots.
        key: String,
        /// The file.
        path: PathBuf,
        /// Line of the second one.
        line: usize,
        /// Line of the first one.
        first: usize,
    },
    /// Two variables say different things of one key: unset one, or decide with a flag.
    #[error("conflicting switches: {first} says {first_value}, {second} says {second_value}: unset one of them, or decide with a flag")]
    ConflictingSwitches {
        /// The stronger variable.
        first: &'static str,
        /// What it says.
        first_value: String,
        /// The weaker variable.
        second: &'static str,
        /// What it says.
        second_value: String,
    },
    /// A value needs another one that is missing: give it.
    #[error("{key} is required because {because} is given (from {origin}): set it in a file or as {variable}")]
    Required {
        /// What is missing.
        key: &'static str,
        /// The variable that could set it.
        variable: String,
        /// What needs it.
        because: &'static str,
        /// Where that comes from.
        origin: Origin,
    },
    /// Two values that cannot hold together: remove one.
    #[error("{first} (from {first_origin}) and {second} (from {second_origin}) exclude each other: remove one of them")]
    Exclusive {
        /// One.
        first: &'static str,
        /// Where it comes from.
        first_origin: Origin,
        /// The other.
        second: &'static str,
        /// Where it comes from.
        second_origin: Origin,
    },
    /// Two secrets that must differ are one: give each its own.
    #[error("{first} (from {first_origin}) and {second} (from {second_origin}) are the same: give each its own")]
    Same {
        /// One.
        first: &'static str,
        /// Where it comes from.
        first_origin: Origin,
        /// The other.
        second: &'static str,
        /// Where it comes from.
        second_origin: Origin,
    },
    /// A variable with our prefix, or a flag, is not UTF-8: set it anew.
    #[error("{place} is not UTF-8 text")]
    NotText {
        /// The variable or file.
        place: Box<Place>,
    },
    /// A file that is not YAML, or uses what is not supported here: mend the line.
    #[error("{}:{line}: not a YAML configuration: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A file that somebody named is not there: make it, or do not name it.
    #[error("configuration file {}, named by {named_by}, does not exist", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
        /// A flag, a variable or the directory that lists it.
        named_by: String,
    },
    /// Something that is not a file: name a file.
    #[error("configuration file {}, named by {named_by}, is not a file", path.display())]
    NotAFile {
        /// What is none.
        path: PathBuf,
        /// A flag, a variable or the directory that lists it.
        named_by: String,
    },
    /// A file beyond the limit: it is hardly a configuration.
    #[error("configuration file {} is larger than {max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        max: u64,
    },
    /// More files in the directory than the limit: put them together.
    #[error("{} has more than {max} configuration files", path.display())]
    TooManyFiles {
        /// The directory.
        path: PathBuf,
        /// The limit.
        max: usize,
    },
    /// The operating system refused to read: mend the permissions.
    #[error("configuration {} cannot be read", path.display())]
    Read {
        /// File or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Every layer was good, and yet they make no configuration: a bug here, to be reported.
    #[error("bug: checked layers make no configuration, at '{key}'")]
    Internal {
        /// Where, with dots. The value stays unnamed: it may be a secret.
        key: String,
    },
}
