//! Times as RFC 3339 has them.

use super::civil::{Date, split};
use super::{Timestamp, Zone};

impl Timestamp {
    /// `2027-03-28T03:00:00+02:00`. An offset that is no whole minute, as before 1972, is rounded; the time stays
    /// the same instant.
    pub fn rfc3339(self, zone: &Zone) -> String {
        let minutes = (zone.offset(self) + 30).div_euclid(60);
        let (day, second) = split(self.0 + minutes * 60);
        let date = Date::of_day(day);
        let (sign, size) = if minutes < 0 {
            ('-', -minutes)
        } else {
            ('+', minutes)
        };
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{sign}{:02}:{:02}",
            date.year,
            date.month,
            date.day,
            second / 3600,
            second / 60 % 60,
            second % 60,
            size / 60,
            size % 60
        )
    }

    /// Reads a time with an offset or `Z`; parts of a second are cut off.
    ///
    /// # Errors
    /// Why the text is no such time.
    pub fn from_rfc3339(text: &str) -> Result<Timestamp, String> {
        let time: jiff::Timestamp = text.trim().parse().map_err(|_| {
            "a time with its offset is expected, such as 2027-03-27T12:00:00Z or 2027-03-27T12:00:00+01:00".to_owned()
        })?;
        // Towards the past, also before 1970.
        let seconds = time.as_nanosecond().div_euclid(1_000_000_000);
        i64::try_from(seconds)
            .map(Timestamp)
            .map_err(|_| "out of range".to_owned())
    }
}
