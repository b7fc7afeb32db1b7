//! What indexing learns of one layer, in a file: entries, spans, windows, and what the layer carries.
//!
//! It depends on nothing but the layer's blob and the spacing of its checkpoints, so it is kept, by digest, and the next image on the
//! same base reads only what is new. The file is ours alone (no format promise): a magic with a version, records `tag, length,
//! bytes`, and the BLAKE3 of all that. Whatever is wrong with one, it is made anew.

mod record;
pub(crate) mod scan;
mod store;

pub(crate) use record::{Carried, LayerFile, LayerWriter, SpanRecord, Summary};
pub(crate) use store::LayerStore;
