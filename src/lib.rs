//! go-overlay: a service supervisor and init for containers and small machines.
//!
//! The modules in reading order; `docs/ARCHITECTURE.md` is the map and its rules.

pub mod api; // what clients may ask: verbs, streams, words
pub mod base; // identifiers, time, signals
pub mod cli; // the command line
pub mod client; // the other end of the control socket
pub mod config; // services.toml -> Config
pub mod control; // the protocol both ends share
pub mod daemon; // the daemon, put together
pub mod domain; // states and reasons, as data
pub mod output; // the text of the log path
pub mod probe; // what daemon and services say to each other
pub mod reactor; // the shell: every descriptor
pub mod render; // text for people
pub mod schedule; // cron expressions and time zones
pub mod supervisor; // the state machine: all decisions, no I/O
pub mod sys; // the kernel, one object a file
pub mod wire; // requests and answers as bytes
