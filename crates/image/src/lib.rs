//! From an image reference to an archive: resolve, scan layers, flatten, write.
//!
//! The way of an image: [`ImageName`] says where it is; [`Image::resolve`] finds its manifest, config and layers (`source`);
//! [`index()`] scans each layer once (`layer`), applies their entries to one tree (`flatten`), and writes the archive. Tar is read
//! in `tar`, which like the rest of the pure parts knows no I/O.

mod digest;
mod error;
mod flatten;
mod index;
mod layer;
mod manifest;
mod platform;
mod progress;
mod source;
mod tar;

pub use error::Error;
pub use index::{IndexOptions, LayerReport, Report, index};
pub use platform::Platform;
pub use progress::{Progress, Snapshot};
pub use source::{Image, ImageName, Layer};

/// Entry points for the fuzzers; not an interface.
#[doc(hidden)]
pub mod fuzzing {
    /// Walks any bytes as a tar and flattens what comes out.
    pub fn walk(bytes: &[u8]) {
        let mut flattener = crate::flatten::Flattener::new();
        let streams = crate::flatten::LayerStreams { tar: archive::StreamId(0), carried: archive::StreamId(0) };
        flattener.begin_layer(streams);
        let mut walker = crate::tar::Walker::new();
        let mut sink = |item| {
            if let crate::tar::Item::Entry(entry) = item {
                let _ = flattener.apply(entry);
            }
        };
        if walker.push(bytes, &mut sink).is_ok() {
            let _ = walker.finish();
        }
    }
}
