//! zstd (RFC 8878) frame by frame, through libzstd's streaming decoder.

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// One zstd stream being decoded. Frames follow each other; skippable ones yield nothing.
pub(crate) struct Zstd(Decoder<'static>);

/// What one call did.
pub(crate) struct Step {
    pub consumed: usize,
    pub produced: usize,
    /// A frame has ended and all of it was put out: the next byte begins another.
    pub frame_end: bool,
}

impl Zstd {
    pub fn new() -> Result<Zstd, String> {
        // libzstd refuses windows over 128 MiB (windowLog 27) by default: that is our memory limit too.
        Decoder::new().map(Zstd).map_err(|e| e.to_string())
    }

    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, String> {
        let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(output));
        let hint = self.0.run(&mut from, &mut to).map_err(|e| e.to_string())?;
        Ok(Step { consumed: from.pos(), produced: to.pos(), frame_end: hint == 0 })
    }
}
