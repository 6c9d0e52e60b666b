//! Another configuration in place of the present one: what is the same is not touched, what left the file
//! is stopped and leaves the table, what is new is started, and what changed is started again where its
//! process has to know.
//!
//! Nothing here waits: each service is told where it is to get, and gets there as in any other start or
//! stop. So a reload may come at any time, during another one too.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Supervisor;
use super::event::Action;
use super::service::{AfterStop, PendingStop, Phase};
use super::view::{ReloadChange, ReloadPlan};
use crate::base::{Moment, ServiceId};
use crate::config::change::{self, Change};
use crate::config::model::{self, Config};
use crate::domain::{Cause, StopReason};

/// What becomes of a service of the present table.
enum Fate {
    Leaves,
    Stays { change: Change, starts: bool },
}

impl Supervisor {
    /// What [`super::event::Event::Reload`] with this configuration would do now.
    pub fn plan(&self, config: &Config) -> ReloadPlan {
        let mut plan = ReloadPlan {
            timeouts: self.timeouts != config.timeouts,
            ..ReloadPlan::default()
        };
        let present = self.by_name();
        for service in &config.services {
            let name = service.name.clone();
            let Some(&id) = present.get(service.name.as_str()) else {
                plan.added.push(name);
                continue;
            };
            let Fate::Stays { change, starts } = self.fate(id, Some(service)) else {
                continue;
            };
            let keys = change.keys.clone();
            match (change.is_empty() && !self.service(id).leaving, starts) {
                (true, _) => plan.unchanged += 1,
                (false, true) => plan.restarted.push(ReloadChange { name, keys }),
                (false, false) => plan.updated.push(ReloadChange { name, keys }),
            }
        }
        let stays: BTreeSet<&str> = config
            .services
            .iter()
            .map(|new| new.name.as_str())
            .collect();
        let there = self.order.iter().map(|id| self.service(*id));
        plan.removed = there
            .filter(|service| !service.leaving && !stays.contains(service.config.name.as_str()))
            .map(|service| service.config.name.clone())
            .collect();
        plan
    }

    fn by_name(&self) -> BTreeMap<String, ServiceId> {
        let named = |id: &ServiceId| (self.service(*id).config.name.clone(), *id);
        self.order.iter().map(named).collect()
    }

    fn fate(&self, id: ServiceId, new: Option<&model::Service>) -> Fate {
        let Some(new) = new else {
            return Fate::Leaves;
        };
        let service = self.service(id);
        let change = change::between(&service.config, new);
        let starts = match &service.phase {
            _ if !new.enabled => false,
            // It was not to be up, and now is; somebody may have started it by hand.
            _ if service.leaving || !service.config.enabled => {
                change.needs_restart || !service.phase.is_up_or_starting()
            }
            Phase::Pending { .. } => false,
            // What was stopped by hand is started by hand.
            _ if service.pending_stop == Some(PendingStop::Stay) => false,
            // Whatever changed may be what it failed for.
            Phase::Failed { .. } => !change.is_empty(),
            Phase::Stopped(StopReason::Completed { .. })
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping {
                after: AfterStop::Restart | AfterStop::FollowAndRestart(_) | AfterStop::Fail(_),
                ..
            } => change.needs_restart,
            // As above.
            Phase::Stopping {
                after: AfterStop::Stay | AfterStop::Follow(_),
                ..
            }
            | Phase::Stopped(
                StopReason::Disabled
                | StopReason::NotStarted
                | StopReason::Asked { .. }
                | StopReason::Followed(_),
            ) => false,
        };
        Fate::Stays { change, starts }
    }

    pub(super) fn reload(&mut self, config: Config, now: Moment) {
        if self.life.is_down() {
            return;
        }
        self.timeouts = config.timeouts;
        let mut present = self.by_name();
        let mut order = Vec::with_capacity(config.services.len());
        let mut fresh = BTreeSet::new();
        let mut added = Vec::new();
        let mut fates = Vec::new();
        for service in config.services {
            let id = match present.remove(&service.name) {
                Some(id) => {
                    fates.push((id, self.fate(id, Some(&service)), Some(service)));
                    id
                }
                None => {
                    let id = self.insert(service, now);
                    added.push(id);
                    id
                }
            };
            order.push(id);
        }
        for id in present.into_values() {
            fates.push((id, self.fate(id, None), None));
            order.push(id);
        }
        self.order = order;
        // The edges are drawn before any service moves, so that all go by the new graph.
        let fates: Vec<_> = fates
            .into_iter()
            .map(|(id, fate, new)| {
                let old = self.replace_config(id, new, matches!(fate, Fate::Leaves));
                (id, fate, old)
            })
            .collect();
        self.draw_edges();
        for (id, fate, old) in fates {
            match fate {
                Fate::Leaves => self.begin_leaving(id, now),
                Fate::Stays { starts, change } => {
                    let was_enabled = old.is_some_and(|old| old.enabled);
                    if starts {
                        fresh.insert(id);
                    }
                    self.change(id, was_enabled, starts, &change, now);
                }
            }
        }
        self.someone_leaves = self.order.iter().any(|id| self.service(*id).leaving);
        for id in added {
            fresh.insert(id);
            if self.service(id).config.enabled {
                self.service_mut(id).after_leaving = self.someone_leaves;
                let asked = true;
                self.set_phase(id, Phase::Pending { since: now, asked }, now);
            }
        }
        self.retry_after(fresh, now);
        for id in self.ids().collect::<Vec<_>>() {
            self.enqueue(id);
        }
    }

