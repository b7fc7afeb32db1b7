//! Sizes in bytes, as people write and read them.

/// Reads `512M`, `10G`, `1.5T`, with an optional `iB` or `B`: powers of 1,024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is not a size: write a number and K, M, G or T, for example 10G");
    let trimmed = text.trim().trim_end_matches("iB").trim_end_matches('B');
    let (number, unit) = match trimmed.char_indices().last() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => (&trimmed[..at], unit.to_ascii_uppercase()),
        _ => (trimmed, ' '),
    };
    let shift = match unit {
        ' ' => 0,
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    let bytes = number * f64::from(1u32 << (shift / 2)) * f64::from(1u32 << (shift - shift / 2));
    if !(0.0..9e18).contains(&bytes) {
        return Err(bad());
    }
    Ok(bytes as u64)
}

/// `1.5 GiB`: three digits or so.
pub(crate) fn human(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("10G"), Ok(10 << 30));
        assert_eq!(parse_size("1.5KiB"), Ok(1536));
        assert_eq!(parse_size("77"), Ok(77));
        assert_eq!(parse_size("2TB"), Ok(2 << 40));
        for bad in ["", "G", "-1G", "10X", "1e30T"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!((human(5), human(1536), human(10 << 30)), ("5 B".into(), "1.5 KiB".into(), "10.0 GiB".into()));
    }
}
