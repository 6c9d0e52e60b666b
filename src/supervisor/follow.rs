//! Dependents that must not outlive the failure of their dependency: `on_dependency_failure`.

use std::rc::Rc;

use super::Supervisor;
use super::service::{AfterStop, PendingStop};
use crate::base::{Moment, ServiceId};
use crate::config::model::OnDependencyFailure;

impl Supervisor {
    /// A service failed: whoever follows it goes down, and so do those that follow them. The list grows
    /// while it is walked; the graph has no cycle, and each service enters it once.
    pub(super) fn make_dependents_follow(&mut self, failed: ServiceId, now: Moment) {
        if self.life.is_down() {
            return;
        }
        let mut walk = vec![failed];
        let mut next = 0;
        while let Some(&at) = walk.get(next) {
            next += 1;
            let name: Rc<str> = self.service(at).config.name.as_str().into();
            for index in 0..self.service(at).dependents.len() {
                let id = self.service(at).dependents[index];
                let dependent = self.service(id);
                if !dependent.phase.is_up_or_starting() || walk.contains(&id) {
                    continue;
                }
                let stays = dependent.pending_stop == Some(PendingStop::Stay);
                let after = match dependent.config.on_dependency_failure {
                    OnDependencyFailure::Ignore => continue,
                    // It was to be stopped anyway.
                    _ if stays => AfterStop::Stay,
                    OnDependencyFailure::Stop => AfterStop::Follow(Rc::clone(&name)),
                    OnDependencyFailure::Restart => AfterStop::FollowAndRestart(Rc::clone(&name)),
                };
                self.begin_stop(id, after, now);
                walk.push(id);
            }
        }
    }
}
