//! What becomes of output: `[log]` for all services, and `[services.log]` with its short forms for one.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::FileKind;
use super::diagnostic::Finding;
use super::entry::Entry;
use super::model::{Log, LogFormat, Overflow, Timestamps};
use super::scalar::{Table, type_name};
use crate::base::nearest;

/// The keys of the table.
pub(super) const KEYS: [&str; 8] = [
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

/// What other supervisors and runtimes call keys of `log`.
const ELSEWHERE: [(&str, &str); 6] = [
    ("max-file", "keep"),
    ("max_files", "keep"),
    ("backups", "keep"),
    ("rotate", "keep"),
    ("count", "keep"),
    ("size", "max_size"),
];

/// What supervisord calls keys of a service, and where the same is said here.
const OF_SUPERVISORD: [(&str, &str); 6] = [
    ("stdout_logfile", "it is called `log_file` here"),
    ("stderr_logfile", "`log_file` here takes both streams"),
    (
        "stdout_logfile_maxbytes",
        "it is `max_size` below [services.log] here",
    ),
    (
        "stdout_logfile_backups",
        "it is `keep` below [services.log] here",
    ),
    ("redirect_stderr", "remove it: both streams are in the log"),
    (
        "stdout_syslog",
        "remove it: what runs the container takes standard output",
    ),
];

/// The most that is remembered of a service.
const MAX_BUFFER: u64 = 64 << 20;

/// A smaller file would be rotated more often than written to.
const MIN_ROTATION: u64 = 4096;

/// No file system that a container is given is larger.
const MAX_ROTATION: u64 = 1 << 40;

/// `[log]`.
pub(super) fn of_all(file: &mut Table<'_, '_>) -> Log {
    settings(file, Place::OfAll, &Log::default())
}

/// `[services.log]`, `log_overflow`, `log_buffer` and `log_stdout`; what they do not say is as in `[log]`.
pub(super) fn of_service(entry: &mut Entry<'_>) -> Log {
    let fields = &mut entry.fields;
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
    let before = fields.findings.len();
    let mut log = settings(fields, Place::OfService, entry.log);
    if fields.findings.len() == before {
        nothing_to_rotate(fields);
    }
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

/// Where the table stands, as it is written.
#[derive(Clone, Copy)]
enum Place {
    OfAll,
    OfService,
}

impl Place {
    fn header(self) -> &'static str {
        match self {
            Place::OfAll => "[log]",
            Place::OfService => "[services.log]",
        }
    }
}

/// The table, unless something else has its name.
fn table<'t>(fields: &mut Table<'t, '_>, place: Place) -> Option<&'t DeTable<'t>> {
    let value = fields.get("log")?;
    let header = place.header();
    let example = format!("write {header} above lines such as format = \"json\"");
    let help = match (value.get_ref(), place) {
        (DeValue::Table(table), _) => return Some(table),
        (DeValue::String(text), Place::OfService) if text.contains('/') => {
            format!(
                "a service's file is named with log_file = \"{}\"",
                text.escape_debug()
            )
        }
        (DeValue::Boolean(false), Place::OfService) => {
            "log_stdout = false keeps its lines from standard output".to_owned()
        }
        (DeValue::Array(_), _) => format!("write {header}, in single brackets"),
        (
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Datetime(_),
            _,
        ) => example,
    };
    let what = format!(
        "`log` has to be a table of settings, and is {}",
        type_name(value.get_ref())
    );
    fields.report(Finding::error(value.span(), what, "expected a table").help(help));
    None
}

/// A key of the table that is none.
fn unknown_key(name: &str, span: Range<usize>) -> Finding {
    let finding = Finding::error(span, format!("unknown key `{name}` in `log`"), "unknown");
    let is_called = |known: &str| format!("it is called `{known}` here");
    if matches!(name, "log_file" | "file" | "path") {
        return finding.help("the file is named in the service itself: log_file = \"/path\"");
    }
    let short = name.strip_prefix("log_").filter(|rest| KEYS.contains(rest));
    let elsewhere = ELSEWHERE.iter().find(|(other, _)| *other == name);
    if let Some(known) = short.or(elsewhere.map(|(_, known)| *known)) {
        return finding.help(is_called(known));
    }
    match nearest(name, KEYS) {
        Some(near) => finding.help(format!("did you mean `{near}`?")),
        None => finding.help(format!("the keys are {}", KEYS.join(", "))),
    }
}

