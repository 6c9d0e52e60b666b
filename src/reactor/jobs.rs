//! The processes that the supervisor asked for, from the wish for one to the end of its group: children on their way to
//! their programs, what services say of themselves, and what is reaped.

use std::collections::BTreeMap;

use super::children::{Children, Dead, REAPS_A_TURN, Round};
use super::context::Context;
use super::foreground::Foreground;
use super::launches::{self, Launches};
use super::output::Output;
use super::probes::{Begun, Probes};
use super::signs::{Heard, Signs};
use super::token::Slot;
use crate::base::{ExitStatus, JobId, Moment, ServiceId, Signal};
use crate::domain::{CheckError, SpawnFailure};
use crate::launch::environment::Environment;
use crate::supervisor::event::{Event, Scope, Word};
use crate::sys::signals::Received;
use crate::sys::stray;

pub(super) struct Jobs {
    pub(super) children: Children,
    pub(super) launches: Launches,
    pub(super) signs: Signs,
    pub(super) foreground: Foreground,
    /// Whose children the jobs are, until their end was reported.
    pub(super) services: BTreeMap<JobId, ServiceId>,
    /// The last check of each service that ran a command; the next one waits for its end.
    check_commands: BTreeMap<ServiceId, JobId>,
    /// The daemon's own environment, which never changes.
    pub(super) inherited: Environment,
    /// More children may have ended than one turn reaps.
    reap_again: bool,
    /// Strays were sent a signal: the end of the last child is to be reported.
    is_sweeping: bool,
}

impl Jobs {
    pub fn new() -> Jobs {
        Jobs {
            children: Children::new(),
            launches: Launches::default(),
            signs: Signs::default(),
            foreground: Foreground::default(),
            services: BTreeMap::new(),
            check_commands: BTreeMap::new(),
            inherited: Environment::inherited(),
            reap_again: false,
            is_sweeping: false,
        }
    }

    /// A child on its way has reported something.
    pub fn on_ready(&mut self, slot: Slot, cx: &mut Context<'_>) {
        if let Some(job) = self.launches.at(slot) {
            self.look_at_launch(job, cx);
        }
    }

    /// A service has said something of itself, which [`Jobs::hear`] receives.
    pub fn on_sign(&mut self, slot: Slot) {
        self.signs.on_ready(slot);
    }

    /// Whether the next turn goes on with something that no event leads to.
    pub fn has_work(&self, now: Moment) -> bool {
        self.signs.has_work() || self.reap_again || self.launches.has_work(now)
    }

    /// Whether more children may have ended than one turn reaps.
    pub fn is_to_reap(&self) -> bool {
        self.reap_again
    }

    pub fn deadline(&self, now: Moment) -> Option<Moment> {
        let all = [self.children.deadline(), self.launches.deadline(now)];
        all.into_iter().flatten().min()
    }

    /// Whether a group that lingers is given up, or a process is sent SIGKILL again, by the next round of reaping.
    pub fn is_due(&self, now: Moment) -> bool {
        self.children.deadline().is_some_and(|at| at <= now)
    }

    /// Orphans that were adopted and reaped.
    pub fn adopted_reaped(&self) -> u64 {
        self.children.adopted_reaped
    }

    /// Reaps the children that have ended, as many as a turn has time for. What they said of themselves is received
    /// before, while they hold their numbers; it may name the process that takes their place.
    pub fn reap(&mut self, cx: &mut Context<'_>) -> Round {
        let mut round = Round {
            more: true,
            ..Round::default()
        };
        for _ in 0..REAPS_A_TURN {
            let Some(dead) = self.children.next_dead(cx.helpers, &mut round) else {
                round.more = false;
                break;
            };
            if let Dead::Job(job) = dead {
                self.look_at_launch(job, cx);
                for heard in self.signs.last_words(job, &self.children) {
                    round.words.extend(self.take_successor(heard, cx));
                }
            }
            if !self.children.bury(&dead, cx.helpers, cx.now, &mut round) {
                round.more = false;
                break;
            }
            self.follow_main(&round);
        }
        self.children.finish_round(cx.now, &mut round);
        self.reap_again = round.more;
        self.foreground.end(&round.died);
        round
    }

    /// The socket of a job goes with its last process, and stays for one that takes its place.
    fn follow_main(&mut self, round: &Round) {
        if let Some((job, pid)) = round.moved.last() {
            self.signs.moved(*job, *pid);
        }
        if let Some(job) = round.died.last() {
            self.signs.forget(*job);
        }
    }

    /// The services of jobs that have ended, each once.
    pub fn take_services(&mut self, died: &[JobId]) -> Vec<ServiceId> {
        let services = died.iter().filter_map(|job| self.services.remove(job));
        let mut services: Vec<ServiceId> = services.collect();
        services.sort_unstable();
        services.dedup();
        services
    }

