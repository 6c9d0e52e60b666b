//! Children on their way to their programs: what they report, and who waits for a turn.
//!
//! A child looks for its program in places that may never answer, so that nothing here waits for one. A bounded number
//! of them is on the way at a time, since each is a copy of the daemon until it executes its program; those that take
//! long are not counted, or a mount that hangs would keep everything else from starting.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::context::Context;
use super::jobs::Jobs;
use super::output::Output;
use super::table::Table;
use super::token::{Slot, Source};
use crate::base::{JobId, Moment, Pid, ServiceId, Signal};
use crate::domain::{Role, SpawnFailure};
use crate::supervisor::event::Event;
use crate::sys::process::Status;
use crate::sys::spawn::quick::Stacks;
use crate::sys::spawn::{Line, Report, Started};
use mio::Interest;
use mio::unix::SourceFd;

/// Children that are on the way at the same time.
const AT_ONCE: usize = 32;

/// What starts may cost a turn: others wait for the next one, so that clients and services have theirs in between.
const COST_A_TURN: usize = 32;

/// What a start by the quick way costs, some 50 µs, and one that copies the daemon (fork(2)).
const QUICK_COST: usize = 1;
const COPY_COST: usize = 4;

/// A child that has been on the way for longer is not counted any more.
const SLOW_AFTER: Duration = Duration::from_millis(100);

/// How often a child that was sent SIGKILL is looked at. One that waits in the kernel by then is stuck: it executes nothing
/// any more. Another one has not had a processor yet.
const STUCK_AFTER: Duration = Duration::from_millis(100);

/// That is not waited for any longer.
const STARVED_AFTER: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Launches {
    table: Table<Launch>,
    by_job: BTreeMap<JobId, usize>,
    waiting: VecDeque<Wish>,
    /// What the starts of this turn cost.
    spent: usize,
    /// What is started again, the long way, once the child of the quick way has ended.
    retries: BTreeMap<JobId, Wish>,
    /// Those of the quick way; one is kept.
    pub stacks: Stacks,
    /// Starts since the daemon last gave memory back for them.
    since_tidy: usize,
    /// The first of all are over.
    has_been_over: bool,
    /// Why programs were not executed, until the end of their children was reported.
    failures: BTreeMap<JobId, SpawnFailure>,
}

/// A child on its way.
struct Launch {
    job: JobId,
    pid: Pid,
    /// What it is for; None for a check's command.
    wish: Option<Wish>,
    begun: Moment,
    /// It was sent a signal, so that it is not started again.
    given_up: bool,
    /// When it was sent SIGKILL.
    killed_at: Option<Moment>,
    /// When it is looked at for that.
    look_at: Option<Moment>,
    report: Report,
}

/// What the supervisor asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub job: JobId,
    pub service: ServiceId,
    pub role: Role,
}

/// How a child gets to its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Where nothing has to be looked up ([`crate::sys::spawn::quick`]); otherwise the long one.
    Quick,
    /// The child looks everything up, and knows why something failed.
    Long,
}

/// What a look at a child's report came to.
struct Look {
    wish: Option<Wish>,
    given_up: bool,
    lines: Vec<Line>,
    /// The program was executed, as far as its report goes.
    executed: Option<Pid>,
}

impl Launches {
    /// Watches a child that has just been started.
    ///
    /// # Errors
    /// Those of epoll_ctl(2): it is not known when its program is executed.
    pub fn add(
        &mut self,
        job: JobId,
        wish: Option<Wish>,
        started: Started,
        cx: &Context<'_>,
    ) -> std::io::Result<()> {
        let slot = self.table.next_slot();
        let Started { pid, report } = started;
        self.spent += match report.is_of_a_copy() {
            true => COPY_COST,
            false => QUICK_COST,
        };
        let fd = report.as_raw_fd();
        cx.registry.register(
            &mut SourceFd(&fd),
            Source::Launch(slot).token(),
            Interest::READABLE,
        )?;
        let place = self.table.insert(Launch {
            job,
            pid,
            wish,
            begun: cx.now,
            given_up: false,
            killed_at: None,
            look_at: None,
            report,
        });
        self.by_job.insert(job, place);
        Ok(())
    }

