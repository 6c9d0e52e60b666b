//! `name`.

use std::ops::Range;

use super::diagnostic::Finding;
use super::entry::Entry;

/// Reads it into the entry's service; where it is, or else the line of the entry.
pub(super) fn read(entry: &mut Entry<'_>) -> Range<usize> {
    let (fields, header) = (&mut entry.fields, entry.header.clone());
    if fields.get("name").is_none() {
        let near = fields.span_of_key("Name");
        let finding = Finding::error(
            near.unwrap_or(header.clone()),
            "this service has no name",
            "`name` is missing",
        );
        fields.report(finding.help("add a line such as name = \"web\""));
    }
    let Some((name, span)) = fields.string("name") else {
        return header;
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(allowed) {
        let clean: String = name
            .trim()
            .chars()
            .map(|c| if allowed(c) { c } else { '-' })
            .collect();
        let finding = Finding::error(
            span.clone(),
            "a service's name is made of letters, digits, `_` and `-`",
            "not a name",
        );
        fields.report(if clean.is_empty() {
            finding
        } else {
            finding.help(format!("write name = \"{clean}\""))
        });
    } else if name.len() > 64 {
        fields.report(Finding::error(
            span.clone(),
            "a service's name has 64 characters at most",
            "too long",
        ));
    }
    entry.service.name = name;
    span
}
