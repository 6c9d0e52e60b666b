//! Job control for the main program, which leads a process group of its own in the daemon's session.
//!
//! A shell that started the daemon knows the daemon's group alone. So what stops the main program (Ctrl-Z) stops the
//! daemon too, and what continues the daemon (`fg`, `bg`) continues the main program and gives it the terminal that
//! the shell gave to the daemon. Where no shell could continue it (PID 1, a session without one), the main program
//! goes on at once, as a stop by the terminal has no effect on an orphaned process group (setpgid(2)).

use super::Reactor;
use crate::base::{JobId, Moment, Pid, Signal};
use crate::supervisor::event::{Event, Scope};
use crate::sys::job_control::{self, Change, Terminal};
use crate::sys::signals::{self, Received, Sender};

/// The main program's process.
pub(super) struct Foreground {
    job: JobId,
    pid: Pid,
    /// It gets the terminal's foreground whenever the daemon's group has it.
    wants_terminal: bool,
    /// The daemon gave it the foreground and has not taken it back.
    has_terminal: bool,
    is_stopped: bool,
    /// A stop signal that another process sent was passed on: a stop by it is meant to last.
    stop_is_meant: bool,
}

impl Reactor {
    /// `terminal`: the one that it is on, and whether it has the foreground.
    pub(super) fn begin_foreground(&mut self, job: JobId, pid: Pid, terminal: Option<bool>) {
        self.foreground = Some(Foreground {
            job,
            pid,
            wants_terminal: terminal.is_some(),
            has_terminal: terminal == Some(true),
            is_stopped: false,
            stop_is_meant: false,
        });
    }

    /// The main program is over: the caller's next program needs the terminal.
    pub(super) fn end_foreground(&mut self, died: &[JobId]) {
        let over = self.foreground.take_if(|main| died.contains(&main.job));
        if over.is_some_and(|main| main.has_terminal)
            && let Some(terminal) = Terminal::find()
        {
            terminal.take_back();
        }
    }

    /// A signal that is not the daemon's own business.
    pub(super) fn pass_on(&mut self, received: Received, now: Moment) {
        let signal = received.signal;
        let is_stop = [Signal::TSTP, Signal::TTIN, Signal::TTOU].contains(&signal);
        let Some(main) = &mut self.foreground else {
            // Ctrl-Z stops a daemon that was started by hand.
            if signal == Signal::TSTP {
                signals::stop(signal, false);
            }
            return;
        };
        if is_stop {
            main.stop_is_meant = received.sender == Sender::Process;
        }
        let wakes = main.is_stopped && signal == Signal::HUP;
        if signal == Signal::CONT && main.wants_terminal {
            self.lend_terminal();
        }
        let scope = match received.sender {
            Sender::Kernel if is_stop => Scope::Group,
            _ if signal == Signal::CONT => Scope::Group,
            Sender::Kernel | Sender::Process | Sender::Own => Scope::Process,
        };
        self.tell(Event::ForwardSignal { signal, scope }, now);
        if wakes {
            // A stopped program could not act on it.
            self.continue_main(now);
        }
    }

    fn continue_main(&mut self, now: Moment) {
        let (signal, scope) = (Signal::CONT, Scope::Group);
        self.tell(Event::ForwardSignal { signal, scope }, now);
    }

    /// Gives the main program the foreground where the daemon's group has it; whether it was given.
    fn lend_terminal(&mut self) -> bool {
        let Some(main) = &mut self.foreground else {
            return false;
        };
        let terminal = Terminal::find().filter(Terminal::is_ours);
        let is_lent = terminal.is_some_and(|terminal| terminal.give_to(main.pid));
        main.has_terminal |= is_lent;
        main.wants_terminal |= is_lent;
        is_lent
    }

    /// Whether the main program was stopped or continued. A child's stop is reported by SIGCHLD as its end is.
    pub(super) fn watch_foreground(&mut self, now: Moment) {
        let Some(main) = &mut self.foreground else {
            return;
        };
        match job_control::change_of(main.pid) {
            None => {}
            Some(Change::Continued) => {
                main.is_stopped = false;
                main.stop_is_meant = false;
                if main.wants_terminal && !main.has_terminal {
                    self.lend_terminal();
                }
            }
            Some(Change::Stopped(signal)) => {
                main.is_stopped = true;
                self.on_main_stopped(signal, now);
            }
        }
    }

    fn on_main_stopped(&mut self, signal: Signal, now: Moment) {
        // The foreground is what the main program lacks, and the shell gave it to the daemon.
        let lacks_terminal = matches!(signal, Signal::TTIN | Signal::TTOU);
        if lacks_terminal && self.lend_terminal() {
            return self.continue_main(now);
        }
        if !lacks_terminal && signal != Signal::TSTP {
            return;
        }
        let Some(main) = &mut self.foreground else {
            return;
        };
        let (is_meant, had_terminal) = (main.stop_is_meant, main.has_terminal);
        main.has_terminal = false;
        if had_terminal && let Some(terminal) = Terminal::find() {
            terminal.take_back();
        }
        // A key stops all that the shell started as this job; a signal to the daemon, the daemon.
        let was_stopped = signals::stop(signal, had_terminal && !is_meant);
        if !was_stopped && !is_meant {
            if !self.lend_terminal() && lacks_terminal {
                return;
            }
            self.continue_main(now);
        }
    }
}
