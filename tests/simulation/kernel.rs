//! The virtual kernel: processes with a life of their own, signals that are heard late or never, ends that
//! are told together, process ids that are handed out again, checks, and strays. Time moves only when the
//! run moves it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use go_overlay::base::{ExitStatus, JobId, Moment, Pid, Signal};
use go_overlay::config::model::{Ready, Service};
use go_overlay::domain::{CheckError, CheckProblem, NeverReady};
use go_overlay::supervisor::Supervisor;
use go_overlay::supervisor::event::{Action, Event, Role, SpawnFailure, Word};

use crate::plan::{ONE_SHOT, Swarm};
use crate::rng::Rng;
use crate::watched::World;

/// So few process ids that they come back soon.
const PIDS: std::ops::RangeInclusive<i32> = 100..=150;

pub struct Kernel {
    rng: Rng,
    pub swarm: Swarm,
    processes: BTreeMap<JobId, Process>,
    /// What will happen, in the order in which it was planned where the moment is the same.
    agenda: BTreeMap<(Moment, u64), Happening>,
    planned: u64,
    /// Ends that one SIGCHLD told of.
    reaped: VecDeque<Event>,
    checks: BTreeMap<JobId, Duration>,
    strays: Vec<Stray>,
    swept: bool,
    next_pid: i32,
}

struct Process {
    pid: Pid,
    role: Role,
    one_shot: bool,
    /// Its program is not executed yet.
    executing: Option<Service>,
    zombie: Option<ExitStatus>,
    deaf: bool,
    frozen: bool,
    /// A signal that waits until it goes on.
    pending: Option<Signal>,
    stuck: bool,
    killed: bool,
    /// How often it says that it is alive.
    pings: Option<Duration>,
    leaves_a_child: bool,
    /// It has a descriptor that its end closes, and has not written to it.
    owes_a_newline: bool,
    /// It said that it is about to end.
    said_stopping: bool,
}

struct Stray {
    number: u64,
    deaf: bool,
    stuck: bool,
}

#[derive(Debug)]
enum Happening {
    /// The program of a process that was slow to begin is executed, or cannot be.
    Executed(JobId),
    /// `forced`: by a signal; else because its life is over.
    Ends {
        job: JobId,
        status: ExitStatus,
        forced: bool,
    },
    Reap,
    Answer(JobId, Result<(), CheckError>),
    Says(JobId, Word),
    Ping(JobId),
    Freezes(JobId),
    StrayEnds(u64),
}

impl World for Kernel {
    fn perform(&mut self, action: &Action, supervisor: &Supervisor, now: Moment) -> Option<Event> {
        match action {
            Action::Spawn { job, service, role } => {
                let config = supervisor.config(*service)?;
                self.spawn(*job, &config, *role, now)
            }
            Action::Kill { job, signal, .. } => {
                self.kill(*job, *signal, now);
                None
            }
            Action::Check { job, service } => {
                let config = supervisor.config(*service)?;
                let timeout = config.health.as_ref().map(|health| health.timeout);
                self.check(*job, timeout.unwrap_or_default(), now)
            }
            Action::EndCheck { job } => {
                self.end_check(*job);
                None
            }
            Action::SignalStrays(signal) => self.signal_strays(*signal, now),
            Action::Reply { .. } | Action::Forget { .. } | Action::Notice(_) | Action::Exit(_) => {
                None
            }
        }
    }

    fn lives(&self, job: JobId) -> bool {
        let process = self.processes.get(&job);
        process.is_some_and(|process| process.zombie.is_none() && !process.stuck)
    }
}

impl Kernel {
    pub fn new(seed: u64, swarm: Swarm) -> Kernel {
        Kernel {
            rng: Rng::new(seed.rotate_left(17)),
            swarm,
            processes: BTreeMap::new(),
            agenda: BTreeMap::new(),
            planned: 0,
            reaped: VecDeque::new(),
            checks: BTreeMap::new(),
            strays: Vec::new(),
            swept: false,
            next_pid: *PIDS.start(),
        }
    }

    /// When something happens next.
    pub fn next_at(&self) -> Option<Moment> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// It went on for that long while the daemon did not run: what was to happen has happened.
    pub fn run_ahead(&mut self, by: Duration, now: Moment) {
        for ((at, number), happening) in std::mem::take(&mut self.agenda) {
            let at = at.before(by).max(now);
            self.agenda.insert((at, number), happening);
        }
    }

