//! What is checked between services: names, dependencies, cycles, and the order of starting.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::{Finding, may_suggest};
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
                read.name_at,
                format!("two services are called `{name}`"),
                "the second one",
            );
            findings.push(finding.also(services[*first].name_at, "the first one"));
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
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (dependency, span) in read.service.depends_on.iter().zip(&read.dependencies_at) {
        let on = dependency.on.as_str();
        if !seen.insert(on) {
            findings.push(Finding::error(
                *span,
                format!("`{on}` is depended on twice"),
                "again",
            ));
        }
        match by_name.get(on) {
            _ if on == read.service.name => {
                findings.push(Finding::error(
                    *span,
                    format!("`{on}` depends on itself"),
                    "itself",
                ));
            }
            None => {
                let finding = Finding::error(
                    *span,
                    format!("there is no service `{on}` to depend on"),
                    "unknown service",
                );
                // Each suggestion looks at every name.
                findings.push(match may_suggest(findings.len(), by_name.len()) {
                    true => finding.suggest(on, by_name.keys().copied()),
                    false => finding,
                });
            }
            Some(index) if !services[*index].service.enabled && read.service.enabled => {
                let finding = Finding::error(
                    *span,
                    format!(
                        "`{on}` is disabled, so that `{}` would never start",
                        read.service.name
                    ),
                    "disabled",
                );
                findings.push(
                    finding
                        .also(services[*index].name_at, "has enabled = false")
                        .help("enable it, or do not depend on it"),
                );
            }
            Some(index)
                if dependency.condition == Condition::Healthy && !services[*index].has_health =>
            {
                let finding = Finding::error(
                    *span,
                    format!(
                        "`{}` waits for `{on}` to be healthy, and `{on}` has no health check",
                        read.service.name
                    ),
                    "can never be healthy",
                );
                findings.push(
                    finding
                        .also(services[*index].name_at, "has no health check")
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
    // Where in the path a service is.
    let mut place: Vec<Option<usize>> = vec![None; services.len()];
    for start in 0..services.len() {
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        place[start] = Some(0);
        while let Some((at, next)) = path.last().copied() {
            let Some((edge, to)) = edges[at].get(next).copied().filter(|_| !done[at]) else {
                done[at] = true;
                place[at] = None;
                path.pop();
                continue;
            };
            if let Some(last) = path.last_mut() {
                last.1 += 1;
            }
            if let Some(from) = place[to] {
                if to != at {
                    findings.push(cycle(services, &path[from..], at, edge));
                }
            } else if !done[to] {
                place[to] = Some(path.len());
                path.push((to, 0));
            }
        }
    }
}

/// Of a longer circle only so many services are named at either end.
const NAMED: usize = 8;

fn cycle(services: &[Read], path: &[(usize, usize)], closing: usize, edge: usize) -> Finding {
    let name = |(member, _): &(usize, usize)| services[*member].service.name.clone();
    let mut names: Vec<String> = match path.len() {
        0..=16 => path.iter().map(name).collect(),
        len => {
            let (head, tail) = (&path[..NAMED], &path[len - NAMED..]);
            let left_out = format!("({} more)", len - 2 * NAMED);
            let named = head.iter().map(name).chain([left_out]);
            named.chain(tail.iter().map(name)).collect()
        }
    };
    names.extend(path.first().map(name));
    let path = names.join(" → ");
    let finding = Finding::error(
        services[closing].dependencies_at[edge],
        format!("these services wait for each other: {path}"),
        "closes the circle",
    );
    finding.help("remove one of these dependencies")
}

impl Config {
    /// The services, by their place in the file, in an order in which each comes after its
    /// dependencies; among equals the order of the file. Without those of a cycle, which only an unchecked
    /// configuration has.
    pub fn start_order(&self) -> Vec<usize> {
        let index_of: BTreeMap<&str, usize> = self
            .services
            .iter()
            .enumerate()
            .map(|(index, service)| (service.name.as_str(), index))
            .collect();
        let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); self.services.len()];
        let mut unmet = vec![0_usize; self.services.len()];
        for (index, service) in self.services.iter().enumerate() {
            let on = service.depends_on.iter();
            for on in on.filter_map(|dependency| index_of.get(dependency.on.as_str())) {
                dependents[*on].push(index);
                unmet[index] += 1;
            }
        }
        // As if the file was read over and over, and each service taken when its dependencies were: in which round.
        let mut round = vec![0_usize; self.services.len()];
        let free = unmet.iter().enumerate().filter(|(_, unmet)| **unmet == 0);
        let mut ready: Vec<usize> = free.map(|(index, _)| index).collect();
        let mut order = Vec::with_capacity(self.services.len());
        while let Some(index) = ready.pop() {
            order.push(index);
            for &dependent in &dependents[index] {
                let earliest = round[index] + usize::from(dependent < index);
                round[dependent] = round[dependent].max(earliest);
                unmet[dependent] -= 1;
                if unmet[dependent] == 0 {
                    ready.push(dependent);
                }
            }
        }
        order.sort_by_key(|index| (round[*index], *index));
        order
    }
}
