//! The shell around the supervisor: owns every descriptor of the daemon and is the only user of mio's
//! `Poll` in it. It decides nothing; it tells the supervisor what happened and does what comes out.
//!
//! Within a turn: starts that were executed or failed, then signals, then what services say of themselves, then timers,
//! then checks, then the control socket, then the services' output. A flood of output can so delay nothing for longer than one turn's budget.

mod admission;
mod children;
mod clients;
mod console;
mod events;
mod foreground;
mod launch;
mod launches;
mod log_helpers;
mod logs;
mod manager;
mod outlet;
mod pace;
mod perform;
mod probes;
mod reload;
mod serve;
mod shortage;
mod signs;
mod stream;
mod streams;
mod table;
mod token;
mod trouble;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};

use crate::base::{ClientId, ExitStatus, JobId, Moment, Pid, ServiceId, Signal, human_duration};
use crate::output::format::counted;
use crate::output::prefix::Prefixer;
use crate::supervisor::Supervisor;
use crate::supervisor::event::{Event, Word};
use crate::sys::environment::Environment;
use crate::sys::manager::ManagerSocket;
use crate::sys::output_end::OutputEnd;
use crate::sys::signals::{self, Received, Sender, SignalFd};
use crate::sys::timer::TimerFd;
use crate::sys::{clock, memory, usage};
use children::{Children, Dead, REAPS_A_TURN, Round};
use clients::Clients;
use console::{Console, Kind};
use events::Journal;
use foreground::Foreground;
use launches::Launches;
use log_helpers::LogHelpers;
use manager::Manager;
use pace::Pace;
use probes::Probes;
use reload::Reloads;
use shortage::Shortage;
use signs::Signs;
use streams::{Outside, Streams};
use token::Source;
use trouble::Trouble;

/// Events taken from the kernel at a time; more wait for the next turn.
const EVENTS: usize = 256;

/// New connections taken at a time.
const ACCEPTS_A_TURN: usize = 64;

/// A connection that could not be taken, for want of a descriptor, is tried again after this.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What clients took is given back so long after one of them has left: who asks again at once is answered faster.
const TIDY_AFTER: Duration = Duration::from_millis(500);

/// Answers given at a time.
const ANSWERS_A_TURN: usize = 64;

/// What the daemon hands over.
pub struct Setup {
    /// Built from the checked configuration.
    pub supervisor: Supervisor,
    /// The blocked signals, readable.
    pub signals: SignalFd,
    /// The control socket; None where none could be had.
    pub listener: Option<UnixListener>,
    /// How names are shown.
    pub prefixer: Prefixer,
    /// The configuration file, for `version`.
    pub config_path: Option<String>,
    /// Say more.
    pub debug: bool,
    /// The service manager above the daemon, where there is one.
    pub manager: Option<ManagerSocket>,
    /// Messages from before the loop.
    pub messages: Vec<String>,
    /// The child that read the configuration, which is to be reaped.
    pub reader: Option<Pid>,
}

/// The daemon's loop and all it owns.
pub struct Reactor {
    poll: Poll,
    pace: Pace,
    supervisor: Supervisor,
    signals: SignalFd,
    trouble: Trouble,
    supervisor_timer: TimerFd,
    housekeeping_timer: TimerFd,
    /// When the housekeeping timer goes off; it may be early, never late.
    housekeeping_at: Option<Moment>,
    listener: Option<UnixListener>,
    children: Children,
    launches: Launches,
    /// The last check of each service that ran a command; the next one waits for its end.
    check_commands: BTreeMap<ServiceId, JobId>,
    clients: Clients,
    streams: Streams,
    log_helpers: LogHelpers,
    probes: Probes,
    signs: Signs,
    manager: Manager,
    journal: Journal,
    prefixer: Prefixer,
    shortage: Shortage,
    stdout: Console,
    stderr: Console,
    messages: Vec<String>,
    config_path: Option<String>,
    debug: bool,
    /// Whose children the jobs are, until their end was told.
    job_services: BTreeMap<JobId, ServiceId>,
    /// Clients that were answered in this turn: they may have more to ask.
    answered: VecDeque<ClientId>,
    /// More connections wait than one turn takes.
    accept_again: bool,
    /// When connections that could not be taken are tried again.
    accept_at: Option<Moment>,
    /// More children may have ended than one turn reaps.
    reap_again: bool,
    /// Strays were sent a signal: the end of the last child is to be told.
    sweeping: bool,
    /// Much was done that is not done every day; what it took is to be given back before the next rest.
    untidy: bool,
    /// When that is so because of clients: not between two of a row.
    tidy_at: Option<Moment>,
    /// The daemon's own environment, which never changes.
    inherited: Environment,
    /// The main program, while it runs.
    foreground: Option<Foreground>,
    /// What processes use.
    usage: usage::Watch,
    /// The configuration that is read again.
    reloads: Reloads,
    exit: Option<u8>,
}

