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

use super::context::Context;
use super::manager::Manager;
use super::token::Source;
use crate::api::protocol;
use crate::api::words::Words;
use crate::base::{ClientId, Moment, Pid, human_duration};
use crate::config::{self, Config, Files, Needed};
use crate::control::message::{ErrorCode, Response};
use crate::supervisor::event::Event;
use crate::supervisor::view::{ReloadCounts, ReloadPlan};
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
    /// The configuration; None where only a main program is supervised.
    path: Option<String>,
    current: Option<Reload>,
    /// SIGHUP came meanwhile: the file may be another one than was read.
    again: bool,
    /// The child has sent more than a turn takes.
    more: bool,
    /// Children that were given up.
    stuck: Vec<Pid>,
}

/// What the turn does of a reload that is over.
#[derive(Default)]
pub(super) struct Ended {
    /// What has changed, for the journal.
    pub changes: Option<ReloadCounts>,
    pub answer: Option<(ClientId, Response)>,
}

struct Reload {
    reader: ConfigReader,
    /// None: a signal asked for it.
    client: Option<ClientId>,
    dry_run: bool,
    until: Moment,
}

impl Reloads {
    pub fn new(path: Option<String>) -> Reloads {
        Reloads {
            path,
            ..Reloads::default()
        }
    }

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

impl Reloads {
    /// `reload`, or SIGHUP (without a client). The answer follows.
    ///
    /// # Errors
    /// The answer at once: why nothing is read.
    pub fn begin(
        &mut self,
        client: Option<ClientId>,
        dry_run: bool,
        manager: &mut Manager,
        cx: &mut Context<'_>,
    ) -> Result<(), Response> {
        let Some(path) = &self.path else {
            let why = "cannot reload: only a main program is supervised, and no file".to_owned();
            return Err(refuse(ErrorCode::Conflict, why));
        };
        if cx.supervisor.system_status(cx.time).shutting_down {
            return Err(is_shutting_down());
        }
        if self.current.is_some() {
            let why = format!("cannot reload {path}: another reload is under way");
            let hint = "wait for its end, then reload again";
            return Err(refuse_with(ErrorCode::Conflict, why, hint));
        }
        self.stuck.retain(|pid| cx.helpers.has(*pid));
        if self.stuck.len() >= MAX_STUCK {
            let why = format!(
                "cannot reload {path}: {MAX_STUCK} earlier reloads still hang in the kernel"
            );
            let hint = "see whether the file systems answer that the configuration names";
            return Err(refuse_with(ErrorCode::Conflict, why, hint));
        }
        let reader = start_reader(path, cx.registry).map_err(|error| {
            let why = format!("cannot reload {path}: cannot start a process to read it: {error}");
            refuse(ErrorCode::Conflict, why)
        })?;
        cx.helpers.add(reader.pid());
        self.current = Some(Reload {
            reader,
            client,
            dry_run,
            until: cx.now.after(READ_WITHIN),
        });
        if !dry_run {
            manager.reloading(clock::now());
        }
        Ok(())
    }

    /// SIGHUP: no client waits for an answer. One that comes during a reload is not lost.
    pub fn on_signal(&mut self, manager: &mut Manager, cx: &mut Context<'_>) {
        if self.current.is_some() {
            self.again = true;
        } else if let Err(Response::Error { message, .. }) = self.begin(None, false, manager, cx) {
            cx.message(message);
        }
    }

    /// Receives what the child has sent, and goes over to the file when that is all.
    pub fn on_ready(&mut self, manager: &mut Manager, cx: &mut Context<'_>) -> Option<Ended> {
        let reload = self.current.as_mut()?;
        let progress = reload.reader.receive(BYTES_A_TURN);
        self.more = progress == Progress::Goes;
        if progress != Progress::Ended {
            return None;
        }
        let mut reload = self.take(cx.registry)?;
        let result = conclude(&mut reload, &self.path_shown(), cx);
        Some(self.end(&reload, result, manager, cx))
    }

