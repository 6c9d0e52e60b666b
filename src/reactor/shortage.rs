//! What the daemon does without when the system grants it no more memory: clients that have not read their answers,
//! and the older half of the remembered output.

use std::time::Duration;

use super::connections::Connections;
use super::context::Context;
use super::output::Output;
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

impl Shortage {
    /// There is no memory for what a client asked for: it loses its connection.
    pub fn disconnect(
        &mut self,
        client: ClientId,
        connections: &mut Connections,
        cx: &mut Context<'_>,
    ) {
        connections.close(client, cx.registry);
        self.disconnected += 1;
        cx.tell(Event::ClientGone { client });
    }

    /// To be called at the end of a turn.
    pub fn relieve(
        &mut self,
        connections: &mut Connections,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) {
        let is_due = self.again_at.is_none_or(|at| at <= cx.now);
        if reserve::is_used() && is_due {
            self.disconnect_slow_readers(connections, cx);
            self.forget_at = Moment::default();
            self.forget_output(output, cx.now);
            self.again_at = match reserve::take() {
                true => None,
                false => Some(cx.now.after(AGAIN)),
            };
        }
        self.report(cx);
    }

    /// Whether there were any.
    pub fn disconnect_slow_readers(
        &mut self,
        connections: &mut Connections,
        cx: &mut Context<'_>,
    ) -> bool {
        let slow = connections.slow_readers();
        for client in &slow {
            self.disconnect(*client, connections, cx);
        }
        !slow.is_empty()
    }

    /// Forgets the older half of the remembered output, unless that was done just now; whether it was done.
    pub fn forget_output(&mut self, output: &mut Output, now: Moment) -> bool {
        if now < self.forget_at {
            return false;
        }
        self.forget_at = now.after(AGAIN);
        self.forgot = true;
        output.streams.forget_half();
        memory::give_back_heap();
        true
    }

    fn report(&mut self, cx: &mut Context<'_>) {
        let is_new = self.forgot || self.disconnected > 0;
        if !is_new || cx.now < self.silent_until {
            return;
        }
        let clients = match std::mem::take(&mut self.disconnected) {
            0 => String::new(),
            count => format!("; disconnected {}", counted(count, "client")),
        };
        let forgot = match std::mem::take(&mut self.forgot) {
            true => "; forgot the older half of the remembered output",
            false => "",
        };
        self.silent_until = cx.now.after(REPORTED_EVERY);
        cx.message(format!(
            "cannot get more memory{forgot}{clients}; raise the limit (ulimit -v), or lower log_buffer"
        ));
    }
}
