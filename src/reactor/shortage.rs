//! What the daemon does without when the system grants it no more memory: clients that have not read their answers,
//! and the older half of the remembered output.

use std::time::Duration;

use super::Reactor;
use crate::base::{ClientId, Moment};
use crate::output::format::counted;
use crate::supervisor::event::Event;
use crate::sys::{memory, reserve};

/// While there is no new reserve, room is made again after this, and no more output is forgotten before.
const AGAIN: Duration = Duration::from_secs(1);

/// It is reported at most once in this time.
const REPORTED_EVERY: Duration = Duration::from_secs(60);

/// A shortage of memory.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    /// When to make room again; None where there is a reserve.
    again_at: Option<Moment>,
    /// Before this moment nothing is forgotten again.
    forget_at: Moment,
    /// Clients that lost their connections for it, not yet reported.
    disconnected: u64,
    /// Remembered output was forgotten for it, not yet reported.
    forgot: bool,
    silent_until: Moment,
}

impl Reactor {
    /// There is no memory for what a client asked for: it loses its connection.
    pub(super) fn disconnect_for_memory(&mut self, client: ClientId, now: Moment) {
        self.connections.close(client, self.common.poll.registry());
        self.shortage.disconnected += 1;
        self.tell(Event::ClientGone { client }, now);
    }

    /// To be called at the end of a turn.
    pub(super) fn relieve(&mut self, now: Moment) {
        let is_due = self.shortage.again_at.is_none_or(|at| at <= now);
        if reserve::is_used() && is_due {
            self.make_room(now);
        }
        self.report_shortage(now);
    }

    fn make_room(&mut self, now: Moment) {
        self.disconnect_slow_readers(now);
        self.shortage.forget_at = Moment::default();
        self.forget_for_memory(now);
        self.shortage.again_at = match reserve::take() {
            true => None,
            false => Some(now.after(AGAIN)),
        };
    }

    /// Whether there were any.
    pub(super) fn disconnect_slow_readers(&mut self, now: Moment) -> bool {
        let slow = self.connections.slow_readers();
        for client in &slow {
            self.disconnect_for_memory(*client, now);
        }
        !slow.is_empty()
    }

    /// Forgets the older half of the remembered output, unless that was done just now; whether it was done.
    pub(super) fn forget_for_memory(&mut self, now: Moment) -> bool {
        if now < self.shortage.forget_at {
            return false;
        }
        self.shortage.forget_at = now.after(AGAIN);
        self.shortage.forgot = true;
        self.output.streams.forget_half();
        memory::give_back_heap();
        true
    }

    fn report_shortage(&mut self, now: Moment) {
        let shortage = &mut self.shortage;
        let is_new = shortage.forgot || shortage.disconnected > 0;
        if !is_new || now < shortage.silent_until {
            return;
        }
        let clients = match std::mem::take(&mut shortage.disconnected) {
            0 => String::new(),
            count => format!("; disconnected {}", counted(count, "client")),
        };
        let forgot = match std::mem::take(&mut shortage.forgot) {
            true => "; forgot the older half of the remembered output",
            false => "",
        };
        shortage.silent_until = now.after(REPORTED_EVERY);
        self.common.messages.push(format!(
            "cannot get more memory{forgot}{clients}; raise the limit (ulimit -v), or lower log_buffer"
        ));
    }
}
