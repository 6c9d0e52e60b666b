//! What verbs work with: what may be seen of the daemon, and by which client.

use std::path::Path;

use super::access::Caller;
use super::stream::History;
use crate::base::{Moment, Pid, ServiceId};
use crate::domain::{Now, Usage};
use crate::supervisor::Supervisor;

/// What a verb works with.
pub struct Views<'a> {
    /// The client.
    pub caller: Caller,
    /// The moment.
    pub now: Now,
    /// The services' states.
    pub supervisor: &'a Supervisor,
    /// The configuration file; None where only a main program is supervised.
    pub config_path: Option<&'a str>,
    /// What only the shell knows.
    pub observed: &'a mut dyn Observed,
}

/// What the shell knows of services, beside their states and their past.
pub trait Observed: History {
    /// What each of these processes uses with its descendants, as seen lately, and when that was. None for one that is
    /// gone.
    fn usages(&mut self, pids: &[Pid], now: Moment) -> (Moment, &[Option<Usage>]);

    /// What this process uses with its descendants now.
    fn usage(&self, pid: Pid) -> Option<Usage>;

    /// Services whose log files are on file systems that do not answer.
    fn hanging(&self) -> Vec<(ServiceId, &Path)>;

    /// Lines of a service that standard output had no room for.
    fn dropped_lines(&self, service: ServiceId) -> u64;

    /// From now on the lines that the memory loses are counted, for a client that reads it.
    fn count_lost_lines(&mut self);

    /// The daemon's process id, in its own namespace.
    fn own_pid(&self) -> i32;
}