    /// The job of a report in which there is something to read.
    pub fn at(&self, slot: Slot) -> Option<JobId> {
        let place = self.table.place_of(slot)?;
        Some(self.table[place].job)
    }

    /// When the next child is stuck, or is not counted any more where others wait for that.
    pub fn deadline(&self, now: Moment) -> Option<Moment> {
        let all = || self.table.values();
        let stuck = all().filter_map(|launch| launch.look_at);
        if self.waiting.is_empty() {
            return stuck.min();
        }
        let slow = all().map(|launch| launch.begun.after(SLOW_AFTER));
        // What is slow already makes no more room.
        stuck.chain(slow.filter(|at| *at > now)).min()
    }

    /// A turn begins.
    pub fn begin_turn(&mut self) {
        self.spent = 0;
    }

    /// Whether something waits for the next turn only.
    pub fn has_work(&self, now: Moment) -> bool {
        !self.waiting.is_empty() && self.has_room(now)
    }

    fn may_start(&self, now: Moment) -> bool {
        self.spent < COST_A_TURN && self.has_room(now)
    }

    fn has_room(&self, now: Moment) -> bool {
        self.table.len() < AT_ONCE || {
            let quick = |launch: &Launch| now < launch.begun.after(SLOW_AFTER);
            self.table.values().filter(|one| quick(one)).count() < AT_ONCE
        }
    }

    /// Gives a start up; false where it does not wait for its turn. What is on its way is not started again.
    pub fn give_up(&mut self, job: JobId) -> bool {
        let launch = self
            .by_job
            .get(&job)
            .and_then(|key| self.table.get_mut(*key));
        if let Some(launch) = launch {
            launch.given_up = true;
        } else if self.retries.remove(&job).is_some() {
            self.failures.insert(job, stopped());
        }
        let before = self.waiting.len();
        self.waiting.retain(|wish| wish.job != job);
        self.waiting.len() < before
    }

    /// The signal that a job is sent in place of this one: SIGKILL on its way to its program, which alone knows what
    /// another one means. Nor would one that dumps core do, which before Linux 5.16 ends every process that shares the
    /// child's memory: the daemon too.
    pub fn signal_on_the_way(&mut self, job: JobId, signal: Signal, now: Moment) -> Signal {
        let key = self.by_job.get(&job);
        let launch = key.and_then(|key| self.table.get_mut(*key));
        match launch.filter(|launch| signal != Signal::CONT && !launch.report.has_news()) {
            None => signal,
            Some(launch) => {
                if launch.killed_at.is_none() {
                    launch.killed_at = Some(now);
                    launch.look_at = Some(now.after(STUCK_AFTER));
                }
                Signal::KILL
            }
        }
    }

    /// The jobs whose child was killed, and is stuck in the kernel all the same; each is named once.
    fn take_stuck(&mut self, now: Moment) -> Vec<JobId> {
        let mut stuck = Vec::new();
        for (_, launch) in self.table.iter_mut() {
            if launch.look_at.take_if(|at| *at <= now).is_none() {
                continue;
            }
            let is_over = |at: Moment| at.after(STARVED_AFTER) <= now;
            let status = Status::of(launch.pid);
            if launch.killed_at.is_some_and(is_over) || status.is_none_or(|status| status.waits) {
                stuck.push(launch.job);
            } else {
                launch.look_at = Some(now.after(STUCK_AFTER));
            }
        }
        stuck
    }

    /// What is to be started the long way, now that the child of the quick way has ended.
    pub fn take_retry(&mut self, job: JobId) -> Option<Wish> {
        self.retries.remove(&job)
    }

    /// Whether none is on its way, for the first time or after many: what starting them took is not needed soon.
    fn is_over(&mut self) -> bool {
        let is_rare = !self.has_been_over || self.since_tidy >= AT_ONCE;
        let over = is_rare && self.table.is_empty() && self.waiting.is_empty();
        if over {
            (self.has_been_over, self.since_tidy) = (true, 0);
        }
        over
    }

    /// Why the program of a child that has ended was not executed; None where it was.
    pub fn take_failure(&mut self, job: JobId) -> Option<SpawnFailure> {
        self.failures.remove(&job)
    }

