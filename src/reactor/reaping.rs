//! Signals that came, and the children that have ended.

use super::Reactor;
use super::children::{Dead, REAPS_A_TURN, Round};
use super::streams::Outside;
use crate::base::{ExitStatus, JobId, Moment, Signal};
use crate::supervisor::event::{Event, Word};
use crate::sys::signals::{self, Received, Sender};

impl Reactor {
    pub(super) fn on_signals(&mut self, now: Moment) {
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
        self.foreground
            .on_child_signal(&mut self.common.context(now));
        self.settle(now);
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
            (Signal::USR1, _) if has_services => self.log_status(),
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

    fn pass_on(&mut self, received: Received, now: Moment) {
        let cx = &mut self.common.context(now);
        self.foreground.pass_on(received, cx);
        self.settle(now);
    }

    pub(super) fn reap(&mut self, now: Moment) {
        let mut round = Round::default();
        let words = self.bury_the_dead(&mut round, now);
        self.reap_again = round.more;
        match &round.refused {
            Some(error) => {
                self.trouble
                    .cannot_reap(error, &mut self.common.context(now));
                self.settle(now);
            }
            None => self.trouble.reaps(),
        }
        self.foreground.end(&round.died);
        if !round.died.is_empty() {
            // Last words before the obituary.
            for service in self.services_of(&round.died) {
                let mut outside = Outside {
                    queue: &mut self.stdout.queue,
                    messages: &mut self.common.messages,
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
        if let Some(event) = self.probes.on_end(job, end) {
            return self.tell(event, now);
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
            let Some(dead) = self.children.next_dead(&self.common.helpers, round) else {
                round.more = false;
                break;
            };
            if let Dead::Job(job) = dead {
                self.launches.child_ended(job);
                self.look_at_launch(job, now);
                for heard in self.signs.last_words(job, &self.children) {
                    words.extend(self.take_successor(heard));
                }
            }
            let helpers = &mut self.common.helpers;
            if !self.children.bury(&dead, helpers, now, round) {
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
}
