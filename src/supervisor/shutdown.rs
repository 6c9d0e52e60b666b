//! The end of everything: reverse order, the global bound, strays, and the exit code.

use std::time::Duration;

use super::Supervisor;
use super::client::Refusal;
use super::event::{Action, Notice};
use super::service::Phase;
use crate::base::{ExitStatus, Moment, ServiceId, Signal};
use crate::domain::{KillReason, ShutdownReason};

/// How long strays have between SIGTERM and SIGKILL, within the global bound.
const STRAY_GRACE: Duration = Duration::from_millis(500);

/// How long the daemon waits for processes that SIGKILL does not end (stuck in the kernel).
const UNKILLABLE_GRACE: Duration = Duration::from_secs(2);

/// Whether the system is up, going down, or gone.
#[derive(Debug)]
pub(super) enum Life {
    Up,
    Down(Down),
    Over,
}

/// What a shutdown will end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExitCode {
    /// Asked for: the main program's code, or 0 where none ran.
    Asked,
    /// This one.
    Fixed(u8),
}

/// A shutdown under way.
#[derive(Debug)]
pub(super) struct Down {
    exit_code: u8,
    /// Whether the main program's own exit code replaces it: so when somebody asked for the shutdown
    /// and named no code.
    main_decides: bool,
    /// The bound of the whole; None once everything was killed.
    kill_at: Option<Moment>,
    /// The signal that asked for it; the main program gets the same.
    signal: Option<Signal>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Services,
    /// Their processes were sent SIGKILL. One that is stuck in the kernel does not keep the daemon.
    Killing {
        give_up_at: Moment,
    },
    /// Every service is down; whoever is left was sent SIGTERM.
    Strays {
        kill_at: Moment,
    },
    /// They were sent SIGKILL.
    Killed {
        give_up_at: Moment,
    },
}

impl Life {
    pub fn is_down(&self) -> bool {
        matches!(self, Life::Down(_) | Life::Over)
    }

    pub fn is_over(&self) -> bool {
        matches!(self, Life::Over)
    }

    pub fn signal(&self) -> Option<Signal> {
        match self {
            Life::Down(down) => down.signal,
            Life::Up | Life::Over => None,
        }
    }

    pub fn deadline(&self) -> Option<Moment> {
        let Life::Down(down) = self else { return None };
        match down.stage {
            Stage::Services => down.kill_at,
            Stage::Strays { kill_at } => Some(kill_at),
            Stage::Killing { give_up_at } | Stage::Killed { give_up_at } => Some(give_up_at),
        }
    }
}

impl Supervisor {
    pub(super) fn begin_shutdown(
        &mut self,
        reason: ShutdownReason,
        exit_code: ExitCode,
        signal: Option<Signal>,
        now: Moment,
    ) {
        if self.life.is_down() {
            return;
        }
        let within = self.timeouts.global_shutdown;
        let kill_at = Some(now.after(within));
        let (exit_code, main_decides) = match exit_code {
            ExitCode::Asked => (0, true),
            ExitCode::Fixed(code) => (code, false),
        };
        self.life = Life::Down(Down {
            exit_code,
            main_decides,
            kill_at,
            signal,
            stage: Stage::Services,
        });
        self.actions
            .push_back(Action::Notice(Notice::ShuttingDown { reason, within }));
        for id in self.ids().collect::<Vec<_>>() {
            // Nobody is checked any more.
            self.end_check(id);
            self.cancel_post_script(id, now);
            self.cancel_restart(id, now);
            self.enqueue(id);
        }
    }

    /// The first signal asks, a second SIGTERM or SIGINT means it.
    pub(super) fn on_shutdown_signal(&mut self, signal: Signal, now: Moment) {
        match &mut self.life {
            Life::Up => self.begin_shutdown(
                ShutdownReason::Signal(signal),
                ExitCode::Asked,
                Some(signal),
                now,
            ),
            Life::Down(down) if down.signal.is_none() => down.signal = Some(signal),
            Life::Down(_) if matches!(signal, Signal::TERM | Signal::INT) => {
                self.kill_everything(KillReason::SecondSignal(signal), now);
            }
            Life::Down(_) | Life::Over => {}
        }
    }

