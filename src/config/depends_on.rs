//! Whom a service depends on: `depends_on`, `wait_after`, `on_dependency_failure`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::Finding;
use super::model::{Condition, Dependency, OnDependencyFailure};
use super::scalar::{Table, integer_of, parse_duration, type_name};

pub(super) fn dependencies(fields: &mut Table<'_, '_>) -> (Vec<Dependency>, Vec<Range<usize>>) {
    let mut found: Vec<(String, Range<usize>, Condition)> = Vec::new();
    match fields
        .get("depends_on")
        .map(|value| (value.get_ref(), value.span()))
    {
        None => {}
        Some((DeValue::String(name), span)) => {
            found.push((name.to_string(), span, Condition::Started))
        }
        Some((DeValue::Array(_), _)) => {
            let names = fields.strings("depends_on").unwrap_or_default();
            found.extend(
                names
                    .into_iter()
                    .map(|(name, span)| (name, span, Condition::Started)),
            );
        }
        Some((DeValue::Table(table), _)) => {
            for (name, value) in table.iter() {
                let condition = condition(fields, value.get_ref(), value.span());
                found.push((name.get_ref().to_string(), name.span(), condition));
            }
            found.sort_by_key(|(_, span, _)| span.start);
        }
        Some((other, span)) => {
            let message = format!(
                "`depends_on` has to be a name, a list of names, or a table, and is {}",
                type_name(other)
            );
            fields.report(Finding::error(
                span,
                message,
                "expected \"redis\", [\"redis\", \"db\"] or { redis = \"started\" }",
            ));
        }
    }
    let waits = waits(fields, &found);
    let edges = found.iter().map(|(name, _, condition)| Dependency {
        on: name.clone(),
        condition: *condition,
        wait_after: waits.of(name),
    });
    let edges = edges.collect();
    (edges, found.into_iter().map(|(_, span, _)| span).collect())
}

pub(super) fn on_dependency_failure(fields: &mut Table<'_, '_>) -> OnDependencyFailure {
    let words = [
        ("ignore", OnDependencyFailure::Ignore),
        ("stop", OnDependencyFailure::Stop),
        ("restart", OnDependencyFailure::Restart),
    ];
    let chosen = fields.word("on_dependency_failure", &words);
    if chosen.is_some()
        && fields.get("depends_on").is_none()
        && let Some(span) = fields.span_of_key("on_dependency_failure")
    {
        let what = "`on_dependency_failure` is about a dependency, and the service has none";
        let finding = Finding::error(span, what, "nothing to follow");
        fields.report(finding.help("name what it follows with depends_on, or remove this line"));
    }
    chosen.unwrap_or(OnDependencyFailure::Ignore)
}

fn condition(fields: &mut Table<'_, '_>, value: &DeValue<'_>, span: Range<usize>) -> Condition {
    match value.as_str() {
        Some("started") => Condition::Started,
        Some("completed") => Condition::Completed,
        Some("healthy") => Condition::Healthy,
        Some(other) => {
            let finding = Finding::error(
                span,
                format!("unknown condition `{other}`"),
                "expected \"started\", \"healthy\" or \"completed\"",
            );
            fields.report(finding.suggest(other, ["started", "healthy", "completed"]));
            Condition::Started
        }
        None => {
            fields.report(Finding::error(
                span,
                "a condition has to be a string",
                "expected \"started\", \"healthy\" or \"completed\"",
            ));
            Condition::Started
        }
    }
}

/// `wait_after`, for all dependencies or for each.
struct Waits {
    all: Duration,
    each: BTreeMap<String, Duration>,
}

impl Waits {
    fn of(&self, name: &str) -> Duration {
        self.each.get(name).copied().unwrap_or(self.all)
    }
}

fn waits(fields: &mut Table<'_, '_>, dependencies: &[(String, Range<usize>, Condition)]) -> Waits {
    let mut waits = Waits {
        all: Duration::ZERO,
        each: BTreeMap::new(),
    };
    let Some(value) = fields.get("wait_after") else {
        return waits;
    };
    if dependencies.is_empty() {
        let finding = Finding::error(
            value.span(),
            "`wait_after` waits for nothing: the service depends on nobody",
            "no dependency",
        );
        fields.report(finding.help("add depends_on, or remove it"));
        return waits;
    }
    let DeValue::Table(table) = value.get_ref() else {
        waits.all = wait(fields, value.get_ref(), value.span());
        return waits;
    };
    for (name, value) in table.iter() {
        let duration = wait(fields, value.get_ref(), value.span());
        let known = name.get_ref().as_ref();
        if dependencies.iter().any(|(on, _, _)| on == known) {
            waits.each.insert(known.to_owned(), duration);
        } else {
            let finding = Finding::error(
                name.span(),
                format!("`wait_after` for `{known}`, which is not depended on"),
                "not in depends_on",
            );
            fields
                .report(finding.suggest(known, dependencies.iter().map(|(on, _, _)| on.as_str())));
        }
    }
    waits
}

fn wait(fields: &mut Table<'_, '_>, value: &DeValue<'_>, span: Range<usize>) -> Duration {
    let duration = match value.as_str() {
        Some(text) => parse_duration(text).ok(),
        None => integer_of(value)
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs),
    };
    match duration {
        Some(duration) if duration <= Duration::from_secs(300) => duration,
        _ => {
            let finding = Finding::error(
                span,
                "`wait_after` has to be from 0 to 300 seconds",
                "not in that range",
            );
            fields.report(
                finding.help("write whole seconds, or a string with units such as \"1m30s\""),
            );
            Duration::ZERO
        }
    }
}
