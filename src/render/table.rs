//! The table of `list`, fitted to the terminal.

use std::borrow::Cow;

use super::{
    GREEN, RED, Style, YELLOW, bytes, color_of, columns_of, health_name, pad, plain, seconds,
    yes_or_no,
};
use crate::control::message::{Health, ServiceStatus};

const HEADINGS: [&str; 10] = [
    "NAME", "STATE", "PID", "UPTIME", "HEALTH", "RESTARTS", "CPU", "MEM", "REQUIRED", "DETAIL",
];
const STATE: usize = 1;
const HEALTH: usize = 4;
const DETAIL: usize = 9;

/// The columns that can go when the terminal is narrow, the first one first; those that say nothing go
/// before all others.
const DISPENSABLE: [usize; 7] = [8, 6, 7, 5, 4, 3, 2];

/// What cells hold that say nothing.
const NOTHING: [&str; 4] = ["", "-", "0", "no"];

/// Columns that DETAIL has at least before another column goes for it.
const DETAIL_ROOM: usize = 16;

const GAP: usize = 2;

type Row<'s> = [Cow<'s, str>; 10];

/// The table of `list`.
pub fn list(services: &[ServiceStatus], style: Style) -> String {
    let headings: Row<'_> = HEADINGS.map(Cow::from);
    let rows: Vec<Row<'_>> = services.iter().map(row).collect();
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| {
            let cells = rows.iter().chain([&headings]).map(|row| &row[column]);
            cells.map(|cell| columns_of(cell)).max().unwrap_or(0)
        })
        .collect();
    let columns = fitting(&rows, &widths, style.width);
    let mut text = String::new();
    line(&mut text, &headings, &columns, &widths, style, None);
    for (row, service) in rows.iter().zip(services) {
        line(&mut text, row, &columns, &widths, style, Some(service));
    }
    text
}

/// The columns there is room for.
fn fitting(rows: &[Row<'_>], widths: &[usize], width: Option<usize>) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..HEADINGS.len()).collect();
    let Some(width) = width else {
        return columns;
    };
    let says_nothing = |column: &usize| rows.iter().all(|row| NOTHING.contains(&&*row[*column]));
    let (empty, full): (Vec<usize>, Vec<usize>) =
        DISPENSABLE.iter().copied().partition(says_nothing);
    for victim in empty.into_iter().chain(full) {
        let needed: usize = columns
            .iter()
            .map(|column| match *column {
                DETAIL => widths[DETAIL].min(DETAIL_ROOM),
                column => widths[column] + GAP,
            })
            .sum();
        if needed <= width {
            break;
        }
        columns.retain(|column| *column != victim);
    }
    columns
}

fn line(
    text: &mut String,
    row: &Row<'_>,
    columns: &[usize],
    widths: &[usize],
    style: Style,
    service: Option<&ServiceStatus>,
) {
    let mut used = 0;
    for &column in columns {
        let room = style.width.map(|width| width.saturating_sub(used));
        let cell = shortened(&row[column], room);
        let blank = widths[column].saturating_sub(columns_of(&cell)) + GAP;
        used += widths[column] + GAP;
        match service.and_then(|service| color(service, column)) {
            Some(color) => text.push_str(&style.paint(color, &cell)),
            None => text.push_str(&cell),
        }
        pad(text, blank);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
}

fn color(service: &ServiceStatus, column: usize) -> Option<&'static str> {
    match (column, service.health) {
        (STATE, _) => Some(color_of(service.state)),
        (HEALTH, Health::Healthy) => Some(GREEN),
        (HEALTH, Health::Starting) => Some(YELLOW),
        (HEALTH, Health::Unhealthy) => Some(RED),
        _ => None,
    }
}

fn shortened(text: &str, room: Option<usize>) -> Cow<'_, str> {
    match room {
        Some(0) => "".into(),
        Some(room) if columns_of(text) > room => text.chars().take(room - 1).chain(['…']).collect(),
        _ => text.into(),
    }
}

fn row(service: &ServiceStatus) -> Row<'_> {
    let or_dash = |known: Option<String>| known.map_or(Cow::from("-"), Cow::from);
    [
        plain(&service.name),
        service.state.name().into(),
        or_dash(service.pid.map(|pid| pid.to_string())),
        or_dash(service.uptime_seconds.map(seconds)),
        health_name(service.health).into(),
        service.restarts.to_string().into(),
        or_dash(service.cpu_percent.map(|share| format!("{share:.1}%"))),
        or_dash(service.memory_bytes.map(bytes)),
        yes_or_no(service.required).into(),
        plain(&service.detail),
    ]
}
