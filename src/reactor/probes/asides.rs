//! Checks that touch paths, which a child does: the mount may hang. A socket's path, and the user database for the
//! rights with which it is looked up; `/etc/hosts` for a host that was unknown when the file was read.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::AsRawFd;

use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::super::context::Context;
use super::super::token::{Slot, Source};
use super::{
    Attempt, Exchange, Kind, Probes, abstract_name, cannot_start, connect_next, plain, reported,
    watch_unix,
};
use crate::base::Pid;
use crate::config::model::Probe;
use crate::domain::CheckProblem;
use crate::sys::check_aside::{CheckAside, Report};

/// Children that are started a turn. A check whose turn has not come waits within its own time.
const STARTS_A_TURN: usize = 16;

/// The children of checks.
#[derive(Default)]
pub(super) struct Asides {
    /// Checks whose child is not started.
    pub waiting: VecDeque<Slot>,
    /// Children that are not needed any more, to be ended.
    given_up: Vec<Pid>,
    /// The last child that was given up, by its service. One that is stuck in the kernel outlives SIGKILL.
    stuck: BTreeMap<String, Pid>,
}

impl Asides {
    /// A check ends before its child has reported.
    pub fn give_up(&mut self, attempt: &Attempt) {
        if let Kind::Aside(service, Some(child)) = &attempt.kind {
            self.given_up.push(child.pid());
            self.stuck.insert(service.name.clone(), child.pid());
        }
    }
}

impl Probes {
    /// Whether there are children to start, or to end.
    pub fn has_work(&self) -> bool {
        !self.asides.waiting.is_empty() || !self.asides.given_up.is_empty()
    }

    /// Starts the children of checks, as many as a turn has time for, and ends those that are not needed.
    pub fn start_asides(&mut self, cx: &mut Context<'_>) {
        if !self.has_work() {
            return;
        }
        for pid in self.asides.given_up.drain(..) {
            cx.helpers.end(pid);
        }
        let stuck = &mut self.asides.stuck;
        stuck.retain(|_, pid| cx.helpers.has(*pid));
        for _ in 0..STARTS_A_TURN {
            let Some(slot) = self.asides.waiting.pop_front() else {
                break;
            };
            let Some(place) = self.table.place_of(slot) else {
                continue;
            };
            let attempt = &mut self.table[place];
            let started = start(attempt, &self.asides.stuck, slot, cx);
            if let Err(problem) = started {
                let attempt = self.table.remove(place);
                cx.tell(attempt.over(Err(problem)));
            }
        }
    }
}

fn start(
    attempt: &mut Attempt,
    stuck: &BTreeMap<String, Pid>,
    slot: Slot,
    cx: &mut Context<'_>,
) -> Result<(), CheckProblem> {
    let Kind::Aside(service, child) = &mut attempt.kind else {
        return Ok(());
    };
    if let Some(pid) = stuck.get(&service.name) {
        return Err(CheckProblem::FileSystemHangs(*pid));
    }
    let started = match &attempt.health.probe {
        Probe::Unix(path) => CheckAside::connect(path, service),
        Probe::Http { host, .. } | Probe::Tcp { host, .. } => CheckAside::look_up(host),
        Probe::Exec(_) => return Ok(()),
    };
    let started = started.map_err(|error| cannot_start(&error))?;
    cx.helpers.add(started.pid());
    let token = Source::Probe(slot).token();
    let fd = started.as_raw_fd();
    *child = Some(started);
    cx.registry
        .register(&mut SourceFd(&fd), token, Interest::READABLE)
        .map_err(|error| reported(plain(&error)))
}

/// Whether a check has to look at a path before it connects.
pub(super) fn touches_paths(probe: &Probe) -> bool {
    match probe {
        Probe::Unix(path) => abstract_name(path).is_none(),
        Probe::Http { addresses, .. } | Probe::Tcp { addresses, .. } => addresses.is_empty(),
        Probe::Exec(_) => false,
    }
}

/// The check after its child.
pub(super) fn go_on(
    probe: &Probe,
    report: Report,
    registry: &Registry,
    token: Token,
) -> Result<Kind, CheckProblem> {
    let mut kind = match report {
        Report::Connected(stream) => watch_unix(UnixStream::from_std(stream), registry, token)?,
        Report::Addresses(found) if found.is_empty() => {
            let host = match probe {
                Probe::Http { host, .. } | Probe::Tcp { host, .. } => host.as_str(),
                Probe::Unix(_) | Probe::Exec(_) => "",
            };
            return Err(CheckProblem::UnknownHost(host.into()));
        }
        Report::Addresses(found) => connect_next(found.into(), registry, token)?,
        Report::Failed(why) => return Err(reported(why)),
    };
    if let Kind::Connection { exchange, .. } = &mut kind {
        *exchange = Exchange::of(probe);
    }
    Ok(kind)
}
