//! One problem in the file, and how it is shown: as rustc shows its own.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::base::terminal;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken.
    Warning,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The text: whatever the machine is like, it is wrong.
    Text,
    /// What the machine has: a program, path or user that may be there when the service starts.
    Machine,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub kind: Kind,
    /// The place of its service in the file's list; None: it is about no single one.
    pub service: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// Where: bytes of the text.
    pub span: Range<usize>,
    /// What stands beside the underline.
    pub label: String,
    /// Another place that has to do with it.
    pub also: Option<(Range<usize>, String)>,
    /// What to do.
    pub help: Option<String>,
}

impl Finding {
    /// An error at a place.
    pub(super) fn error(
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Finding {
        let (message, label) = (message.into(), label.into());
        Finding {
            severity: Severity::Error,
            kind: Kind::Text,
            service: None,
            message,
            span,
            label,
            also: None,
            help: None,
        }
    }

    /// A warning at a place.
    pub(super) fn warning(
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Finding {
        Finding {
            severity: Severity::Warning,
            ..Finding::error(span, message, label)
        }
    }

    /// About what the machine has.
    pub(super) fn on_machine(self) -> Finding {
        Finding {
            kind: Kind::Machine,
            ..self
        }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Finding {
        Finding {
            help: Some(help.into()),
            ..self
        }
    }

    /// Adds a "did you mean", where one of the known words is near.
    pub(super) fn suggest<'k>(
        self,
        word: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Finding {
        match crate::base::nearest(word, known) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    pub(super) fn also(self, span: Range<usize>, label: impl Into<String>) -> Finding {
        Finding {
            also: Some((span, label.into())),
            ..self
        }
    }

    pub(super) fn syntax(error: &toml::de::Error) -> Finding {
        Finding::error(
            error.span().unwrap_or(0..0),
            format!("this is not TOML: {}", error.message()),
            "here",
        )
    }

    pub(super) fn start(&self) -> (usize, usize) {
        (self.span.start, self.span.end)
    }
}

/// Findings that are shown, and up to which names are suggested; beyond, they are counted.
const MAX_SHOWN: usize = 50;

/// Bytes of the text that are read to show findings, after which the rest is counted too: all of a line is read for
/// each finding in it, and a line may be the whole file.
const MAX_READ: usize = 1 << 20;

/// Names that are compared for suggestions, all together.
const MAX_COMPARED: usize = 100_000;

/// Whether one more suggestion among so many names is worth its time.
pub(super) fn may_suggest(findings: usize, names: usize) -> bool {
    findings < MAX_SHOWN && findings.saturating_mul(names) < MAX_COMPARED
}

/// Lines around an underlined one that a snippet is cut with.
const MARGIN: usize = 2;

/// Bytes between two places of a finding from which on each has a snippet of its own.
const FAR: usize = 64 * 1024;

/// The findings as text, each with its line underlined, and at the end a count, with what comes of errors. Of more than
/// [`MAX_SHOWN`] the errors come first.
pub fn render(findings: &[Finding], file: &str, text: &str, color: bool, outcome: &str) -> String {
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
        chosen.sort_by_key(|finding| finding.start());
    }
    let lines = Lines::of(text, !chosen.is_empty());
    let mut shown = String::new();
    let mut count = 0;
    let mut read = 0;
    for finding in &chosen {
        if read > MAX_READ {
            break;
        }
        let (group, bytes) = group(finding, file, &lines);
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
    let errors = findings.iter().filter(is_error).count();
    match errors {
        0 => {}
        1 => shown.push_str(&format!("error: {file} has 1 error; {outcome}\n")),
        _ => shown.push_str(&format!("error: {file} has {errors} errors; {outcome}\n")),
    }
    shown
}

/// A text whose lines are found without reading it again for each finding.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str, wanted: bool) -> Lines<'a> {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let behind = newlines.map(|(at, _)| at + 1);
        let starts = std::iter::once(0)
            .chain(behind.filter(|_| wanted))
            .collect();
        Lines { text, starts }
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
        (first + 1, start..end.unwrap_or(self.text.len()))
    }

    /// What is shown of these lines, before anything in them is underlined.
    fn snippet<T: Clone>(&self, file: &'a str, window: &(usize, Range<usize>)) -> Snippet<'a, T> {
        let (number, range) = window.clone();
        let text = self.text.get(range).unwrap_or_default();
        Snippet::source(text).line_start(number).path(file)
    }
}

/// What is shown of a finding, and how many bytes of the text are read for it.
fn group<'a>(finding: &'a Finding, file: &'a str, lines: &Lines<'a>) -> (Group<'a>, usize) {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let primary = whole_characters(lines.text, &finding.span);
    let also = finding.also.as_ref().map(|(span, label)| {
        let span = whole_characters(lines.text, span);
        let is_far = span.start.abs_diff(primary.start) > FAR;
        (span, label.as_str(), is_far)
    });
    let near = also.as_ref().filter(|(_, _, is_far)| !is_far);
    let whole = near.map_or(primary.clone(), |(span, _, _)| {
        span.start.min(primary.start)..span.end.max(primary.end)
    });
    let window = lines.around(&whole);
    let mut read = window.1.len();
    let at = |span: &Range<usize>, window: &(usize, Range<usize>)| {
        let origin = window.1.start;
        span.start.saturating_sub(origin)..span.end.saturating_sub(origin)
    };
    let mut snippet = lines.snippet(file, &window).annotation(
        AnnotationKind::Primary
            .span(at(&primary, &window))
            .label(finding.label.as_str()),
    );
    if let Some((span, label, _)) = near {
        let context = AnnotationKind::Context.span(at(span, &window));
        snippet = snippet.annotation(context.label(*label));
    }
    let mut group = level
        .primary_title(finding.message.as_str())
        .element(snippet);
    if let Some((span, label, true)) = &also {
        let window = lines.around(span);
        read += window.1.len();
        let context = AnnotationKind::Context.span(at(span, &window));
        group = group.element(
            lines
                .snippet(file, &window)
                .annotation(context.label(*label)),
        );
    }
    if let Some(help) = &finding.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    (group, read)
}

/// A span that lies within the text and cuts no character.
fn whole_characters(text: &str, span: &Range<usize>) -> Range<usize> {
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
