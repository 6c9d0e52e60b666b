//! Where a run of a service begins among its lines. The daemon's events say when runs began; a line of another
//! process says that it is time to ask. The process alone does not tell: scripts write too.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;

use crate::client;
use crate::control::message::{EventKind, EventRecord, LogLine, Request, Response, State};
use crate::output::format::Stamp;
use crate::sys::clock;

/// Processes of a service that are known again: those of the last run may go on after the next has begun.
const KNOWN_PROCESSES: usize = 16;

/// More than the daemon's journal holds.
const MOST_STARTS: usize = 4096;

/// What is known of the runs of services. Times are RFC 3339 in UTC with nanoseconds, which compare as text.
pub(super) struct Runs {
    socket: Option<PathBuf>,
    shown: HashMap<String, Shown>,
    starts: Vec<Start>,
    /// When the daemon was asked for `starts`.
    asked: String,
}

/// What was shown of a service.
struct Shown {
    /// When the run began that is shown, or when its first line was read.
    since: String,
    processes: VecDeque<i32>,
}

struct Start {
    service: String,
    time: String,
}

impl Runs {
    pub fn new(socket: Option<PathBuf>) -> Runs {
        Runs {
            socket,
            shown: HashMap::new(),
            starts: Vec::new(),
            asked: String::new(),
        }
    }

    /// When the run began of which this is the first line; None: the run is the same as that of the line before, or
    /// it is the first one shown, or too long ago for the daemon's journal.
    pub fn begins_with(&mut self, line: &LogLine) -> Option<String> {
        let pid = line.pid?;
        let Some(shown) = self.shown.get_mut(&line.service) else {
            let shown = Shown {
                since: line.time.clone(),
                processes: VecDeque::from([pid]),
            };
            self.shown.insert(line.service.clone(), shown);
            return None;
        };
        if shown.processes.iter().rev().any(|known| *known == pid) {
            return None;
        }
        shown.processes.push_back(pid);
        if shown.processes.len() > KNOWN_PROCESSES {
            shown.processes.pop_front();
        }
        // A run is in the journal before its first line is read.
        if line.time > self.asked {
            let wall = clock::wall();
            self.asked = Stamp { wall, elapsed: 0 }.rfc3339().to_string();
            self.starts = self.starts();
        }
        let begun = |start: &&Start| start.service == line.service && start.time <= line.time;
        let start = self.starts.iter().rev().find(begun)?;
        let shown = self.shown.get_mut(&line.service)?;
        (start.time > shown.since).then(|| {
            shown.since.clone_from(&start.time);
            start.time.clone()
        })
    }

    /// The starts that the daemon remembers. Lines are shown without marks where it cannot be asked.
    fn starts(&self) -> Vec<Start> {
        let request = Request::Events {
            services: Vec::new(),
            lines: None,
            follow: false,
        };
        let mut starts = Vec::new();
        let mut on_line = |line: &[u8]| {
            match serde_json::from_slice::<EventRecord>(line) {
                Ok(record) => starts.extend(start(record)),
                // Its end, or a refusal.
                Err(_) => {
                    let answer = serde_json::from_slice(line);
                    return matches!(answer, Ok(Response::Events {}));
                }
            }
            starts.len() < MOST_STARTS
        };
        let _ = client::stream(self.socket.as_deref(), &request, &mut on_line, &mut || true);
        starts
    }
}

fn start(record: EventRecord) -> Option<Start> {
    let is_start =
        record.event == EventKind::State && record.to.as_deref() == Some(State::Starting.name());
    let service = record.service.filter(|_| is_start)?;
    Some(Start {
        service,
        time: record.time,
    })
}
