//! go-overlay: a service supervisor and init (PID 1) for containers and small machines, in one static binary.
//!
//! This library is the program; `main.rs` only calls [`cli::run`]. It is public for the tests and benchmarks, and promises
//! no stable interface.
//!
//! All decisions are made by [`supervisor::Supervisor`], a state machine without I/O: events and the time go in, actions
//! and the next deadline come out. [Its module](supervisor) has an example from boot to exit. Around it is [`reactor`], the
//! single-threaded loop that owns every descriptor of the daemon, reports to the supervisor what happened, and performs
//! its actions.
//!
//! A module uses those of lower layers only, and the lower ones perform no I/O. `docs/ARCHITECTURE.md` is the map, and
//! `tests/architecture` enforces its rules.

pub mod api; // what clients may ask: verbs, streams, words
pub mod base; // identifiers, time, signals
pub mod cli; // the command line
pub mod client; // the other end of the control socket
pub mod config; // services.toml -> Config
pub mod control; // the protocol both ends share
pub mod daemon; // the daemon, put together
pub mod domain; // states and reasons, as data
pub mod launch; // from a service to the program that is executed
pub mod output; // the text of the log path
pub mod probe; // what daemon and services say to each other
pub mod reactor; // the shell: every descriptor
pub mod render; // text for people
pub mod schedule; // cron expressions and time zones
pub mod supervisor; // the state machine: all decisions, no I/O
pub mod sys; // the kernel, one object a file
pub mod wire; // requests and answers as bytes
