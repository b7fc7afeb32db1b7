//! Server-sent events (HTML standard §9.2), as far as the worker sends them: parsed from bytes as they come.

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// `id:`, its number.
    pub id: Option<String>,
    /// `event:`, what it is.
    pub event: Option<String>,
    /// `data:`, several lines with newlines between them.
    pub data: String,
}

/// Most bytes of one event: four times what the worker sends.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Cuts bytes into events.
#[derive(Debug, Default)]
pub struct Frames {
    pending: Vec<u8>,
}

impl Frames {
    /// Takes bytes in; returns the events that became whole. None: an event is longer than any that a worker sends.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Vec<Frame>> {
        self.pending.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(end) = self.pending.windows(2).position(|pair| pair == b"\n\n") {
            let frame: Vec<u8> = self.pending.drain(..end + 2).collect();
            frames.extend(parse(&String::from_utf8_lossy(&frame)));
        }
        (self.pending.len() <= FRAME_BYTES_MAX).then_some(frames)
    }
}

/// A frame that has data; comments, which keep the connection alive, have none.
fn parse(text: &str) -> Option<Frame> {
    let mut frame = Frame::default();
    let mut data: Vec<&str> = Vec::new();
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => frame.id = Some(value.into()),
            "event" => frame.event = Some(value.into()),
            "data" => data.push(value),
            _ => {}
        }
    }
    frame.data = data.join("\n");
    (!data.is_empty()).then_some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_however_the_bytes_come() {
        let text = b": hello\n\nid: 7\nevent: image.built\ndata: {\"a\":\ndata: 1}\n\ndata:x\n\n";
        for size in 1..text.len() {
            let mut frames = Frames::default();
            let all: Vec<Frame> = text.chunks(size).flat_map(|chunk| frames.push(chunk).unwrap()).collect();
            assert_eq!(all.len(), 2, "pieces of {size}");
            assert_eq!(all[0], Frame { id: Some("7".into()), event: Some("image.built".into()), data: "{\"a\":\n1}".into() });
            assert_eq!(all[1].data, "x");
        }
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let mut frames = Frames::default();
        assert!((0..20).any(|_| frames.push(&[b'x'; 100_000]).is_none()));
    }
}
