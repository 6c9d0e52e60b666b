//! What a service finds in its environment: `env` and `env_file`.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::FileKind;
use super::diagnostic::Finding;
use super::entry::Entry;
use super::model::EnvValue;
use super::scalar::{Table, type_name};

/// `env_file`.
pub(super) fn env_files(entry: &mut Entry<'_>) -> Vec<PathBuf> {
    let fields = &mut entry.fields;
    let files = match fields.get("env_file").map(|value| value.get_ref()) {
        Some(DeValue::Array(_)) => fields.strings("env_file").unwrap_or_default(),
        _ => fields.string("env_file").into_iter().collect(),
    };
    for (file, span) in &files {
        if let Some(facts) = entry.facts
            && facts.file(Path::new(file)) != FileKind::File
        {
            let what = format!("`env_file`: there is no file `{file}`");
            fields.report(Finding::error(span.clone(), what, "not found").on_machine());
        }
    }
    files.into_iter().map(|(file, _)| file.into()).collect()
}

/// `env`.
pub(super) fn environment(fields: &mut Table<'_, '_>) -> Vec<(String, EnvValue)> {
    let Some(table) = fields.table("env", "a table") else {
        return Vec::new();
    };
    let mut environment = Vec::new();
    for (key, value) in table.iter() {
        let name = key.get_ref().as_ref();
        if name.is_empty() || name.contains(['=', '\0']) {
            fields.report(Finding::error(
                key.span(),
                "an environment variable's name is not empty and holds no `=`",
                "not a name",
            ));
        }
        match value.get_ref() {
            DeValue::String(text) if fields.without_nul(name, text, value.span()) => {
                environment.push((name.to_owned(), EnvValue::Text(text.to_string())));
            }
            DeValue::String(_) => {}
            DeValue::Table(source)
                if source.len() == 1
                    && source
                        .get("file")
                        .is_some_and(|file| file.get_ref().is_str()) =>
            {
                let file = source
                    .get("file")
                    .and_then(|file| file.get_ref().as_str())
                    .unwrap_or_default();
                environment.push((name.to_owned(), EnvValue::File(file.into())));
            }
            other => {
                let finding = Finding::error(
                    value.span(),
                    format!("`{name}` has to be a string, and is {}", type_name(other)),
                    "expected a string",
                );
                let text = other
                    .as_integer()
                    .map(|number| number.as_str().to_owned())
                    .or_else(|| other.as_bool().map(|b| b.to_string()));
                fields.report(match text {
                    Some(text) => finding.help(format!("put it in quotes: {name} = \"{text}\"")),
                    None => finding.help(format!(
                        "write {name} = \"value\" or {name} = {{ file = \"/run/secrets/x\" }}"
                    )),
                });
            }
        }
    }
    environment
}
