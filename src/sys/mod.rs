//! One kernel object a file; every `unsafe` of the program.

pub mod clock;
pub mod descriptors;
pub mod env_file;
pub mod environment;
pub mod facts;
pub mod hosts;
pub mod install;
pub mod launch;
mod lean_libc;
pub mod limits;
pub mod log_file;
pub mod notify;
pub mod oom;
pub mod output_end;
pub mod pid1;
pub mod pipe;
pub mod pty;
pub mod reap;
pub mod script;
pub mod shebang;
pub mod signals;
pub mod socket;
pub mod spawn;
pub mod stray;
pub mod timer;
pub mod usage;
pub mod users;
