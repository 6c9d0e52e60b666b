//! What must hold after each input, when everything that came of it was taken in.

use go_overlay::base::ServiceId;
use go_overlay::domain::{Now, State};
use go_overlay::supervisor::event::Role;

use crate::invariants::{Broken, View, check, facts};
use crate::model::{Facts, Kind, Model};
use crate::reference::Verdict;

/// Most actions that one input may have, beside so many a service.
const ACTIONS: usize = 30;
const ACTIONS_A_SERVICE: usize = 30;

pub fn checks_only_of_programs(view: &View<'_>) -> Broken {
    for id in view.model.checks.values() {
        let facts = facts(view, *id)?;
        check(facts.health.is_some(), || {
            format!("{} is {} and checked", facts.config.name, facts.state)
        })?;
    }
    Ok(())
}

pub fn timers(view: &View<'_>) -> Broken {
    let model = view.model;
    let deadline = view.supervisor.poll_timeout().map(|deadline| deadline.at);
    if model.exit.is_some() {
        return check(deadline.is_none(), || "a timer after Exit".into());
    }
    let handled = model.turn.kind == Kind::Timeout;
    if handled {
        check(deadline.is_none_or(|at| at > model.now), || {
            format!(
                "the timer is at {deadline:?}, which was handled at {:?}",
                model.now
            )
        })?;
    }
    let timers = model.timers();
    let first = timers.first();
    // Until the timer was handled it shows what is due.
    if !handled && first.is_some_and(|(at, _)| at <= model.now) {
        return Ok(());
    }
    if !handled && deadline.is_some_and(|at| at <= model.now) {
        return Ok(());
    }
    match (deadline, first) {
        (None, None) => Ok(()),
        (None, Some((at, why))) => Err(format!("no timer, and {why} waits until {at:?}")),
        (Some(at), Some((first, why))) if first < at => Err(format!(
            "the timer is at {at:?}, and {why} waits until {first:?}"
        )),
        (Some(at), _) => check(timers.allows(at), || {
            format!("a timer at {at:?}, and nobody waits until then: {timers:?}")
        }),
    }
}

pub fn all_answered(view: &View<'_>) -> Broken {
    let mut open = view.model.requests.iter();
    match open.find(|(_, open)| view.model.is_overdue(open)) {
        None => Ok(()),
        Some((client, open)) => Err(format!(
            "{client:?} waits for its answer: {:?}",
            open.request
        )),
    }
}

pub fn bounded_actions(view: &View<'_>) -> Broken {
    let (actions, services) = (view.model.turn.actions, view.model.services.len());
    check(actions <= ACTIONS + ACTIONS_A_SERVICE * services, || {
        format!("{actions} actions for one input with {services} services")
    })
}

pub fn health_as_the_results_say(view: &View<'_>) -> Broken {
    let rows = view.supervisor.list(Now::at(view.model.now));
    for row in rows {
        let Some(id) = id_of_row(view.model, &row.config.name) else {
            continue;
        };
        let facts = facts(view, id)?;
        let expected = facts.health.as_ref().map(|health| health.word);
        check(row.health == expected.unwrap_or_default(), || {
            format!(
                "{} is {:?}, and by its results {expected:?}",
                row.config.name, row.health
            )
        })?;
    }
    Ok(())
}

fn id_of_row(model: &Model, name: &str) -> Option<ServiceId> {
    let mut named = model
        .services
        .iter()
        .filter(|(_, facts)| facts.config.name == name);
    named.next().map(|(id, _)| *id)
}

pub fn table_as_the_file(view: &View<'_>) -> Broken {
    let model = view.model;
    let ids: Vec<ServiceId> = view.supervisor.ids().collect();
    let returned = ids.iter().find(|id| model.forgotten.contains(id));
    check(returned.is_none(), || {
        format!("{returned:?} was handed out twice")
    })?;
    let known: Vec<ServiceId> = model.services.keys().copied().collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    check(sorted == known, || {
        format!("the table has {sorted:?}, and it should be {known:?}")
    })?;
    let names: Vec<&str> = ids.iter().map(|id| model.name(*id)).collect();
    let in_order = model
        .file
        .iter()
        .zip(&names)
        .all(|(file, name)| file == name);
    check(in_order, || {
        format!("the table is {names:?}, the file {:?}", model.file)
    })?;
    // What ends together with the whole need not leave it first.
    if model.exit.is_some() {
        return Ok(());
    }
    for (id, facts) in &model.services {
        let gone = facts.leaving && model.is_final(*id) == Some(true);
        let alive = model.jobs_of(*id).next().is_some();
        check(!gone || alive, || {
            format!(
                "{} has left the file, is down, and stays in the table",
                facts.config.name
            )
        })?;
    }
    Ok(())
}