    fn kill_everything(&mut self, reason: KillReason, now: Moment) {
        let Life::Down(down) = &mut self.life else {
            return;
        };
        if down.kill_at.take().is_none() {
            return;
        }
        let give_up_at = now.after(UNKILLABLE_GRACE);
        let strays = matches!(down.stage, Stage::Strays { .. });
        down.stage = match strays {
            true => Stage::Killed { give_up_at },
            false => Stage::Killing { give_up_at },
        };
        self.actions
            .push_back(Action::Notice(Notice::KillingAll { reason }));
        if strays {
            self.actions.push_back(Action::SignalStrays(Signal::KILL));
        }
        for id in self.ids().collect::<Vec<_>>() {
            let asked_at = match self.service(id).phase {
                Phase::Stopping { asked_at, .. } => asked_at,
                _ => now,
            };
            self.kill_service(id, now.since(asked_at), now);
        }
    }

    pub(super) fn on_shutdown_time(&mut self, now: Moment) {
        let Life::Down(down) = &mut self.life else {
            return;
        };
        match down.stage {
            Stage::Services if down.kill_at.is_some_and(|at| at <= now) => {
                let bound = self.timeouts.global_shutdown;
                self.kill_everything(KillReason::Timeout(bound), now);
            }
            Stage::Strays { kill_at } if kill_at <= now => self.kill_strays(now),
            Stage::Killing { give_up_at } if give_up_at <= now => self.kill_strays(now),
            Stage::Killed { give_up_at } if give_up_at <= now => self.exit(),
            Stage::Services
            | Stage::Strays { .. }
            | Stage::Killing { .. }
            | Stage::Killed { .. } => {}
        }
    }

    fn kill_strays(&mut self, now: Moment) {
        if let Life::Down(down) = &mut self.life {
            down.stage = Stage::Killed {
                give_up_at: now.after(UNKILLABLE_GRACE),
            };
            self.actions.push_back(Action::SignalStrays(Signal::KILL));
        }
    }

    /// When no child of ours is left, whoever is left is a stray.
    pub(super) fn advance_shutdown(&mut self, now: Moment) {
        let Life::Down(down) = &mut self.life else {
            return;
        };
        if !self.jobs.is_empty() || !self.queue.is_empty() {
            return;
        }
        match (down.stage, down.kill_at) {
            (Stage::Services, Some(bound)) => {
                let kill_at = now.after(STRAY_GRACE).min(bound);
                down.stage = Stage::Strays { kill_at };
                self.actions.push_back(Action::SignalStrays(Signal::TERM));
            }
            (Stage::Services, None) | (Stage::Killing { .. }, _) => self.kill_strays(now),
            (Stage::Strays { .. } | Stage::Killed { .. }, _) => {}
        }
    }

    pub(super) fn on_children_gone(&mut self) {
        let Life::Down(down) = &self.life else { return };
        match down.stage {
            Stage::Services | Stage::Killing { .. } => {}
            Stage::Strays { .. } | Stage::Killed { .. } => self.exit(),
        }
    }

    fn exit(&mut self) {
        let Life::Down(down) = &self.life else { return };
        let code = down.exit_code;
        for client in std::mem::take(&mut self.waiters).into_keys() {
            self.refuse(client, Refusal::HasShutDown);
        }
        self.actions.push_back(Action::Exit(code));
        self.life = Life::Over;
        self.deadlines.clear();
    }

    /// What a service's new state means for the whole: a required one that failed, or the main program
    /// that ended, ends everything.
    pub(super) fn consider_the_whole(&mut self, id: ServiceId, now: Moment) {
        if self.is_main_program(id) {
            return self.consider_main_program(id, now);
        }
        let service = self.service(id);
        if let Phase::Failed {
            failure,
            code,
            restart_at: None,
            ..
        } = &service.phase
            && service.config.required
            && !service.leaving
        {
            let code = ExitCode::Fixed(*code);
            let reason = ShutdownReason::RequiredFailed {
                service: service.config.name.as_str().into(),
                failure: failure.clone(),
            };
            self.begin_shutdown(reason, code, None, now);
        }
    }

    fn consider_main_program(&mut self, id: ServiceId, now: Moment) {
        let service = self.service(id);
        let ran = service.last_exit.map(ExitStatus::code);
        let name = service.config.name.as_str().into();
        let (reason, code) = match &service.phase {
            Phase::Failed { failure, code, .. } => {
                let failure = failure.clone();
                let service = name;
                (ShutdownReason::MainFailed { service, failure }, *code)
            }
            Phase::Stopped(_) => (ShutdownReason::MainEnded(name), ran.unwrap_or(0)),
            Phase::Pending { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping { .. } => return,
        };
        match &mut self.life {
            Life::Up => self.begin_shutdown(reason, ExitCode::Fixed(code), None, now),
            Life::Down(down) if down.main_decides && ran.is_some() => down.exit_code = code,
            Life::Down(_) | Life::Over => {}
        }
    }
}
