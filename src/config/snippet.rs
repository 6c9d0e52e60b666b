//! How findings are shown: each with its lines, as rustc shows its own.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::diagnostic::{Finding, MAX_SHOWN, Severity};
use super::files::{File, FileId, Files, Span};
use crate::base::terminal;

/// Bytes of the text that are read to show findings, after which the rest is counted too: all of a line is read for
/// each finding in it, and a line may be the whole file.
const MAX_READ: usize = 1 << 20;

/// Lines around an underlined one that a snippet is cut with.
const MARGIN: usize = 2;

/// Bytes between two places of a finding from which on each has a snippet of its own.
const FAR: usize = 64 * 1024;

/// The findings as text, each with its line underlined, and at the end a count, with what comes of errors. Of more than
/// `MAX_SHOWN` the errors come first.
pub fn render(findings: &[Finding], files: &Files, color: bool, outcome: &str) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let is_error = |finding: &&Finding| finding.severity == Severity::Error;
    let mut chosen: Vec<&Finding> = findings.iter().collect();
    if chosen.len() > MAX_SHOWN {
        chosen.sort_by_key(|finding| !is_error(finding));
        chosen.truncate(MAX_SHOWN);
        chosen.sort_by_key(|finding| finding.span);
    }
    let sources = Sources::of(files, &chosen);
    let mut shown = String::new();
    let mut count = 0;
    let mut read = 0;
    for finding in &chosen {
        if read > MAX_READ {
            break;
        }
        let (group, bytes) = group(finding, &sources);
        // The renderer replaces controls, ESC among them, but not all of Unicode that steers.
        shown.push_str(&terminal::lines(&renderer.render(&[group]), color));
        shown.push_str("\n\n");
        count += 1;
        read += bytes;
    }
    match findings.len() - count {
        0 => {}
        more => shown.push_str(&format!("and {more} more\n\n")),
    }
    let errors = findings.iter().filter(is_error);
    shown + &summary(errors, files, outcome)
}

/// Which files have how many errors, and what comes of it; nothing where there are none.
fn summary<'f>(errors: impl Iterator<Item = &'f Finding>, files: &Files, outcome: &str) -> String {
    let mut places: Vec<FileId> = errors.map(|finding| finding.span.file).collect();
    let count = match places.len() {
        0 => return String::new(),
        1 => "1 error".to_owned(),
        count => format!("{count} errors"),
    };
    places.sort_unstable();
    places.dedup();
    let names = places.iter().map(|file| files.get(*file).name());
    let names = names.collect::<Vec<_>>().join(" and ");
    let have = if places.len() == 1 { "has" } else { "have" };
    format!("error: {names} {have} {count}; {outcome}\n")
}

/// The texts of files in lines.
struct Sources<'a>(Vec<Lines<'a>>);

impl<'a> Sources<'a> {
    /// Of those files that a finding of these points into; of others there is one long line.
    fn of(files: &'a Files, findings: &[&Finding]) -> Sources<'a> {
        let is_named = |id: FileId| {
            let also = |finding: &Finding| finding.also.as_ref().map(|(span, _)| span.file);
            let mut findings = findings.iter();
            findings.any(|finding| finding.span.file == id || also(finding) == Some(id))
        };
        let lines = files.iter().map(|(id, file)| Lines::of(file, is_named(id)));
        Sources(lines.collect())
    }

    /// The lines of a span's file, and where in its text it is.
    fn place(&self, span: Span) -> (&Lines<'a>, Range<usize>) {
        let lines = &self.0[span.file.index()];
        (lines, whole_characters(lines.file.text(), span))
    }
}

/// The text of a file, whose lines are found without reading it again for each finding.
struct Lines<'a> {
    file: &'a File,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(file: &'a File, wanted: bool) -> Lines<'a> {
        let bytes = file.text().bytes().enumerate();
        let behind = bytes
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        let starts = std::iter::once(0)
            .chain(behind.filter(|_| wanted))
            .collect();
        Lines { file, starts }
    }

    fn line_of(&self, at: usize) -> usize {
        let up_to = self.starts.partition_point(|start| *start <= at);
        up_to.saturating_sub(1)
    }

    /// The lines around a span: the number of the first, and where in the text it begins and the last one ends.
    fn around(&self, span: &Range<usize>) -> (usize, Range<usize>) {
        let first = self.line_of(span.start).saturating_sub(MARGIN);
        let behind = self.line_of(span.end) + MARGIN + 1;
        let start = self.starts.get(first).copied().unwrap_or(0);
        let end = self.starts.get(behind).copied();
        (first + 1, start..end.unwrap_or(self.file.text().len()))
    }

    /// What is shown of these lines, before anything in them is underlined.
    fn snippet<T: Clone>(&self, window: &(usize, Range<usize>)) -> Snippet<'a, T> {
        let (number, range) = window.clone();
        let text = self.file.text().get(range).unwrap_or_default();
        Snippet::source(text)
            .line_start(number)
            .path(self.file.name())
    }
}