/// A key of a service that is none, where it has to do with output: `log_format`, `max_size`, or what
/// supervisord calls it.
pub(super) fn misplaced_key(name: &str, span: Range<usize>) -> Option<Finding> {
    let finding = |label| Finding::error(span, format!("unknown key `{name}` in a service"), label);
    if let Some((_, help)) = OF_SUPERVISORD.iter().find(|(other, _)| *other == name) {
        return Some(finding("unknown").help(*help));
    }
    let rest = name.strip_prefix("log_");
    let inner = rest.unwrap_or(name);
    if KEYS.contains(&inner) {
        let help =
            format!("write it as `{inner}` below [services.log], or as log = {{ {inner} = … }}");
        return Some(finding("belongs to [services.log]").help(help));
    }
    // Where only the beginning is alike, another name with it is no suggestion.
    let is_alike = nearest(rest?, KEYS.into_iter().chain(["file"])).is_some();
    let help = "the keys that begin so are log_file, log_overflow, log_buffer and log_stdout";
    (!is_alike).then(|| finding("unknown").help(help))
}

/// A key of `[log]`, or a short one, that stands at the top of the file.
pub(super) fn key_outside(name: &str, span: Range<usize>) -> Option<Finding> {
    let short = SHORT.iter().find(|(short, _)| *short == name);
    let inner = short.map_or(name, |(_, long)| long);
    KEYS.contains(&inner).then(|| {
        let what = format!("`{name}` stands outside of its table");
        let help = format!("write it as `{inner}` below a [log] line for all services, or below [services.log] for one");
        Finding::error(span, what, "belongs to [log]").help(help)
    })
}

fn settings(fields: &mut Table<'_, '_>, place: Place, defaults: &Log) -> Log {
    let Some(table) = table(fields, place) else {
        return defaults.clone();
    };
    let mut fields = Table {
        table,
        findings: fields.findings,
    };
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if !KEYS.contains(&name) {
            fields.report(unknown_key(name, key.span()));
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

/// Rotation is of the service's own file.
fn nothing_to_rotate(fields: &mut Table<'_, '_>) {
    let Some(DeValue::Table(table)) = fields.get("log").map(Spanned::get_ref) else {
        return;
    };
    if fields.get("log_file").is_none()
        && let Some((key, _)) = table.get_key_value("max_size")
    {
        let what = "`max_size` has no file to rotate";
        let finding = Finding::warning(key.span(), what, "the service has no log_file");
        fields.report(finding.help("add log_file = \"/path\" to the service"));
    }
}

fn overflow(fields: &mut Table<'_, '_>, key: &str) -> Option<Overflow> {
    fields.word(key, &[("block", Overflow::Block), ("drop", Overflow::Drop)])
}

/// `log_file`.
pub(super) fn file(entry: &mut Entry<'_>) -> Option<PathBuf> {
    let fields = &mut entry.fields;
    let (text, span) = fields.string("log_file")?;
    if text.is_empty() {
        let finding = Finding::error(span, "`log_file` is empty", "expected a path");
        fields.report(finding.help("without a file of its own the service needs no log_file"));
        return None;
    }
    let path = PathBuf::from(text);
    let Some(facts) = entry.facts else {
        return Some(path);
    };
    let parent = folder_of(&path);
    let finding = if facts.file(&path) == FileKind::Directory {
        let what = format!("`log_file`: `{}` is a directory", path.display());
        Finding::error(span, what, "expected a file")
    } else if facts.file(parent) != FileKind::Directory {
        let parent = parent.display();
        let what = format!("`log_file`: there is no directory `{parent}`");
        Finding::error(span, what, "its directory is missing").help(format!("mkdir -p {parent}"))
    } else {
        return Some(path);
    };
    fields.report(finding.on_machine());
    Some(path)
}

/// The folder that a log file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
