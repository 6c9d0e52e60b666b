//! Reload: the file is read and checked as at the start; only a good one changes anything.

use std::collections::BTreeSet;
use std::path::Path;

use super::Reactor;
use super::events::Happened;
use crate::base::{Moment, ServiceId};
use crate::config::{self, Config};
use crate::control::message::{ErrorCode, EventKind, ReloadPlan, Response};
use crate::supervisor::event::Event;
use crate::sys::clock;
use crate::sys::facts::SystemFacts;

impl Reactor {
    /// `reload`, or SIGHUP.
    ///
    /// # Errors
    /// The answer: why nothing was changed.
    pub(super) fn reload(&mut self, dry_run: bool, now: Moment) -> Result<ReloadPlan, Response> {
        if dry_run {
            return self.load_again(dry_run, now);
        }
        self.manager.reloading(clock::now());
        self.report_to_manager(now);
        let result = self.load_again(dry_run, now);
        self.manager.reloaded();
        result
    }

    fn load_again(&mut self, dry_run: bool, now: Moment) -> Result<ReloadPlan, Response> {
        let refuse = |code, message: String| Response::Error {
            code,
            message,
            hint: None,
        };
        let Some(path) = &self.config_path else {
            let why = "cannot reload: only a main program is supervised, and no file".to_owned();
            return Err(refuse(ErrorCode::Conflict, why));
        };
        if self.supervisor.system_status(now).shutting_down {
            let why = "cannot reload: the daemon is shutting down".to_owned();
            return Err(refuse(ErrorCode::ShuttingDown, why));
        }
        // A file's syntax tree takes far more than what is kept of it.
        self.untidy = true;
        let starting = |config: &Config| {
            let plan = self.supervisor.plan(config);
            let restarted = plan.restarted.into_iter().map(|change| change.name);
            plan.added.into_iter().chain(restarted).collect()
        };
        let config = read(Path::new(path), starting).map_err(|why| {
            let message = format!("cannot reload {path}:\n{why}");
            refuse(ErrorCode::BadConfig, message)
        })?;
        let plan = self.supervisor.plan(&config);
        if !self.supervisor.has_room_for(plan.added.len()) {
            let why = "too many services are still stopping; try again when they are down";
            let message = format!("cannot reload {path}: {why}");
            return Err(refuse(ErrorCode::Conflict, message));
        }
        if dry_run {
            return Ok(plan);
        }
        let detail = in_words(&plan);
        self.messages.push(format!("reloaded {path}: {detail}"));
        self.journal.add(Happened {
            service: None,
            event: EventKind::Reload,
            from: None,
            to: None,
            detail,
        });
        self.supervisor.handle(Event::Reload(config.into()), now);
        // Before the first of them is started.
        self.fit_sinks();
        self.perform(now);
        Ok(plan)
    }

    /// SIGHUP: nobody waits for an answer.
    pub(super) fn reload_by_signal(&mut self, now: Moment) {
        if let Err(Response::Error { message, .. }) = self.reload(false, now) {
            self.messages.push(message);
        }
    }

    /// Each service's place for its lines, as the file says now.
    fn fit_sinks(&mut self) {
        let ids = self.supervisor.ids();
        let ids: Vec<ServiceId> = ids.filter(|id| !self.supervisor.has_left(*id)).collect();
        let configs = ids.iter().filter_map(|id| self.supervisor.config(*id));
        let width = configs.map(|config| config.name.len()).max().unwrap_or(0);
        self.prefixer = self.prefixer.with_width(width);
        for id in ids {
            let Some(config) = self.supervisor.config(id) else {
                continue;
            };
            if self.supervisor.is_main_program(id) {
                continue;
            }
            let kept = self.streams.keeps_file(id, &config);
            let log_file = match kept {
                true => None,
                false => self.open_log_file(&config),
            };
            let has_file = kept || log_file.is_some();
            let sink = self.sink(&config, has_file);
            self.streams.fit_service(id, &config, sink, log_file);
        }
        // Their columns may have become more or fewer.
        self.follow_window_size();
    }
}

fn read(path: &Path, starting: impl FnOnce(&Config) -> BTreeSet<String>) -> Result<Config, String> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path)
        .map_err(|error| format!("cannot read it: {error}; nothing was changed"))?;
    let text = config::decode(bytes).map_err(|bad| {
        config::render(
            &bad.findings,
            &file,
            &bad.text,
            false,
            "nothing was changed",
        )
    })?;
    let checked = config::check_for_reload(&text, &SystemFacts::new(), starting);
    let report = config::render(
        &checked.findings,
        &file,
        &text,
        false,
        "nothing was changed",
    );
    checked.config.ok_or(report)
}

/// `1 added, 2 restarted, 4 unchanged`.
fn in_words(plan: &ReloadPlan) -> String {
    let counts = [
        (plan.added.len(), "added"),
        (plan.removed.len(), "removed"),
        (plan.restarted.len(), "restarted"),
        (plan.updated.len(), "updated"),
        (plan.unchanged, "unchanged"),
    ];
    let said: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    match said.is_empty() {
        true => "nothing changed".into(),
        false => said.join(", "),
    }
}