/// What is shown of a finding, and how many bytes of texts are read for it.
fn group<'a>(finding: &'a Finding, sources: &Sources<'a>) -> (Group<'a>, usize) {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let (lines, primary) = sources.place(finding.span);
    let also = finding.also.as_ref().map(|(span, label)| {
        let (their_lines, their) = sources.place(*span);
        let is_far = span.file != finding.span.file || their.start.abs_diff(primary.start) > FAR;
        (their_lines, their, label.as_str(), is_far)
    });
    let near = also.as_ref().filter(|(.., is_far)| !is_far);
    let whole = near.map_or(primary.clone(), |(_, span, ..)| {
        span.start.min(primary.start)..span.end.max(primary.end)
    });
    let window = lines.around(&whole);
    let mut read = window.1.len();
    let mut snippet = lines.snippet(&window).annotation(
        AnnotationKind::Primary
            .span(within(&primary, &window))
            .label(finding.label.as_str()),
    );
    if let Some((_, span, label, _)) = near {
        let context = AnnotationKind::Context.span(within(span, &window));
        snippet = snippet.annotation(context.label(*label));
    }
    let mut group = level
        .primary_title(finding.message.as_str())
        .element(snippet);
    if let Some((lines, span, label, true)) = &also {
        let window = lines.around(span);
        read += window.1.len();
        let context = AnnotationKind::Context.span(within(span, &window));
        let snippet = lines.snippet(&window).annotation(context.label(*label));
        group = group.element(snippet);
    }
    if let Some(help) = &finding.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    (group, read)
}

/// Where a span of the text is in its window.
fn within(span: &Range<usize>, window: &(usize, Range<usize>)) -> Range<usize> {
    let origin = window.1.start;
    span.start.saturating_sub(origin)..span.end.saturating_sub(origin)
}

/// The part of a span that is within the text, and cuts no character.
fn whole_characters(text: &str, span: Span) -> Range<usize> {
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_its_places_in_two_files() {
        let mut files = Files::of("services.toml", b"[[services]]\nname = \"web\"\n".to_vec());
        let more = files.add(
            "more.toml",
            "# \u{e9}\n[[services]]\nname = \"web\"\n".into(),
        );
        let here = Finding::error(13..25, "two services are called `web`", "the first one");
        let there = Finding::error(18..30, "two services are called `web`", "the second one")
            .in_file(more)
            .also(13..25, "the first one")
            .help("rename one");
        let warning = Finding::warning(0..4, "a comment", "here").in_file(more);
        let shown = render(
            &[there.clone(), warning.clone()],
            &files,
            false,
            "nothing was started",
        );
        assert_eq!(
            shown,
            "error: two services are called `web`\n \
             --> more.toml:3:1\n  \
             |\n\
             3 | name = \"web\"\n  \
             | ^^^^^^^^^^^^ the second one\n  \
             |\n \
             ::: services.toml:2:1\n  \
             |\n\
             2 | name = \"web\"\n  \
             | ------------ the first one\n  \
             |\n  \
             = help: rename one\n\n\
             warning: a comment\n \
             --> more.toml:1:1\n  \
             |\n\
             1 | # \u{e9}\n  \
             | ^^^ here\n\n\
             error: more.toml has 1 error; nothing was started\n"
        );
        // The main file comes first, wherever in them the places are.
        let mut findings = [there, warning, here];
        findings.sort_by_key(|finding| finding.span);
        assert_eq!(
            findings.map(|finding| (finding.span.file, finding.span.start)),
            [(FileId::MAIN, 13), (more, 0), (more, 18)]
        );
        let [first, second] =
            [FileId::MAIN, more].map(|file| Finding::error(0..1, "x", "").in_file(file));
        let shown = render(&[first, second], &files, false, "nothing was changed");
        let end = "error: services.toml and more.toml have 2 errors; nothing was changed\n";
        assert!(shown.ends_with(end), "{shown}");
    }
}
