//! What the services and the daemon write, on its way to where it goes: the streams that are read, standard output and
//! standard error, the log files, and the children that do for these what may wait for a file system.

use std::time::Duration;

use super::console::{Console, Kind};
use super::context::Context;
use super::log_helpers::LogHelpers;
use super::outlet::sink_of;
use super::streams::Streams;
use super::token::Slot;
use crate::base::{JobId, Moment, ServiceId};
use crate::config::model::{Service, TtySize};
use crate::output::format::counted;
use crate::output::prefix::Prefixer;
use crate::sys::output_end::OutputEnd;
use crate::sys::signals::SignalFd;
use crate::sys::{clock, pty};

/// The size of a terminal that nobody looks at.
const DEFAULT_SIZE: TtySize = TtySize {
    columns: 80,
    rows: 24,
};

/// Long names must not leave a service without columns.
const MIN_COLUMNS: u16 = 20;

/// How long the end waits for a slow reader of standard output, and for one of standard error.
const LAST_OF_STDOUT: Duration = Duration::from_secs(10);
const LAST_OF_STDERR: Duration = Duration::from_millis(50);

pub(super) struct Output {
    pub streams: Streams,
    pub(super) log_helpers: LogHelpers,
    pub(super) stdout: Console,
    pub(super) stderr: Console,
    prefixer: Prefixer,
}

impl Output {
    pub fn new(prefixer: Prefixer, now: Moment) -> Output {
        Output {
            streams: Streams::new(now),
            log_helpers: LogHelpers::new(),
            stdout: Console::new(OutputEnd::new(1), Kind::Stdout),
            stderr: Console::new(OutputEnd::new(2), Kind::Stderr),
            prefixer,
        }
    }

    /// Makes the place for each service's lines, and has its log file opened.
    pub fn open(&mut self, cx: &mut Context<'_>) {
        for id in cx.supervisor.ids() {
            if let Some(config) = cx.supervisor.config(id)
                && !cx.supervisor.is_main_program(id)
            {
                let sink = sink_of(&config, &self.prefixer);
                self.streams.add_service(id, &config, sink);
            }
        }
        self.begin_log_files(cx);
    }

    /// Fits each service's place to another configuration.
    pub fn fit(&mut self, cx: &Context<'_>) {
        let ids = || {
            let ids = cx.supervisor.ids();
            ids.filter(|id| !cx.supervisor.has_left(*id))
        };
        let configs = ids().filter_map(|id| cx.supervisor.config(id));
        let width = configs.map(|config| config.name.len()).max().unwrap_or(0);
        self.prefixer = self.prefixer.with_width(width);
        for id in ids() {
            if let Some(config) = cx.supervisor.config(id)
                && !cx.supervisor.is_main_program(id)
            {
                self.fit_service(id, &config);
            }
        }
        // Their columns may have become more or fewer.
        self.follow_window_size();
    }

    fn fit_service(&mut self, id: ServiceId, config: &Service) {
        let sink = sink_of(config, &self.prefixer);
        if self.streams.fit_service(id, config, sink) {
            self.retire_log_helpers(id);
        }
    }

    /// Has a log file opened whose folder or owner was not there when the daemon began.
    pub fn open_late_log_file(&mut self, id: ServiceId, config: &Service, cx: &Context<'_>) {
        let is_to_have_one = config.log_file.is_some() && !cx.supervisor.is_main_program(id);
        if is_to_have_one && !self.streams.keeps_file(id, config) {
            self.fit_service(id, config);
        }
    }

    /// Nothing of a service is needed any more.
    pub fn forget(&mut self, service: ServiceId) {
        self.streams.forget(service);
        self.retire_log_helpers(service);
    }

    /// The size of the daemon's own terminal, without the columns that names take; 80 by 24 where there is
    /// none.
    pub fn size_for_services(&self) -> TtySize {
        let own = [1, 2, 0].into_iter().find_map(pty::size);
        let taken = u16::try_from(self.prefixer.columns()).unwrap_or(u16::MAX);
        own.map_or(DEFAULT_SIZE, |(rows, columns)| TtySize {
            columns: columns.saturating_sub(taken).max(MIN_COLUMNS),
            rows,
        })
    }

