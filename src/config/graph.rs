//! What is checked between services: names, dependencies, cycles, and the order of starting.

use std::collections::BTreeMap;

use super::diagnostic::Finding;
use super::model::{Condition, Config};
use super::service::Read;

pub(super) fn check(services: &[Read], findings: &mut Vec<Finding>) {
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, read) in services.iter().enumerate() {
        let name = read.service.name.as_str();
        if name.is_empty() {
            continue;
        }
        if let Some(first) = by_name.get(name) {
            let finding = Finding::error(
                read.name_at.clone(),
                format!("two services are called `{name}`"),
                "the second one",
            );
            findings.push(finding.also(services[*first].name_at.clone(), "the first one"));
        } else {
            by_name.insert(name, index);
        }
    }
    for read in services {
        dependencies(read, services, &by_name, findings);
    }
    cycles(services, &by_name, findings);
}

fn dependencies(
    read: &Read,
    services: &[Read],
    by_name: &BTreeMap<&str, usize>,
    findings: &mut Vec<Finding>,
) {
    let mut seen: Vec<&str> = Vec::new();
    for (dependency, span) in read.service.depends_on.iter().zip(&read.dependencies_at) {
        let on = dependency.on.as_str();
        if seen.contains(&on) {
            findings.push(Finding::error(
                span.clone(),
                format!("`{on}` is depended on twice"),
                "again",
            ));
        }
        seen.push(on);
        match by_name.get(on) {
            _ if on == read.service.name => {
                findings.push(Finding::error(
                    span.clone(),
                    format!("`{on}` depends on itself"),
                    "itself",
                ));
            }
            None => {
                let finding = Finding::error(
                    span.clone(),
                    format!("there is no service `{on}` to depend on"),
                    "unknown service",
                );
                findings.push(finding.suggest(on, by_name.keys().copied()));
            }
            Some(index) if !services[*index].service.enabled && read.service.enabled => {
                let finding = Finding::error(
                    span.clone(),
                    format!(
                        "`{on}` is disabled, so that `{}` would never start",
                        read.service.name
                    ),
                    "disabled",
                );
                findings.push(
                    finding
                        .also(services[*index].name_at.clone(), "has enabled = false")
                        .help("enable it, or do not depend on it"),
                );
            }
            Some(index)
                if dependency.condition == Condition::Healthy && !services[*index].has_health =>
            {
                let finding = Finding::error(
                    span.clone(),
                    format!(
                        "`{}` waits for `{on}` to be healthy, and `{on}` has no health check",
                        read.service.name
                    ),
                    "can never be healthy",
                );
                findings.push(
                    finding
                        .also(services[*index].name_at.clone(), "has no health check")
                        .help(format!(
                            "add a [services.health] table to `{on}`, or wait for \"started\" or \"completed\""
                        )),
                );
            }
            Some(_) => {}
        }
    }
}

/// Each cycle once, by a depth-first walk that keeps its own stack.
fn cycles(services: &[Read], by_name: &BTreeMap<&str, usize>, findings: &mut Vec<Finding>) {
    let edges: Vec<Vec<(usize, usize)>> = services
        .iter()
        .map(|read| {
            let on = read.service.depends_on.iter().enumerate();
            on.filter_map(|(edge, dependency)| Some((edge, *by_name.get(dependency.on.as_str())?)))
                .collect()
        })
        .collect();
    let mut done = vec![false; services.len()];
    for start in 0..services.len() {
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((at, next)) = path.last().copied() {
            let Some((edge, to)) = edges[at].get(next).copied().filter(|_| !done[at]) else {
                done[at] = true;
                path.pop();
                continue;
            };
            if let Some(last) = path.last_mut() {
                last.1 += 1;
            }
            if let Some(from) = path.iter().position(|(on_path, _)| *on_path == to) {
                if to != at {
                    let members: Vec<usize> =
                        path[from..].iter().map(|(member, _)| *member).collect();
                    findings.push(cycle(services, &members, at, edge));
                }
            } else if !done[to] {
                path.push((to, 0));
            }
        }
    }
}

fn cycle(services: &[Read], members: &[usize], closing: usize, edge: usize) -> Finding {
    let first = members.first().copied().unwrap_or(closing);
    let names = members
        .iter()
        .chain([&first])
        .map(|member| services[*member].service.name.as_str());
    let path = names.collect::<Vec<_>>().join(" → ");
    let finding = Finding::error(
        services[closing].dependencies_at[edge].clone(),
        format!("these services wait for each other: {path}"),
        "closes the circle",
    );
    finding.help("remove one of these dependencies")
}

impl Config {
    /// The services, by their place in the file, in an order in which each comes after its
    /// dependencies; among equals the order of the file.
    pub fn start_order(&self) -> Vec<usize> {
        let index_of: BTreeMap<&str, usize> = self
            .services
            .iter()
            .enumerate()
            .map(|(index, service)| (service.name.as_str(), index))
            .collect();
        let mut order: Vec<usize> = Vec::new();
        let mut placed = vec![false; self.services.len()];
        while order.len() < self.services.len() {
            let before = order.len();
            for (index, service) in self.services.iter().enumerate() {
                let met = |on: &str| index_of.get(on).is_none_or(|on| placed[*on]);
                if !placed[index]
                    && service
                        .depends_on
                        .iter()
                        .all(|dependency| met(&dependency.on))
                {
                    placed[index] = true;
                    order.push(index);
                }
            }
            if order.len() == before {
                // Only an unchecked configuration has a cycle.
                break;
            }
        }
        order
    }
}
