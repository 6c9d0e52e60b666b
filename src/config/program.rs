//! What a service executes: its program with its arguments, its scripts, and the folder they run in.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::Finding;
use super::entry::Entry;
use super::instead;
use super::model::Script;
use super::scalar::Table;
use super::{Facts, FileKind, Lookup};

/// `command`.
pub(super) fn command(entry: &mut Entry<'_>) -> String {
    let fields = &mut entry.fields;
    if fields.get("command").is_none() && !entry.misspells_command {
        let finding = Finding::error(
            entry.header.clone(),
            "this service has no command",
            "`command` is missing",
        );
        fields.report(finding.help("add a line such as command = \"/usr/sbin/nginx\""));
    }
    if let Some(words) = fields.get("command").and_then(words_of) {
        report_array(fields, &words);
        return String::new();
    }
    let Some((command, span)) = fields.string("command") else {
        return String::new();
    };
    if command.is_empty() {
        fields.report(Finding::error(
            span,
            "`command` is empty",
            "expected a program",
        ));
        return command;
    }
    if let Some(facts) = entry.facts {
        look_up(entry, &command, span, facts);
    }
    command
}

/// Whether the machine has the program.
fn look_up(entry: &mut Entry<'_>, command: &str, span: Range<usize>, facts: &dyn Facts) {
    let (path, cwd) = (entry.search_path(), entry.working_dir());
    let fields = &mut entry.fields;
    match facts.command(command, path, cwd) {
        Lookup::Found => {}
        Lookup::NotExecutable(path) => fields.report(not_executable(&path, span)),
        Lookup::Unsuitable(path, why) => fields.report(unsuitable(&path, &why, span)),
        Lookup::Missing(searched) => {
            let finding = Finding::error(
                span,
                format!("there is no program `{command}`"),
                "not found",
            );
            let has_args = fields.get("args").is_some();
            let words = instead::words(command);
            fields.report(match (words.split_first(), searched) {
                _ if instead::needs_shell(command) => {
                    let (shell, line) = instead::shell_and_line(command);
                    let keys = instead::keys(shell, &["-c", line], has_args);
                    finding.help(format!("no shell reads it; {keys}"))
                }
                (Some((first, rest @ [_, ..])), _)
                    if facts.command(first, path, cwd) == Lookup::Found =>
                {
                    let keys = instead::keys(first, rest, has_args);
                    finding.help(format!("no shell splits it; {keys}"))
                }
                (_, Some(path)) => finding
                    .help(format!(
                        "looked for it in {path}; install it, or give its whole path"
                    ))
                    .on_machine(),
                (_, None) => finding.help("install it, or correct the path").on_machine(),
            });
        }
    }
}

/// A program without the execute bit.
pub(super) fn not_executable(path: &str, span: Range<usize>) -> Finding {
    let what = format!("`{path}` cannot be executed");
    let finding = Finding::error(span, what, "not an executable file");
    finding.help(format!("chmod +x {path}")).on_machine()
}

/// No program, and no mode would make it one.
pub(super) fn unsuitable(path: &str, why: &str, span: Range<usize>) -> Finding {
    let what = format!("`{path}` cannot be executed: {why}");
    let finding = Finding::error(span, what, "not a program");
    let help = "give the path of the program itself, which the daemon's user can reach";
    finding.help(help).on_machine()
}

/// The strings of an array of nothing else.
fn words_of(value: &Spanned<DeValue<'_>>) -> Option<Vec<String>> {
    let DeValue::Array(items) = value.get_ref() else {
        return None;
    };
    items
        .iter()
        .map(|item| item.get_ref().as_str().map(str::to_owned))
        .collect()
}

/// Docker's files and those of other supervisors have program and arguments in one array.
fn report_array(fields: &mut Table<'_, '_>, words: &[String]) {
    let Some(span) = fields.get("command").map(Spanned::span) else {
        return;
    };
    let what = "`command` has to be a string, and is an array";
    let finding = Finding::error(span, what, "expected a string");
    let has_args = fields.get("args").is_some();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    fields.report(match words.split_first() {
        Some((program, arguments)) if !program.is_empty() => {
            let keys = instead::keys(program, arguments, has_args);
            finding.help(format!("arguments have a key of their own; {keys}"))
        }
        _ => finding,
    });
}

