//! The one configuration of Clip, for `clipctl` and for the worker.
//!
//! Layers, lowest first; a higher one replaces a value, and lists as a whole:
//!
//! 1. built-in defaults: [`Config::default`];
//! 2. `/etc/clip/*.yaml`, in the order of their names ([`DIRECTORY`]);
//! 3. the file that `--config` names, or else `CLIP_CONFIG`;
//! 4. the environment: `CLIP_` and the key in capitals, with `__` between levels: `CLIP_IMAGE_SERVICE__CLIP_VERSION=v2`;
//! 5. flags.
//!
//! [`Sources::gather`] reads the files, [`Effective::load`] does the rest and touches neither disk nor process: who tests hands in what
//! he likes. Every layer is checked before it is laid on the others, so a bad value is refused with its place also where a higher layer
//! would have hidden it.
//!
//! **The switch** between archive formats, `imageService.clipVersion`, has two more names in the environment. Strongest first:
//! `CLIP_VERSION`, `B9_CLIP_VERSION`, `CLIP_IMAGE_SERVICE__CLIP_VERSION`. They are one layer: if they disagree, that is an error that
//! names both, unless a flag decides.
//!
//! **Other variables** that begin with `CLIP_` (`CLIP_CACHE_DIR`, `CLIP_LOG`, `CLIP_REGISTRY_USER_…`) are not ours: only those with
//! a section's name and `__` behind it are (`CLIP_CACHE__`, `CLIP_IMAGE_SERVICE__`, `CLIP_LOG__`, `CLIP_REGISTRY__`,
//! `CLIP_WORKER__`).
//!
//! **A scalar is read by its text**, quoted or not, in files as in the environment: `bucket: 0123` is the bucket `0123`.
//!
//! | File             | What it owns                                                                  |
//! |------------------|-------------------------------------------------------------------------------|
//! | `model.rs`       | the configuration as structs, field by field, and the defaults                |
//! | `worker.rs`      | the daemon's section of it                                                    |
//! | `choice.rs`      | values that are one of a few words                                            |
//! | `size.rs`        | sizes in bytes, as people write them                                          |
//! | `mode.rs`        | permission bits, as `chmod` takes them                                        |
//! | `listen.rs`      | where a server listens                                                        |
//! | `secret.rs`      | text that is never shown                                                      |
//! | `keys.rs`        | the table of keys, and what each accepts                                      |
//! | `kind.rs`        | text → checked value, by kind of key                                          |
//! | `form.rs`        | what texts of a special form look like: buckets, URLs, hosts, tokens          |
//! | `spelling.rs`    | the key that was probably meant                                               |
//! | `yaml.rs`        | YAML → tree with lines                                                        |
//! | `sources.rs`     | what goes in; the only file that reads files                                  |
//! | `layer.rs`       | a file, variable or flag → checked layer for figment                          |
//! | `environment.rs` | names of variables, and the switch's other names                              |
//! | `effective.rs`   | layers → configuration, with the origin of each value                         |
//! | `together.rs`    | what only several values together show                                        |
//! | `show.rs`        | the effective configuration as YAML and JSON                                  |
//! | `origin.rs`      | where a value comes from                                                      |
//! | `error.rs`       | all that can be wrong                                                         |

mod choice;
mod effective;
mod environment;
mod error;
mod form;
mod keys;
mod kind;
mod layer;
mod listen;
mod mode;
mod model;
mod origin;
mod secret;
mod show;
mod size;
mod sources;
mod spelling;
#[cfg(test)]
mod tests;
mod together;
mod worker;
mod yaml;

pub use choice::{ClipVersion, LogFormat, PathStyle, RegistryStore, Shutdown};
pub use effective::{Effective, Entry};
pub use error::Error;
pub use listen::Listen;
pub use mode::SocketMode;
pub use model::{Cache, Config, ImageService, Log, Registry, S3};
pub use origin::{Origin, Place};
pub use secret::Secret;
pub use size::ByteSize;
pub use sources::{DIRECTORY, FILE_BYTES_MAX, FILES_MAX, Flag, SourceFile, Sources};
pub use worker::Worker;
