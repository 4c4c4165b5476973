//! Parses dates and times of day.

/// Returns the seconds from 1970 to a date, or a date and a time of day, of ISO 8601, such as 2024-02-29,
/// 2024-02-29 23:59 or 2024-02-29T23:59:59.5+01:00. Without an offset the time is UTC.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let (date, rest) = text.split_at_checked(10)?;
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let days = days(year, month, day)?;
    let Some(time) = rest.strip_prefix(['T', ' ']) else {
        return rest.is_empty().then_some(days as f64 * 86400.0);
    };
    let (time, offset) = match time.find(['Z', '+', '-']) {
        None => (time, 0),
        Some(end) => {
            let (time, zone) = time.split_at_checked(end)?;
            (time, offset(zone)?)
        }
    };
    let (minutes, seconds) = match time.split_at_checked(5)? {
        (minutes, "") => (minutes, 0.0),
        (minutes, seconds) => (minutes, seconds_of_minute(seconds.strip_prefix(':')?)?),
    };
    let [hour, minute] = fields(minutes, ':', [2, 2])?;
    let minutes = hour * 60 + minute - offset;
    (hour < 24 && minute < 60).then_some((days * 86400 + minutes * 60) as f64 + seconds)
}

/// Returns the minutes of an offset from UTC: Z, +hh:mm or -hh:mm.
fn offset(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let [hours, minutes] = fields(text.get(1..)?, ':', [2, 2])?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

/// Returns the value of ss or ss.f…, less than 60.
fn seconds_of_minute(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let valid = whole.len() == 2 && whole < "60" && digits(whole) && digits(fraction);
    if valid { text.parse().ok() } else { None }
}

/// Returns numbers of the given numbers of digits, with `separator` between them.
fn fields<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let parts: Vec<&str> = text.split(separator).collect();
    let parts = <[&str; N]>::try_from(parts).ok()?;
    let mut numbers = [0; N];
    for ((number, part), digits) in numbers.iter_mut().zip(parts).zip(digits) {
        let valid = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = if valid { part.parse().ok()? } else { return None };
    }
    Some(numbers)
}

/// Returns the days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = lengths.get(usize::try_from(month - 1).ok()?)?;
    if !(1..=*length).contains(&day) {
        return None;
    }
    let before = year - 1;
    let of_years =
        before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
    let of_months: i64 = lengths.iter().take(month as usize - 1).sum();
    Some(of_years + of_months + day - 1 - 719_162)
}
