//! The order in which services go down together: what depends on another one ends before it, also where something
//! between them is down already, or stays up.

use super::Supervisor;
use super::service::Phase;
use crate::base::ServiceId;

impl Supervisor {
    /// Whether it has a process and is on its way down, or goes when its turn comes.
    pub(super) fn goes_down(&self, id: ServiceId) -> bool {
        let service = self.service(id);
        service.is_active()
            && (self.life.is_down()
                || service.pending_stop.is_some()
                || service.leaving
                || matches!(service.phase, Phase::Stopping { .. }))
    }

    /// Whether something that depends on it, directly or not, goes down too and has not ended.
    pub(super) fn has_dependent_going_down(&self, id: ServiceId) -> bool {
        let dependents = &self.service(id).dependents;
        if dependents.iter().any(|id| self.goes_down(*id)) {
            return true;
        }
        if dependents.is_empty() {
            return false;
        }
        let mut seen = vec![false; self.services.capacity()];
        let mut open = dependents.clone();
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut seen[at.index()], true) {
                continue;
            }
            for &dependent in &self.service(at).dependents {
                if self.goes_down(dependent) {
                    return true;
                }
                open.push(dependent);
            }
        }
        false
    }

    /// It does not go down any more, or is down: what waited for that looks again.
    pub(super) fn wake_dependencies(&mut self, id: ServiceId) {
        if self.service(id).dependencies.is_empty() {
            return;
        }
        let mut seen = vec![false; self.services.capacity()];
        let mut open = vec![id];
        while let Some(at) = open.pop() {
            for index in 0..self.service(at).dependencies.len() {
                let on = self.service(at).dependencies[index].on;
                if std::mem::replace(&mut seen[on.index()], true) {
                    continue;
                }
                // What goes down itself wakes those beyond when it has ended.
                match self.goes_down(on) {
                    true => self.enqueue(on),
                    false => open.push(on),
                }
            }
        }
    }
}
