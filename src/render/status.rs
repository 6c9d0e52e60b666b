//! The words of `status`, `health`, and of what became of services.

use std::borrow::Cow;

use super::{
    GREEN, RED, Style, bytes, color_of, columns_of, health_name, pad, plain, seconds, yes_or_no,
};
use crate::control::message::{Health, Outcome, ServiceDetail, State, SystemStatus};

/// The line of `status`.
pub fn system(status: &SystemStatus) -> String {
    let always = [
        ("Total", status.total),
        ("Running", status.running),
        ("Failed", status.failed),
    ];
    let where_any = [
        ("Unhealthy", status.unhealthy),
        ("Pending", status.pending),
        ("Starting", status.starting),
        ("Stopping", status.stopping),
        ("Stopped", status.stopped),
    ];
    let any = where_any.into_iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> = always
        .into_iter()
        .chain(any)
        .map(|(name, count)| format!("{name}: {count}"))
        .collect();
    let down = if status.shutting_down {
        " (shutting down)"
    } else {
        ""
    };
    format!("System Status: {}{down}\n", counts.join(", "))
}

/// Everything about one service, a line each; what there is not has none.
pub fn service(detail: &ServiceDetail, style: Style) -> String {
    let status = &detail.status;
    let dependencies: Vec<String> = detail
        .depends_on
        .iter()
        .map(|dependency| {
            let met = if dependency.met { "met" } else { "not met" };
            format!("{} ({}, {met})", dependency.name, dependency.condition)
        })
        .collect();
    let health = detail.health_check.as_ref().map(|check| {
        let standing = match status.health {
            Health::None => "not checked",
            other => health_name(other),
        };
        let why = detail.health_reason.as_ref();
        let why = why.map_or_else(String::new, |why| format!("; last: {why}"));
        format!("{standing} ({check}{why})")
    });
    let stop = format!(
        "{}, SIGKILL after {}",
        detail.stop_signal,
        seconds(detail.stop_timeout_seconds)
    );
    let list = |names: &[String]| (!names.is_empty()).then(|| names.join(", "));
    let lines = [
        ("PID", status.pid.map(|pid| pid.to_string())),
        ("Uptime", status.uptime_seconds.map(seconds)),
        ("Health", health),
        ("Restarts", Some(status.restarts.to_string())),
        ("Policy", restart_policy(&detail.restart_policy)),
        ("Last exit", detail.last_exit.clone()),
        ("CPU", status.cpu_seconds.map(|cpu| format!("{cpu:.2}s"))),
        ("Memory", status.memory_bytes.map(bytes)),
        ("Command", Some(command_line(&detail.command))),
        ("User", detail.user.clone()),
        ("Required", Some(yes_or_no(status.required).into())),
        ("Enabled", Some(yes_or_no(status.enabled).into())),
        ("Depends on", list(&dependencies)),
        ("Dependents", list(&detail.dependents)),
        ("Stops on", Some(stop)),
        ("Log file", detail.log_file.clone()),
        ("Dropped", dropped(detail.dropped_lines)),
        ("Ready when", ready(&detail.ready)),
    ];
    let state = state_and_detail(status.state, &status.detail, style);
    let mut text = format!(
        "{:<11} {}\n{:<11} {state}\n",
        "Name",
        plain(&status.name),
        "State"
    );
    for (name, value) in lines {
        if let Some(value) = value {
            text.push_str(&format!("{name:<11} {}\n", plain(&value)));
        }
    }
    if status.is_in_trouble() {
        text.push_str(&trouble(detail));
    }
    text
}

/// When and how it failed, what it wrote last, and the commands that lead on.
fn trouble(detail: &ServiceDetail) -> String {
    let status = &detail.status;
    let failed = status.state == State::Failed;
    let (what, how) = match failed {
        true => ("failed", Some(status.detail.as_str())),
        false => ("unhealthy", detail.health_reason.as_deref()),
    };
    let when = detail.state_seconds.filter(|_| failed);
    let when = when.map_or_else(String::new, |ago| format!(" {} ago", seconds(ago)));
    let how = how.filter(|how| !how.is_empty());
    let how = how.map_or_else(String::new, |how| format!(": {}", plain(how)));
    let mut text = format!("\n{what}{when}{how}\n");
    if !detail.last_lines.is_empty() {
        text.push_str("last output:\n");
    }
    for line in &detail.last_lines {
        text.push_str(&format!("  {}\n", plain(&line.replace('\t', "    "))));
    }
    text.push_str("next:\n");
    let unmet = detail.depends_on.iter().filter(|on| !on.met);
    let mut commands: Vec<(&str, &str)> = unmet.map(|on| ("status", on.name.as_str())).collect();
    commands.push(("logs", &status.name));
    commands.push((if failed { "start" } else { "restart" }, &status.name));
    for (command, name) in commands {
        let words = ["go-overlay", command, name].map(str::to_owned);
        text.push_str(&format!("  {}\n", plain(&command_line(&words))));
    }
    text
}

/// A policy of doing nothing is not worth a line, nor is one that an older daemon did not tell.
fn restart_policy(policy: &str) -> Option<String> {
    (!matches!(policy, "" | "no")).then(|| policy.to_owned())
}

fn ready(ready: &str) -> Option<String> {
    (!matches!(ready, "" | "started")).then(|| ready.to_owned())
}

fn dropped(lines: u64) -> Option<String> {
    let noun = if lines == 1 { "line" } else { "lines" };
    (lines > 0).then(|| format!("{lines} {noun}"))
}

/// As a shell would take it, so that it can be tried by hand.
fn command_line(words: &[String]) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    let quoted: Vec<String> = words
        .iter()
        .map(|word| match !word.is_empty() && word.chars().all(is_bare) {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', "'\\''")),
        })
        .collect();
    quoted.join(" ")
}

/// What became of services, a line each.
pub fn outcomes(outcomes: &[Outcome], style: Style) -> String {
    let names = outcomes.iter().map(|outcome| plain(&outcome.name));
    let names: Vec<_> = names.collect();
    let width = names.iter().map(|name| columns_of(name)).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for (outcome, name) in outcomes.iter().zip(names) {
        let mark = mark(outcome.ok, style);
        let state = state_and_detail(outcome.state, &outcome.detail, style);
        text.push_str(&format!("{mark} {name}"));
        pad(&mut text, width - columns_of(&name));
        text.push_str(&format!("  {state}\n"));
    }
    text
}

/// The verdict of `health`, with a line for each reason against it.
pub fn health(healthy: bool, reasons: &[String], style: Style) -> String {
    if healthy {
        return format!("{}\n", style.paint(GREEN, "healthy"));
    }
    let mut text = format!("{}\n", style.paint(RED, "not healthy"));
    for reason in reasons {
        text.push_str(&format!("  {}\n", plain(reason)));
    }
    text
}

fn mark(ok: bool, style: Style) -> Cow<'static, str> {
    match ok {
        true => style.paint(GREEN, "✓"),
        false => style.paint(RED, "✗"),
    }
}

fn state_and_detail(state: State, detail: &str, style: Style) -> Cow<'static, str> {
    let state = style.paint(color_of(state), state.name());
    match detail {
        "" => state,
        detail => format!("{state} ({})", plain(detail)).into(),
    }
}
