//! What a service's user, a stranger in the network namespace or a squatter can and cannot do to the
//! daemon, to other services and to root. `docs/SECURITY.md` lists each promise with its test here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod attack; // what a service's user does to paths
mod files; // paths that a service's user can write
mod identity; // users, groups, capabilities
mod impostors; // whatever pretends to be the daemon
mod log_files; // log files there
mod notify; // the notify socket
mod numbers; // MAINPID and numbers that come round
mod peers; // the control socket and its clients
mod starts; // what becomes a service's program
mod strangers; // other users, for the tests of both
mod survivors; // a daemon that ends abruptly
