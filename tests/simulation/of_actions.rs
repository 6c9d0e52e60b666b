//! What must hold of each action, before the reference takes it in.

use go_overlay::base::{ClientId, JobId, Moment, ServiceId, Signal};
use go_overlay::domain::State;
use go_overlay::domain::{FailReason, ScriptFailure};
use go_overlay::supervisor::event::{Action, Notice, Role, Scope};
use go_overlay::supervisor::view::Detail;

use crate::invariants::{Broken, View, check, facts};
use crate::model::{CONTINUE_AFTER, Facts, Kind, Model, Wanted};
use crate::reference::Window;
use crate::timers::EXECUTE_WITHIN;

pub fn start_order(view: &View<'_>, action: &Action) -> Broken {
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

pub fn stop_order(view: &View<'_>, action: &Action) -> Broken {
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
        }) if *detail == Detail::StopSignalSent
            && model.down.is_none()
            && !model.turn.followers.contains(service)
            && model
                .leading_job(*service)
                .is_some_and(|(_, job)| job.role == Role::Main) =>
        {
            (*service, Facts::is_in_the_way)
        }
        _ => return Ok(()),
    };
    match model.in_the_way(id, in_the_way) {
        None => Ok(()),
        Some(dependent) => Err(format!(
            "{} is told to end while {} is {}",
            model.name(id),
            dependent.config.name,
            dependent.state
        )),
    }
}

pub fn stop_has_a_reason(view: &View<'_>, action: &Action) -> Broken {
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
    let has_reason = *detail != Detail::StopSignalSent
        || model.down.is_some()
        || model.turn.kind == Kind::Asked
        || model.turn.followers.contains(service)
        || facts.leaving
        || facts.maybe_again
        || facts.maybe_stop
        || facts.wanted == Wanted::Down;
    let closed = matches!(detail, Detail::FailedRunning(FailReason::NeverReady(_)))
        && facts.state == State::Starting;
    let in_time = facts.ready_until.is_some_and(|until| until <= model.now);
    check(!closed || in_time, || {
        format!("the end of {} was not waited for", facts.config.name)
    })?;
    let unexecuted = matches!(
        detail,
        Detail::FailedRunning(
            FailReason::NotExecuted { .. }
                | FailReason::PreScript(ScriptFailure::NotExecuted { .. })
        )
    );
    let in_time = model
        .leading_job(*service)
        .is_some_and(|(_, job)| job.pid.is_none() && job.since.after(EXECUTE_WITHIN) <= model.now);
    check(!unexecuted || in_time, || {
        format!("the execution of {} was not waited for", facts.config.name)
    })?;
    check(has_reason, || {
        format!(
            "{} is told to end, and nobody wants that",
            facts.config.name
        )
    })
}

pub fn one_process(view: &View<'_>, action: &Action) -> Broken {
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

pub fn no_start_when_down(view: &View<'_>, action: &Action) -> Broken {
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

pub fn whole_grace(view: &View<'_>, action: &Action) -> Broken {
    let Action::Kill {
        job,
        signal,
        scope: Scope::Group,
    } = action
    else {
        return Ok(());
    };
    match *signal {
        Signal::CONT => continued_once(view, *job),
        Signal::KILL => killed_in_time(view, *job),
        _ => Ok(()),
    }
}

fn continued_once(view: &View<'_>, job: JobId) -> Broken {
    let model = view.model;
    let Some(found) = model.jobs.get(&job) else {
        return Ok(());
    };
    let (name, role) = (model.name(found.service), found.role);
    check(found.may_be_continued, || {
        format!("SIGCONT would cancel the stop signal of {name}")
    })?;
    check(!found.continued, || {
        format!("{role:?} of {name} gets SIGCONT twice")
    })?;
    let due = found.told.map(|(at, _)| at.after(CONTINUE_AFTER));
    check(due.is_some_and(|due| due <= model.now), || {
        format!("{role:?} of {name} gets SIGCONT, and it is due at {due:?}")
    })
}

fn killed_in_time(view: &View<'_>, job: JobId) -> Broken {
    let model = view.model;
    let Some(found) = model.jobs.get(&job) else {
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

pub fn back_off(view: &View<'_>, action: &Action) -> Broken {
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

pub fn one_reply(view: &View<'_>, action: &Action) -> Broken {
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

pub fn nothing_after_exit(view: &View<'_>, action: &Action) -> Broken {
    check(view.model.exit.is_none(), || {
        format!("{action:?} after Exit")
    })
}

pub fn nobody_alive(view: &View<'_>, action: &Action) -> Broken {
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
        .find(|(job, _)| view.world.lives(**job));
    match alive {
        None => Ok(()),
        Some((_, job)) => Err(format!(
            "{:?} of {} is alive at Exit",
            job.role,
            view.model.name(job.service)
        )),
    }
}

pub fn exit_code(view: &View<'_>, action: &Action) -> Broken {
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

pub fn legal_transitions(view: &View<'_>, action: &Action) -> Broken {
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

pub fn known_jobs(view: &View<'_>, action: &Action) -> Broken {
    let Action::Kill { job, signal, .. } = action else {
        return Ok(());
    };
    let model = view.model;
    check(
        model.jobs.contains_key(job) || model.turn.over.contains(job),
        || format!("{signal} for {job:?}, whose end was told"),
    )
}

pub fn checks_one_at_a_time(view: &View<'_>, action: &Action) -> Broken {
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