/// The founding document writes `["-g", "'daemon off;'"]`, where no shell takes the quotes away.
pub(super) fn arguments(fields: &mut Table<'_, '_>) -> Vec<String> {
    let raw = fields.boolean("raw_args").unwrap_or(false);
    let mut arguments = Vec::new();
    for (argument, span) in fields.strings("args").unwrap_or_default() {
        let inner = |quote: char| {
            argument
                .strip_prefix(quote)?
                .strip_suffix(quote)
                .filter(|inner| !inner.contains(quote))
        };
        match inner('\'').or_else(|| inner('"')).filter(|_| !raw) {
            Some(clean) => {
                let finding = Finding::warning(
                    span,
                    "this argument is wrapped in quotes, which no shell takes away",
                    "taken without them",
                );
                fields.report(finding.help(format!(
                    "write {}, or set raw_args = true to pass the quotes on",
                    instead::quoted(clean)
                )));
                arguments.push(clean.to_owned());
            }
            None => arguments.push(argument),
        }
    }
    arguments
}

/// `pos_script`, by either name.
pub(super) fn post_script(entry: &mut Entry<'_>) -> Option<Script> {
    let fields = &mut entry.fields;
    if let (Some(first), Some(second)) = (
        fields.span_of_key("pos_script"),
        fields.span_of_key("post_script"),
    ) {
        fields.report(
            Finding::error(
                second,
                "`post_script` and `pos_script` are the same key",
                "given twice",
            )
            .also(first, "first here"),
        );
    }
    script(entry, "pos_script").or_else(|| script(entry, "post_script"))
}

/// A script: a file, or its text.
pub(super) fn script(entry: &mut Entry<'_>, key: &str) -> Option<Script> {
    let fields = &mut entry.fields;
    let (text, span) = fields.string(key)?;
    let is_inline = text.starts_with("#!") || text.contains('\n');
    if let Some(facts) = entry.facts {
        let interpreter = if is_inline {
            let line = text.lines().next().unwrap_or_default();
            Some(line.strip_prefix("#!").unwrap_or("/bin/sh").to_owned())
        } else {
            script_file(fields, &text, span.clone(), facts)
        };
        interpreter_exists(fields, interpreter.as_deref(), span, facts);
    }
    Some(match is_inline {
        true => Script::Inline(text),
        false => Script::Path(text.into()),
    })
}

/// The `#!` line of a script's file.
fn script_file(
    fields: &mut Table<'_, '_>,
    text: &str,
    span: Range<usize>,
    facts: &dyn Facts,
) -> Option<String> {
    let finding = match facts.file(Path::new(text)) {
        FileKind::File => return facts.interpreter(Path::new(text)),
        FileKind::Directory => {
            let what = format!("`{text}` is a directory");
            Finding::error(span, what, "expected a script")
        }
        FileKind::Missing => {
            let what = format!("there is no script `{text}`");
            Finding::error(span, what, "not found").help(
                "give the whole path of a file, or the text itself: one that begins with #! or has several lines",
            )
        }
    };
    fields.report(finding.on_machine());
    None
}

fn interpreter_exists(
    fields: &mut Table<'_, '_>,
    line: Option<&str>,
    span: Range<usize>,
    facts: &dyn Facts,
) {
    let program = line.and_then(|line| line.split_whitespace().next());
    if let Some(program) = program
        && facts.command(program, None, None) != Lookup::Found
    {
        let what = format!("cannot find the script's interpreter `{program}`");
        let finding = Finding::error(span, what, "cannot be executed");
        fields.report(finding.on_machine());
    }
}

/// The folder that a service runs in.
pub(super) fn working_dir(entry: &mut Entry<'_>) -> Option<PathBuf> {
    let fields = &mut entry.fields;
    let (text, span) = fields.string("working_dir")?;
    if let Some(facts) = entry.facts
        && facts.file(Path::new(&text)) != FileKind::Directory
    {
        let what = format!("`working_dir`: there is no directory `{text}`");
        fields.report(Finding::error(span, what, "not found").on_machine());
    }
    Some(text.into())
}
