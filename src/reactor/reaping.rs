//! Signals that came, and the children that have ended.

use super::Reactor;
use crate::base::{ExitStatus, JobId, Moment, Signal};
use crate::supervisor::event::{Event, Word};
use crate::sys::signals::{self, Received, Sender};

impl Reactor {
    pub(super) fn on_signals(&mut self, now: Moment) {
        // SIGHUP continues a main program that is stopped, and has a lower number than the SIGCHLD of that stop.
        self.jobs.on_child_signal(&mut self.common.context(now));
        self.settle(now);
        loop {
            match self.signals.read() {
                Ok(Some(received)) => self.on_signal(received, now),
                Ok(None) => break self.trouble.reads_signals(),
                Err(error) => {
                    let cx = &mut self.common.context(now);
                    self.trouble.cannot_read_signals(&error, cx);
                    break self.settle(now);
                }
            }
        }
        // One SIGCHLD may stand for many children, and any signal may have hidden one.
        self.reap(now);
        self.jobs.on_child_signal(&mut self.common.context(now));
        self.settle(now);
    }

    /// What each signal means; docs/CLI-COMMANDS.md has the table.
    fn on_signal(&mut self, received: Received, now: Moment) {
        let Received { signal, sender } = received;
        let has_services = !self.told.is_alone;
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
            (Signal::USR1, _) if has_services => self.log_status(),
            (Signal::USR2, _) if has_services => {
                self.output.streams.reopen_log_files();
            }
            (Signal::HUP, _) if has_services => {
                let cx = &mut self.common.context(now);
                self.reloads.on_signal(&mut self.manager, cx);
            }
            (Signal::WINCH, _) => {
                self.output.follow_window_size();
                self.pass_on(received, now);
            }
            (_, Sender::Kernel | Sender::Process) => self.pass_on(received, now),
        }
    }

    fn pass_on(&mut self, received: Received, now: Moment) {
        let cx = &mut self.common.context(now);
        self.jobs.pass_on(received, cx);
        self.settle(now);
    }

    /// Reaps what has ended, and reports it: what the services wrote and said before comes first.
    pub(super) fn reap(&mut self, now: Moment) {
        let round = self.jobs.reap(&mut self.common.context(now));
        self.settle(now);
        let cx = &mut self.common.context(now);
        match &round.refused {
            Some(error) => self.trouble.cannot_reap(error, cx),
            None => self.trouble.reaps(),
        }
        self.settle(now);
        if !round.died.is_empty() {
            // Last words before the obituary.
            for service in self.jobs.take_services(&round.died) {
                let cx = &mut self.common.context(now);
                self.output.last_words(service, &round.died, cx);
            }
            self.tell_found(now);
        }
        let moved = round.moved.into_iter();
        let moved = moved.map(|(job, pid)| (job, Word::MainPid(pid)));
        for (job, word) in round.words.into_iter().chain(moved) {
            self.tell(Event::Said { job, word }, now);
        }
        for (job, status) in round.ended {
            self.on_end(job, status, now);
        }
        if round.none_left && self.jobs.is_sweeping() {
            self.tell(Event::ChildrenGone, now);
        }
    }

    /// The end of a job: of a check, of a program, or of a child that could not execute it.
    fn on_end(&mut self, job: JobId, status: ExitStatus, now: Moment) {
        let cx = &mut self.common.context(now);
        if let Some(end) = self.jobs.end(job, status, &mut self.output, cx) {
            let result = end.as_ref().map_err(|why| &why.message);
            let check = self.probes.on_end(job, result.copied());
            let event = check.unwrap_or(match end {
                Err(failure) => Event::SpawnFailed { job, failure },
                Ok(status) => Event::Exited { job, status },
            });
            cx.tell(event);
        }
        self.settle(now);
    }

    /// Reports the services in whose output was what they are ready with.
    pub(super) fn tell_found(&mut self, now: Moment) {
        let found = self.output.streams.take_found();
        self.jobs.find_ready(found, &mut self.common.context(now));
        self.settle(now);
    }
}