pub fn states_and_processes(view: &View<'_>) -> Broken {
    let model = view.model;
    if model.exit.is_some() {
        return Ok(());
    }
    let processes = view.supervisor.main_processes().into_iter();
    let pids = processes.map(|process| process.map(|(pid, _)| pid));
    for (row, id) in pids.zip(view.supervisor.ids()) {
        let facts = facts(view, id)?;
        let leading = model.leading_job(id).map(|(_, job)| job);
        let name = &facts.config.name;
        let fits = match facts.state {
            State::Pending | State::Stopped | State::Failed => leading.is_none(),
            State::Starting => leading.is_some(),
            State::Running => leading.is_some_and(|job| job.role == Role::Main),
            State::Stopping => leading.is_some() || model.post_job(id).is_some(),
        };
        check(fits, || {
            format!("{name} is {}, and its process {leading:?}", facts.state)
        })?;
        let main = leading.filter(|job| job.role == Role::Main);
        let pid = main.and_then(|job| job.pid);
        check(row == pid, || {
            format!("{name} has pid {pid:?} and shows {row:?}")
        })?;
    }
    Ok(())
}

pub fn nobody_dawdles(view: &View<'_>) -> Broken {
    let model = view.model;
    if model.exit.is_some() {
        return Ok(());
    }
    for (id, facts) in &model.services {
        let name = &facts.config.name;
        check(
            model.down.is_none() || facts.state != State::Pending,
            || format!("{name} is PENDING in a shutdown"),
        )?;
        if facts.state != State::Pending {
            continue;
        }
        let verdicts: Vec<Verdict> = facts.edges.iter().map(|edge| model.verdict(edge)).collect();
        check(!verdicts.contains(&Verdict::Failed), || {
            format!("{name} waits for somebody who has failed")
        })?;
        check(!facts.asked || !verdicts.contains(&Verdict::Down), || {
            format!("{name} was asked to start, and waits for what was stopped")
        })?;
        let is_ready = facts
            .edges
            .iter()
            .zip(&verdicts)
            .all(|(edge, verdict)| match verdict {
                Verdict::MetSince(since) => since.after(edge.wait_after) <= model.now,
                Verdict::Waiting | Verdict::Down | Verdict::Failed | Verdict::Unknown => false,
            });
        let held_back = model.post_job(*id).is_some()
            || (facts.after_leaving && model.someone_leaves())
            || model.turn.kind != Kind::Timeout;
        check(!is_ready || held_back, || {
            format!("{name} waits for nobody")
        })?;
    }
    Ok(())
}

pub fn dependents_follow(view: &View<'_>) -> Broken {
    let turn = &view.model.turn;
    // A shutdown has an order of its own.
    if view.model.down.is_some() {
        return Ok(());
    }
    match turn
        .followers
        .iter()
        .find(|id| !turn.told_to_end.contains(id))
    {
        None => Ok(()),
        Some(id) => Err(format!(
            "{} outlives the failure of its dependency",
            view.model.name(*id)
        )),
    }
}

pub fn second_signal(view: &View<'_>) -> Broken {
    let down = view.model.down.as_ref();
    let late = down.is_some_and(|down| down.insisted && down.killing_at.is_none());
    check(!late || view.model.exit.is_some(), || {
        "a second signal was not heard".into()
    })
}

pub fn nobody_outdated(view: &View<'_>) -> Broken {
    let model = view.model;
    for (id, facts) in &model.services {
        let owed = facts.outdated && facts.is_up_or_starting() && model.down.is_none();
        let held_back = model.in_the_way(*id, Facts::is_active).is_some();
        check(!owed || held_back, || {
            format!(
                "{} runs on with what was changed by a reload",
                facts.config.name
            )
        })?;
    }
    Ok(())
}
