//! The shell around the supervisor: owns every descriptor of the daemon.
