//! pax extended headers: records `length key=value\n` that override the header behind them.

use archive::Xattrs;

use super::sparse::Segment;

/// What the records of one extended header say; only what we use.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<i64>,
    pub uid: Option<i64>,
    pub gid: Option<i64>,
    pub mtime: Option<(i64, u32)>,
    /// As they come: of several with one name the last counts, and an empty value takes it back.
    pub xattrs: Xattrs,
    pub sparse: Option<PaxSparse>,
}

/// GNU's way to say "sparse" in pax: three versions.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct PaxSparse {
    /// Version 1.0: the map precedes the data.
    pub map_in_data: bool,
    pub name: Option<Vec<u8>>,
    pub real_size: Option<i64>,
    /// Versions 0.0 and 0.1: the map itself.
    pub map: Vec<Segment>,
}

/// Parses an extended header's body.
pub(crate) fn parse(mut body: &[u8]) -> Result<Pax, String> {
    let mut pax = Pax::default();
    let (mut major, mut minor, mut offset) = (None, None, None);
    let mut sparse = PaxSparse::default();
    let mut is_sparse = false;
    while !body.is_empty() {
        let Record { key, value, rest } = record(body)?;
        body = rest;
        // Go refuses these too; a name with a NUL could be in no directory.
        if key.contains(&0) || (matches!(key, b"path" | b"linkpath" | b"GNU.sparse.name") && value.contains(&0)) {
            return Err("a name in a pax record has a NUL".into());
        }
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            pax.xattrs.push((name.to_vec(), value.to_vec()));
            continue;
        }
        is_sparse |= key.starts_with(b"GNU.sparse.");
        match key {
            b"path" => pax.path = unless_empty(value, |v| Ok(v.to_vec()))?,
            b"linkpath" => pax.link = unless_empty(value, |v| Ok(v.to_vec()))?,
            b"size" => pax.size = unless_empty(value, integer)?,
            b"uid" => pax.uid = unless_empty(value, integer)?,
            b"gid" => pax.gid = unless_empty(value, integer)?,
            b"mtime" => pax.mtime = unless_empty(value, time)?,
            _ if value.is_empty() => {}
            b"GNU.sparse.major" => major = Some(integer(value)?),
            b"GNU.sparse.minor" => minor = Some(integer(value)?),
            b"GNU.sparse.name" => sparse.name = Some(value.to_vec()),
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => sparse.real_size = Some(integer(value)?),
            b"GNU.sparse.offset" => offset = Some(integer(value)?),
            b"GNU.sparse.numbytes" => {
                let start = offset.take().ok_or("GNU.sparse.numbytes without an offset")?;
                sparse.map.push(Segment::new(start, integer(value)?)?);
            }
            b"GNU.sparse.map" => sparse.map = map(value)?,
            _ => {}
        }
    }
    sparse.map_in_data = (major, minor) == (Some(1), Some(0));
    if major.is_some_and(|m| m > 1) || (major == Some(1) && minor != Some(0)) {
        return Err(format!("GNU sparse format {}.{} is unknown", major.unwrap_or(0), minor.unwrap_or(0)));
    }
    // Without a version, the map is what tells a sparse file: where it is missing, Go (and so every unpacker of images) sees a plain one.
    is_sparse &= major.is_some() || !sparse.map.is_empty();
    pax.sparse = is_sparse.then_some(sparse);
    Ok(pax)
}

/// A record's value; an empty one takes back what an earlier record said.
fn unless_empty<T>(value: &[u8], parse: impl Fn(&[u8]) -> Result<T, String>) -> Result<Option<T>, String> {
    if value.is_empty() { Ok(None) } else { parse(value).map(Some) }
}

/// A record, and what follows it.
struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

fn record(body: &[u8]) -> Result<Record<'_>, String> {
    let bad = || "a pax record is malformed".to_string();
    let space = body.iter().take(20).position(|b| *b == b' ').ok_or_else(bad)?;
    let length = usize::try_from(integer(&body[..space])?).map_err(|_| bad())?;
    let line = body.get(space + 1..length).ok_or_else(bad)?;
    let (newline, line) = line.split_last().ok_or_else(bad)?;
    let equals = line.iter().position(|b| *b == b'=').filter(|_| *newline == b'\n').ok_or_else(bad)?;
    Ok(Record { key: &line[..equals], value: &line[equals + 1..], rest: &body[length..] })
}

/// A decimal integer.
pub(crate) fn integer(value: &[u8]) -> Result<i64, String> {
    let text = std::str::from_utf8(value).map_err(|_| "a number in a pax record is not text")?;
    text.parse().map_err(|_| format!("{text:?} in a pax record is no number"))
}

/// Seconds with a decimal fraction of any length; digits behind the ninth are dropped.
fn time(value: &[u8]) -> Result<(i64, u32), String> {
    let (whole, fraction) = match value.iter().position(|b| *b == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &b""[..]),
    };
    let seconds = if whole.is_empty() || whole == b"-" { 0 } else { integer(whole)? };
    let digits = (0..9).map(|i| fraction.get(i).copied().unwrap_or(b'0'));
    let mut nanoseconds = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(format!("{:?} in a pax record is no time", String::from_utf8_lossy(value)));
        }
        nanoseconds = nanoseconds * 10 + u32::from(digit - b'0');
    }
    if value.starts_with(b"-") && nanoseconds > 0 {
        return Ok((seconds.saturating_sub(1), 1_000_000_000 - nanoseconds));
    }
    Ok((seconds, nanoseconds))
}

/// Version 0.1: `offset,length,offset,length,…`.
fn map(value: &[u8]) -> Result<Vec<Segment>, String> {
    let numbers = value.split(|b| *b == b',').map(integer).collect::<Result<Vec<i64>, _>>()?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("GNU.sparse.map has an odd number of numbers".into());
    }
    pairs.iter().map(|[start, length]| Segment::new(*start, *length)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let pax = parse(b"17 path=some/dir\n27 mtime=-5.25000000000001\n23 SCHILY.xattr.u=a\nb=\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"some/dir"[..]));
        assert_eq!(pax.mtime, Some((-6, 750_000_000)));
        assert_eq!(pax.xattrs, vec![(b"u".to_vec(), b"a\nb=".to_vec())]);
    }

    #[test]
    fn an_empty_value_takes_a_record_back() {
        let pax = parse(b"17 path=some/dir\n8 path=\n9 uid=12\n").unwrap();
        assert_eq!((pax.path, pax.uid), (None, Some(12)));
    }

    #[test]
    fn sparse_records_without_a_map_are_of_a_plain_file() {
        let size = b"26 GNU.sparse.size=100000\n";
        assert_eq!(parse(size).unwrap().sparse, None);
        let version = [b"22 GNU.sparse.major=0\n", &size[..]].concat();
        assert_eq!(parse(&version).unwrap().sparse.and_then(|s| s.real_size), Some(100_000));
    }

    #[test]
    fn malformed_records_are_errors() {
        for bad in [
            &b"5 a=b\n"[..],
            b"6 a=b",
            b"x a=b\n",
            b"99 a=b\n",
            b"6 ab=\n \n",
            b"0 \n",
            b"-1 a=b\n",
            b"4 a\n",
            b"11 path=a\0\n",
            b"26 SCHILY.xattr.user.\0=vv\n",
        ] {
            assert!(parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
