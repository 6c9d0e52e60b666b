//! Where the services of a measurement say that they run.

use std::fs::{File, OpenOptions};
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// Makes a FIFO, and opens it for both, so that it has a writer at any time.
pub fn make(path: &Path) -> File {
    mkfifo(path, Mode::S_IRWXU).unwrap();
    let mut both = OpenOptions::new();
    both.read(true).write(true).open(path).unwrap()
}