    /// The end of a job, and why its program was not executed where it was not; None where it is started again, the
    /// long way.
    pub fn end(
        &mut self,
        job: JobId,
        status: ExitStatus,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Option<Result<ExitStatus, SpawnFailure>> {
        if let Some(wish) = self.launches.take_retry(job) {
            self.retry(wish, output, cx);
            return None;
        }
        Some(self.launches.take_failure(job).map_or(Ok(status), Err))
    }

    /// A signal that is not the daemon's own business is the main program's.
    pub fn pass_on(&mut self, received: Received, cx: &mut Context<'_>) {
        self.foreground.pass_on(received, cx);
    }

    /// SIGCHLD may stand for a stop of the main program, too.
    pub fn on_child_signal(&mut self, cx: &mut Context<'_>) {
        self.foreground.on_child_signal(cx);
    }

    /// Receives what services say of themselves.
    pub fn hear(&mut self, cx: &mut Context<'_>) {
        if !self.signs.has_work() {
            return;
        }
        for job in self.signs.ready_jobs() {
            self.look_at_launch(job, cx);
        }
        for heard in self.signs.listen(&self.children) {
            for (job, word) in self.take_successor(heard, cx) {
                cx.tell(Event::Said { job, word });
            }
        }
    }

    /// In the output of these jobs was the text that they are ready with.
    pub fn find_ready(&mut self, found: Vec<JobId>, cx: &mut Context<'_>) {
        for job in found {
            self.look_at_launch(job, cx);
            let word = Word::Ready;
            cx.tell(Event::Said { job, word });
        }
    }

    /// Takes what is not the supervisor's, and returns the rest.
    fn take_successor(&mut self, heard: Heard, cx: &mut Context<'_>) -> Vec<(JobId, Word)> {
        if let Some((job, complaint)) = heard.complaint {
            let service = self.services.get(&job).map(|id| cx.name_of(*id));
            let name = service.unwrap_or_default();
            cx.message(format!("{name}: {complaint}"));
        }
        if let Some((job, process)) = heard.successor {
            self.children.announce(job, process);
        }
        heard.words
    }

    /// Sends a signal. The event is that of a job which was waiting for its turn and is not started any more.
    pub fn kill(
        &mut self,
        job: JobId,
        signal: Signal,
        scope: Scope,
        cx: &mut Context<'_>,
    ) -> Option<Event> {
        if self.launches.give_up(job) {
            let failure = launches::stopped();
            return Some(Event::SpawnFailed { job, failure });
        }
        let signal = self.launches.signal_on_the_way(job, signal, cx.now);
        if let Err(error) = self.children.kill(job, signal, scope, cx.now) {
            cx.message(format!("cannot send {signal}: {error}"));
        }
        None
    }

    /// A check that is over leaves nothing behind.
    pub fn end_command(&mut self, job: JobId, cx: &mut Context<'_>) -> Option<Event> {
        self.kill(job, Signal::KILL, Scope::Group, cx)
    }

    /// Begins a check. The event is its end, where it is over at once.
    pub fn begin_check(
        &mut self,
        job: JobId,
        service: ServiceId,
        probes: &mut Probes,
        cx: &mut Context<'_>,
    ) -> Option<Event> {
        let config = cx.supervisor.config(service)?;
        let last = self.check_commands.get(&service);
        if last.is_some_and(|last| self.children.is_there(*last)) {
            let result = Err(CheckError::LastCommandRuns);
            return Some(Event::Checked { job, result });
        }
        match probes.begin(job, &config, &self.inherited, cx) {
            Begun::Going(None) => None,
            Begun::Going(Some(started)) => {
                self.children.add(job, started.pid);
                self.check_commands.insert(service, job);
                // Without its report its end tells that it failed, and not why.
                let _ = self.launches.add(job, None, started, cx);
                None
            }
            Begun::Over(result) => Some(Event::Checked { job, result }),
        }
    }

    /// Every process that is left gets the signal; where none is, that is the event at once.
    pub fn signal_strays(
        &mut self,
        signal: Signal,
        is_quiet: bool,
        cx: &mut Context<'_>,
    ) -> Option<Event> {
        self.is_sweeping = true;
        self.reap_again = true;
        if self.children.none_left(cx.helpers, cx.now) {
            return Some(Event::ChildrenGone);
        }
        match stray::signal_everything(signal, cx.helpers.pids()) {
            Ok(0) => {}
            Ok(_) if is_quiet && signal != Signal::KILL => {}
            Ok(1) => cx.message(format!("{signal} to a left-over process")),
            Ok(count) => cx.message(format!("{signal} to {count} left-over processes")),
            Err(error) => cx.message(format!(
                "cannot send {signal} to left-over processes: {error}"
            )),
        }
        // A stopped process has to be able to hear it.
        if signal != Signal::KILL {
            let _ = stray::signal_everything(Signal::CONT, cx.helpers.pids());
        }
        None
    }

    /// Whether the end of the last child is to be reported.
    pub fn is_sweeping(&self) -> bool {
        self.is_sweeping
    }

    /// At the end of the daemon: reports what nothing ended.
    pub fn report_left(&self, cx: &mut Context<'_>) {
        for (job, pid) in self.children.left() {
            let name = self.services.get(&job).map(|id| cx.name_of(*id));
            cx.message(format!(
                "cannot end {}: process {} may outlive this daemon",
                name.as_deref().unwrap_or("a check"),
                pid.0
            ));
        }
    }

    /// At the end of the daemon: nothing is left of the notify sockets.
    pub fn finish(&mut self) {
        self.signs.finish();
    }
}