impl Reactor {
    /// Registers everything with the kernel.
    ///
    /// # Errors
    /// When the kernel grants no epoll or timer descriptor: there is nothing to be done without.
    pub fn new(setup: Setup) -> io::Result<Box<Reactor>> {
        let poll = Poll::new()?;
        let supervisor_timer = TimerFd::new()?;
        let housekeeping_timer = TimerFd::new()?;
        let watch = |fd: RawFd, source: Source| {
            poll.registry()
                .register(&mut SourceFd(&fd), source.token(), Interest::READABLE)
        };
        watch(setup.signals.as_raw_fd(), Source::Signals)?;
        watch(supervisor_timer.as_raw_fd(), Source::SupervisorTimer)?;
        watch(housekeeping_timer.as_raw_fd(), Source::HousekeepingTimer)?;
        if let Some(listener) = &setup.listener {
            watch(listener.as_raw_fd(), Source::Listener)?;
        }
        let pace = Pace::new();
        let mut reactor = Box::new(Reactor {
            poll,
            supervisor: setup.supervisor,
            signals: setup.signals,
            trouble: Trouble::default(),
            supervisor_timer,
            housekeeping_timer,
            housekeeping_at: None,
            listener: setup.listener,
            children: Children::new(),
            launches: Launches::default(),
            check_commands: BTreeMap::new(),
            clients: Clients::new(),
            streams: Streams::new(pace.now()),
            log_helpers: LogHelpers::new(),
            pace,
            probes: Probes::default(),
            signs: Signs::default(),
            manager: Manager::new(setup.manager),
            journal: Journal::default(),
            prefixer: setup.prefixer,
            stdout: Console::new(OutputEnd::new(1), Kind::Stdout),
            stderr: Console::new(OutputEnd::new(2), Kind::Stderr),
            messages: setup.messages,
            config_path: setup.config_path,
            debug: setup.debug,
            job_services: BTreeMap::new(),
            answered: VecDeque::new(),
            accept_again: false,
            accept_at: None,
            reap_again: false,
            sweeping: false,
            untidy: true,
            shortage: Shortage::default(),
            tidy_at: None,
            foreground: None,
            usage: usage::Watch::default(),
            inherited: Environment::inherited(),
            reloads: Reloads::default(),
            exit: None,
        });
        if let Some(pid) = setup.reader {
            reactor.children.add_aside(pid);
        }
        reactor.open_sinks();
        reactor.begin_log_files(reactor.pace.now());
        Ok(reactor)
    }

    /// Runs until the supervisor says Exit; gives back the exit code.
    pub fn run(&mut self) -> u8 {
        let mut events = Events::with_capacity(EVENTS);
        self.tell(Event::Boot, self.pace.now());
        loop {
            let now = self.pace.now();
            self.start_check_asides(now);
            self.report_to_manager(now);
            self.help_log_files(now);
            self.show(now);
            if let Some(code) = self.exit {
                self.finish(now);
                return code;
            }
            if self.clients.some_left() {
                self.tidy_at.get_or_insert(now.after(TIDY_AFTER));
            }
            self.arm(now);
            let more_to_read =
                self.streams.has_work(&mut self.stdout.queue) || self.signs.has_work();
            let more_to_do = more_to_read
                || self.probes.has_work()
                || self.accept_again
                || self.reap_again
                || self.reloads.has_work();
            let timeout = (more_to_do || !self.answered.is_empty())
                .then_some(Duration::ZERO)
                .or(self.trouble.patience());
            if timeout.is_none() && std::mem::take(&mut self.untidy) {
                memory::give_back_and_wait(self.poll.registry().as_fd());
            }
            let waited = self.poll.poll(&mut events, timeout);
            self.after_wait(waited, !events.is_empty(), clock::now());
            self.wake();
            self.turn(&events, self.pace.now());
            self.relieve(self.pace.now());
        }
    }

