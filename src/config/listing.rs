//! Every key of the file as a list, which `docs/CONFIGURATION.md` is held to.

use super::keys::{self, Change, Key, Kind};
use super::{health, limits, log, restart, timeouts};

/// A key, as it is documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The table that it is in, as it is written: `[[services]]`.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it is, and what a reload does when it changed; None in a table that is one value to the whole.
    pub documented: Option<(&'static str, &'static str)>,
}

/// All keys that a file can have, without those of the future.
pub fn every_key() -> Vec<Listed> {
    let of_timeouts = timeouts::KEYS.iter().map(|key| Listed {
        table: "[timeouts]",
        name: key.name,
        documented: Some((key.doc, AT_ONCE)),
    });
    let of_services = keys::KEYS.iter().map(|key| Listed {
        table: "[[services]]",
        name: key.name,
        documented: Some((key.doc, on_reload(key))),
    });
    let inner = [
        ("[services.log]", log::KEYS.to_vec()),
        ("[services.health]", health::KEYS.to_vec()),
        ("[services.restart]", restart::KEYS.to_vec()),
        ("[services.limits]", limits::names().collect()),
    ];
    let inner = inner.into_iter().flat_map(|(table, names)| {
        let documented = None;
        names.into_iter().map(move |name| Listed {
            table,
            name,
            documented,
        })
    });
    of_timeouts.chain(of_services).chain(inner).collect()
}

const AT_ONCE: &str = "at once";

/// What a reload does when it changed.
fn on_reload(key: &Key) -> &'static str {
    let change = match &key.kind {
        Kind::Whole { change, .. } => Some(change),
        Kind::PartOf(whole) => keys::change_of(whole),
    };
    match change {
        Some(Change::NewProcess(_)) => "restart",
        Some(Change::AtOnce(_)) => AT_ONCE,
        Some(Change::Depends(_)) => "restart, or at once",
        Some(Change::Never) | None => "another service",
    }
}
