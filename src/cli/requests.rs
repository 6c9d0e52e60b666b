//! The requests of the subcommands with more than two options.

use super::arguments::{Events, Logs, Restart, Start, Stop};
use crate::control::message::{Request, Selection};

impl From<Logs> for Request {
    fn from(logs: Logs) -> Request {
        Request::Logs {
            services: logs.services,
            lines: logs.lines,
            since_ms: logs.since,
            grep: logs.grep,
            follow: logs.follow,
        }
    }
}

impl From<Events> for Request {
    fn from(events: Events) -> Request {
        Request::Events {
            services: events.services,
            lines: events.lines,
            follow: events.follow,
        }
    }
}

impl From<Start> for Selection {
    fn from(start: Start) -> Selection {
        Selection {
            services: start.services,
            all: start.all,
            with_dependents: false,
            no_wait: start.no_wait,
            timeout_ms: start.timeout,
        }
    }
}

impl From<Stop> for Selection {
    fn from(stop: Stop) -> Selection {
        Selection {
            services: stop.services,
            all: stop.all,
            with_dependents: false,
            no_wait: stop.no_wait,
            timeout_ms: stop.timeout,
        }
    }
}

impl From<Restart> for Selection {
    fn from(restart: Restart) -> Selection {
        Selection {
            services: restart.services,
            all: restart.all,
            with_dependents: restart.with_dependents,
            no_wait: restart.no_wait,
            timeout_ms: restart.timeout,
        }
    }
}
