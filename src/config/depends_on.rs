//! Whom a service depends on: `depends_on`, `wait_after`, `on_dependency_failure`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::{Finding, may_suggest};
use super::entry::Entry;
use super::instead;
use super::model::{Condition, Dependency, OnDependencyFailure};
use super::scalar::{Table, Value, integer_of, type_name};
use crate::base::parse_duration;

/// `depends_on` with `wait_after`.
pub(super) fn dependencies(entry: &mut Entry<'_>) {
    let fields = &mut entry.fields;
    let mut found: Vec<(String, Range<usize>, Condition)> = Vec::new();
    match fields
        .get("depends_on")
        .map(|value| (value.get_ref(), value.span()))
    {
        None => {}
        Some((DeValue::String(name), span)) => {
            found.push((name.to_string(), span, Condition::Started))
        }
        Some((DeValue::Array(items), _)) if items.iter().any(|item| item.get_ref().is_table()) => {
            tables_in_a_list(fields, items);
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
    entry.service.depends_on = edges.collect();
    entry.dependencies_at = found.into_iter().map(|(_, span, _)| span).collect();
}

/// `[{ name = "db", condition = "healthy" }]`, as others write it.
fn tables_in_a_list(fields: &mut Table<'_, '_>, items: &[Value<'_>]) {
    for item in items {
        let Some(table) = item.get_ref().as_table() else {
            continue;
        };
        let text = |keys: &[&str]| {
            let found = keys.iter().find_map(|key| table.get(*key));
            found.and_then(|value| value.get_ref().as_str())
        };
        let only = table.iter().next().filter(|_| table.len() == 1);
        let only = only
            .and_then(|(name, value)| Some((name.get_ref().as_ref(), value.get_ref().as_str()?)));
        let named = text(&["name", "service", "on"]).map(|name| {
            (
                name,
                text(&["condition", "for", "when"]).unwrap_or("started"),
            )
        });
        let (name, condition) = named.or(only).unwrap_or(("redis", "healthy"));
        let condition = condition.strip_prefix("service_").unwrap_or(condition);
        let condition = match condition {
            "completed_successfully" => "completed",
            other => other,
        };
        let finding = Finding::error(
            item.span(),
            "a list in `depends_on` holds names, and this is a table",
            "expected a string",
        );
        fields.report(finding.help(format!(
            "conditions are in one table: depends_on = {{ {name} = {} }}",
            instead::quoted(condition)
        )));
    }
}

/// `on_dependency_failure`.
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
            fields.report_unknown(finding, other, ["started", "healthy", "completed"]);
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
    let names: BTreeSet<&str> = dependencies.iter().map(|(on, _, _)| on.as_str()).collect();
    for (name, value) in table.iter() {
        let duration = wait(fields, value.get_ref(), value.span());
        let known = name.get_ref().as_ref();
        if names.contains(known) {
            waits.each.insert(known.to_owned(), duration);
        } else {
            let finding = Finding::error(
                name.span(),
                format!("`wait_after` for `{known}`, which is not depended on"),
                "not in depends_on",
            );
            let is_shown = may_suggest(fields.findings.len(), names.len());
            fields.report(match is_shown {
                true => finding.suggest(known, names.iter().copied()),
                false => finding,
            });
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