    /// Reads the clock; a stretch in which the daemon did not run does not count.
    fn wake(&mut self) {
        let due = self.supervisor.poll_timeout().map(|deadline| deadline.at);
        let due = due.into_iter().chain(self.housekeeping_at).min();
        if let Some(absent) = self.pace.wake(due) {
            // Its timer went off for a moment that now lies ahead.
            self.housekeeping_at = None;
            let absent = human_duration(absent);
            self.messages.push(format!(
                "did not run for {absent} (was it paused?): no timeout counts that"
            ));
        }
    }

    fn turn(&mut self, events: &Events, now: Moment) {
        let (mut signals, mut supervisor_timer, mut listener) = (false, false, false);
        let mut reload = self.reloads.has_work();
        let mut launches = Vec::new();
        for event in events {
            match Source::from_token(event.token()) {
                Source::Signals => signals = true,
                Source::SupervisorTimer => supervisor_timer = true,
                Source::HousekeepingTimer => self.housekeeping_timer.clear(),
                Source::Listener => listener = true,
                Source::Stdout | Source::Stderr | Source::Client(_) | Source::Probe(_) => {}
                Source::Reload => reload = true,
                Source::StdoutOpened => self.stdout.on_opened(),
                Source::StderrOpened => self.stderr.on_opened(),
                Source::Stream(slot) => self.streams.on_ready(slot),
                Source::LogHelper(slot) => self.on_log_helper(slot, now),
                Source::Sign(slot) => self.signs.on_ready(slot),
                Source::Launch(slot) => launches.extend(self.launches.at(slot)),
            }
        }
        if self.trouble.take_again() {
            (signals, supervisor_timer) = (true, true);
        }
        for job in launches {
            self.look_at_launch(job, now);
        }
        if signals {
            self.on_signals(now);
        } else if self.reap_again {
            self.reap(now);
        }
        // What was said in time is heard before time is looked at.
        self.hear_signs(now);
        if supervisor_timer {
            self.supervisor_timer.clear();
            self.supervisor.handle_timeout(now);
            self.perform(now);
        }
        for event in events {
            if let Source::Probe(slot) = Source::from_token(event.token()) {
                let verdict = self.probes.on_ready(slot, self.poll.registry());
                self.tell_verdict(verdict, now);
            }
        }
        for event in events {
            if let Source::Client(slot) = Source::from_token(event.token())
                && let Some(client) = self.clients.at(slot)
            {
                let hung_up = event.is_write_closed() || event.is_error();
                self.serve(client, hung_up, now);
            }
        }
        if listener || self.accept_again {
            self.accept(now);
        }
        if reload {
            self.advance_reload(now);
        }
        self.serve_answered(now);
        if self.housekeeping_at.is_some_and(|at| at <= now) {
            self.housekeeping_at = None;
            self.keep_house(now);
        }
        self.pump(now);
        self.tell_found(now);
        self.leave_stuck_launches(now);
        self.launch_waiting(now);
        self.feed_followers();
    }

    /// Reads what the services write, for so long as a turn has for it.
    pub(super) fn pump(&mut self, now: Moment) {
        self.streams.pump(&mut Outside {
            queue: &mut self.stdout.queue,
            messages: &mut self.messages,
            now,
        });
    }

    fn on_signals(&mut self, now: Moment) {
        loop {
            match self.signals.read() {
                Ok(Some(received)) => self.on_signal(received, now),
                Ok(None) => break self.reads_signals(),
                Err(error) => break self.cannot_read_signals(&error, now),
            }
        }
        // One SIGCHLD may stand for many children, and any signal may have hidden one.
        self.reap(now);
        self.watch_foreground(now);
    }

