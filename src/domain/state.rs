//! Where a service is: its state, its health, and which of its programs runs.

/// A service's state, shown everywhere in capitals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Waiting for dependencies.
    Pending,
    /// Pre-script, spawn, or waiting for readiness.
    Starting,
    /// Executed and ready.
    Running,
    /// Told to end; not gone yet.
    Stopping,
    /// Ended as it should: completed, told to, or never started.
    Stopped,
    /// Ended as it should not.
    Failed,
}

impl State {
    /// All, in the order of a service's life.
    pub const ALL: [State; 6] = [
        State::Pending,
        State::Starting,
        State::Running,
        State::Stopping,
        State::Stopped,
        State::Failed,
    ];

    /// The word users see.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::Starting => "STARTING",
            State::Running => "RUNNING",
            State::Stopping => "STOPPING",
            State::Stopped => "STOPPED",
            State::Failed => "FAILED",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A health check's standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// No check configured.
    #[default]
    None,
    /// No verdict yet.
    Starting,
    /// The last checks passed.
    Healthy,
    /// The last checks failed.
    Unhealthy,
}

impl Health {
    /// The word users see.
    pub fn name(self) -> &'static str {
        match self {
            Health::None => "none",
            Health::Starting => "starting",
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
        }
    }
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// RUNNING.
    Running,
    /// Health is `healthy`; without a health check: RUNNING.
    Healthy,
    /// Not active: STOPPED or FAILED.
    Stopped,
    /// Exited with 0.
    Completed,
}

/// Which of a service's programs a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `pre_script`.
    PreScript,
    /// `command`.
    Main,
    /// `pos_script`.
    PostScript,
    /// The command of a health check.
    Check,
}
