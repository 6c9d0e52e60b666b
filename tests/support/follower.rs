//! A client that runs beside the test: `logs -f` and the like.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Lines, PATIENCE, PROGRAM, until};

/// `go-overlay WORDS…` under way; dropped, it is killed.
pub struct Follower {
    /// Its standard output.
    pub out: Lines,
    /// Its standard error.
    pub err: Lines,
    child: Child,
}

impl Follower {
    /// Starts it beside the daemon of this socket.
    pub fn start(socket: &Path, words: &[&str]) -> Follower {
        let mut child = Command::new(PROGRAM)
            .arg("--socket")
            .arg(socket)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Follower {
            out: Lines::gather(child.stdout.take().unwrap()),
            err: Lines::gather(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end: the exit code, or 128 and the signal's number as a shell shows it.
    pub fn wait(&mut self) -> i32 {
        let ended = || self.child.try_wait().unwrap();
        let status: ExitStatus = until("the client's end", PATIENCE, ended);
        self.out.wait_for_end(PATIENCE);
        self.err.wait_for_end(PATIENCE);
        let by_signal = || 128 + status.signal().unwrap_or_default();
        status.code().unwrap_or_else(by_signal)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
