//! One problem in the file, and how it is shown: as rustc shows its own.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

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

/// All findings as text, each with its line underlined, and at the end a count, with what comes of errors.
pub fn render(findings: &[Finding], file: &str, text: &str, color: bool, outcome: &str) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut shown = String::new();
    for finding in findings {
        shown.push_str(&renderer.render(&[group(finding, file, text)]));
        shown.push_str("\n\n");
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    match errors {
        0 => {}
        1 => shown.push_str(&format!("error: {file} has 1 error; {outcome}\n")),
        _ => shown.push_str(&format!("error: {file} has {errors} errors; {outcome}\n")),
    }
    shown
}

fn group<'a>(finding: &'a Finding, file: &'a str, text: &'a str) -> Group<'a> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let span = |span: &Range<usize>| whole_characters(text, span);
    let mut snippet = Snippet::source(text).path(file).annotation(
        AnnotationKind::Primary
            .span(span(&finding.span))
            .label(finding.label.as_str()),
    );
    if let Some((also, label)) = &finding.also {
        snippet = snippet.annotation(
            AnnotationKind::Context
                .span(span(also))
                .label(label.as_str()),
        );
    }
    let group = level
        .primary_title(finding.message.as_str())
        .element(snippet);
    match &finding.help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
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
