//! The few forms of dates that servers and signed URLs use, as seconds since 1970. Pure.

const DAY: u64 = 86_400;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sun, 06 Nov 1994 08:49:37 GMT`: the one form of HTTP dates that servers may still send.
pub(super) fn http(text: &str) -> Option<u64> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let mut clock = words.next()?.split(':');
    let time = [clock.next()?, clock.next()?, clock.next()?];
    let (None, Some("GMT"), None) = (clock.next(), words.next(), words.next()) else { return None };
    seconds(number(year)?, month as u64, number(day)?, [number(time[0])?, number(time[1])?, number(time[2])?])
}

/// `20260102T030405Z` (Amazon, Google) and `2026-01-02T03:04:05Z` (Azure).
pub(super) fn iso(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let (date, time) = digits.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8 || time.len() != 6 || !digits.is_ascii() {
        return None;
    }
    let time = [number(&time[..2])?, number(&time[2..4])?, number(&time[4..])?];
    seconds(number(&date[..4])?, number(&date[4..6])?, number(&date[6..])?, time)
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn seconds(year: u64, month: u64, day: u64, [hour, minute, second]: [u64; 3]) -> Option<u64> {
    let valid = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !valid || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days(year, month, day) * DAY + hour * 3600 + minute * 60 + second)
}

/// Days since 1970 of a Gregorian date. Years begin in March here, so that the leap day is their last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    /// Days from 0000-03-01 to 1970-01-01.
    const TO_1970: u64 = 719_468;
    let year = if month > 2 { year } else { year - 1 };
    let month = (month + 9) % 12;
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(http("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(iso("20240229T235959Z"), Some(1_709_251_199));
        assert_eq!(iso("2026-01-02T03:04:05Z"), Some(1_767_323_045));
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            "120",
            "Sun, 06 Nov 1994",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 99 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(http(text), None, "{text}");
        }
        for text in ["", "TZ", "20240229T2359Z", "20241329T000000Z", "2024é29T000000Z", "+1240229T000000Z"] {
            assert_eq!(iso(text), None, "{text}");
        }
    }
}
