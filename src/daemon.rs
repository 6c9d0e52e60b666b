//! The daemon: load, PID 1 duties, build the supervisor and the reactor, run.
