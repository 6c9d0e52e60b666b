//! Typed values of one table: each that is wrong becomes a finding, and reading goes on.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Finding, may_suggest};
use super::instead;
use crate::base::{Signal, parse_duration};

pub(super) type Value<'v> = Spanned<DeValue<'v>>;

/// A table that is being read.
pub(super) struct Table<'t, 'f> {
    pub table: &'t DeTable<'t>,
    pub findings: &'f mut Vec<Finding>,
}

impl<'t> Table<'t, '_> {
    pub fn get(&self, key: &str) -> Option<&'t Value<'t>> {
        self.table.get(key)
    }

    pub fn span_of_key(&self, key: &str) -> Option<Range<usize>> {
        self.table.get_key_value(key).map(|(key, _)| key.span())
    }

    pub fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Reports a finding about a word that is unknown, with the known one that was probably meant; without it once
    /// so much is wrong that the suggestion is not shown.
    pub fn report_unknown<'k>(
        &mut self,
        finding: Finding,
        word: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let is_shown = may_suggest(self.findings.len(), 1);
        self.report(match is_shown {
            true => finding.suggest(word, known),
            false => finding,
        });
    }

    /// As [`report_unknown`](Self::report_unknown), for a signal, which may lack its SIG.
    pub fn report_unknown_signal(&mut self, finding: Finding, text: &str) {
        let upper = text.to_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        // A number is like the name of no signal.
        if !bare.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return self.report(finding);
        }
        let names: Vec<String> = match may_suggest(self.findings.len(), 1) {
            true => Signal::names().collect(),
            false => Vec::new(),
        };
        let names = names.iter().map(String::as_str);
        self.report_unknown(finding, &format!("SIG{bare}"), names);
    }

    fn wrong_type(&mut self, key: &str, value: &Value<'_>, wanted: &str) -> Finding {
        let found = type_name(value.get_ref());
        Finding::error(
            value.span(),
            format!("`{key}` has to be {wanted}, and is {found}"),
            format!("expected {wanted}"),
        )
    }

    pub fn string(&mut self, key: &str) -> Option<(String, Range<usize>)> {
        let value = self.get(key)?;
        let DeValue::String(text) = value.get_ref() else {
            let finding = self.wrong_type(key, value, "a string");
            self.report(finding);
            return None;
        };
        self.without_nul(key, text, value.span())
            .then(|| (text.to_string(), value.span()))
    }

    /// A string that goes to the kernel, which ends strings at a NUL byte.
    pub fn without_nul(&mut self, key: &str, text: &str, span: Range<usize>) -> bool {
        let good = !text.contains('\0');
        if !good {
            self.report(Finding::error(
                span,
                format!("`{key}` holds a NUL byte"),
                "no program can be given this",
            ));
        }
        good
    }

    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(boolean) => Some(*boolean),
            other => {
                let plain = other
                    .as_str()
                    .filter(|text| matches!(*text, "true" | "false"));
                let mut finding = self.wrong_type(key, value, "true or false");
                if let Some(text) = plain {
                    finding = finding.help(format!("write it without quotes: {key} = {text}"));
                }
                self.report(finding);
                None
            }
        }
    }

    pub fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.get(key)?;
        let number = integer_of(value.get_ref());
        // One beyond 64 bits is a whole number all the same.
        if number.is_none() && value.get_ref().as_integer().is_none() {
            let finding = self.wrong_type(key, value, "a whole number");
            self.report(finding);
            return None;
        }
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let (low, high) = range.into_inner();
        self.report(Finding::error(
            value.span(),
            format!("`{key}` is out of range"),
            format!("has to be from {low} to {high}"),
        ));
        None
    }

    /// An integer of seconds, or a string with units.
    pub fn duration(&mut self, key: &str) -> Option<Duration> {
        let value = self.get(key)?;
        let result = match value.get_ref() {
            DeValue::String(text) => parse_duration(text),
            other => match integer_of(other) {
                Some(seconds) => u64::try_from(seconds)
                    .map(Duration::from_secs)
                    .map_err(|_| "cannot be negative"),
                None if other.is_integer() => Err(beyond(other, "is too long")),
                None => {
                    let finding = self.wrong_type(key, value, "a duration").help(format!(
                        "write whole seconds, {key} = 10, or a string with units, {key} = \"1m30s\""
                    ));
                    self.report(finding);
                    return None;
                }
            },
        };
        match result {
            Ok(duration) if duration <= LONGEST => Some(duration),
            Ok(_) => {
                self.report(Finding::error(
                    value.span(),
                    format!("`{key}` is longer than a year"),
                    "too long",
                ));
                None
            }
            Err(why) => {
                let finding = Finding::error(value.span(), format!("`{key}` is no duration"), why);
                self.report(
                    finding.help("units are ms, s, m, h and d: \"500ms\", \"1m30s\", \"2h\""),
                );
                None
            }
        }
    }

    /// An integer of bytes, or a string with units.
    pub fn size(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.get(key)?;
        let result = match value.get_ref() {
            DeValue::String(text) => parse_size(text),
            other => match integer_of(other) {
                Some(bytes) => u64::try_from(bytes).map_err(|_| "cannot be negative"),
                None if other.is_integer() => Err(beyond(other, "is too large")),
                None => {
                    let finding = self.wrong_type(key, value, "a size").help(format!(
                        "write bytes, {key} = 65536, or a string with a unit, {key} = \"64KiB\""
                    ));
                    self.report(finding);
                    return None;
                }
            },
        };
        match result {
            Ok(bytes) if range.contains(&bytes) => Some(bytes),
            Ok(_) => {
                let (low, high) = range.into_inner();
                self.report(Finding::error(
                    value.span(),
                    format!("`{key}` is out of range"),
                    format!("has to be from {} to {}", in_units(low), in_units(high)),
                ));
                None
            }
            Err(why) => {
                let finding = Finding::error(value.span(), format!("`{key}` is no size"), why);
                self.report(
                    finding
                        .help("units are KiB, MiB and GiB, or kB, MB and GB: \"64KiB\", \"10MB\""),
                );
                None
            }
        }
    }

    /// One of several words.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(&'static str, T)]) -> Option<T> {
        let value = self.get(key)?;
        let DeValue::String(text) = value.get_ref() else {
            let mut finding = self.wrong_type(key, value, "a word in quotes");
            finding.label = expected(words);
            self.report(finding);
            return None;
        };
        let known = words.iter().find(|(word, _)| word == text);
        if known.is_none() {
            let what = format!("unknown `{key}`: `{}`", text.escape_debug());
            let finding = Finding::error(value.span(), what, expected(words));
            self.report_unknown(finding, text, words.iter().map(|(word, _)| *word));
        }
        known.map(|(_, meaning)| *meaning)
    }

    pub fn strings(&mut self, key: &str) -> Option<Vec<(String, Range<usize>)>> {
        let value = self.get(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            let mut finding = self.wrong_type(key, value, "an array of strings");
            if let DeValue::String(text) = value.get_ref() {
                let (shell, line) = instead::shell_and_line(text);
                let words = instead::words(text);
                if key == "exec" && instead::needs_shell(text) {
                    let words = instead::listed([shell, "-c", line]);
                    finding = finding.help(format!("no shell reads it; write {key} = [{words}]"));
                } else if !words.is_empty() {
                    let words = instead::listed(words);
                    finding = finding.help(format!("no shell splits it; write {key} = [{words}]"));
                }
            }
            self.report(finding);
            return None;
        };
        let mut strings = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) if self.without_nul(key, text, item.span()) => {
                    strings.push((text.to_string(), item.span()))
                }
                DeValue::String(_) => {}
                other => {
                    let found = type_name(other);
                    let finding = Finding::error(
                        item.span(),
                        format!("`{key}` has to hold strings, and this is {found}"),
                        "expected a string",
                    );
                    self.report(finding.help("put it in quotes"));
                }
            }
        }
        Some(strings)
    }

    pub fn table(&mut self, key: &str, wanted: &str) -> Option<&'t DeTable<'t>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                let finding = self.wrong_type(key, value, wanted);
                self.report(finding);
                None
            }
        }
    }
}

