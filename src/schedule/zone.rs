//! A time zone: stretches of constant offset from UTC.

use std::fmt;
use std::ops::RangeInclusive;

use jiff::tz::TimeZone;

use super::{Timestamp, bundle};

/// Further than any zone is from UTC, in seconds.
pub(super) const FARTHEST: i64 = 26 * 3600;

/// A zone with its name and where its rules are from.
#[derive(Clone, Debug)]
pub struct Zone {
    rules: TimeZone,
    name: String,
    source: ZoneSource,
    chosen_by: Option<&'static str>,
}

/// Where the rules of a zone are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneSource {
    /// UTC has none.
    Utc,
    /// This file.
    File(String),
    /// The database in this program, of this version.
    Bundled(&'static str),
    /// The zone's text itself is the rule (tzset(3)).
    Posix,
}

/// Seconds with one offset, from an instant up to `end`, which is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub end: i64,
    pub offset: i64,
}

impl Zone {
    /// Instants for which offsets are known: the years 1 to 9999, in UTC.
    pub(super) const RANGE: RangeInclusive<i64> = -62_135_596_800..=253_402_000_000;

    /// Coordinated Universal Time.
    pub fn utc() -> Zone {
        Zone {
            rules: TimeZone::UTC,
            name: "UTC".to_owned(),
            chosen_by: None,
            source: ZoneSource::Utc,
        }
    }

    /// A zone of a compiled file (tzfile(5)). None: the bytes are no such file.
    pub fn from_file(name: &str, path: &str, bytes: &[u8]) -> Option<Zone> {
        let rules = TimeZone::tzif(name, bytes).ok()?;
        Some(Zone {
            rules,
            name: name.to_owned(),
            chosen_by: None,
            source: ZoneSource::File(path.to_owned()),
        })
    }

    /// A zone of the database in this program, by its exact name.
    pub fn bundled(name: &str) -> Option<Zone> {
        let rules = TimeZone::tzif(name, bundle::rules(name)?).ok()?;
        Some(Zone {
            rules,
            name: name.to_owned(),
            chosen_by: None,
            source: ZoneSource::Bundled(bundle::VERSION),
        })
    }

    /// The rule of a POSIX TZ string (tzset(3)). None: it is not one.
    pub fn posix(text: &str) -> Option<Zone> {
        let rules = TimeZone::posix(text).ok()?;
        Some(Zone {
            rules,
            name: text.to_owned(),
            chosen_by: None,
            source: ZoneSource::Posix,
        })
    }

    /// As the configuration names it, or as the machine does.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its rules are from.
    pub fn source(&self) -> &ZoneSource {
        &self.source
    }

    /// What chose it where the configuration does not: TZ, or a file.
    pub fn choice(&self) -> Option<&'static str> {
        self.chosen_by
    }

    pub(super) fn chosen_by(self, what: &'static str) -> Zone {
        Zone {
            chosen_by: Some(what),
            ..self
        }
    }

    /// Seconds east of UTC at an instant.
    pub fn offset(&self, at: Timestamp) -> i64 {
        let at = jiff::Timestamp::from_second(at.0);
        at.map_or(0, |at| i64::from(self.rules.to_offset(at).seconds()))
    }

    /// The stretch from an instant on.
    pub(super) fn stretch(&self, from: i64) -> Stretch {
        let offset = self.offset(Timestamp(from));
        let forever = Stretch {
            end: i64::MAX,
            offset,
        };
        let Ok(at) = jiff::Timestamp::from_second(from) else {
            return forever;
        };
        // A change of name or of "daylight saving" alone is none of the clock.
        let mut changes = self.rules.following(at);
        let change = changes.find(|change| i64::from(change.offset().seconds()) != offset);
        change.map_or(forever, |change| Stretch {
            end: change.timestamp().as_second(),
            offset,
        })
    }

    /// The highest civil time that the clock has shown up to an instant, in seconds since 1970-01-01T00:00.
    pub(super) fn highest(&self, at: i64) -> i64 {
        let mut highest = at + self.offset(Timestamp(at));
        let Ok(behind) = jiff::Timestamp::from_second(at + 1) else {
            return highest;
        };
        // Longer ago the clock showed less, whatever its offset was.
        for change in self.rules.preceding(behind) {
            let last = change.timestamp().as_second() - 1;
            if last + 2 * FARTHEST < at {
                break;
            }
            highest = highest.max(last + self.offset(Timestamp(last)));
        }
        highest
    }

    /// The change of offset at this very instant: the offsets before it and from it on.
    pub(super) fn change_at(&self, at: i64) -> Option<(i64, i64)> {
        let (before, behind) = (self.offset(Timestamp(at - 1)), self.offset(Timestamp(at)));
        (before != behind).then_some((before, behind))
    }

    /// The last change of offset up to an instant.
    pub(super) fn last_change(&self, at: i64) -> Option<(i64, i64, i64)> {
        let behind = jiff::Timestamp::from_second(at + 1).ok()?;
        self.rules.preceding(behind).find_map(|change| {
            let at = change.timestamp().as_second();
            self.change_at(at)
                .map(|(before, behind)| (at, before, behind))
        })
    }
}

impl fmt::Display for ZoneSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ZoneSource::Utc => f.write_str("built in"),
            ZoneSource::File(path) => f.write_str(path),
            ZoneSource::Bundled(version) => write!(f, "bundled tzdb {version}"),
            ZoneSource::Posix => f.write_str("POSIX TZ string"),
        }
    }
}
