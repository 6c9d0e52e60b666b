//! The shell around the supervisor: owns every descriptor of the daemon and is the only user of mio's
//! `Poll` in it. It decides nothing; it tells the supervisor what happened and does what comes out.
//!
//! Within a turn: starts that were executed or failed, then signals, then what services say of themselves, then timers,
//! then checks, then the control socket, then the services' output. A flood of output can so delay nothing for longer than one turn's budget.

mod admission;
mod children;
mod connections;
mod console;
mod context;
mod foreground;
mod helpers;
mod launch;
mod launches;
mod log_helpers;
mod logs;
mod manager;
mod outlet;
mod perform;
mod probes;
mod reaping;
mod reload;
mod serve;
mod shortage;
mod signs;
mod stream;
mod streams;
mod table;
mod tidiness;
mod timers;
mod token;
mod trouble;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest};

use crate::api::journal::Journal;
use crate::base::{JobId, Moment, Pid, ServiceId, human_duration};
use crate::domain::Clock;
use crate::output::format::counted;
use crate::output::prefix::Prefixer;
use crate::supervisor::Supervisor;
use crate::supervisor::event::Event;
use crate::sys::environment::Environment;
use crate::sys::manager::ManagerSocket;
use crate::sys::output_end::OutputEnd;
use crate::sys::signals::SignalFd;
use crate::sys::{clock, memory, usage};
use children::Children;
use connections::Connections;
use console::{Console, Kind};
use context::Common;
use foreground::Foreground;
use launches::Launches;
use log_helpers::LogHelpers;
use manager::Manager;
use probes::Probes;
use reload::Reloads;
use shortage::Shortage;
use signs::Signs;
use streams::{Outside, Streams};
use timers::Timers;
use token::{Slot, Source};
use trouble::Trouble;

/// Events taken from the kernel at a time; more wait for the next turn.
const EVENTS: usize = 256;

/// What the daemon hands over.
pub struct Setup {
    /// Built from the checked configuration.
    pub supervisor: Supervisor,
    /// By which it was built.
    pub clock: Clock,
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

/// What a turn has to do, as the kernel reported it.
#[derive(Default)]
struct Ready {
    signals: bool,
    supervisor_timer: bool,
    listener: bool,
    reload: bool,
    launches: Vec<Slot>,
    probes: Vec<Slot>,
    /// And whether the other end is closed.
    clients: Vec<(Slot, bool)>,
}

/// The daemon's loop and all it owns.
pub struct Reactor {
    common: Common,
    signals: SignalFd,
    trouble: Trouble,
    timers: Timers,
    children: Children,
    launches: Launches,
    /// The last check of each service that ran a command; the next one waits for its end.
    check_commands: BTreeMap<ServiceId, JobId>,
    connections: Connections,
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
    config_path: Option<String>,
    debug: bool,
    /// Whose children the jobs are, until their end was told.
    job_services: BTreeMap<JobId, ServiceId>,
    /// More children may have ended than one turn reaps.
    reap_again: bool,
    /// Strays were sent a signal: the end of the last child is to be told.
    sweeping: bool,
    /// The daemon's own environment, which never changes.
    inherited: Environment,
    foreground: Foreground,
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
        let mut clock = setup.clock;
        clock.advance(clock::next_reading(clock.reading()), None);
        let now = clock.now().mono;
        let common = Common::new(setup.supervisor, clock, setup.messages)?;
        let timers = Timers::new(common.poll.registry())?;
        let watch = |fd: RawFd, source: Source| {
            common
                .poll
                .registry()
                .register(&mut SourceFd(&fd), source.token(), Interest::READABLE)
        };
        watch(setup.signals.as_raw_fd(), Source::Signals)?;
        if let Some(listener) = &setup.listener {
            watch(listener.as_raw_fd(), Source::Listener)?;
        }
        let mut reactor = Box::new(Reactor {
            common,
            signals: setup.signals,
            trouble: Trouble::default(),
            timers,
            children: Children::new(),
            launches: Launches::default(),
            check_commands: BTreeMap::new(),
            connections: Connections::new(setup.listener),
            streams: Streams::new(now),
            log_helpers: LogHelpers::new(),
            probes: Probes::default(),
            signs: Signs::default(),
            manager: Manager::new(setup.manager),
            journal: Journal::default(),
            prefixer: setup.prefixer,
            stdout: Console::new(OutputEnd::new(1), Kind::Stdout),
            stderr: Console::new(OutputEnd::new(2), Kind::Stderr),
            config_path: setup.config_path,
            debug: setup.debug,
            job_services: BTreeMap::new(),
            reap_again: false,
            sweeping: false,
            shortage: Shortage::default(),
            foreground: Foreground::default(),
            usage: usage::Watch::default(),
            inherited: Environment::inherited(),
            reloads: Reloads::default(),
            exit: None,
        });
        if let Some(pid) = setup.reader {
            reactor.common.helpers.add(pid);
        }
        reactor.open_sinks();
        reactor.begin_log_files(now);
        Ok(reactor)
    }

