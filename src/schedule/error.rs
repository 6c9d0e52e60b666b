//! Why an expression is refused, and what to write instead.

use std::fmt;
use std::ops::Range;

/// A field of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The first of six.
    Second,
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 1 to 31.
    MonthDay,
    /// 1 to 12, or a name.
    Month,
    /// 0 to 7, or a name; 0 and 7 are Sunday.
    WeekDay,
}

impl Unit {
    /// The lowest and the highest value of its numbers.
    pub(super) fn bounds(self) -> (u32, u32) {
        match self {
            Unit::Second | Unit::Minute => (0, 59),
            Unit::Hour => (0, 23),
            Unit::MonthDay => (1, 31),
            Unit::Month => (1, 12),
            Unit::WeekDay => (0, 7),
        }
    }

    /// How many values there are: a larger step makes no sense.
    pub(super) fn size(self) -> u32 {
        match self {
            Unit::WeekDay => 7,
            other => other.bounds().1 - other.bounds().0 + 1,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Second => "second",
            Unit::Minute => "minute",
            Unit::Hour => "hour",
            Unit::MonthDay => "day of the month",
            Unit::Month => "month",
            Unit::WeekDay => "day of the week",
        })
    }
}

/// What is wrong with an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is nothing in it.
    Empty,
    /// Four fields or fewer, or seven and more.
    FieldCount,
    /// `@` with a word that is no macro.
    UnknownMacro,
    /// `@reboot`.
    Reboot,
    /// `@every` without a duration, or with one that is too short.
    Interval,
    /// `TZ=` or `CRON_TZ=` in front.
    ZoneInside,
    /// `H`, which other programs replace by a number of their choice.
    Hashed,
    /// A number outside of its field's bounds.
    OutOfRange,
    /// Neither a number nor a name of this field.
    NotANumber,
    /// Nothing between two commas, or at an end of a list.
    EmptyItem,
    /// A range whose end is before its start.
    Backwards,
    /// `/0`, no number, or more than the field has values.
    Step,
    /// `?` in a field of times, in both day fields, or as a part of something.
    QuestionMark,
    /// A use of `L`, `W` or `#` that has no meaning.
    Special,
    /// No date ever matches.
    Never,
}

/// An expression that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError {
    /// What kind of mistake it is.
    pub kind: ErrorKind,
    /// Where: bytes of the expression.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl ExpressionError {
    pub(super) fn new(
        kind: ErrorKind,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> ExpressionError {
        ExpressionError {
            kind,
            span,
            message: message.into(),
            help: help.into(),
        }
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
