//! Subcommands that need no daemon.

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::talk::as_json;
use super::{DONE, FAILED, USAGE, complain, print};
use crate::config::{self, Config, Finding, Kind, Severity};
use crate::daemon;
use crate::render::ColorChoice;
use crate::sys::config_file::{self, Pipes};
use crate::sys::facts::SystemFacts;

/// Checks a configuration: prints every finding, and the order in which its services start.
pub(super) fn check(file: Option<PathBuf>, json: bool, color: ColorChoice) -> i32 {
    let named = file.or_else(|| super::variable("GO_OVERLAY_CONFIG"));
    let is_named = named.is_some();
    let path = named.unwrap_or_else(|| PathBuf::from(daemon::DEFAULT_CONFIG));
    let bytes = match config_file::read(&path, Pipes::Inherited) {
        Ok(bytes) => bytes,
        Err(error) => {
            let help = match error.kind() {
                io::ErrorKind::InvalidData => "\n  = help: save the file as UTF-8",
                _ if is_named => "",
                _ => "\n  = help: name the file: go-overlay check FILE",
            };
            complain(&format!(
                "error: cannot read {}: {error}{help}\n",
                path.display()
            ));
            return USAGE;
        }
    };
    let file = path.display().to_string();
    let (text, checked) = match config::decode(bytes) {
        Ok(text) => {
            let checked = config::check(&text, &SystemFacts::new());
            (text, checked)
        }
        Err(config::Undecoded { text, findings }) => {
            let config = None;
            (text, config::Checked { config, findings })
        }
    };
    let code = if checked.config.is_some() {
        DONE
    } else {
        USAGE
    };
    if json {
        let shown = print(&as_json(&report(
            &file,
            &text,
            checked.config.as_ref(),
            &checked.findings,
        )));
        return if code == DONE { shown } else { code };
    }
    let color = daemon::wants_color(color, &io::stderr());
    complain(&config::render(
        &checked.findings,
        &file,
        &text,
        color,
        "nothing was started",
    ));
    let Some(config) = checked.config else {
        return code;
    };
    print(&in_words(&file, &config))
}

fn report(file: &str, text: &str, config: Option<&Config>, findings: &[Finding]) -> Value {
    let order = config.map(|config| {
        let names = config.start_order().into_iter();
        let names = names.filter_map(|index| config.services.get(index));
        names
            .map(|service| service.name.clone())
            .collect::<Vec<_>>()
    });
    let mut place = Place::default();
    let findings: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let (line, column) = place.of(text, finding.span.start);
            json!({
                "severity": match finding.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                "kind": match finding.kind {
                    Kind::Text => "text",
                    Kind::Machine => "machine",
                },
                "line": line,
                "column": column,
                "message": finding.message,
                "label": finding.label,
                "help": finding.help,
            })
        })
        .collect();
    json!({ "file": file, "ok": config.is_some(), "findings": findings, "start_order": order })
}

/// Line and column of places that follow each other in a text, which is read once.
#[derive(Default)]
struct Place {
    at: usize,
    line: usize,
    column: usize,
}

impl Place {
    /// Counted from 1, the column in characters.
    fn of(&mut self, text: &str, at: usize) -> (usize, usize) {
        for character in text.get(self.at..at).unwrap_or_default().chars() {
            match character {
                '\n' => (self.line, self.column) = (self.line + 1, 0),
                _ => self.column += 1,
            }
        }
        self.at = self.at.max(at);
        (self.line + 1, self.column + 1)
    }
}

fn in_words(file: &str, config: &Config) -> String {
    let mut text = match config.services.len() {
        0 => return format!("{file} is good: it has no services\n"),
        1 => format!("{file} is good: 1 service\n"),
        count => format!("{file} is good: {count} services, which start in this order:\n"),
    };
    let order = config.start_order().into_iter();
    for (number, service) in (1..).zip(order.filter_map(|index| config.services.get(index))) {
        let on: Vec<&str> = service
            .depends_on
            .iter()
            .map(|dependency| dependency.on.as_str())
            .collect();
        let after = if on.is_empty() {
            String::new()
        } else {
            format!("  after {}", on.join(", "))
        };
        let disabled = if service.enabled { "" } else { "  (disabled)" };
        text.push_str(&format!("{number:>4}. {}{after}{disabled}\n", service.name));
    }
    text
}

/// Prints what was done, a line each.
pub(super) fn tell(result: Result<Vec<String>, String>) -> i32 {
    match result {
        Ok(lines) => {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            print(&text)
        }
        Err(why) => {
            complain(&format!("error: {why}\n"));
            FAILED
        }
    }
}
