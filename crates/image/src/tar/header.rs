//! One header block: numbers, names, and the checksum that tells a header from garbage.

use super::BLOCK_BYTES;

/// A header's fields, as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub name: Vec<u8>,
    pub mode: i64,
    pub uid: i64,
    pub gid: i64,
    pub size: i64,
    pub mtime: i64,
    pub type_flag: u8,
    pub link: Vec<u8>,
    pub major: i64,
    pub minor: i64,
}

const NO_HEADER: &str = "the checksum is wrong: this is no tar header";

/// Parses a block that is not all zeros.
pub(crate) fn parse(block: &[u8; BLOCK_BYTES]) -> Result<Header, String> {
    let stored = number(&block[148..156]).map_err(|_| NO_HEADER)?;
    // Some old tars summed signed bytes.
    let blank = |at: usize, b: u8| if (148..156).contains(&at) { b' ' } else { b };
    let unsigned: i64 = block.iter().enumerate().map(|(at, b)| i64::from(blank(at, *b))).sum();
    let signed: i64 = block.iter().enumerate().map(|(at, b)| i64::from(blank(at, *b) as i8)).sum();
    if stored != unsigned && stored != signed {
        return Err(NO_HEADER.into());
    }
    let posix = &block[257..263] == b"ustar\0";
    let gnu = &block[257..265] == b"ustar  \0";
    let mut name = text(&block[..100]);
    if posix {
        let star = &block[508..512] == b"tar\0";
        let prefix = text(if star { &block[345..476] } else { &block[345..500] });
        if !prefix.is_empty() {
            name = [&prefix[..], b"/", &name].concat();
        }
    }
    // Device numbers are there in ustar and GNU headers; V7 has other things in their place.
    let device = |field: &[u8]| if posix || gnu { number(field) } else { Ok(0) };
    Ok(Header {
        name,
        mode: number(&block[100..108])?,
        uid: number(&block[108..116])?,
        gid: number(&block[116..124])?,
        size: number(&block[124..136])?,
        mtime: number(&block[136..148])?,
        type_flag: block[156],
        link: text(&block[157..257]),
        major: device(&block[329..337])?,
        minor: device(&block[337..345])?,
    })
}

/// Up to the first NUL.
fn text(field: &[u8]) -> Vec<u8> {
    field.split(|b| *b == 0).next().unwrap_or_default().to_vec()
}

/// Octal digits between spaces and NULs, or, where the highest bit is set, a big-endian two's complement number.
pub(crate) fn number(field: &[u8]) -> Result<i64, String> {
    if field.first().is_some_and(|b| b & 0x80 != 0) {
        return binary(field);
    }
    let trimmed = field.trim_ascii_start();
    let digits = trimmed.split(|b| *b == 0 || *b == b' ').next().unwrap_or_default();
    let start = digits.iter().position(|b| *b != 0).unwrap_or(digits.len());
    digits[start..].iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8).map(|v| v + i64::from(digit - b'0')).ok_or_else(|| "a number is too large".to_string()),
        _ => Err(format!("{:?} is no octal number", String::from_utf8_lossy(field))),
    })
}

fn binary(field: &[u8]) -> Result<i64, String> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (i, byte) in field.iter().enumerate() {
        let byte = if i == 0 { if negative { byte | 0x80 } else { byte & 0x7f } } else { *byte };
        value = value << 8 | i128::from(byte);
    }
    i64::try_from(value).map_err(|_| "a number is too large".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(b"   644 \0"), Ok(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\x00"), Ok(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Ok(-2));
        assert!(number(b"12389\0").is_err());
        assert!(number(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }
}
