//! Small records as bytes. The only file that knows bincode: FORMAT.md §5 and golden files define the bytes, not the library.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Serialize, de::DeserializeOwned};

/// Longest record that is read: bounds what a length field inside can allocate. 4,096 streams with long paths take under 2 MiB, and
/// the map of the largest sparse file 5 MiB.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// Little-endian, integers of variable length.
fn config() -> Configuration<LittleEndian, Varint, Limit<RECORD_BYTES_MAX>> {
    bincode::config::standard().with_limit::<RECORD_BYTES_MAX>()
}

/// The bytes of a record.
///
/// # Errors
/// A sentence, where they are more than [`RECORD_BYTES_MAX`].
pub fn encode(record: &impl Serialize) -> Result<Vec<u8>, String> {
    let bytes = bincode::serde::encode_to_vec(record, config()).map_err(|e| e.to_string())?;
    // bincode holds the limit when it reads only.
    if bytes.len() > RECORD_BYTES_MAX { Err(format!("a record of {} bytes", bytes.len())) } else { Ok(bytes) }
}

/// The record that `bytes` are, all of them.
///
/// # Errors
/// A sentence, where they are not.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bincode::serde::decode_from_slice(bytes, config()) {
        Ok((record, used)) if used == bytes.len() => Ok(record),
        Ok((_, used)) => Err(format!("{} bytes too many", bytes.len() - used)),
        Err(e) => Err(e.to_string()),
    }
}
