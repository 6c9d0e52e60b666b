//! When something is due: cron expressions, time zones, and the next time that matches.
//!
//! Pure: a zone's rules come in as bytes, and the time is handed in. Where clocks change, the rules are those of
//! Debian's cron: an expression whose minute or hour field begins with `*` follows elapsed time; any other one names
//! fixed times, of which those in a gap run at its end, and those that occur twice run once.

mod bundle;
mod civil;
mod clock_change;
mod days;
mod error;
mod expression;
mod field;
mod jitter;
mod matcher;
mod parse;
mod rfc3339;
mod words;
mod zone;
mod zone_name;

#[cfg(test)]
mod tests;

pub use clock_change::ClockChange;
pub use error::{ErrorKind, ExpressionError, Unit};
pub use expression::Expression;
pub use jitter::offset as jitter;
pub use zone::{Zone, ZoneSource};
pub use zone_name::{LOCALTIME, ZoneError, ZoneFile, ZoneFiles, find_zone, local_zone, mistaken};

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Expressions in a zone. It matches whenever one of them does; the same instant counts once.
#[derive(Clone, Debug)]
pub struct Schedule {
    expressions: Vec<Expression>,
    zone: Zone,
}

impl Schedule {
    /// Puts expressions into a zone.
    pub fn new(expressions: Vec<Expression>, zone: Zone) -> Schedule {
        Schedule { expressions, zone }
    }

    /// The expressions, in the order of the configuration.
    pub fn expressions(&self) -> &[Expression] {
        &self.expressions
    }

    /// The zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The first match after `after`, which is always later; `@every` counts from `after`. None: no expression
    /// matches in the next 84 years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let nexts = self.expressions.iter();
        nexts
            .filter_map(|expression| expression.next(after, &self.zone))
            .min()
    }

    /// All matches after `after`, in order. The intervals of an `@every` follow each other whatever else matches.
    pub fn times(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> + use<'_> {
        let next = |expression: &Expression, after| expression.next(after, &self.zone);
        let mut nexts: Vec<Option<Timestamp>> = (self.expressions.iter())
            .map(|expression| next(expression, after))
            .collect();
        std::iter::from_fn(move || {
            let at = nexts.iter().flatten().min().copied()?;
            for (expression, due) in self.expressions.iter().zip(&mut nexts) {
                if *due == Some(at) {
                    *due = next(expression, at);
                }
            }
            Some(at)
        })
    }
}
