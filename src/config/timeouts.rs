//! `[timeouts]`.

use std::time::Duration;

use super::diagnostic::{Finding, may_suggest};
use super::model::Timeouts;
use super::scalar::Table;
use crate::base::nearest;

/// One key.
pub(super) struct Key {
    pub name: &'static str,
    /// What it is, as `docs/CONFIGURATION.md` has it in its list.
    pub doc: &'static str,
    /// Where its value goes.
    value: fn(&mut Timeouts) -> &mut Duration,
}

/// Every timeout.
pub(super) const KEYS: [Key; 4] = [
    Key {
        name: "post_script_timeout",
        doc: "how long a service has to be up before its post-script runs",
        value: |timeouts| &mut timeouts.post_script,
    },
    Key {
        name: "service_shutdown_timeout",
        doc: "from a service's stop signal to SIGKILL",
        value: |timeouts| &mut timeouts.service_shutdown,
    },
    Key {
        name: "global_shutdown_timeout",
        doc: "from the start of a shutdown to the end of everything",
        value: |timeouts| &mut timeouts.global_shutdown,
    },
    Key {
        name: "dependency_wait_timeout",
        doc: "how long a service waits for a dependency",
        value: |timeouts| &mut timeouts.dependency_wait,
    },
];

/// The names of all keys.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name)
}

/// Whether there is a timeout of this name.
pub(super) fn is_key(name: &str) -> bool {
    names().any(|known| known == name)
}

/// The table, with the defaults for what it leaves out.
pub(super) fn read(file: &mut Table<'_, '_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let Some(table) = file.table("timeouts", "a table") else {
        return timeouts;
    };
    for key in table.keys().filter(|key| !is_key(key.get_ref())) {
        let name = key.get_ref().as_ref();
        let is_shown = may_suggest(file.findings.len(), 1);
        let near = is_shown.then(|| nearest(name, names())).flatten();
        let finding = Finding::error(key.span(), format!("unknown timeout `{name}`"), "unknown");
        file.report(match near {
            Some(near) => finding.help(format!("did you mean `{near}`?")),
            None => {
                let names: Vec<&str> = names().collect();
                finding.help(format!("the timeouts are {}", names.join(", ")))
            }
        });
    }
    let mut fields = Table {
        table,
        findings: file.findings,
    };
    for key in &KEYS {
        if let Some(duration) = fields.duration(key.name) {
            *(key.value)(&mut timeouts) = duration;
        }
    }
    timeouts
}