    /// Runs until the supervisor says Exit; gives back the exit code.
    pub fn run(&mut self) -> u8 {
        let mut events = Events::with_capacity(EVENTS);
        self.tell(Event::Boot, self.common.clock.now().mono);
        loop {
            let now = self.common.clock.now().mono;
            self.start_check_asides(now);
            self.manager.report(&mut self.common.context(now));
            self.help_log_files(now);
            self.show(now);
            if let Some(code) = self.exit {
                self.finish(now);
                return code;
            }
            if self.connections.some_left() {
                self.common.tidiness.ask_after_client(now);
            }
            self.arm(now);
            let more_to_read =
                self.streams.has_work(&mut self.stdout.queue) || self.signs.has_work();
            let more_to_do = more_to_read
                || self.probes.has_work()
                || self.connections.has_work()
                || self.reap_again
                || self.launches.has_work(now)
                || self.reloads.has_work();
            let timeout = more_to_do
                .then_some(Duration::ZERO)
                .or(self.trouble.patience());
            if timeout.is_none() && self.common.tidiness.take() {
                memory::give_back_and_wait(self.common.poll.registry().as_fd());
            }
            let waited = self.common.poll.poll(&mut events, timeout);
            self.wake();
            let now = self.common.clock.now().mono;
            self.after_wait(waited, !events.is_empty(), now);
            let ready = self.sort(&events, now);
            self.turn(ready, now);
            self.relieve(now);
        }
    }

    /// Reads the clocks, once a turn; a stretch in which the daemon did not run does not count.
    fn wake(&mut self) {
        let due = self
            .common
            .supervisor
            .poll_timeout()
            .map(|deadline| deadline.at);
        let due = due.into_iter().chain(self.timers.housekeeping_at()).min();
        let reading = clock::next_reading(self.common.clock.reading());
        if let Some(absent) = self.common.clock.advance(reading, due) {
            // Its timer went off for a moment that now lies ahead.
            self.timers.forget_housekeeping();
            let absent = human_duration(absent);
            self.common.messages.push(format!(
                "did not run for {absent} (was it paused?): no timeout counts that"
            ));
        }
    }

    /// Sorts out what the kernel reported. What only has to be noted is noted.
    fn sort(&mut self, events: &Events, now: Moment) -> Ready {
        let mut ready = Ready::default();
        for event in events {
            let Some(source) = Source::from_token(event.token()) else {
                continue;
            };
            match source {
                Source::Signals => ready.signals = true,
                Source::SupervisorTimer => ready.supervisor_timer = true,
                Source::HousekeepingTimer => self.timers.clear_housekeeping(),
                Source::Listener => ready.listener = true,
                // What waits for them to take more is written at the end of each turn.
                Source::Stdout | Source::Stderr => {}
                Source::Client(slot) => {
                    let hung_up = event.is_write_closed() || event.is_error();
                    ready.clients.push((slot, hung_up));
                }
                Source::Probe(slot) => ready.probes.push(slot),
                Source::Reload => ready.reload = true,
                Source::StdoutOpened => self.stdout.on_opened(),
                Source::StderrOpened => self.stderr.on_opened(),
                Source::Stream(slot) => self.streams.on_ready(slot),
                Source::LogHelper(slot) => self.on_log_helper(slot, now),
                Source::Sign(slot) => self.signs.on_ready(slot),
                Source::Launch(slot) => ready.launches.push(slot),
            }
        }
        ready.reload |= self.reloads.has_work();
        ready.listener |= self.connections.has_more_to_accept();
        if self.trouble.take_again() {
            (ready.signals, ready.supervisor_timer) = (true, true);
        }
        ready
    }

