//! What must hold, numbered as in docs/TESTING.md: some of it of each action before the reference takes it
//! in, the rest after each input.

use go_overlay::base::{ClientId, Moment, ServiceId, Signal};
use go_overlay::control::message::State;
use go_overlay::supervisor::Supervisor;
use go_overlay::supervisor::event::{Action, Notice, Role, Scope};

use crate::kernel::Kernel;
use crate::model::{Facts, Kind, Model, Wanted};
use crate::reference::{Verdict, Window};

/// What is broken, in words; or nothing.
pub type Broken = Result<(), String>;

/// Everything there is to look at.
pub struct View<'a> {
    pub model: &'a Model,
    pub kernel: &'a Kernel,
    pub supervisor: &'a Supervisor,
}

type OfAction = fn(&View<'_>, &Action) -> Broken;
type OfWhole = fn(&View<'_>) -> Broken;

pub const OF_ACTIONS: [(u32, &str, OfAction); 14] = [
    (1, "start order", start_order),
    (2, "stop order", stop_order),
    (3, "one main process a service", one_process),
    (4, "no start when going down", no_start_when_down),
    (5, "the whole grace", whole_grace),
    (6, "back-off", back_off),
    (8, "one reply a request", one_reply),
    (9, "nothing after Exit", nothing_after_exit),
    (10, "nobody alive at Exit", nobody_alive),
    (11, "exit code", exit_code),
    (12, "legal transitions", legal_transitions),
    (15, "signals reach whom they are for", known_jobs),
    (16, "checks", checks_one_at_a_time),
    (24, "no stop without a reason", stop_has_a_reason),
];

pub const OF_THE_WHOLE: [(u32, &str, OfWhole); 11] = [
    (7, "a timer where the state waits", timers),
    (8, "one reply a request", all_answered),
    (13, "bounded actions", bounded_actions),
    (16, "checks", checks_only_of_programs),
    (17, "health", health_as_the_results_say),
    (18, "leaving the table", table_as_the_file),
    (19, "states and processes", states_and_processes),
    (20, "nobody dawdles", nobody_dawdles),
    (21, "dependents follow", dependents_follow),
    (25, "the second signal means it", second_signal),
    (26, "what changed is started anew", nobody_outdated),
];

/// Most actions that one input may have, beside so many a service.
const ACTIONS: usize = 30;
const ACTIONS_A_SERVICE: usize = 30;

fn check(holds: bool, words: impl FnOnce() -> String) -> Broken {
    match holds {
        true => Ok(()),
        false => Err(words()),
    }
}

fn facts<'a>(view: &'a View<'_>, id: ServiceId) -> Result<&'a Facts, String> {
    let found = view.model.services.get(&id);
    found.ok_or_else(|| format!("{id:?} is in no table"))
}

fn start_order(view: &View<'_>, action: &Action) -> Broken {
    let Action::Spawn { service, role, .. } = action else {
        return Ok(());
    };
    let (model, facts) = (view.model, facts(view, *service)?);
    let name = &facts.config.name;
    match role {
        Role::PostScript => return may_run_post_script(model, facts),
        Role::Check => return Err(format!("{name}: a check is no child of the supervisor's")),
        Role::Main if facts.state == State::Starting => {
            return check(facts.pre_script_done, || {
                format!("{name} is started before its pre-script has done its work")
            });
        }
        Role::PreScript | Role::Main => {}
    }
    check(facts.state == State::Pending, || {
        format!("{name} is started from {}", facts.state)
    })?;
    check(
        (*role == Role::PreScript) == facts.config.pre_script.is_some(),
        || format!("{name}: {role:?} comes first"),
    )?;
    check(!facts.after_leaving || !model.someone_leaves(), || {
        format!("{name} is started while others still leave")
    })?;
    for edge in &facts.edges {
        let since = model.met_since(edge);
        let on = model.name(edge.on);
        check(
            since.is_some_and(|since| since.after(edge.wait_after) <= model.now),
            || {
                let (condition, wait) = (edge.condition, edge.wait_after);
                format!(
                    "{name} is started: {on} was {condition:?} since {since:?}, and it waits {wait:?}"
                )
            },
        )?;
    }
    Ok(())
}

fn may_run_post_script(model: &Model, facts: &Facts) -> Broken {
    let name = &facts.config.name;
    check(facts.config.post_script.is_some(), || {
        format!("{name} has no post-script")
    })?;
    let up = facts.state == State::Running || facts.completed_at.is_some();
    let due = facts.post_due.is_some_and(|due| due <= model.now);
    check(up && due, || {
        format!(
            "the post-script of {name} at {:?}, which is due at {:?}; it is {}",
            model.now, facts.post_due, facts.state
        )
    })
}

fn stop_order(view: &View<'_>, action: &Action) -> Broken {
    let model = view.model;
    let (id, in_the_way): (ServiceId, fn(&Facts) -> bool) = match action {
        Action::Kill { job, signal, scope } => {
            let Some(found) = model.jobs.get(job) else {
                return Ok(());
            };
            let asks = *scope == Scope::Group && ![Signal::KILL, Signal::CONT].contains(signal);
            // A pre-script is cancelled at once: nobody uses a service that is not up yet.
            let leads = found.role == Role::Main;
            let down = model.down.as_ref();
            if !(asks && leads) || down.is_none_or(|down| down.killing_at.is_some()) {
                return Ok(());
            }
            (found.service, Facts::is_active)
        }
        Action::Notice(Notice::Changed {
            service,
            to: State::Stopping,
            detail,
            ..
        }) if detail == "stop signal sent"
            && facts(view, *service)?.leaving
            && model
                .leading_job(*service)
                .is_some_and(|(_, job)| job.role == Role::Main) =>
        {
            (*service, |dependent| {
                dependent.leaving && dependent.is_active()
            })
        }
        _ => return Ok(()),
    };
    match model.dependents(id).find(|(_, facts)| in_the_way(facts)) {
        None => Ok(()),
        Some((_, dependent)) => Err(format!(
            "{} is told to end while {} is {}",
            model.name(id),
            dependent.config.name,
            dependent.state
        )),
    }
}

fn stop_has_a_reason(view: &View<'_>, action: &Action) -> Broken {
    let Action::Notice(Notice::Changed {
        service,
        to: State::Stopping,
        detail,
        ..
    }) = action
    else {
        return Ok(());
    };
    let (model, facts) = (view.model, facts(view, *service)?);
    let has_reason = detail != "stop signal sent"
        || model.down.is_some()
        || model.turn.kind == Kind::Asked
        || model.turn.followers.contains(service)
        || facts.leaving
        || facts.maybe_again
        || facts.wanted == Wanted::Down;
    check(has_reason, || {
        format!(
            "{} is told to end, and nobody wants that",
            facts.config.name
        )
    })
}

fn one_process(view: &View<'_>, action: &Action) -> Broken {
    let Action::Spawn { job, service, role } = action else {
        return Ok(());
    };
    check(!view.model.jobs.contains_key(job), || {
        format!("{job:?} was handed out twice")
    })?;
    let in_the_way = view.model.jobs_of(*service).find(|(_, other)| {
        let beside = other.role == Role::Main && *role == Role::PostScript;
        !beside
    });
    match in_the_way {
        None => Ok(()),
        Some((_, other)) => Err(format!(
            "{role:?} of {} is started beside its {:?}",
            view.model.name(*service),
            other.role
        )),
    }
}

fn no_start_when_down(view: &View<'_>, action: &Action) -> Broken {
    let (id, what) = match action {
        Action::Spawn { service, role, .. } => (*service, format!("{role:?}")),
        Action::Check { service, .. } => (*service, "a check".into()),
        Action::Notice(Notice::Changed {
            service,
            to: State::Pending,
            ..
        }) => {
            let facts = facts(view, *service)?;
            check(
                facts.wanted != Wanted::Down || view.model.down.is_some(),
                || format!("{} was told to stay down", facts.config.name),
            )?;
            (*service, "waiting to be started".into())
        }
        Action::Notice(Notice::Changed {
            service,
            from: State::Stopping,
            to: State::Stopped,
            ..
        }) => {
            let facts = facts(view, *service)?;
            let wanted = facts.wanted == Wanted::Up && !facts.leaving;
            return check(!wanted || view.model.down.is_some(), || {
                format!("{} was asked to be up and stays down", facts.config.name)
            });
        }
        _ => return Ok(()),
    };
    check(view.model.down.is_none(), || {
        format!("{what} of {} in a shutdown", view.model.name(id))
    })
}

fn whole_grace(view: &View<'_>, action: &Action) -> Broken {
    let Action::Kill {
        job,
        signal: Signal::KILL,
        scope: Scope::Group,
    } = action
    else {
        return Ok(());
    };
    let model = view.model;
    let Some(found) = model.jobs.get(job) else {
        return Ok(());
    };
    let killing = model.down.as_ref().and_then(|down| down.killing_at);
    let (name, role) = (model.name(found.service), found.role);
    check(!found.killed || killing.is_some(), || {
        format!("{role:?} of {name} gets SIGKILL twice")
    })?;
    match (killing, found.told) {
        (Some(_), _) => Ok(()),
        (None, None) => Err(format!("{role:?} of {name} gets SIGKILL out of the blue")),
        (None, Some((at, grace))) => check(at.after(grace) <= model.now, || {
            let waited = model.now.since(at);
            format!("{role:?} of {name} gets SIGKILL after {waited:?} instead of {grace:?}")
        }),
    }
}

fn back_off(view: &View<'_>, action: &Action) -> Broken {
    let Action::Notice(Notice::Changed {
        service,
        from: State::Failed | State::Stopped,
        to: State::Pending,
        ..
    }) = action
    else {
        return Ok(());
    };
    let (model, facts) = (view.model, facts(view, *service)?);
    let asked = matches!(model.turn.kind, Kind::Asked | Kind::Reload) || facts.wanted == Wanted::Up;
    let since = facts.since;
    let first_start = model.now == Moment(0);
    match facts.restart {
        _ if asked || first_start => Ok(()),
        None => Err(format!(
            "{} restarts although nothing says so",
            facts.config.name
        )),
        Some(Window { from, until, .. }) => check(from <= model.now, || {
            format!(
                "{} restarts {:?} after its end at {since:?} instead of from {:?} to {:?} later",
                facts.config.name,
                model.now.since(since),
                from.since(since),
                until.since(since)
            )
        }),
    }
}

fn one_reply(view: &View<'_>, action: &Action) -> Broken {
    let Action::Reply { client, response } = action else {
        return Ok(());
    };
    let Some(open) = view.model.requests.get(client) else {
        return Err(format!(
            "{client:?} is answered and has asked nothing: {response:?}"
        ));
    };
    match view.model.fault_of(open, response) {
        None => Ok(()),
        Some(fault) => Err(format!(
            "{client:?} asked {:?}: {fault}: {response:?}",
            open.request
        )),
    }
}

fn nothing_after_exit(view: &View<'_>, action: &Action) -> Broken {
    check(view.model.exit.is_none(), || {
        format!("{action:?} after Exit")
    })
}

fn nobody_alive(view: &View<'_>, action: &Action) -> Broken {
    let Action::Exit(_) = action else {
        return Ok(());
    };
    let unanswered: Vec<&ClientId> = view.model.requests.keys().collect();
    check(unanswered.is_empty(), || {
        format!("{unanswered:?} get no answer")
    })?;
    let alive = view
        .model
        .jobs
        .iter()
        .find(|(job, _)| view.kernel.lives(**job));
    match alive {
        None => Ok(()),
        Some((_, job)) => Err(format!(
            "{:?} of {} is alive at Exit",
            job.role,
            view.model.name(job.service)
        )),
    }
}

fn exit_code(view: &View<'_>, action: &Action) -> Broken {
    let Action::Exit(code) = action else {
        return Ok(());
    };
    let Some(down) = &view.model.down else {
        return Err("Exit without a shutdown".into());
    };
    check(*code == down.code, || {
        format!("exit code {code} instead of {}", down.code)
    })
}

fn legal_transitions(view: &View<'_>, action: &Action) -> Broken {
    use State::{Failed, Pending, Running, Starting, Stopped, Stopping};
    let Action::Notice(Notice::Changed {
        service, from, to, ..
    }) = action
    else {
        return Ok(());
    };
    let facts = facts(view, *service)?;
    let name = &facts.config.name;
    check(facts.state == *from, || {
        format!("{name} leaves {from}, and it was {}", facts.state)
    })?;
    let legal: &[State] = match from {
        Stopped => &[Pending],
        Pending => &[Starting, Stopped, Failed],
        Starting => &[Running, Stopping, Failed],
        Running => &[Stopped, Stopping, Failed],
        Stopping => &[Stopped, Failed, Pending],
        Failed => &[Pending, Stopped],
    };
    check(legal.contains(to), || format!("{name}: {from} to {to}"))
}

fn known_jobs(view: &View<'_>, action: &Action) -> Broken {
    let Action::Kill { job, signal, .. } = action else {
        return Ok(());
    };
    let model = view.model;
    check(
        model.jobs.contains_key(job) || model.turn.over.contains(job),
        || format!("{signal} for {job:?}, whose end was told"),
    )
}

fn checks_one_at_a_time(view: &View<'_>, action: &Action) -> Broken {
    let model = view.model;
    match action {
        Action::Check { job, service } => {
            let facts = facts(view, *service)?;
            let name = &facts.config.name;
            check(!model.checks.values().any(|other| other == service), || {
                format!("two checks of {name} at once")
            })?;
            check(!model.checks.contains_key(job), || format!("{job:?} twice"))?;
            check(facts.config.health.is_some(), || {
                format!("{name} has no check")
            })?;
            let due = facts.health.as_ref().and_then(|health| health.due);
            check(due.is_some_and(|due| due <= model.now), || {
                format!("{name} is checked at {:?}, due {due:?}", model.now)
            })
        }
        Action::EndCheck { job } => check(
            model.checks.contains_key(job) || model.turn.over.contains(job),
            || format!("{job:?} is broken off, and no such check is under way"),
        ),
        _ => Ok(()),
    }
}

fn checks_only_of_programs(view: &View<'_>) -> Broken {
    for id in view.model.checks.values() {
        let facts = facts(view, *id)?;
        check(facts.health.is_some(), || {
            format!("{} is {} and checked", facts.config.name, facts.state)
        })?;
    }
    Ok(())
}

fn timers(view: &View<'_>) -> Broken {
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

fn all_answered(view: &View<'_>) -> Broken {
    let mut open = view.model.requests.iter();
    match open.find(|(_, open)| view.model.is_overdue(open)) {
        None => Ok(()),
        Some((client, open)) => Err(format!(
            "{client:?} waits for its answer: {:?}",
            open.request
        )),
    }
}

fn bounded_actions(view: &View<'_>) -> Broken {
    let (actions, services) = (view.model.turn.actions, view.model.services.len());
    check(actions <= ACTIONS + ACTIONS_A_SERVICE * services, || {
        format!("{actions} actions for one input with {services} services")
    })
}

fn health_as_the_results_say(view: &View<'_>) -> Broken {
    let rows = view.supervisor.list(view.model.now);
    for row in rows {
        let Some(id) = id_of_row(view.model, &row.name) else {
            continue;
        };
        let facts = facts(view, id)?;
        let expected = facts.health.as_ref().map(|health| health.word);
        check(row.health == expected.unwrap_or_default(), || {
            format!(
                "{} is {:?}, and by its results {expected:?}",
                row.name, row.health
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

fn table_as_the_file(view: &View<'_>) -> Broken {
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

fn states_and_processes(view: &View<'_>) -> Broken {
    let model = view.model;
    if model.exit.is_some() {
        return Ok(());
    }
    let pids = view.supervisor.pids();
    for (row, id) in pids.iter().zip(view.supervisor.ids()) {
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
        check(*row == pid, || {
            format!("{name} has pid {pid:?} and shows {row:?}")
        })?;
    }
    Ok(())
}

fn nobody_dawdles(view: &View<'_>) -> Broken {
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
        let is_ready = facts
            .edges
            .iter()
            .zip(&verdicts)
            .all(|(edge, verdict)| match verdict {
                Verdict::MetSince(since) => since.after(edge.wait_after) <= model.now,
                Verdict::Waiting | Verdict::Failed | Verdict::Unknown => false,
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

fn dependents_follow(view: &View<'_>) -> Broken {
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

fn second_signal(view: &View<'_>) -> Broken {
    let down = view.model.down.as_ref();
    let late = down.is_some_and(|down| down.insisted && down.killing_at.is_none());
    check(!late || view.model.exit.is_some(), || {
        "a second signal was not heard".into()
    })
}

fn nobody_outdated(view: &View<'_>) -> Broken {
    let model = view.model;
    for (id, facts) in &model.services {
        let owed = facts.outdated && facts.is_up_or_starting() && model.down.is_none();
        let held_back = model
            .dependents(*id)
            .any(|(_, dependent)| dependent.is_active());
        check(!owed || held_back, || {
            format!(
                "{} runs on with what was changed by a reload",
                facts.config.name
            )
        })?;
    }
    Ok(())
}
