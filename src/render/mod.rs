//! Text for people: pure functions from an answer and a style to text.

mod event;
mod reload;
pub mod schedule;
mod status;
mod table;

pub use event::event;
pub use reload::reload;
pub use status::{health, outcomes, service, system};
pub use table::list;

use std::borrow::Cow;
use std::time::Duration;

use crate::base::human_duration;
pub use crate::base::terminal::plain;
use crate::base::terminal::{columns_of, pad};
use crate::control::message::{Health, State};

/// What the command line says about colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// Where a person looks.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How text is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// With ECMA-48 colours.
    pub color: bool,
    /// Columns of the terminal; None: as wide as needed.
    pub width: Option<usize>,
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const DIM: &str = "2";

impl Style {
    /// The text in a colour, where there are colours.
    fn paint<'t>(self, color: &str, text: &'t str) -> Cow<'t, str> {
        match self.color {
            true => format!("\x1b[{color}m{text}\x1b[0m").into(),
            false => text.into(),
        }
    }
}

fn color_of(state: State) -> &'static str {
    match state {
        State::Running => GREEN,
        State::Pending | State::Starting | State::Stopping => YELLOW,
        State::Stopped => DIM,
        State::Failed => RED,
    }
}

fn seconds(seconds: f64) -> String {
    human_duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.0} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn health_name(health: Health) -> &'static str {
    match health {
        Health::None => "-",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

#[cfg(test)]
mod tests;
