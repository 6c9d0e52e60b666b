//! Reload: the file is read and checked as at the start; only a good one changes anything.
//!
//! A child reads it, and looks up what it names ([`ConfigReader`]), for as long as [`READ_WITHIN`]. One reload is under
//! way at a time. What the supervisor does meanwhile makes no difference to what is read: which answers a check needs
//! depends on the file alone, and whether a lack is an error is judged at the end, by the services' states then.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::Reactor;
use super::token::Source;
use crate::api::journal::{Entry, Happened};
use crate::api::protocol;
use crate::api::words::Words;
use crate::base::{ClientId, Moment, Pid, ServiceId, human_duration};
use crate::config::{self, Config, Files, Needed};
use crate::control::message::{ErrorCode, Response};
use crate::supervisor::event::Event;
use crate::supervisor::view::ReloadPlan;
use crate::sys::clock;
use crate::sys::config_reader::{ConfigReader, Progress};
use crate::sys::recorded_facts::Recorded;

/// How long reading the file may take, and looking up what it names.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Children that were given up and are still there, stuck in the kernel: with so many no other one is started.
const MAX_STUCK: usize = 8;

/// What is received of the child a turn, in bytes.
const BYTES_A_TURN: usize = 256 << 10;

/// The reload under way, and what comes after it.
#[derive(Default)]
pub(super) struct Reloads {
    current: Option<Reload>,
    /// SIGHUP came meanwhile: the file may be another one than was read.
    again: bool,
    /// The child has sent more than a turn takes.
    more: bool,
    /// Children that were given up.
    stuck: Vec<Pid>,
}

struct Reload {
    reader: ConfigReader,
    /// None: a signal asked for it.
    client: Option<ClientId>,
    dry_run: bool,
    until: Moment,
}

impl Reloads {
    /// When the reload under way has had its time.
    pub fn deadline(&self) -> Option<Moment> {
        self.current.as_ref().map(|reload| reload.until)
    }

    /// Whether there is more to receive, without an event to come.
    pub fn has_work(&self) -> bool {
        self.more
    }

    /// Takes the reload away from the poll.
    fn take(&mut self, registry: &Registry) -> Option<Reload> {
        let reload = self.current.take()?;
        self.more = false;
        // Closing the descriptor takes it out of epoll anyhow.
        let _ = registry.deregister(&mut SourceFd(&reload.reader.as_raw_fd()));
        Some(reload)
    }
}

impl Reactor {
    /// `reload`, or SIGHUP (without a client). The answer follows.
    ///
    /// # Errors
    /// The answer at once: why nothing is read.
    pub(super) fn begin_reload(
        &mut self,
        client: Option<ClientId>,
        dry_run: bool,
        now: Moment,
    ) -> Result<(), Response> {
        let Some(path) = &self.config_path else {
            let why = "cannot reload: only a main program is supervised, and no file".to_owned();
            return Err(refuse(ErrorCode::Conflict, why));
        };
        if self
            .common
            .supervisor
            .system_status(self.common.clock.now())
            .shutting_down
        {
            return Err(is_shutting_down());
        }
        if self.reloads.current.is_some() {
            let why = format!("cannot reload {path}: another reload is under way");
            let hint = "wait for its end, then reload again";
            return Err(refuse_with(ErrorCode::Conflict, why, hint));
        }
        let helpers = &self.common.helpers;
        self.reloads.stuck.retain(|pid| helpers.has(*pid));
        if self.reloads.stuck.len() >= MAX_STUCK {
            let why = format!(
                "cannot reload {path}: {MAX_STUCK} earlier reloads still hang in the kernel"
            );
            let hint = "see whether the file systems answer that the configuration names";
            return Err(refuse_with(ErrorCode::Conflict, why, hint));
        }
        let reader = self.start_reader(path).map_err(|error| {
            let why = format!("cannot reload {path}: cannot start a process to read it: {error}");
            refuse(ErrorCode::Conflict, why)
        })?;
        self.common.helpers.add(reader.pid());
        self.reloads.current = Some(Reload {
            reader,
            client,
            dry_run,
            until: now.after(READ_WITHIN),
        });
        if !dry_run {
            self.manager.reloading(clock::now());
        }
        Ok(())
    }

