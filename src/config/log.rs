//! What becomes of output: `[log]` for all services, and `[services.log]` with its short forms for one.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::diagnostic::Finding;
use super::model::{Log, LogFormat, Overflow, Timestamps};
use super::scalar::Table;
use super::{Facts, FileKind};

const KEYS: [&str; 8] = [
    "format",
    "timestamps",
    "overflow",
    "buffer",
    "stdout",
    "max_size",
    "keep",
    "compress",
];

/// Keys of a service that stand for one key of its `log` table.
const SHORT: [(&str, &str); 3] = [
    ("log_overflow", "overflow"),
    ("log_buffer", "buffer"),
    ("log_stdout", "stdout"),
];

/// The most that is remembered of a service.
const MAX_BUFFER: u64 = 64 << 20;

/// A smaller file would be rotated more often than written to.
const MIN_ROTATION: u64 = 4096;

/// No file system that a container is given is larger.
const MAX_ROTATION: u64 = 1 << 40;

/// `[log]`.
pub(super) fn of_all(file: &mut Table<'_, '_>) -> Log {
    table(file, "log", &Log::default())
}

/// `[services.log]`, `log_overflow`, `log_buffer` and `log_stdout`; what they do not say is as in `[log]`.
pub(super) fn of_service(fields: &mut Table<'_, '_>, defaults: &Log) -> Log {
    for (short, long) in SHORT {
        let inner = fields.get("log").and_then(|value| match value.get_ref() {
            DeValue::Table(table) => table.get_key_value(long),
            _ => None,
        });
        if let (Some(first), Some((second, _))) = (fields.span_of_key(short), inner) {
            let finding = Finding::error(
                second.span(),
                format!("`{short}` and `{long}` in `log` are the same setting"),
                "given twice",
            );
            fields.report(finding.also(first, "first here"));
        }
    }
    let mut log = table(fields, "log", defaults);
    if let Some(overflow) = overflow(fields, "log_overflow") {
        log.overflow = overflow;
    }
    if let Some(buffer) = fields.size("log_buffer", 0..=MAX_BUFFER) {
        log.buffer = buffer;
    }
    if let Some(stdout) = fields.boolean("log_stdout") {
        log.stdout = stdout;
    }
    log
}

fn table(fields: &mut Table<'_, '_>, key: &str, defaults: &Log) -> Log {
    if let Some(value) = fields.get(key)
        && let DeValue::String(_) = value.get_ref()
    {
        let what = format!("`{key}` is a table of settings, and here a string");
        let finding = Finding::error(value.span(), what, "expected a table");
        fields.report(finding.help("a service's file is named with log_file = \"/path\""));
        return defaults.clone();
    }
    let Some(table) = fields.table(key, "a table") else {
        return defaults.clone();
    };
    let mut fields = Table {
        table,
        findings: fields.findings,
    };
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if !KEYS.contains(&name) {
            let finding = Finding::error(
                key.span(),
                format!("unknown key `{name}` in `log`"),
                "unknown",
            );
            fields.report(finding.suggest(name, KEYS));
        }
    }
    let format = fields.word(
        "format",
        &[("plain", LogFormat::Plain), ("json", LogFormat::Json)],
    );
    let timestamps = fields.word(
        "timestamps",
        &[
            ("none", Timestamps::None),
            ("rfc3339", Timestamps::Rfc3339),
            ("elapsed", Timestamps::Elapsed),
        ],
    );
    let keep = fields.integer("keep", 0..=1000).map(|keep| keep as u32);
    let max_size = fields.size("max_size", MIN_ROTATION..=MAX_ROTATION);
    Log {
        format: format.unwrap_or(defaults.format),
        timestamps: timestamps.unwrap_or(defaults.timestamps),
        overflow: overflow(&mut fields, "overflow").unwrap_or(defaults.overflow),
        buffer: fields
            .size("buffer", 0..=MAX_BUFFER)
            .unwrap_or(defaults.buffer),
        stdout: fields.boolean("stdout").unwrap_or(defaults.stdout),
        max_size: max_size.or(defaults.max_size),
        keep: keep.unwrap_or(defaults.keep),
        compress: fields.boolean("compress").unwrap_or(defaults.compress),
    }
}

fn overflow(fields: &mut Table<'_, '_>, key: &str) -> Option<Overflow> {
    fields.word(key, &[("block", Overflow::Block), ("drop", Overflow::Drop)])
}

/// `log_file`.
pub(super) fn file(fields: &mut Table<'_, '_>, facts: &dyn Facts) -> Option<PathBuf> {
    let (text, span) = fields.string("log_file")?;
    let path = PathBuf::from(text);
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if facts.file(&path) == FileKind::Directory {
        fields.report(Finding::error(
            span,
            format!("`log_file`: `{}` is a directory", path.display()),
            "expected a file",
        ));
    } else if facts.file(parent) != FileKind::Directory {
        let parent = parent.display();
        fields.report(
            Finding::error(
                span,
                format!("`log_file`: there is no directory `{parent}`"),
                "its directory is missing",
            )
            .help(format!("mkdir -p {parent}")),
        );
    }
    Some(path)
}