    /// The daemon's terminal has another size: so do the services'.
    pub fn follow_window_size(&self) {
        self.streams.resize(self.size_for_services());
    }

    /// A child that works for log files has reported something.
    pub fn on_ready(&mut self, slot: Slot, cx: &mut Context<'_>) {
        self.on_log_helper(slot, cx);
    }

    /// Whether there is more to read than a turn took.
    pub fn has_work(&mut self) -> bool {
        self.streams.has_work(&mut self.stdout.queue)
    }

    /// Reads what the services write, for as long as a turn has for it.
    pub fn pump(&mut self, cx: &mut Context<'_>) {
        self.streams.pump(&mut self.stdout.queue, cx);
    }

    /// Reads to its end what these jobs, of this service, have written.
    pub fn last_words(&mut self, service: ServiceId, died: &[JobId], cx: &mut Context<'_>) {
        self.streams
            .last_words(service, died, &mut self.stdout.queue, cx);
    }

    /// What the services said so far is written before anything that another program writes to the same place.
    pub fn write_so_far(&mut self, cx: &mut Context<'_>) {
        self.pump(cx);
        self.stdout.flush(cx.registry, cx.now);
    }

    /// Writes what there is to standard output and standard error.
    pub fn show(&mut self, cx: &mut Context<'_>) {
        for message in cx.messages.drain(..) {
            self.stderr.message(&message);
        }
        self.stdout.flush(cx.registry, cx.now);
        for report in self.stdout.take_reports() {
            self.stderr.message(&report);
        }
        self.stderr.flush(cx.registry, cx.now);
        let reports = self.stderr.take_reports();
        if !reports.is_empty() {
            for report in reports {
                self.stderr.message(&report);
            }
            self.stderr.flush(cx.registry, cx.now);
        }
        self.note_console(Kind::Stdout, cx.now);
        self.note_console(Kind::Stderr, cx.now);
    }

    pub fn deadline(&mut self) -> Option<Moment> {
        let quiet = self.stdout.queue.accepts().then(|| self.streams.deadline());
        let all = [
            quiet.flatten(),
            self.log_helpers.deadline(),
            self.stdout.retry_at(),
            self.stderr.retry_at(),
        ];
        all.into_iter().flatten().min()
    }

    pub fn on_deadline(&mut self, cx: &mut Context<'_>) {
        self.streams.flush_quiet(&mut self.stdout.queue, cx);
        self.check_log_helpers(cx);
    }

    /// The last bytes. Waits for readers and for children, within bounds.
    pub fn finish(&mut self, signals: &SignalFd, cx: &mut Context<'_>) {
        self.streams.finish(&mut self.stdout.queue, cx);
        self.finish_log_files(signals, cx);
        self.show(cx);
        self.stdout.final_flush(clock::now().after(LAST_OF_STDOUT));
        let unwritten = self.finish_console(Kind::Stdout, signals, cx);
        if unwritten > 0 {
            let unwritten = counted(unwritten, "line");
            cx.message(format!(
                "{unwritten} may not have been written to standard output"
            ));
        }
        let reports = self.stdout.take_reports();
        for report in reports.into_iter().chain(cx.messages.drain(..)) {
            self.stderr.message(&report);
        }
        self.stderr.final_flush(clock::now().after(LAST_OF_STDERR));
        self.finish_console(Kind::Stderr, signals, cx);
    }

    pub(super) fn console(&self, kind: Kind) -> &Console {
        match kind {
            Kind::Stdout => &self.stdout,
            Kind::Stderr => &self.stderr,
        }
    }

    pub(super) fn console_mut(&mut self, kind: Kind) -> &mut Console {
        match kind {
            Kind::Stdout => &mut self.stdout,
            Kind::Stderr => &mut self.stderr,
        }
    }
}