    fn start_reader(&self, path: &str) -> io::Result<ConfigReader> {
        let reader = ConfigReader::start(Path::new(path))?;
        let (fd, token) = (reader.as_raw_fd(), Source::Reload.token());
        let registry = self.common.poll.registry();
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        Ok(reader)
    }

    /// SIGHUP: no client waits for an answer. One that comes during a reload is not lost.
    pub(super) fn reload_by_signal(&mut self, now: Moment) {
        if self.reloads.current.is_some() {
            self.reloads.again = true;
        } else if let Err(Response::Error { message, .. }) = self.begin_reload(None, false, now) {
            self.common.messages.push(message);
        }
    }

    /// Receives what the child has sent, and goes over to the file when that is all.
    pub(super) fn advance_reload(&mut self, now: Moment) {
        let Some(reload) = &mut self.reloads.current else {
            return;
        };
        let progress = reload.reader.receive(BYTES_A_TURN);
        self.reloads.more = progress == Progress::Goes;
        if progress == Progress::Ended
            && let Some(mut reload) = self.reloads.take(self.common.poll.registry())
        {
            let result = self.conclude(&mut reload, now);
            self.end_reload(&reload, result, now);
        }
    }

    /// Ends a reload that has had its time.
    pub(super) fn expire_reload(&mut self, now: Moment) {
        let is_due = self.reloads.deadline().is_some_and(|until| until <= now);
        if is_due && let Some(reload) = self.reloads.take(self.common.poll.registry()) {
            let (path, bound) = (self.config_path_shown(), human_duration(READ_WITHIN));
            let touches = reload.reader.touches();
            let what = match touches == path {
                true => "it".to_owned(),
                false => format!("what it names ({touches})"),
            };
            let why = format!("cannot reload {path}: reading {what} took longer than {bound}");
            let hint =
                "nothing was changed; see whether the file system there answers, then reload again";
            let refusal = refuse_with(ErrorCode::TimedOut, why, hint);
            self.end_reload(&reload, Err(refusal), now);
        }
    }

    /// The daemon is shutting down: what is read is of no use any more.
    pub(super) fn abandon_reload(&mut self, now: Moment) {
        self.reloads.again = false;
        if let Some(reload) = self.reloads.take(self.common.poll.registry()) {
            self.end_reload(&reload, Err(is_shutting_down()), now);
        }
    }

    /// Answers, and begins the next one.
    fn end_reload(&mut self, reload: &Reload, result: Result<ReloadPlan, Response>, now: Moment) {
        let pid = reload.reader.pid();
        self.common.helpers.end(pid);
        self.reloads.stuck.push(pid);
        // A file's syntax tree takes far more than what is kept of it.
        self.common.tidiness.ask();
        if !reload.dry_run {
            self.manager.reloaded();
        }
        match (reload.client, result) {
            (Some(client), result) => {
                let applied = !reload.dry_run;
                let response = result.map_or_else(
                    |refusal| refusal,
                    |plan| Response::Reload {
                        applied,
                        plan: protocol::reload_plan(plan).into(),
                    },
                );
                self.connections.reply(client, &response, now);
            }
            (None, Err(Response::Error { message, .. })) => self.common.messages.push(message),
            (None, _) => {}
        }
        if std::mem::take(&mut self.reloads.again) {
            self.reload_by_signal(now);
        }
    }

    fn config_path_shown(&self) -> String {
        self.config_path.clone().unwrap_or_default()
    }

