//! A person at a terminal: a program started in a session of its own on a terminal of the test's, which types
//! and looks.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, getpgid, tcgetpgrp};

use super::{PATIENCE, terminal, until};

/// How long [`Seat::shows`] looks.
const A_MOMENT: Duration = Duration::from_millis(200);

/// The program, and the terminal's end that shows. Dropped, the program is killed.
pub struct Seat {
    screen: File,
    seen: String,
    child: Child,
}

impl Seat {
    /// Starts `command` with the terminal as its controlling one, as a login shell has it.
    pub fn of(command: &Command, columns: u16, rows: u16) -> Seat {
        let (ours, theirs) = terminal::open(columns, rows);
        let mut session = Command::new("setsid");
        session
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args())
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| value.map(|value| (name, value))),
            )
            .env("TERM", "xterm")
            .stdin(theirs.try_clone().unwrap())
            .stdout(theirs.try_clone().unwrap())
            .stderr(theirs);
        let child = session.spawn().unwrap();
        Seat {
            screen: File::from(ours),
            seen: String::new(),
            child,
        }
    }

    /// The program's process id, or that of what runs it on the terminal.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Whether the screen has shown `needle` within a moment since this was last asked.
    pub fn shows(&mut self, needle: &str) -> bool {
        let deadline = Instant::now() + A_MOMENT;
        while !self.seen.contains(needle) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.has_news(left) || !self.look(left) {
                return false;
            }
        }
        true
    }

    fn has_news(&self, patience: Duration) -> bool {
        let mut ends = [PollFd::new(self.screen.as_fd(), PollFlags::POLLIN)];
        poll(&mut ends, PollTimeout::try_from(patience).unwrap()).unwrap() == 1
    }

    /// Waits until the process group of `pid` has the terminal's foreground: a key typed before then is for the shell.
    pub fn has_in_front(&self, pid: i32) {
        let group = getpgid(Some(Pid::from_raw(pid))).unwrap();
        until("the terminal to be a job's", PATIENCE, || {
            // Of the end that shows, the kernel tells the foreground of the other end.
            (tcgetpgrp(&self.screen) == Ok(group)).then_some(())
        });
    }

    /// Types keys.
    pub fn types(&mut self, keys: &str) {
        self.screen.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen has shown `needle` since this was last asked.
    pub fn sees(&mut self, needle: &str) {
        self.reads_to(needle);
    }

    /// Waits in the same way, and returns what came before `needle`.
    pub fn reads_to(&mut self, needle: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.contains(needle) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {needle:?} in {:?}", self.last());
            assert!(
                self.look(left),
                "no {needle:?}, and the end: {:?}",
                self.last()
            );
        }
        let at = self.seen.find(needle).unwrap();
        let before = self.seen[..at].to_owned();
        self.seen.drain(..at + needle.len());
        before
    }

    /// The program's exit code, and what was shown and not asked for.
    pub fn leaves(mut self) -> (i32, String) {
        while self.look(PATIENCE) {}
        let ended = || self.child.try_wait().unwrap();
        let status = until("the program to end", PATIENCE, ended);
        (status.code().unwrap(), std::mem::take(&mut self.seen))
    }

    /// The end of what was shown, for messages.
    fn last(&self) -> String {
        let hidden = self.seen.chars().count().saturating_sub(500);
        self.seen.chars().skip(hidden).collect()
    }

    /// Takes in what is shown next; false when the program has hung up.
    fn look(&mut self, patience: Duration) -> bool {
        let mut ends = [PollFd::new(self.screen.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(patience).unwrap();
        assert_eq!(
            poll(&mut ends, patience).unwrap(),
            1,
            "nothing after {:?}",
            self.last()
        );
        let mut bytes = [0; 4096];
        match self.screen.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.seen += &String::from_utf8_lossy(&bytes[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            // EIO: nobody has the other end any more.
            Err(_) => false,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
