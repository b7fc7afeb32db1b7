//! From compressed to verified bytes: what runs on a blocking thread.

use archive::{Archive, Span};
use seek::{Codec, Decoder};

/// Why a span has no bytes.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The archive's own bytes are damaged: asking the backend again is of no use.
    Archive(archive::Error),
    /// The backend's bytes are wrong, or not whole: asking again may help.
    Data(String),
}

/// Decodes the spans of one group, in order.
#[derive(Default)]
pub(crate) struct SpanDecoder {
    decoder: Option<Decoder>,
    /// Input that the spans so far did not need: the next one begins with it.
    rest: Vec<u8>,
}

impl SpanDecoder {
    /// The bytes of the group's next span, verified. `input` follows on the input of the span before.
    pub fn next(&mut self, archive: &Archive, codec: Codec, span: &Span, input: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut output = vec![0; span.length as usize];
        self.rest.extend_from_slice(input);
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => {
                let window = span.window.map_or(Ok(Vec::new()), |id| archive.window(id)).map_err(Fault::Archive)?;
                none.insert(Decoder::new(codec, span.restart, &window)?)
            }
        };
        let (consumed, produced) = decoder.decode(&self.rest, &mut output)?;
        self.rest.drain(..consumed);
        if produced < output.len() {
            return Err(Fault::Data(format!("compressed data ends after {produced} bytes")));
        }
        if !is_right(span, &output) {
            return Err(Fault::Data("its bytes do not have the digest that the archive expects".to_owned()));
        }
        Ok(output)
    }
}

/// True if these are the bytes that the archive was made from.
pub(crate) fn is_right(span: &Span, bytes: &[u8]) -> bool {
    blake3::hash(bytes) == blake3::Hash::from_bytes(span.digest)
}

impl From<seek::Error> for Fault {
    fn from(error: seek::Error) -> Self {
        Self::Data(error.to_string())
    }
}
