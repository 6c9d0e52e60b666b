//! The dependency graph in slots instead of names. The configuration was checked, so that every name
//! is there and there is no cycle; an edge that points nowhere all the same is left out.

use std::collections::BTreeMap;

use slab::Slab;

use super::service::{Edge, Service};
use crate::base::{Moment, ServiceId};
use crate::config::model;

type Built = (Slab<Service>, Vec<ServiceId>, Option<ServiceId>);

pub(super) fn build(
    services: Vec<model::Service>,
    main_program: Option<model::Service>,
    now: Moment,
) -> Built {
    let by_name: BTreeMap<String, ServiceId> = (0..)
        .map(ServiceId)
        .zip(&services)
        .map(|(id, service)| (service.name.clone(), id))
        .collect();
    let mut slab = Slab::with_capacity(services.len() + usize::from(main_program.is_some()));
    let enabled: Vec<ServiceId> = (0..)
        .map(ServiceId)
        .zip(&services)
        .filter(|(_, service)| service.enabled)
        .map(|(id, _)| id)
        .collect();
    for service in services {
        let edges = service
            .depends_on
            .iter()
            .filter_map(|dependency| edge(dependency, &by_name))
            .collect();
        slab.insert(Service::new(service, edges, now));
    }
    let order: Vec<ServiceId> = (0..).map(ServiceId).take(slab.len()).collect();
    let main_program = main_program.map(|service| {
        let edges = enabled.into_iter().map(after_start).collect();
        ServiceId(slab.insert(Service::new(service, edges, now)) as u32)
    });
    for id in order.iter().copied().chain(main_program) {
        for index in 0..slab[id.0 as usize].dependencies.len() {
            let on = slab[id.0 as usize].dependencies[index].on;
            slab[on.0 as usize].dependents.push(id);
        }
    }
    (slab, order, main_program)
}

fn edge(dependency: &model::Dependency, by_name: &BTreeMap<String, ServiceId>) -> Option<Edge> {
    let on = *by_name.get(&dependency.on)?;
    Some(Edge {
        on,
        condition: dependency.condition,
        wait_after: dependency.wait_after,
    })
}

fn after_start(on: ServiceId) -> Edge {
    Edge {
        on,
        condition: model::Condition::Started,
        wait_after: std::time::Duration::ZERO,
    }
}
