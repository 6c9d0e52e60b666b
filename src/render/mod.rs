//! Text for people: pure functions from an answer and a style to text.

use crate::base::human_duration;
use crate::control::message::{Health, Outcome, ServiceDetail, ServiceStatus, State, SystemStatus};
use std::time::Duration;

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

const HEADINGS: [&str; 10] = [
    "NAME", "STATE", "PID", "UPTIME", "HEALTH", "RESTARTS", "CPU", "MEM", "REQUIRED", "DETAIL",
];
const STATE_COLUMN: usize = 1;
const DETAIL_COLUMN: usize = 9;

/// Columns that go first when the terminal is narrow.
const DISPENSABLE: [usize; 5] = [8, 6, 7, 5, 4];

/// The table of `list`.
pub fn list(services: &[ServiceStatus], style: Style) -> String {
    let rows: Vec<[String; 10]> = services.iter().map(row).collect();
    let headings = HEADINGS.map(str::to_owned);
    let width_of = |column: usize| {
        rows.iter()
            .chain([&headings])
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width_of).collect();
    let mut columns: Vec<usize> = (0..HEADINGS.len()).collect();
    let needed = |columns: &[usize]| {
        columns
            .iter()
            .map(|column| widths[*column] + 2)
            .sum::<usize>()
            - 2
    };
    for victim in DISPENSABLE {
        let fixed: Vec<usize> = columns
            .iter()
            .copied()
            .filter(|column| *column != DETAIL_COLUMN)
            .collect();
        if style.width.is_some_and(|width| needed(&fixed) + 16 > width) {
            columns.retain(|column| *column != victim);
        }
    }
    let mut text = String::new();
    text.push_str(&line(&headings, &columns, &widths, style, None));
    for (row, service) in rows.iter().zip(services) {
        text.push_str(&line(row, &columns, &widths, style, Some(service.state)));
    }
    text
}

