//! The real daemon as PID 1 of a process namespace, with up to a few hundred services, while what it stands on
//! gives way: its services are killed and stopped, their programs vanish, descriptors, processes, memory and disk run
//! out, /proc and /dev/ptmx go away, clients come by the thousand, the time of day is set, and it is suspended
//! itself. After each torture the same five things hold (`aftermath`).
//!
//! `make torture SEED=N SECONDS=N` makes it longer and repeats the choices of a run; a torture alone is
//! `cargo test --test torture NAME`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

#[macro_use]
mod patient;

mod aftermath;
mod control_group;

mod clients;
#[cfg(target_arch = "x86_64")]
mod clock;
mod descriptors;
mod disk;
mod everything;
mod forks;
mod kills;
mod memory;
mod processes;
mod procfs;
mod programs;
mod suspended;
mod terminals;
#[cfg(target_arch = "x86_64")]
mod tracer;

use std::time::Duration;

/// How long a torture lasts in `make test`; `make torture` gives each a minute.
const SHORT: Duration = Duration::from_millis(1500);