    /// Ends a reload that has had its time.
    pub fn on_deadline(&mut self, manager: &mut Manager, cx: &mut Context<'_>) -> Option<Ended> {
        self.deadline().filter(|until| *until <= cx.now)?;
        let reload = self.take(cx.registry)?;
        let (path, bound) = (self.path_shown(), human_duration(READ_WITHIN));
        let touches = reload.reader.touches();
        let what = match touches == path {
            true => "it".to_owned(),
            false => format!("what it names ({touches})"),
        };
        let why = format!("cannot reload {path}: reading {what} took longer than {bound}");
        let hint =
            "nothing was changed; see whether the file system there answers, then reload again";
        let refusal = refuse_with(ErrorCode::TimedOut, why, hint);
        Some(self.end(&reload, Err(refusal), manager, cx))
    }

    /// The daemon is shutting down: what is read is of no use any more.
    pub fn abandon(&mut self, manager: &mut Manager, cx: &mut Context<'_>) -> Option<Ended> {
        self.again = false;
        let reload = self.take(cx.registry)?;
        Some(self.end(&reload, Err(is_shutting_down()), manager, cx))
    }

    /// Ends a reload, and begins the next one where SIGHUP has asked for it.
    fn end(
        &mut self,
        reload: &Reload,
        result: Result<ReloadPlan, Response>,
        manager: &mut Manager,
        cx: &mut Context<'_>,
    ) -> Ended {
        let pid = reload.reader.pid();
        cx.helpers.end(pid);
        self.stuck.push(pid);
        // A file's syntax tree takes far more than what is kept of it.
        cx.tidiness.ask();
        let applied = !reload.dry_run;
        if applied {
            manager.reloaded();
        }
        let mut ended = Ended::default();
        if let Ok(plan) = &result
            && applied
        {
            ended.changes = Some(plan.counts());
        }
        match (reload.client, result) {
            (Some(client), Ok(plan)) => {
                let plan = protocol::reload_plan(plan).into();
                ended.answer = Some((client, Response::Reload { applied, plan }));
            }
            (Some(client), Err(refusal)) => ended.answer = Some((client, refusal)),
            (None, Err(Response::Error { message, .. })) => cx.message(message),
            (None, _) => {}
        }
        if std::mem::take(&mut self.again) {
            self.on_signal(manager, cx);
        }
        ended
    }

    fn path_shown(&self) -> String {
        self.path.clone().unwrap_or_default()
    }
}

fn start_reader(path: &str, registry: &Registry) -> io::Result<ConfigReader> {
    let reader = ConfigReader::start(Path::new(path))?;
    let (fd, token) = (reader.as_raw_fd(), Source::Reload.token());
    registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
    Ok(reader)
}

/// The child is done.
fn conclude(reload: &mut Reload, path: &str, cx: &mut Context<'_>) -> Result<ReloadPlan, Response> {
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
        let plan = cx.supervisor.plan(config);
        let restarted = plan.restarted.into_iter().map(|change| change.name);
        plan.added.into_iter().chain(restarted).collect()
    };
    let answer = |question: &[u8]| reader.answer(question);
    let facts = Recorded::new(&answer);
    let files = Files::of(path, content);
    let report = config::load(files, &facts, Needed::By(&starting));
    if facts.missed_any() {
        let why = format!("cannot reload {path}: not all that it names was looked up");
        return Err(refuse(ErrorCode::Conflict, why));
    }
    let Some(config) = report.config else {
        return Err(refuse_file(report.render(false, "nothing was changed")));
    };
    go_over_to(config, path, reload.dry_run, cx)
}

/// The file is good.
fn go_over_to(
    config: Config,
    path: &str,
    dry_run: bool,
    cx: &mut Context<'_>,
) -> Result<ReloadPlan, Response> {
    let plan = cx.supervisor.plan(&config);
    if !cx.supervisor.has_room_for(plan.added.len()) {
        let why = "too many services are still stopping; try again when they are down";
        let message = format!("cannot reload {path}: {why}");
        return Err(refuse(ErrorCode::Conflict, message));
    }
    if !dry_run {
        cx.message(format!("reloaded {path}: {}", Words(plan.counts())));
        cx.tell(Event::Reload(config.into()));
    }
    Ok(plan)
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