    fn turn(&mut self, ready: Ready, now: Moment) {
        self.launches.begin_turn();
        for slot in ready.launches {
            if let Some(job) = self.launches.at(slot) {
                self.look_at_launch(job, now);
            }
        }
        if ready.signals {
            self.on_signals(now);
        } else if self.reap_again {
            self.reap(now);
        }
        // What was said in time is heard before time is looked at.
        self.hear_signs(now);
        if ready.supervisor_timer {
            self.timers.clear_supervisor();
            self.common
                .supervisor
                .handle_timeout(self.common.clock.now());
            self.perform(now);
        }
        for slot in ready.probes {
            self.probes.on_ready(slot, &mut self.common.context(now));
            self.settle(now);
        }
        for (slot, hung_up) in ready.clients {
            self.serve(slot, hung_up, now);
        }
        if ready.listener || self.connections.has_more_to_accept() {
            self.accept(now);
        }
        if ready.reload {
            self.advance_reload(now);
        }
        self.serve_due(now);
        if self.timers.take_housekeeping(now) {
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
            messages: &mut self.common.messages,
            now,
        });
    }

    /// An event goes in, and everything that comes out of it is done.
    fn tell(&mut self, event: Event, now: Moment) {
        self.common.events.push_back(event);
        self.settle(now);
    }

    /// Hands the supervisor what parts have left for it: one event at a time, and what comes of it is done before the
    /// next one.
    fn settle(&mut self, now: Moment) {
        while let Some(event) = self.common.events.pop_front() {
            self.common
                .supervisor
                .handle(event, self.common.clock.now());
            self.perform(now);
        }
    }

    /// What came of waiting for events.
    fn after_wait(&mut self, waited: io::Result<()>, heard: bool, now: Moment) {
        let cx = &mut self.common.context(now);
        if self.trouble.after_wait(waited, heard, cx) {
            self.streams.look_at_all();
            self.settle(now);
            self.signals.wait(trouble::AGAIN);
        }
    }

    fn keep_house(&mut self, now: Moment) {
        self.streams.flush_quiet(&mut Outside {
            queue: &mut self.stdout.queue,
            messages: &mut self.common.messages,
            now,
        });
        if self.connections.on_deadline(&mut self.common.context(now)) {
            self.accept(now);
        }
        if self.children.deadline().is_some_and(|at| at <= now) {
            self.reap(now);
        }
        self.check_log_helpers(now);
        self.keep_watch(now);
        self.expire_reload(now);
        self.common.tidiness.on_deadline(now);
        for job in self.probes.on_deadline(&mut self.common.context(now)) {
            self.end_command(job, now);
        }
        self.settle(now);
    }

    /// Writes what there is to standard output and standard error.
    fn show(&mut self, now: Moment) {
        let registry = self.common.poll.registry();
        for message in self.common.messages.drain(..) {
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

    /// Sets both timers to the next deadline.
    fn arm(&mut self, now: Moment) {
        let deadline = self
            .common
            .supervisor
            .poll_timeout()
            .map(|deadline| deadline.at);
        let at = deadline.map(|at| self.common.clock.to_kernel(at));
        let armed = self.timers.arm_supervisor(at);
        self.trouble
            .after_arming(armed, &mut self.common.context(now));
        let Some(next) = self.next_housekeeping(now) else {
            return self.timers.rest(self.common.tidiness.is_due(), now);
        };
        let armed = self
            .timers
            .arm_housekeeping(next, |at| self.common.clock.to_kernel(at), now);
        self.trouble
            .after_arming(armed, &mut self.common.context(now));
    }

    /// The earliest deadline of all that is not the supervisor's.
    fn next_housekeeping(&mut self, now: Moment) -> Option<Moment> {
        let quiet = self.stdout.queue.accepts().then(|| self.streams.deadline());
        let all = [
            quiet.flatten(),
            self.connections.deadline(),
            self.children.deadline(),
            self.probes.deadline(),
            self.launches.deadline(now),
            self.usage.deadline(),
            self.common.tidiness.deadline(),
            self.manager.deadline(),
            self.reloads.deadline(),
            self.log_helpers.deadline(),
            self.stdout.retry_at(),
            self.stderr.retry_at(),
        ];
        all.into_iter().flatten().min()
    }

    /// The last bytes, and the end.
    fn finish(&mut self, now: Moment) {
        self.streams.finish(&mut Outside {
            queue: &mut self.stdout.queue,
            messages: &mut self.common.messages,
            now,
        });
        self.finish_log_files(now);
        self.show(now);
        let until = clock::now().after(Duration::from_secs(10));
        self.stdout.final_flush(until);
        let unwritten = self.finish_console(Kind::Stdout, now);
        if unwritten > 0 {
            let unwritten = counted(unwritten, "line");
            self.common.messages.push(format!(
                "{unwritten} may not have been written to standard output"
            ));
        }
        for report in self
            .stdout
            .take_reports()
            .into_iter()
            .chain(self.common.messages.drain(..))
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