    /// What each signal means; docs/CLI-COMMANDS.md has the table.
    fn on_signal(&mut self, received: Received, now: Moment) {
        let Received { signal, sender } = received;
        let has_services = self.config_path.is_some();
        match (signal, sender) {
            (Signal::CHLD, _) => {}
            // A write to a closed pipe or beyond `ulimit -f`, and `ulimit -t`: the write failed, or SIGKILL follows.
            (_, Sender::Own) | (Signal::XCPU, Sender::Kernel) => {}
            // `nohup go-overlay`, or `go-overlay &` in a script: the terminal has no say.
            (Signal::HUP | Signal::INT | Signal::QUIT, Sender::Kernel)
                if signals::was_ignored(signal) => {}
            (Signal::TERM | Signal::INT | Signal::QUIT | Signal::RTMIN_3, _) => {
                // The main program ignores what the caller had ignored.
                let heard = match signals::was_ignored(signal) {
                    true => Signal::TERM,
                    false => signal,
                };
                self.tell(Event::ShutdownSignal(heard), now);
            }
            (Signal::USR1, _) if has_services => self.log_status(now),
            (Signal::USR2, _) if has_services => {
                self.streams.reopen_log_files();
            }
            (Signal::HUP, _) if has_services => self.reload_by_signal(now),
            (Signal::WINCH, _) => {
                self.follow_window_size();
                self.pass_on(received, now);
            }
            (_, Sender::Kernel | Sender::Process) => self.pass_on(received, now),
        }
    }

    fn reap(&mut self, now: Moment) {
        let mut round = Round::default();
        let words = self.bury_the_dead(&mut round, now);
        self.reap_again = round.more;
        match &round.refused {
            Some(error) => self.cannot_reap(error, now),
            None => self.reaps(),
        }
        self.end_foreground(&round.died);
        if !round.died.is_empty() {
            // Last words before the obituary.
            for service in self.services_of(&round.died) {
                let mut outside = Outside {
                    queue: &mut self.stdout.queue,
                    messages: &mut self.messages,
                    now,
                };
                self.streams.last_words(service, &round.died, &mut outside);
            }
            self.tell_found(now);
        }
        for (job, word) in words {
            self.tell(Event::Said { job, word }, now);
        }
        for (job, pid) in round.moved {
            let word = Word::MainPid(pid);
            self.tell(Event::Said { job, word }, now);
        }
        for (job, status) in round.ended {
            self.on_end(job, status, now);
        }
        if round.none_left && self.sweeping {
            self.tell(Event::ChildrenGone, now);
        }
    }

    /// The end of a job: of a check, of a program, or of a child that could not execute it.
    fn on_end(&mut self, job: JobId, status: ExitStatus, now: Moment) {
        if let Some(wish) = self.launches.take_retry(job) {
            return self.retry(wish, now);
        }
        let failure = self.launches.take_failure(job);
        let end = failure.as_ref().map_or(Ok(status), |why| Err(&why.message));
        if let Some(verdict) = self.probes.on_end(job, end) {
            return self.tell_verdict(Some(verdict), now);
        }
        let event = match failure {
            Some(failure) => Event::SpawnFailed { job, failure },
            None => Event::Exited { job, status },
        };
        self.tell(event, now);
    }

    /// Reaps the children that have ended, as many as a turn has time for, and returns what they said of themselves
    /// before. That is received while they hold their numbers, and may name the process that takes their place.
    fn bury_the_dead(&mut self, round: &mut Round, now: Moment) -> Vec<(JobId, Word)> {
        let mut words = Vec::new();
        round.more = true;
        for _ in 0..REAPS_A_TURN {
            let Some(dead) = self.children.next_dead(round) else {
                round.more = false;
                break;
            };
            if let Dead::Job(job) = dead {
                self.look_at_launch(job, now);
                for heard in self.signs.last_words(job, &self.children) {
                    words.extend(self.take_successor(heard));
                }
            }
            if !self.children.bury(&dead, now, round) {
                round.more = false;
                break;
            }
            self.follow_main(round);
        }
        self.children.finish_round(now, round);
        words
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

    /// An event goes in, and everything that comes out of it is done.
    fn tell(&mut self, event: Event, now: Moment) {
        self.supervisor.handle(event, now);
        self.perform(now);
    }

    fn keep_house(&mut self, now: Moment) {
        self.streams.flush_quiet(&mut Outside {
            queue: &mut self.stdout.queue,
            messages: &mut self.messages,
            now,
        });
        for client in self.clients.overdue(now) {
            self.clients.close(client, self.poll.registry());
        }
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.accept(now);
        }
        if self.children.deadline().is_some_and(|at| at <= now) {
            self.reap(now);
        }
        self.check_log_helpers(now);
        self.keep_watch(now);
        self.expire_reload(now);
        self.untidy |= self.tidy_at.take_if(|at| *at <= now).is_some();
        for verdict in self.probes.expire(now) {
            self.end_command(verdict.0, now);
            self.tell_verdict(Some(verdict), now);
        }
    }