    /// What the file says of a service from now on, or that it leaves. Returns what the file said before.
    fn replace_config(
        &mut self,
        id: ServiceId,
        new: Option<model::Service>,
        leaves: bool,
    ) -> Option<Rc<model::Service>> {
        let service = self.service_mut(id);
        let came_back = service.leaving && !leaves;
        service.leaving = leaves;
        if came_back {
            service.raised_by = Some(Cause::Reload);
            // What the file does not want up is no more to be kept up than before.
            if new.as_ref().is_some_and(|new| new.enabled) {
                service.pending_stop = None;
            }
        }
        new.map(|new| std::mem::replace(&mut service.config, Rc::new(new)))
    }

    fn begin_leaving(&mut self, id: ServiceId, now: Moment) {
        let service = self.service_mut(id);
        // One that was to be stopped stays so, should another file bring it back.
        if service.pending_stop == Some(PendingStop::Restart) {
            service.pending_stop = None;
        }
        // One that runs goes when those that depended on it and leave too are gone.
        if !self.service(id).phase.is_up_or_starting() {
            self.begin_stop(id, AfterStop::Stay, now);
        }
        self.enqueue_neighbourhood(id);
    }

    fn change(
        &mut self,
        id: ServiceId,
        was_enabled: bool,
        starts: bool,
        change: &Change,
        now: Moment,
    ) {
        let service = self.service(id);
        let up = service.phase.is_up_or_starting();
        let checked_anew = change.keys.contains(&"health") && service.phase.program().is_some();
        if was_enabled && !service.config.enabled {
            self.stop_in_order(id, PendingStop::Stay, now);
            if self.service(id).phase.is_final() {
                self.set_phase(id, Phase::Stopped(StopReason::Disabled), now);
            }
            // It may run on for a while, until its dependents are down.
            if checked_anew {
                self.end_check(id);
                self.begin_checks(id, now);
            }
            return;
        }
        if starts {
            self.service_mut(id).raised_by = Some(Cause::Reload);
        } else if !was_enabled && up && self.service(id).config.enabled {
            // It may still wait for its turn to be stopped.
            self.bring_up(id, Cause::Reload, now);
        }
        match (starts, up) {
            (true, true) => {
                // It may run on for a while, until its dependents are down, and has no check any more.
                if self.service(id).config.health.is_none() {
                    self.end_check(id);
                }
                self.stop_in_order(id, PendingStop::Restart, now);
            }
            (true, false) => self.begin_stop(id, AfterStop::Restart, now),
            (false, _) if checked_anew => {
                self.end_check(id);
                self.begin_checks(id, now);
            }
            (false, _) => {}
        }
    }

    /// Who failed because of a dependency is tried again when that is started anew, and so is who failed
    /// because of him. Names in the file may stand in any order, so this goes on until nobody is added.
    fn retry_after(&mut self, mut fresh: BTreeSet<ServiceId>, now: Moment) {
        loop {
            let waits_for_fresh = |id: &ServiceId| {
                let service = self.service(*id);
                let failed = matches!(
                    &service.phase,
                    Phase::Failed {
                        by_dependency: true,
                        ..
                    }
                );
                failed
                    && !service.leaving
                    && !fresh.contains(id)
                    && service
                        .dependencies
                        .iter()
                        .any(|edge| fresh.contains(&edge.on))
            };
            let again: Vec<ServiceId> =
                self.order.iter().copied().filter(waits_for_fresh).collect();
            if again.is_empty() {
                return;
            }
            for id in again {
                self.begin_stop(id, AfterStop::Restart, now);
                self.service_mut(id).raised_by = Some(Cause::Reload);
                fresh.insert(id);
            }
        }
    }

    /// Whether a service has left the configuration and nothing of it runs: it is about to leave the table.
    pub fn has_left(&self, id: ServiceId) -> bool {
        self.get(id).is_none_or(|service| {
            service.leaving && service.phase.is_final() && service.post.job().is_none()
        })
    }

    /// Takes those out of the table that left the file and are down. Comes last in a turn, when nobody is
    /// in the queue and everybody has been answered.
    pub(super) fn drop_leaving(&mut self, now: Moment) -> bool {
        if !self.someone_leaves {
            return false;
        }
        let gone: Vec<ServiceId> = self
            .order
            .iter()
            .copied()
            .filter(|id| self.has_left(*id))
            .collect();
        if gone.is_empty() {
            return false;
        }
        for &id in &gone {
            self.forget_in_waiters(id, now);
            if let Some(at) = self.service_mut(id).deadline.take() {
                self.deadlines.remove(&(at, id));
            }
            self.order.retain(|other| *other != id);
            self.gone.push(id);
            self.actions.push_back(Action::Forget { service: id });
        }
        self.someone_leaves = self.order.iter().any(|id| self.service(*id).leaving);
        self.draw_edges();
        // Whoever was to come after them looks again.
        for id in self.ids().collect::<Vec<_>>() {
            self.enqueue(id);
        }
        true
    }

    /// Gives the places of those free that left the table, once nothing that is still to be done tells of
    /// them.
    pub(super) fn free_places(&mut self) {
        if self.actions.is_empty() {
            for id in std::mem::take(&mut self.gone) {
                self.services.remove(id.index());
            }
        }
    }
}
