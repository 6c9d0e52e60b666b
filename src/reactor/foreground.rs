//! Job control for the main program, which leads a process group of its own in the daemon's session.
//!
//! A shell that started the daemon knows the daemon's group alone. So what stops the main program (Ctrl-Z) stops the
//! daemon too, and what continues the daemon (`fg`, `bg`) continues the main program and gives it the terminal that
//! the shell gave to the daemon. Where no shell could continue it (PID 1, a session without one), the main program
//! goes on at once, as a stop by the terminal has no effect on an orphaned process group (setpgid(2)).

use super::context::Context;
use crate::base::{JobId, Pid, Signal};
use crate::supervisor::event::{Event, Scope};
use crate::sys::job_control::{self, Change, Terminal};
use crate::sys::signals::{self, Received, Sender};

/// The main program, while it runs.
#[derive(Default)]
pub(super) struct Foreground {
    main: Option<Main>,
}

/// Its process.
struct Main {
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

impl Foreground {
    /// `terminal`: the one that it is on, and whether it has the foreground.
    pub fn begin(&mut self, job: JobId, pid: Pid, terminal: Option<bool>) {
        self.main = Some(Main {
            job,
            pid,
            wants_terminal: terminal.is_some(),
            has_terminal: terminal == Some(true),
            is_stopped: false,
            stop_is_meant: false,
        });
    }

    /// The main program is over: the caller's next program needs the terminal.
    pub fn end(&mut self, died: &[JobId]) {
        let over = self.main.take_if(|main| died.contains(&main.job));
        if over.is_some_and(|main| main.has_terminal)
            && let Some(terminal) = Terminal::find()
        {
            terminal.take_back();
        }
    }

    /// A signal that is not the daemon's own business.
    pub fn pass_on(&mut self, received: Received, cx: &mut Context<'_>) {
        let signal = received.signal;
        let is_stop = [Signal::TSTP, Signal::TTIN, Signal::TTOU].contains(&signal);
        let Some(main) = &mut self.main else {
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
        cx.tell(Event::ForwardSignal { signal, scope });
        if wakes {
            // A stopped program could not act on it.
            continue_main(cx);
        }
    }

    /// Gives the main program the foreground where the daemon's group has it; whether it was given.
    fn lend_terminal(&mut self) -> bool {
        let Some(main) = &mut self.main else {
            return false;
        };
        let terminal = Terminal::find().filter(Terminal::is_ours);
        let is_lent = terminal.is_some_and(|terminal| terminal.give_to(main.pid));
        main.has_terminal |= is_lent;
        main.wants_terminal |= is_lent;
        is_lent
    }

    /// Whether the main program was stopped or continued. A child's stop is reported by SIGCHLD as its end is.
    pub fn on_child_signal(&mut self, cx: &mut Context<'_>) {
        let Some(main) = &mut self.main else {
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
                self.on_main_stopped(signal, cx);
            }
        }
    }

    fn on_main_stopped(&mut self, signal: Signal, cx: &mut Context<'_>) {
        // The foreground is what the main program lacks, and the shell gave it to the daemon.
        let lacks_terminal = matches!(signal, Signal::TTIN | Signal::TTOU);
        if lacks_terminal && self.lend_terminal() {
            return continue_main(cx);
        }
        if !lacks_terminal && signal != Signal::TSTP {
            return;
        }
        let Some(main) = &mut self.main else {
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
            continue_main(cx);
        }
    }
}

fn continue_main(cx: &mut Context<'_>) {
    let (signal, scope) = (Signal::CONT, Scope::Group);
    cx.tell(Event::ForwardSignal { signal, scope });
}
