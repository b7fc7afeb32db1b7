//! From an image reference to an archive: resolve, scan layers, flatten, write.
//!
//! The way of an image: [`ImageName`] says where it is; [`Image::resolve`] finds its manifest, config and layers (`source`);
//! [`index()`] scans each layer once (`layer`), applies their entries to one tree (`flatten`), and writes the archive. Tar is read
//! in `tar`, which like the rest of the pure parts knows no I/O.

mod assembly;
mod carry;
mod contents;
mod digest;
mod directory;
mod error;
mod files;
mod flatten;
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod layer;
mod layers;
mod manifest;
mod platform;
mod progress;
mod source;
mod tar;

pub use carry::{ArchiveOptions, ArchiveReport, archive_archive, archive_directory, archive_image};
pub use error::{Error, LayerError};
pub use index::{IndexOptions, LayerReport, Report, index};
pub use platform::Platform;
pub use progress::{Progress, Snapshot};
pub use source::{Image, ImageName, Layer};
