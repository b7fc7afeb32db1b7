//! The gzip wrapper around deflate (RFC 1952): member headers and trailers, which may come in pieces.
//!
//! Neither CRC32 nor ISIZE is checked: spans carry a BLAKE3 digest, and a whole layer its diff_id, both of which say more.

/// Longest member header that is accepted; file name and comment are the only parts without a limit of their own.
const HEADER_BYTES_MAX: usize = 256 << 10;
/// CRC32 and ISIZE.
pub(crate) const TRAILER_BYTES: usize = 8;

const FLAG_HEADER_CRC: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;

/// Collects a member's header from pieces.
#[derive(Default)]
pub(crate) struct Header {
    bytes: Vec<u8>,
}

/// What the bytes so far say.
enum Parsed {
    /// The header has this length.
    Whole(usize),
    More,
}

impl Header {
    /// Takes from `input` what belongs to the header. Returns how many bytes that was, and whether the header is whole.
    pub fn take(&mut self, input: &[u8]) -> Result<(usize, bool), String> {
        let before = self.bytes.len();
        let room = HEADER_BYTES_MAX - before;
        self.bytes.extend_from_slice(&input[..input.len().min(room)]);
        match parse(&self.bytes)? {
            Parsed::Whole(length) => {
                self.bytes.clear();
                Ok((length - before, true))
            }
            Parsed::More if input.len() >= room => Err(format!("member header of more than {HEADER_BYTES_MAX} bytes")),
            Parsed::More => Ok((input.len(), false)),
        }
    }

    /// Whether no byte of a header has been seen: the only place where a gzip stream may end.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let expected = [0x1f, 0x8b, 8];
    let seen = bytes.len().min(3);
    if bytes[..seen] != expected[..seen] {
        return Err("not a gzip member header (trailing bytes after the last member?)".into());
    }
    let Some(&flags) = bytes.get(3) else { return Ok(Parsed::More) };
    if flags & 0xe0 != 0 {
        return Err("gzip header with reserved flags".into());
    }
    let mut at = 10;
    if flags & FLAG_EXTRA != 0 {
        let Some(length) = bytes.get(at..at + 2) else { return Ok(Parsed::More) };
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            let Some(end) = bytes.get(at..).and_then(|rest| rest.iter().position(|b| *b == 0)) else { return Ok(Parsed::More) };
            at += end + 1;
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        at += 2;
    }
    Ok(if bytes.len() < at { Parsed::More } else { Parsed::Whole(at) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_in_pieces_of_one_byte() {
        let mut whole = vec![0x1f, 0x8b, 8, FLAG_EXTRA | FLAG_NAME | FLAG_COMMENT | FLAG_HEADER_CRC, 0, 0, 0, 0, 0, 3];
        whole.extend_from_slice(&[3, 0, 1, 2, 3]);
        whole.extend_from_slice(b"name\0comment\0\x12\x34");
        let length = whole.len();
        whole.extend_from_slice(b"deflate data");
        let mut header = Header::default();
        for (i, byte) in whole.iter().enumerate() {
            let (taken, done) = header.take(&[*byte]).unwrap();
            assert_eq!((taken, done), (1, i + 1 == length));
            if done {
                break;
            }
        }
        assert_eq!(Header::default().take(&whole).unwrap(), (length, true));
    }

    #[test]
    fn rejects_what_is_no_header_and_what_never_ends() {
        assert!(Header::default().take(b"PK").is_err());
        let mut endless = vec![0x1f, 0x8b, 8, FLAG_NAME, 0, 0, 0, 0, 0, 3];
        endless.resize(HEADER_BYTES_MAX + 1, b'x');
        assert!(Header::default().take(&endless).is_err());
    }
}