    fn look(&mut self, job: JobId) -> Option<Look> {
        let key = *self.by_job.get(&job)?;
        let launch = self.table.get_mut(key)?;
        let progress = launch.report.look();
        let mut look = Look {
            wish: launch.wish,
            given_up: launch.given_up,
            lines: progress.lines,
            executed: None,
        };
        if progress.is_over {
            // Closing it is enough. Where another child still holds a copy, the kernel's entry stays until that is
            // closed, without a further event: the writing end is gone.
            look.executed = Some(launch.pid);
            self.by_job.remove(&job);
            self.table.remove(key);
            self.since_tidy += 1;
            if self.table.is_empty() && self.waiting.is_empty() {
                self.stacks.give_back();
            }
        }
        Some(look)
    }
}

/// Why a program is not executed that is not wanted any more.
pub(super) fn stopped() -> SpawnFailure {
    SpawnFailure {
        message: "stopped before its program was executed".into(),
        exit_code: 1,
    }
}

impl Jobs {
    /// Starts what the supervisor asked for, or lets it wait for its turn. The event is the failure of a start.
    pub(super) fn start(
        &mut self,
        wish: Wish,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Option<Event> {
        if !self.launches.waiting.is_empty() || !self.launches.may_start(cx.now) {
            self.launches.waiting.push_back(wish);
            return None;
        }
        self.launch(wish, Way::Quick, output, cx)
    }

    /// Starts what has waited, as far as there is room. The event is a failure: what comes of it is to be done before
    /// this is called again, for the rest.
    pub(super) fn start_waiting(
        &mut self,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Option<Event> {
        while self.launches.may_start(cx.now)
            && let Some(wish) = self.launches.waiting.pop_front()
        {
            let failed = self.launch(wish, Way::Quick, output, cx);
            if failed.is_some() {
                return failed;
            }
        }
        None
    }

    /// The child of the quick way did not get to the program, and has ended: the long way finds out why.
    pub(super) fn retry(&mut self, wish: Wish, output: &mut Output, cx: &mut Context<'_>) {
        if let Some(event) = self.launch(wish, Way::Long, output, cx) {
            cx.tell(event);
        }
    }

    fn launch(
        &mut self,
        wish: Wish,
        way: Way,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Option<Event> {
        let failure = self.try_launch(wish, way, output, cx).err()?;
        let job = wish.job;
        Some(Event::SpawnFailed { job, failure })
    }

    /// Does not wait for killed children that are stuck in the kernel: nothing of their services is in them.
    pub(super) fn leave_stuck(&mut self, cx: &mut Context<'_>) {
        for job in self.launches.take_stuck(cx.now) {
            // It may have come to its end, or to its program, a moment ago.
            self.look_at_launch(job, cx);
            if self.launches.by_job.contains_key(&job) {
                self.children.leave_behind(job, cx.helpers);
                let failure = stopped();
                cx.tell(Event::SpawnFailed { job, failure });
            }
        }
    }

    /// Reads what the child of this job has reported, if it is on its way. To be called before anything else that is
    /// known of the job is told: the execution of its program comes first.
    pub(super) fn look_at_launch(&mut self, job: JobId, cx: &mut Context<'_>) {
        let Some(look) = self.launches.look(job) else {
            return;
        };
        let mut executed = look.executed;
        for line in look.lines {
            match line {
                Line::Note(note) => {
                    if let Some(wish) = look.wish {
                        let name = cx.name_of(wish.service);
                        cx.message(format!("{name}: {note}"));
                    }
                }
                Line::User(uid) => self.signs.is_of_user(job, uid),
                Line::Retry => match look.wish.filter(|_| !look.given_up) {
                    Some(wish) => drop(self.launches.retries.insert(job, wish)),
                    None => drop(self.launches.failures.insert(job, stopped())),
                },
                Line::Failed { message, exit_code } => {
                    let failure = SpawnFailure { message, exit_code };
                    self.launches.failures.insert(job, failure);
                }
            }
        }
        let failed = self.launches.failures.contains_key(&job);
        if failed || self.launches.retries.contains_key(&job) || look.wish.is_none() {
            executed = None;
        }
        if let Some(pid) = executed {
            cx.tell(Event::Spawned { job, pid });
        }
        if self.launches.is_over() {
            cx.tidiness.ask();
        }
    }
}