fn line(
    row: &[String; 10],
    columns: &[usize],
    widths: &[usize],
    style: Style,
    state: Option<State>,
) -> String {
    let mut text = String::new();
    let mut used = 0;
    for &column in columns {
        let cell = &row[column];
        if column == DETAIL_COLUMN {
            let room = style.width.map(|width| width.saturating_sub(used));
            text.push_str(&shortened(cell, room));
            continue;
        }
        let padded = format!("{cell:<width$}  ", width = widths[column]);
        used += widths[column] + 2;
        match state.filter(|_| column == STATE_COLUMN && style.color) {
            Some(state) => text.push_str(&format!("\x1b[{}m{padded}\x1b[0m", color_of(state))),
            None => text.push_str(&padded),
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn shortened(text: &str, room: Option<usize>) -> String {
    match room {
        Some(room) if text.chars().count() > room => text
            .chars()
            .take(room.saturating_sub(1))
            .chain(['…'])
            .collect(),
        _ => text.to_owned(),
    }
}

fn row(service: &ServiceStatus) -> [String; 10] {
    let dash = || "-".to_owned();
    [
        service.name.clone(),
        service.state.to_string(),
        service.pid.map_or_else(dash, |pid| pid.to_string()),
        service.uptime_seconds.map_or_else(dash, |seconds| {
            human_duration(Duration::from_secs_f64(seconds.max(0.0)))
        }),
        health_name(service.health).into(),
        service.restarts.to_string(),
        cpu_share(service).map_or_else(dash, |share| format!("{share:.1}%")),
        service.memory_bytes.map_or_else(dash, bytes),
        if service.required { "yes" } else { "no" }.into(),
        service.detail.clone(),
    ]
}

/// Over the service's present run, as ps(1) counts.
fn cpu_share(service: &ServiceStatus) -> Option<f64> {
    let (cpu, uptime) = (service.cpu_seconds?, service.uptime_seconds?);
    (uptime > 0.0).then(|| cpu / uptime * 100.0)
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.0} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}

fn health_name(health: Health) -> &'static str {
    match health {
        Health::None => "-",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

fn color_of(state: State) -> &'static str {
    match state {
        State::Running => "32",
        State::Pending | State::Starting | State::Stopping => "33",
        State::Stopped => "2",
        State::Failed => "31",
    }
}

/// The line of `status`.
pub fn system(status: &SystemStatus) -> String {
    let counts = [
        ("Total", status.total),
        ("Running", status.running),
        ("Failed", status.failed),
        ("Pending", status.pending),
        ("Starting", status.starting),
        ("Stopping", status.stopping),
        ("Stopped", status.stopped),
    ];
    let shown = counts
        .iter()
        .enumerate()
        .filter(|(index, (_, count))| *index < 3 || *count > 0);
    let text: Vec<String> = shown
        .map(|(_, (name, count))| format!("{name}: {count}"))
        .collect();
    let down = if status.shutting_down {
        " (shutting down)"
    } else {
        ""
    };
    format!("System Status: {}{down}\n", text.join(", "))
}

/// Everything about one service.
pub fn service(detail: &ServiceDetail) -> String {
    let status = &detail.status;
    let mut lines = vec![
        ("Name", status.name.clone()),
        ("State", state_and_detail(status.state, &status.detail)),
    ];
    let mut add = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
    add("Pid", status.pid.map(|pid| pid.to_string()));
    add(
        "Uptime",
        status
            .uptime_seconds
            .map(|seconds| human_duration(Duration::from_secs_f64(seconds.max(0.0)))),
    );
    add(
        "Health",
        (status.health != Health::None).then(|| health_name(status.health).to_owned()),
    );
    add("Restarts", Some(status.restarts.to_string()));
    add("Last exit", detail.last_exit.clone());
    add("Command", Some(detail.command.join(" ")));
    add("User", detail.user.clone());
    add(
        "CPU",
        status.cpu_seconds.map(|seconds| format!("{seconds:.2}s")),
    );
    add("Memory", status.memory_bytes.map(bytes));
    add(
        "Required",
        Some(if status.required { "yes" } else { "no" }.into()),
    );
    add(
        "Enabled",
        Some(if status.enabled { "yes" } else { "no" }.into()),
    );
    let dependencies: Vec<String> = detail
        .depends_on
        .iter()
        .map(|dependency| {
            format!(
                "{} ({}, {})",
                dependency.name,
                dependency.condition,
                if dependency.met { "met" } else { "not met" }
            )
        })
        .collect();
    add(
        "Depends on",
        (!dependencies.is_empty()).then(|| dependencies.join(", ")),
    );
    add(
        "Dependents",
        (!detail.dependents.is_empty()).then(|| detail.dependents.join(", ")),
    );
    add(
        "Stops on",
        Some(format!(
            "{}, SIGKILL after {}",
            detail.stop_signal,
            human_duration(Duration::from_secs_f64(
                detail.stop_timeout_seconds.max(0.0)
            ))
        )),
    );
    add("Log file", detail.log_file.clone());
    lines
        .iter()
        .map(|(name, value)| format!("{name:<11} {value}\n"))
        .collect()
}

/// What became of services, a line each.
pub fn outcomes(outcomes: &[Outcome], style: Style) -> String {
    let width = outcomes
        .iter()
        .map(|outcome| outcome.name.len())
        .max()
        .unwrap_or(0);
    let line = |outcome: &Outcome| {
        let mark = match (outcome.ok, style.color) {
            (true, true) => "\x1b[32m✓\x1b[0m",
            (true, false) => "✓",
            (false, true) => "\x1b[31m✗\x1b[0m",
            (false, false) => "✗",
        };
        format!(
            "{mark} {:<width$}  {}\n",
            outcome.name,
            state_and_detail(outcome.state, &outcome.detail)
        )
    };
    outcomes.iter().map(line).collect()
}

fn state_and_detail(state: State, detail: &str) -> String {
    match detail {
        "" => state.to_string(),
        detail => format!("{state} ({detail})"),
    }
}
