//! Subcommands that need no daemon.

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::talk::as_json;
use super::{DONE, FAILED, USAGE, complain, print};
use crate::config::{self, Config, FileId, Files, Kind, Needed, Report, Severity, Span};
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
    let files = Files::of(path.display().to_string(), bytes);
    let report = config::load(files, &SystemFacts::new(), Needed::ByAll);
    let code = if report.config.is_some() { DONE } else { USAGE };
    if json {
        let shown = print(&as_json(&in_json(&report)));
        return if code == DONE { shown } else { code };
    }
    let color = daemon::wants_color(color, &io::stderr());
    complain(&report.render(color, "nothing was started"));
    let Some(config) = &report.config else {
        return code;
    };
    print(&in_words(report.files.get(FileId::MAIN).name(), config))
}

fn in_json(report: &Report) -> Value {
    let Report {
        files,
        config,
        findings,
    } = report;
    let order = config.as_ref().map(|config| {
        let names = config.start_order().into_iter();
        let names = names.filter_map(|index| config.services.get(index));
        names
            .map(|service| service.name.clone())
            .collect::<Vec<_>>()
    });
    let mut place = Place::begin(FileId::MAIN);
    let findings: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let (line, column) = place.of(files, finding.span);
            let mut shown = json!({
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
            });
            if finding.span.file != FileId::MAIN {
                shown["file"] = files.get(finding.span.file).name().into();
            }
            shown
        })
        .collect();
    let file = files.get(FileId::MAIN).name();
    json!({ "file": file, "ok": config.is_some(), "findings": findings, "start_order": order })
}

/// Line and column of places that follow each other in files, each of which is read once.
struct Place {
    file: FileId,
    at: usize,
    line: usize,
    column: usize,
}

impl Place {
    fn begin(file: FileId) -> Place {
        Place {
            file,
            at: 0,
            line: 0,
            column: 0,
        }
    }

    /// Counted from 1, the column in characters.
    fn of(&mut self, files: &Files, span: Span) -> (usize, usize) {
        if span.file != self.file {
            *self = Place::begin(span.file);
        }
        let text = files.get(span.file).text();
        for character in text.get(self.at..span.start).unwrap_or_default().chars() {
            match character {
                '\n' => (self.line, self.column) = (self.line + 1, 0),
                _ => self.column += 1,
            }
        }
        self.at = self.at.max(span.start);
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
