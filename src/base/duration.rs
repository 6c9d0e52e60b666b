//! Durations as people write them.

use std::time::Duration;

/// `500ms`, `1m30s`, `2h`; a bare number is seconds.
///
/// # Errors
/// Why the text is no duration.
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("is empty");
    }
    if rest.starts_with('-') {
        return Err("cannot be negative");
    }
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| match digits {
            0 => "has to be a number, then a unit",
            _ => "is too long",
        })?;
        let letters = rest[digits..]
            .find(|c: char| !c.is_ascii_alphabetic())
            .map_or(rest.len(), |end| digits + end);
        let unit = match &rest[digits..letters] {
            "ms" => 1,
            "s" | "" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err("has an unknown unit"),
        };
        millis = number
            .checked_mul(unit)
            .and_then(|part| millis.checked_add(part))
            .ok_or("is too long")?;
        rest = rest[letters..].trim_start();
    }
    Ok(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::{Duration, parse_duration};

    #[test]
    fn durations_are_read_with_their_units() {
        let millis = |text| parse_duration(text).map(|duration: Duration| duration.as_millis());
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("1m30s"), Ok(90_000));
        assert_eq!(millis("1h 5m"), Ok(3_900_000));
        assert_eq!(millis("7"), Ok(7_000));
        assert_eq!(millis("0"), Ok(0));
        for wrong in ["", "-1s", "1.5s", "5 parsecs", "s", "99999999999999999999d"] {
            assert!(millis(wrong).is_err(), "{wrong}");
        }
    }
}