/// `expected "a", "b" or "c"`.
fn expected<T>(words: &[(&'static str, T)]) -> String {
    let mut text = String::from("expected ");
    for (at, (word, _)) in words.iter().enumerate() {
        text += match at {
            0 => "",
            _ if at + 1 == words.len() => " or ",
            _ => ", ",
        };
        text += &format!("\"{word}\"");
    }
    text
}

/// A bound as it would be written: bounds are powers of two.
fn in_units(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fitting = units
        .into_iter()
        .find(|(bits, _)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    match fitting {
        Some((bits, unit)) => format!("{} {unit}", bytes >> bits),
        None => bytes.to_string(),
    }
}

const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// With its article, as it stands in a sentence.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Why a whole number beyond 64 bits is refused.
fn beyond(value: &DeValue<'_>, too_much: &'static str) -> &'static str {
    match number_text(value) {
        Some(text) if text.starts_with('-') => "cannot be negative",
        _ => too_much,
    }
}

/// A whole number in decimal; one beyond 64 bits as it is written.
pub(super) fn number_text(value: &DeValue<'_>) -> Option<String> {
    let integer = value.as_integer()?;
    let number = i64::from_str_radix(integer.as_str(), integer.radix());
    Some(number.map_or_else(|_| integer.to_string(), |number| number.to_string()))
}

pub(super) fn integer_of(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// `64KiB`, `10MB`; a bare number is bytes. `K`, `M` and `G` alone count in 1024s, as in logrotate.
///
/// # Errors
/// Why the text is no size.
pub fn parse_size(text: &str) -> Result<u64, &'static str> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| match digits {
        0 => "has to be a number, then a unit",
        _ => "is too large",
    })?;
    let factor: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "k" | "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err("has an unknown unit"),
    };
    number.checked_mul(factor).ok_or("is too large")
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("10 MB"), Ok(10_000_000));
        assert_eq!(parse_size("1G"), Ok(1 << 30));
        assert_eq!(parse_size("7"), Ok(7));
        for wrong in ["", "-1", "1.5M", "5 apples", "KiB", "99999999999G"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
