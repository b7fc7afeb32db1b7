//! What a node does with images, for whoever asks: `clipctl` for one command, `clip-worker` for as long as it lives.
//!
//! | File | Idea |
//! |---|---|
//! | `settings` | from the configuration to a way to S3 and to the store |
//! | `registries` | how registries are reached: flags and configuration, one set of connections for all who reach them in the same way |
//! | `places` | where caches lie, and how much may be done at once |
//! | `explain` | errors on one line |
//! | `located` | from a name to an archive: a file, an object, an image of the store |
//! | `opened` | the way of a read, put together: archive, blobs, cache, reader |
//! | `pull` | from a reference to an archive in the store |

mod explain;
mod located;
mod opened;
mod places;
mod pull;
mod registries;
mod settings;

pub use explain::explain;
pub use located::{Located, absolute};
pub use opened::{Blobs, Opened, open_cache};
pub use places::{CACHE_BYTES, cache_dir, jobs, layer_dir, raise_descriptor_limit};
pub use pull::{Pull, Pulled};
pub use registries::{Registries, RegistryAccess};
pub use settings::Settings;
