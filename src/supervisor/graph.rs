//! The dependency graph in slots instead of names. The configuration was checked, so that every name
//! is there and there is no cycle; an edge that points nowhere all the same is left out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Supervisor;
use super::service::{Edge, Service};
use crate::base::{Moment, ServiceId};
use crate::config::model::{self, Condition};

impl Supervisor {
    /// Whether that many further services can be told apart from those that are there, or still leaving.
    pub fn has_room_for(&self, added: usize) -> bool {
        self.services.len() + added <= ServiceId::SLOTS
    }

    /// Takes a service into the slab. It is in no order and has no edges yet.
    pub(super) fn insert(&mut self, service: model::Service, now: Moment) -> ServiceId {
        self.next_generation = self.next_generation.wrapping_add(1);
        let entry = self.services.vacant_entry();
        let id = ServiceId::new(entry.key() as u32, self.next_generation);
        entry.insert(Service::new(id, service, now));
        id
    }

    /// Draws every edge anew. A service that is leaving keeps those it had, for it goes before what it
    /// depends on.
    pub(super) fn draw_edges(&mut self) {
        let ids: Vec<ServiceId> = self.ids().collect();
        let by_name: BTreeMap<String, ServiceId> = self
            .order
            .iter()
            .filter(|id| !self.service(**id).leaving)
            .map(|id| (self.service(*id).config.name.clone(), *id))
            .collect();
        for &id in &ids {
            let edges = match self.service(id).leaving {
                true => {
                    let old = std::mem::take(&mut self.service_mut(id).dependencies);
                    let there = |edge: &Edge| ids.contains(&edge.on);
                    old.into_iter().filter(there).collect()
                }
                false if self.is_main_program(id) => self.edges_of_main_program(),
                false => {
                    let depends_on = &self.service(id).config.depends_on;
                    let edge = |dependency| edge(dependency, &by_name);
                    depends_on.iter().filter_map(edge).collect()
                }
            };
            let service = self.service_mut(id);
            service.dependencies = edges;
            service.dependents.clear();
        }
        for id in ids {
            for index in 0..self.service(id).dependencies.len() {
                let on = self.service(id).dependencies[index].on;
                self.service_mut(on).dependents.push(id);
            }
        }
    }

    /// It comes after everything that is to be up.
    fn edges_of_main_program(&self) -> Vec<Edge> {
        let up = |id: &&ServiceId| {
            let service = self.service(**id);
            service.config.enabled && !service.leaving
        };
        let after_start = |on: &ServiceId| Edge {
            on: *on,
            condition: Condition::Started,
            wait_after: Duration::ZERO,
        };
        self.order.iter().filter(up).map(after_start).collect()
    }
}

fn edge(dependency: &model::Dependency, by_name: &BTreeMap<String, ServiceId>) -> Option<Edge> {
    let on = *by_name.get(&dependency.on)?;
    Some(Edge {
        on,
        condition: dependency.condition,
        wait_after: dependency.wait_after,
    })
}
