//! One problem in a file.

use super::files::{FileId, Span};

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
    /// Where.
    pub span: Span,
    /// What stands beside the underline.
    pub label: String,
    /// Another place that has to do with it.
    pub also: Option<(Span, String)>,
    /// What to do.
    pub help: Option<String>,
}

impl Finding {
    /// An error at a place.
    pub(super) fn error(
        span: impl Into<Span>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Finding {
        Finding {
            severity: Severity::Error,
            kind: Kind::Text,
            service: None,
            message: message.into(),
            span: span.into(),
            label: label.into(),
            also: None,
            help: None,
        }
    }

    /// A warning at a place.
    pub(super) fn warning(
        span: impl Into<Span>,
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

    /// Adds another place.
    pub(super) fn also(self, span: impl Into<Span>, label: impl Into<String>) -> Finding {
        Finding {
            also: Some((span.into(), label.into())),
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

    /// All of it is in this file.
    pub(super) fn in_file(self, file: FileId) -> Finding {
        Finding {
            span: self.span.in_file(file),
            also: self.also.map(|(span, label)| (span.in_file(file), label)),
            ..self
        }
    }
}

/// Findings that are shown, and up to which names are suggested; beyond, they are counted.
pub(super) const MAX_SHOWN: usize = 50;

/// Names that are compared for suggestions, all together.
const MAX_COMPARED: usize = 100_000;

/// Whether one more suggestion among so many names is worth its time.
pub(super) fn may_suggest(findings: usize, names: usize) -> bool {
    findings < MAX_SHOWN && findings.saturating_mul(names) < MAX_COMPARED
}