    /// The child is done.
    fn conclude(&mut self, reload: &mut Reload, now: Moment) -> Result<ReloadPlan, Response> {
        let path = self.config_path_shown();
        let reader = &mut reload.reader;
        let content = reader.take_content().filter(|_| reader.is_complete());
        let Some(content) = content else {
            let why = format!(
                "cannot reload {path}: the process that read it ended early, at {}",
                reader.touches()
            );
            let hint = "nothing was changed; reload again";
            return Err(refuse_with(ErrorCode::Conflict, why, hint));
        };
        let refuse_file = |why: String| {
            let message = format!("cannot reload {path}:\n{why}");
            refuse(ErrorCode::BadConfig, message)
        };
        let content = content.map_err(|error| {
            refuse_file(format!(
                "cannot read it: {}; nothing was changed",
                error.why
            ))
        })?;
        let starting = |config: &Config| {
            let plan = self.common.supervisor.plan(config);
            let restarted = plan.restarted.into_iter().map(|change| change.name);
            plan.added.into_iter().chain(restarted).collect()
        };
        let answer = |question: &[u8]| reader.answer(question);
        let facts = Recorded::new(&answer);
        let files = Files::of(path.as_str(), content);
        let report = config::load(files, &facts, Needed::By(&starting));
        if facts.missed_any() {
            let why = format!("cannot reload {path}: not all that it names was looked up");
            return Err(refuse(ErrorCode::Conflict, why));
        }
        let Some(config) = report.config else {
            return Err(refuse_file(report.render(false, "nothing was changed")));
        };
        self.go_over_to(config, &path, reload.dry_run, now)
    }

    /// The file is good.
    fn go_over_to(
        &mut self,
        config: Config,
        path: &str,
        dry_run: bool,
        now: Moment,
    ) -> Result<ReloadPlan, Response> {
        let plan = self.common.supervisor.plan(&config);
        if !self.common.supervisor.has_room_for(plan.added.len()) {
            let why = "too many services are still stopping; try again when they are down";
            let message = format!("cannot reload {path}: {why}");
            return Err(refuse(ErrorCode::Conflict, message));
        }
        if dry_run {
            return Ok(plan);
        }
        let counts = plan.counts();
        self.common
            .messages
            .push(format!("reloaded {path}: {}", Words(counts)));
        self.journal.add(Entry {
            wall: clock::wall(),
            service: None,
            happened: Happened::Reloaded(counts),
        });
        self.common
            .supervisor
            .handle(Event::Reload(config.into()), self.common.clock.now());
        // Before the first of them is started.
        self.fit_sinks();
        self.perform(now);
        Ok(plan)
    }

    /// Each service's place for its lines, as the file says now.
    fn fit_sinks(&mut self) {
        let ids = self.common.supervisor.ids();
        let ids: Vec<ServiceId> = ids
            .filter(|id| !self.common.supervisor.has_left(*id))
            .collect();
        let configs = ids
            .iter()
            .filter_map(|id| self.common.supervisor.config(*id));
        let width = configs.map(|config| config.name.len()).max().unwrap_or(0);
        self.prefixer = self.prefixer.with_width(width);
        for id in ids {
            let Some(config) = self.common.supervisor.config(id) else {
                continue;
            };
            if self.common.supervisor.is_main_program(id) {
                continue;
            }
            let sink = self.sink(&config);
            if self.streams.fit_service(id, &config, sink) {
                self.retire_log_helpers(id);
            }
        }
        // Their columns may have become more or fewer.
        self.follow_window_size();
    }
}

fn refuse(code: ErrorCode, message: String) -> Response {
    Response::Error {
        code,
        message,
        hint: None,
    }
}

fn refuse_with(code: ErrorCode, message: String, hint: &str) -> Response {
    Response::Error {
        code,
        message,
        hint: Some(hint.to_owned()),
    }
}

fn is_shutting_down() -> Response {
    let why = "cannot reload: the daemon is shutting down".to_owned();
    refuse(ErrorCode::ShuttingDown, why)
}
