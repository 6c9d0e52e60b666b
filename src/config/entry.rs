//! One `[[services]]` entry while it is being read: what the readers of its keys share.

use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;

use super::Facts;
use super::diagnostic::Finding;
use super::model::{Log, Service};
use super::scalar::Table;

/// The entry, and the service that comes of it.
pub(super) struct Entry<'e> {
    pub fields: Table<'e, 'e>,
    /// Filled in by one key after the other. A reader that needs what another key says asks the fields; only
    /// `ready_timeout` follows the key that it bounds.
    pub service: Service,
    /// The line `[[services]]`.
    pub header: Range<usize>,
    pub name_at: Range<usize>,
    /// One for each of the service's dependencies.
    pub dependencies_at: Vec<Range<usize>>,
    /// `[log]`, which holds where the service does not say otherwise.
    pub log: &'e Log,
    /// What is known of the machine; None: nothing is looked up for a disabled service.
    pub facts: Option<&'e dyn Facts>,
    /// An unknown key is probably `command`, which is then not reported as missing.
    pub misspells_command: bool,
}

impl<'e> Entry<'e> {
    pub fn new(
        table: &'e DeTable<'e>,
        header: Range<usize>,
        log: &'e Log,
        facts: &'e dyn Facts,
        findings: &'e mut Vec<Finding>,
    ) -> Entry<'e> {
        let is_disabled = value(table, "enabled").and_then(|value| value.as_bool()) == Some(false);
        Entry {
            fields: Table { table, findings },
            service: Service::default(),
            name_at: header.clone(),
            header,
            dependencies_at: Vec::new(),
            log,
            facts: (!is_disabled).then_some(facts),
            misspells_command: false,
        }
    }

    /// Where the service's programs are looked up, if it is here that this is said: `PATH` in `env`.
    pub fn search_path(&self) -> Option<&'e str> {
        let env = value(self.fields.table, "env")?.as_table()?;
        text(env, "PATH")
    }

    /// `working_dir`.
    pub fn working_dir(&self) -> Option<&'e Path> {
        text(self.fields.table, "working_dir").map(Path::new)
    }

    /// `tty`.
    pub fn has_tty(&self) -> bool {
        value(self.fields.table, "tty").and_then(|value| value.as_bool()) != Some(false)
    }
}

fn value<'e>(table: &'e DeTable<'e>, key: &str) -> Option<&'e toml::de::DeValue<'e>> {
    table.get(key).map(toml::Spanned::get_ref)
}

/// A string that the kernel can be given.
fn text<'e>(table: &'e DeTable<'e>, key: &str) -> Option<&'e str> {
    value(table, key)?
        .as_str()
        .filter(|text| !text.contains('\0'))
}