    /// Writes what there is to standard output and standard error.
    fn show(&mut self, now: Moment) {
        let registry = self.poll.registry();
        for message in self.messages.drain(..) {
            self.stderr.message(&message);
        }
        self.stdout.flush(registry, now);
        for report in self.stdout.take_reports() {
            self.stderr.message(&report);
        }
        self.stderr.flush(registry, now);
        let reports = self.stderr.take_reports();
        if !reports.is_empty() {
            for report in reports {
                self.stderr.message(&report);
            }
            self.stderr.flush(registry, now);
        }
        self.note_console(Kind::Stdout, now);
        self.note_console(Kind::Stderr, now);
    }

    /// Sets both timers to the next deadline. The housekeeping one may go off early: a partial line's
    /// deadline moves with each read, and moving the timer with it would cost a system call each time.
    fn arm(&mut self, now: Moment) {
        let deadline = self.supervisor.poll_timeout().map(|deadline| deadline.at);
        let at = deadline.map(|at| self.pace.to_kernel(at));
        let armed = self.supervisor_timer.arm(at);
        self.after_arming(armed);
        let quiet = if self.stdout.queue.accepts() {
            self.streams.deadline()
        } else {
            None
        };
        let (clients, children) = (self.clients.deadline(), self.children.deadline());
        let next = [
            quiet,
            clients,
            children,
            self.probes.deadline(),
            self.launches.deadline(now),
            self.accept_at,
            self.usage.deadline(),
            self.tidy_at,
            self.manager.deadline(),
            self.reloads.deadline(),
            self.log_helpers.deadline(),
            self.stdout.retry_at(),
            self.stderr.retry_at(),
        ]
        .into_iter()
        .flatten()
        .min();
        let Some(next) = next else {
            return self.rest(now);
        };
        if self.housekeeping_at.is_none_or(|at| next < at || at <= now) {
            let at = self.pace.to_kernel(next);
            let armed = self.housekeeping_timer.arm(Some(at));
            self.after_arming(armed);
            self.housekeeping_at = Some(next);
        }
    }

    /// Nothing waits on time. A timer that would go off soon is left to it, since output comes and goes;
    /// one that is far off would disturb an idle daemon, and any would touch the memory that is about to be given back.
    fn rest(&mut self, now: Moment) {
        let far = self
            .housekeeping_at
            .is_some_and(|at| self.untidy || at.since(now) > Duration::from_secs(1));
        if far && self.housekeeping_timer.arm(None).is_ok() {
            self.housekeeping_at = None;
        }
    }

    /// The last bytes, and the end.
    fn finish(&mut self, now: Moment) {
        self.streams.finish(&mut Outside {
            queue: &mut self.stdout.queue,
            messages: &mut self.messages,
            now,
        });
        self.finish_log_files(now);
        self.show(now);
        let until = clock::now().after(Duration::from_secs(10));
        self.stdout.final_flush(until);
        let unwritten = self.finish_console(Kind::Stdout, now);
        if unwritten > 0 {
            let unwritten = counted(unwritten, "line");
            self.messages.push(format!(
                "{unwritten} may not have been written to standard output"
            ));
        }
        for report in self
            .stdout
            .take_reports()
            .into_iter()
            .chain(self.messages.drain(..))
        {
            self.stderr.message(&report);
        }
        self.stderr
            .final_flush(clock::now().after(Duration::from_millis(50)));
        self.finish_console(Kind::Stderr, now);
        self.end_feeds(now);
        self.signs.finish();
    }
}
