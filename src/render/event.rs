//! What has happened, in a line.

use std::borrow::Cow;

use super::{Style, color_of, plain};
use crate::control::message::{EventKind, EventRecord, State};

/// A line of `events`: `2026-11-23T18:32:59.123Z web: STARTING -> RUNNING (why)`.
pub fn event(record: &EventRecord, style: Style) -> String {
    // Milliseconds will do for a person.
    let time = plain(record.time.get(..23).unwrap_or(&record.time));
    let who = record.service.as_deref().unwrap_or("go-overlay");
    let what = match (record.event, &record.from, &record.to) {
        (_, Some(from), Some(to)) => format!("{} -> {}", paint(from, style), paint(to, style)),
        (EventKind::Restart, ..) => "restarts".into(),
        (EventKind::PostScript, ..) => "post-script failed".into(),
        (EventKind::Reload, ..) => "reload".into(),
        (EventKind::Shutdown, ..) => "shutdown".into(),
        (EventKind::State | EventKind::Health | EventKind::Missed, ..) => String::new(),
    };
    let detail = plain(&record.detail);
    let tail = match (what.as_str(), &*detail) {
        (what, "") => what.to_owned(),
        ("", detail) => detail.to_owned(),
        (what, detail) => format!("{what} ({detail})"),
    };
    format!("{time}Z {}: {tail}\n", plain(who))
}

fn paint(word: &str, style: Style) -> Cow<'_, str> {
    match State::ALL.into_iter().find(|state| state.name() == word) {
        Some(state) => style.paint(color_of(state), word),
        None => plain(word),
    }
}
