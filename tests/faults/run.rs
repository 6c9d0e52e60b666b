//! One call that fails in the midst of a story, and what came of that.

use std::fmt;

use crate::kernel::Level;
use crate::places::{Moment, Place, Who};
use crate::story::{Fault, RECOVERY, Story, end};
use crate::strace::{self, Attached};
use crate::support::Row;

/// What came of a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody notices.
    CarriesOn,
    /// It was said what could not be done.
    SaysSo,
    /// A client was told, or lost its connection.
    CommandFails,
    /// A service failed or was unhealthy, and came back.
    ServiceFails,
    /// No service was started; the error was said.
    Refuses(i32),
    /// Everything was ended in order; the error was said.
    Ends(i32),
    /// It ended in time, and said whom it could not end.
    Leaves(i32),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::CarriesOn => f.write_str("carries on"),
            Outcome::SaysSo => f.write_str("says so"),
            Outcome::CommandFails => f.write_str("command fails"),
            Outcome::ServiceFails => f.write_str("service retried"),
            Outcome::Refuses(code) => write!(f, "refuses, {code}"),
            Outcome::Ends(code) => write!(f, "ends, {code}"),
            Outcome::Leaves(code) => write!(f, "leaves them, {code}"),
        }
    }
}

/// What comes of one call that fails with `error` at one moment.
pub fn run(
    place: &Place,
    error: &str,
    moment: Moment,
    port: u16,
    usual: &Level,
) -> Result<Outcome, Fault> {
    let (mut story, attached) = match moment {
        Moment::Starting => (
            Story::launch(port, |stage| {
                let words = strace::arguments(stage, place, error, moment, None);
                Some(strace::shell_first(&words))
            }),
            None,
        ),
        Moment::Once | Moment::SixTimes | Moment::ForGood => {
            let story = Story::begin(port)?;
            let pid = story.pid();
            let words = strace::arguments(&story.stage, place, error, moment, Some(pid));
            let attached = Attached::to(pid, &words);
            (story, Some(attached))
        }
    };
    let was_up = attached.is_some() || story.starts_something(place)?;
    if attached.is_some() {
        story.tell()?;
        story.is_calm(true)?;
    }
    let lasting = moment == Moment::ForGood;
    let answers = story.list().is_some();
    if !lasting {
        drop(attached);
        if !story.has_ended() {
            strace::let_go(story.pid());
        }
        if was_up && answers {
            let closed = place.call == "close";
            // A call that strace makes fail is not made, while the kernel closes whatever it says. And whose other
            // end is still open stays open itself.
            let lost = if closed {
                2 * strace::injected(&story.trace())
            } else {
                0
            };
            story.recovers(usual, lost)?;
        }
    } else if answers && !["waitid", "wait4"].contains(&place.call) {
        // Without waitid(2) nothing says that a zombie is one; without wait4(2) it stays one.
        story.table_is_true()?;
    }
    let early = story.has_ended();
    if place.call.starts_with("pidfd_") {
        story.leave_a_stray();
    }
    let kills = ["kill", "pidfd_send_signal"].contains(&place.call);
    let code = story.end_and(lasting && kills)?;
    match strace::injected(&story.trace()) {
        0 => Err("NOT CALLED: nothing failed in this run".into()),
        _ => story.outcome(code, early, was_up),
    }
}

impl Story {
    /// What everybody could see of the fault.
    fn outcome(&self, code: i32, early: bool, was_up: bool) -> Result<Outcome, Fault> {
        let said = self.daemon.err.text();
        if self.leaves_some {
            return Ok(Outcome::Leaves(code));
        }
        let says_so = said.contains("cannot ") || said.contains("error:");
        if early || code != 0 {
            return match (says_so, was_up) {
                (false, _) => Err(format!(
                    "SILENT END: code {code}\n{}",
                    end(&self.daemon.said())
                )),
                (true, true) => Ok(Outcome::Ends(code)),
                (true, false) => Ok(Outcome::Refuses(code)),
            };
        }
        let failed = |line: &str| {
            (line.contains("-> FAILED") && !line.contains("killed by SIGKILL"))
                || line.contains(": unhealthy")
        };
        Ok(if said.lines().any(failed) {
            Outcome::ServiceFails
        } else if self.commands_failed > 0 {
            Outcome::CommandFails
        } else if says_so {
            Outcome::SaysSo
        } else {
            Outcome::CarriesOn
        })
    }

    /// Waits for a daemon that may refuse to start; whether it did not.
    fn starts_something(&mut self, place: &Place) -> Result<bool, Fault> {
        let all_fail = place.who == Who::Child;
        let up = self.look(RECOVERY, |story| {
            let said_unreachable = story
                .daemon
                .err
                .text()
                .contains("will not reach this daemon");
            // A start is not waited for: each program was executed, or could not be.
            let on_its_way = |row: &Row| row.state() == "STARTING" && row.pid().is_none();
            let all_tried = || {
                let rows = story.list();
                rows.is_some_and(|rows| !rows.values().any(on_its_way))
            };
            story.is_up() || said_unreachable || (all_fail && all_tried())
        });
        match up || self.has_ended() {
            true => Ok(up),
            false => Err(self.fault("HANG: it does not come up, and does not say why")),
        }
    }
}