    fn plan(&mut self, at: Moment, happening: Happening) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), happening);
    }

    fn free_pid(&mut self) -> Pid {
        loop {
            let pid = Pid(self.next_pid);
            self.next_pid = match self.next_pid < *PIDS.end() {
                true => self.next_pid + 1,
                false => *PIDS.start(),
            };
            if !self.processes.values().any(|process| process.pid == pid) {
                return pid;
            }
        }
    }

    /// The answer, where it comes at once.
    fn spawn(&mut self, job: JobId, config: &Service, role: Role, now: Moment) -> Option<Event> {
        // A choice of its own, so that it changes no other.
        let own = &mut Rng::new(job.0.rotate_left(40) ^ now.0);
        if !own.chance(self.swarm.slow_spawn) {
            if self.rng.chance(self.swarm.spawn_fails) {
                return Some(self.spawn_fails(job, config));
            }
            self.add(job, config, role);
            return Some(self.execute(job, config, role, now));
        }
        self.add(job, config, role);
        if let Some(process) = self.processes.get_mut(&job) {
            process.executing = Some(config.clone());
        }
        let at = now.after(own.millis(&[0, 1, 1, 50, 500, 5000, 40_000]));
        match own.below(10) {
            // It is never executed.
            0 => {}
            // It ends before.
            1 => {
                let status = *own.pick(&[
                    ExitStatus::Exited(0),
                    ExitStatus::Exited(1),
                    ExitStatus::Signaled(Signal::KILL),
                    ExitStatus::KilledForMemory,
                ]);
                self.end_forced(job, status, at);
            }
            _ => self.plan(at, Happening::Executed(job)),
        }
        None
    }

    fn spawn_fails(&mut self, job: JobId, config: &Service) -> Event {
        let exit_code = *self.rng.pick(&[127, 126, 1]);
        let message = format!("cannot execute {}: {exit_code}", config.command);
        let failure = SpawnFailure { message, exit_code };
        Event::SpawnFailed { job, failure }
    }

    fn add(&mut self, job: JobId, config: &Service, role: Role) {
        let pid = self.free_pid();
        let process = Process {
            pid,
            role,
            one_shot: role != Role::Main || config.command == ONE_SHOT,
            executing: None,
            zombie: None,
            deaf: self.rng.chance(self.swarm.deaf),
            frozen: false,
            pending: None,
            stuck: self.rng.chance(self.swarm.stuck),
            killed: false,
            pings: None,
            leaves_a_child: self.rng.chance(self.swarm.orphans),
            owes_a_newline: role == Role::Main && matches!(config.ready, Ready::Fd(_)),
            said_stopping: false,
        };
        self.processes.insert(job, process);
    }

    /// Its program begins.
    fn execute(&mut self, job: JobId, config: &Service, role: Role, now: Moment) -> Event {
        self.plan_end(job, now);
        if role == Role::Main {
            self.plan_words(job, config, now);
        }
        if self.rng.chance(self.swarm.frozen) {
            let at = now.after(self.rng.between(0, 5000));
            self.plan(at, Happening::Freezes(job));
        }
        let pid = self
            .processes
            .get(&job)
            .map_or(Pid(0), |process| process.pid);
        Event::Spawned { job, pid }
    }

    /// The late answer to a spawn; None where the process has ended before.
    fn execute_late(&mut self, job: JobId, now: Moment) -> Option<Event> {
        let process = self.processes.get_mut(&job)?;
        if process.zombie.is_some() {
            return None;
        }
        let (config, role) = (process.executing.take()?, process.role);
        // What is slow fails as often as it is slow.
        if self.rng.chance(self.swarm.slow_spawn) {
            self.processes.remove(&job);
            return Some(self.spawn_fails(job, &config));
        }
        let answer = self.execute(job, &config, role, now);
        let pending = self.processes.get_mut(&job)?.pending.take();
        if let Some(signal) = pending {
            self.kill(job, signal, now);
        }
        Some(answer)
    }

    fn bad_end(&mut self) -> ExitStatus {
        *self.rng.pick(&[
            ExitStatus::Exited(0),
            ExitStatus::Exited(1),
            ExitStatus::Exited(3),
            ExitStatus::Signaled(Signal::HUP),
            ExitStatus::KilledForMemory,
        ])
    }

    fn plan_end(&mut self, job: JobId, now: Moment) {
        let Some(process) = self.processes.get(&job) else {
            return;
        };
        let (one_shot, script) = (process.one_shot, process.role != Role::Main);
        let bad = match script {
            true => self.swarm.bad_scripts,
            false => self.swarm.crashes,
        };
        let (after, status) = if self.rng.chance(self.swarm.dies_at_once) {
            (Duration::ZERO, self.bad_end())
        } else if script && self.rng.chance(bad / 3) {
            return;
        } else if self.rng.chance(bad) {
            (self.rng.millis(&[0, 1, 500, 2000, 20_000]), self.bad_end())
        } else if one_shot {
            (self.rng.millis(&[10, 500, 2000]), ExitStatus::Exited(0))
        } else {
            return;
        };
        let forced = false;
        self.plan(
            now.after(after),
            Happening::Ends {
                job,
                status,
                forced,
            },
        );
    }

    fn plan_words(&mut self, job: JobId, config: &Service, now: Moment) {
        if matches!(config.ready, Ready::Notify | Ready::Fd(_) | Ready::Log(_)) {
            if !self.rng.chance(self.swarm.never_ready) {
                let at = now.after(self.rng.millis(&[0, 10, 500]));
                self.plan(at, Happening::Says(job, Word::Ready));
                // A choice of its own, so that it changes no other.
                if Rng::new(self.planned).chance(self.swarm.words) {
                    let why = Word::NeverReady(NeverReady::Closed);
                    self.plan(at.after(Duration::from_secs(1)), Happening::Says(job, why));
                }
            } else if self.rng.chance(500) {
                let at = now.after(self.rng.between(100, 90_000));
                let word = match self.rng.chance(500) {
                    true => Word::Ready,
                    false => Word::NeverReady(NeverReady::Closed),
                };
                self.plan(at, Happening::Says(job, word));
            }
        }
        if let Some(period) = config.watchdog {
            self.begin_pings(job, period / 2, now);
        }
        while self.rng.chance(self.swarm.words) {
            let word = match self.rng.below(6) {
                0 => Word::Status("busy".into()),
                1 => Word::Stopping,
                2 => Word::Trouble,
                3 => Word::AliveWithin(Some(self.rng.millis(&[1000, 5000]))),
                4 => Word::AliveWithin(None),
                _ => Word::MainPid(Pid(0)),
            };
            let at = now.after(self.rng.millis(&[0, 10, 1000, 10_000]));
            self.plan(at, Happening::Says(job, word));
        }
        // A choice of its own, so that it changes no other.
        let mut rng = Rng::new(self.planned ^ 0x0e77);
        while rng.chance(self.swarm.words) {
            let at = now.after(rng.millis(&[0, 10, 1000, 10_000, 60_000]));
            let by = rng.millis(&[0, 1000, 20_000, 120_000]);
            self.plan(at, Happening::Says(job, Word::ExtendTimeout(by)));
        }
    }

    fn begin_pings(&mut self, job: JobId, pause: Duration, now: Moment) {
        if let Some(process) = self.processes.get_mut(&job) {
            let pings_already = process.pings.replace(pause).is_some();
            if !pings_already {
                self.plan(now.after(pause), Happening::Ping(job));
            }
        }
    }

    fn kill(&mut self, job: JobId, signal: Signal, now: Moment) {
        let Some(process) = self.processes.get_mut(&job) else {
            return;
        };
        if process.zombie.is_some() {
            return;
        }
        if signal == Signal::KILL {
            let first = !std::mem::replace(&mut process.killed, true);
            if first && !process.stuck {
                let slow = self.rng.chance(self.swarm.slow_kill);
                let choices: &[u64] = if slow { &[100, 700, 1500] } else { &[0, 1] };
                let at = now.after(self.rng.millis(choices));
                self.end_by(job, Signal::KILL, at);
            }
        } else if signal == Signal::CONT {
            process.frozen = false;
            if process.executing.is_some() {
                return;
            }
            if let Some(pending) = process.pending.take() {
                self.obey(job, pending, now);
            }
        } else if process.executing.is_some() {
            // It has no handler yet: the kernel ends it, or keeps the signal until its program is executed.
            if Rng::new(job.0.rotate_left(20) ^ now.0).chance(500) {
                process.pending = Some(signal);
                return;
            }
            let at = now.after(self.rng.millis(&[0, 1, 50]));
            self.end_by(job, signal, at);
        } else if signal == Signal::USR1 || signal == Signal::WINCH || process.deaf {
            // It has nothing to say to that.
        } else if process.frozen {
            process.pending = Some(signal);
        } else {
            self.obey(job, signal, now);
        }
    }

    fn obey(&mut self, job: JobId, signal: Signal, now: Moment) {
        let at = now.after(self.rng.millis(&[0, 0, 1, 50, 500, 3000]));
        if self.rng.chance(500) {
            return self.end_by(job, signal, at);
        }
        self.end_forced(job, ExitStatus::Exited(0), at);
    }

    fn end_by(&mut self, job: JobId, signal: Signal, at: Moment) {
        self.end_forced(job, ExitStatus::Signaled(signal), at);
    }

    fn end_forced(&mut self, job: JobId, status: ExitStatus, at: Moment) {
        let forced = true;
        self.plan(
            at,
            Happening::Ends {
                job,
                status,
                forced,
            },
        );
    }

    /// The answer, where it is known at once.
    fn check(&mut self, job: JobId, timeout: Duration, now: Moment) -> Option<Event> {
        let hangs = self.rng.chance(self.swarm.check_hangs);
        let fails = self.rng.chance(self.swarm.check_fails);
        let result = match (hangs, fails) {
            (true, _) => Err(failed(CheckProblem::NoAnswer(timeout))),
            (false, true) => Err(failed(CheckProblem::Status(503))),
            (false, false) => Ok(()),
        };
        let after = match hangs {
            true => timeout,
            false => self.rng.millis(&[0, 0, 1, 5]).min(timeout),
        };
        if after.is_zero() && self.rng.chance(300) {
            return Some(Event::Checked { job, result });
        }
        self.checks.insert(job, timeout);
        self.plan(now.after(after), Happening::Answer(job, result));
        None
    }

    fn end_check(&mut self, job: JobId) {
        if !self.rng.chance(self.swarm.stale) {
            self.checks.remove(&job);
        }
    }

    /// Nobody left is said at once.
    fn signal_strays(&mut self, signal: Signal, now: Moment) -> Option<Event> {
        self.swept = true;
        for at in 0..self.strays.len() {
            let Stray {
                number,
                deaf,
                stuck,
            } = self.strays[at];
            let hears = if signal == Signal::KILL {
                !stuck
            } else {
                !deaf && !stuck
            };
            if hears {
                let at = now.after(self.rng.millis(&[0, 1, 100]));
                self.plan(at, Happening::StrayEnds(number));
            }
        }
        self.nobody_is_left().then_some(Event::ChildrenGone)
    }

    fn nobody_is_left(&self) -> bool {
        self.strays.is_empty() && self.processes.is_empty()
    }

    /// The next thing that happened until now and is told.
    pub fn take(&mut self, now: Moment) -> Option<Event> {
        loop {
            if let Some(event) = self.reaped.pop_front() {
                return Some(event);
            }
            let first = self.agenda.first_entry()?;
            if first.key().0 > now {
                return None;
            }
            let event = match first.remove() {
                Happening::Executed(job) => self.execute_late(job, now),
                Happening::Ends {
                    job,
                    status,
                    forced,
                } => {
                    self.ends(job, status, forced, now);
                    None
                }
                Happening::Reap => {
                    self.reap();
                    None
                }
                Happening::Answer(job, result) => self
                    .checks
                    .remove(&job)
                    .map(|_| Event::Checked { job, result }),
                Happening::Says(job, word) => self.says(job, word, now),
                Happening::Ping(job) => self.pings(job, now),
                Happening::Freezes(job) => {
                    if let Some(process) = self.processes.get_mut(&job) {
                        process.frozen = true;
                    }
                    None
                }
                Happening::StrayEnds(number) => {
                    self.strays.retain(|stray| stray.number != number);
                    (self.swept && self.nobody_is_left()).then_some(Event::ChildrenGone)
                }
            };
            if event.is_some() {
                return event;
            }
        }
    }

    fn ends(&mut self, job: JobId, status: ExitStatus, forced: bool, now: Moment) {
        let Some(process) = self.processes.get_mut(&job) else {
            return;
        };
        if process.zombie.is_some() || (process.stuck && process.killed) {
            return;
        }
        if process.frozen && !forced {
            let later = now.after(Duration::from_secs(5));
            return self.plan(
                later,
                Happening::Ends {
                    job,
                    status,
                    forced,
                },
            );
        }
        process.zombie = Some(status);
        // The descriptor is closed before the end is told.
        if process.owes_a_newline {
            let why = Word::NeverReady(NeverReady::Closed);
            self.planned += 1;
            self.agenda
                .insert((now, self.planned), Happening::Says(job, why));
        }
        if process.leaves_a_child {
            self.planned += 1;
            let stray = Stray {
                number: self.planned,
                deaf: self.rng.chance(self.swarm.deaf),
                stuck: self.rng.chance(self.swarm.stuck),
            };
            self.strays.push(stray);
        }
        let late = match self.rng.chance(self.swarm.coalesces) {
            true => self.rng.millis(&[1, 50, 500]),
            false => Duration::ZERO,
        };
        self.plan(now.after(late), Happening::Reap);
    }

    /// One SIGCHLD may stand for many ends.
    fn reap(&mut self) {
        let ended: Vec<(JobId, ExitStatus)> = self
            .processes
            .iter()
            .filter_map(|(job, process)| process.zombie.map(|status| (*job, status)))
            .collect();
        for (job, status) in ended {
            self.processes.remove(&job);
            self.reaped.push_back(Event::Exited { job, status });
        }
        if self.swept && self.nobody_is_left() {
            self.reaped.push_back(Event::ChildrenGone);
        }
    }

    fn says(&mut self, job: JobId, word: Word, now: Moment) -> Option<Event> {
        let process = self.processes.get(&job);
        if process.is_some_and(|process| process.executing.is_some()) {
            return None;
        }
        let word = match word {
            Word::MainPid(_) => {
                let pid = self.free_pid();
                self.processes.get_mut(&job)?.pid = pid;
                Word::MainPid(pid)
            }
            Word::AliveWithin(Some(period)) => {
                self.begin_pings(job, period / 2, now);
                Word::AliveWithin(Some(period))
            }
            Word::Stopping => {
                self.processes.get_mut(&job)?.said_stopping = true;
                Word::Stopping
            }
            Word::Ready | Word::NeverReady(_) => {
                if let Some(process) = self.processes.get_mut(&job) {
                    process.owes_a_newline = false;
                }
                word
            }
            // It may have been said by one who has just died.
            other => other,
        };
        Some(Event::Said { job, word })
    }

    fn pings(&mut self, job: JobId, now: Moment) -> Option<Event> {
        let process = self.processes.get(&job)?;
        let pause = process.pings?;
        if process.executing.is_some() {
            self.plan(now.after(pause), Happening::Ping(job));
            return None;
        }
        if process.zombie.is_some() {
            return None;
        }
        if self.rng.chance(self.swarm.hangs / 5) {
            self.processes.get_mut(&job)?.pings = None;
            return None;
        }
        self.plan(now.after(pause), Happening::Ping(job));
        let word = Word::Alive;
        Some(Event::Said { job, word })
    }

    /// From now on everything goes well, also for those that are there already.
    pub fn calm_down(&mut self, now: Moment) {
        self.swarm = Swarm::calm();
        let one_shots = |job: &JobId| {
            let process = self.processes.get(job);
            process.is_some_and(|process| process.one_shot)
        };
        self.agenda.retain(|_, happening| match happening {
            Happening::Ends { job, forced, .. } => *forced || one_shots(job),
            Happening::Says(_, word) => *word == Word::Ready,
            Happening::Freezes(_) => false,
            Happening::Executed(_)
            | Happening::Reap
            | Happening::Answer(..)
            | Happening::Ping(_)
            | Happening::StrayEnds(_) => true,
        });
        for job in self.processes.keys().copied().collect::<Vec<_>>() {
            self.mend(job, now);
        }
        for job in std::mem::take(&mut self.checks).into_keys() {
            self.checks.insert(job, Duration::ZERO);
            self.plan(now, Happening::Answer(job, Ok(())));
        }
        for stray in &mut self.strays {
            stray.deaf = false;
            stray.stuck = false;
        }
    }

    fn mend(&mut self, job: JobId, now: Moment) {
        let Some(process) = self.processes.get_mut(&job) else {
            return;
        };
        process.deaf = false;
        process.stuck = false;
        process.leaves_a_child = false;
        let (killed, one_shot) = (process.killed, process.one_shot || process.said_stopping);
        let is_main = process.role == Role::Main;
        self.kill(job, Signal::CONT, now);
        let soon = now.after(Duration::from_millis(10));
        self.plan(soon, Happening::Executed(job));
        if killed {
            self.end_by(job, Signal::KILL, soon);
        }
        if one_shot {
            let (status, forced) = (ExitStatus::Exited(0), false);
            self.plan(
                soon,
                Happening::Ends {
                    job,
                    status,
                    forced,
                },
            );
        }
        if is_main {
            self.plan(soon, Happening::Says(job, Word::Ready));
            // Whoever fell silent speaks again, as often as anybody asks for.
            self.begin_pings(job, Duration::from_millis(400), now);
        }
    }
}

fn failed(problem: CheckProblem) -> CheckError {
    CheckError::Failed {
        probe: "check".into(),
        problem,
    }
}
