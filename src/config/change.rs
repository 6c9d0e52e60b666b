//! What two versions of a service differ in, and whether its process has to know.

use super::keys::{Effect, KEYS, Key};
use super::model::Service;

/// What changed between two versions of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The keys that changed, as they are written; those that need another process come first.
    pub keys: Vec<&'static str>,
    /// Whether something changed that a process gets when it is started.
    pub needs_restart: bool,
}

impl Change {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Compares two versions of the service of one name.
pub fn between(old: &Service, new: &Service) -> Change {
    let of = |effect: Effect| {
        let changed = move |key: &&Key| key.effect(old, new) == Some(effect);
        KEYS.iter().filter(changed).map(|key| key.name)
    };
    let mut keys: Vec<&'static str> = of(Effect::NewProcess).collect();
    let needs_restart = !keys.is_empty();
    keys.extend(of(Effect::AtOnce));
    Change {
        keys,
        needs_restart,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::model::Ready;
    use super::*;

    #[test]
    fn only_what_a_process_gets_needs_a_restart() {
        let old = Service::default();
        assert!(between(&old, &old.clone()).is_empty());
        let quiet = Service {
            required: true,
            ready_timeout: Duration::from_secs(1),
            ready: Ready::Log("up".into()),
            ..Service::default()
        };
        let change = between(&old, &quiet);
        assert_eq!(change.keys, ["required", "ready", "ready_timeout"]);
        assert!(!change.needs_restart);
        let loud = Service {
            args: vec!["-v".into()],
            ready: Ready::Notify,
            ..Service::default()
        };
        let change = between(&old, &loud);
        assert_eq!(change.keys, ["args", "ready"]);
        assert!(change.needs_restart);
    }
}
