//! What a child reports to the daemon until it executes its program: lines of JSON through a pipe that the execution
//! closes. A child whose program is executed usually reports nothing at all.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::quick::Ground;
use crate::domain::SpawnFailure;

/// The most that is kept of an unfinished line, in bytes. The child is the daemon's own code: a longer one is none of
/// its lines.
const MAX_LINE: usize = 64 * 1024;

/// How much is read at a time, in bytes.
const READ_BYTES: usize = 4096;

/// One thing that a child reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What the operator should know of the start.
    Note(String),
    /// The user id that the program runs as.
    User(u32),
    /// The quick way did not lead to the program.
    Retry,
    /// The program is not executed.
    Failed {
        /// Why, in words.
        message: String,
        /// What a shell would exit with.
        exit_code: u8,
    },
}

/// The child's end.
#[derive(Debug)]
pub struct Reporter(File);

impl Reporter {
    pub(super) fn new(end: OwnedFd) -> Reporter {
        Reporter(File::from(end))
    }

    /// Reports one thing. A daemon that reads no more has ended, and takes the child with it.
    pub fn report(&mut self, line: &Line) {
        if let Ok(mut text) = serde_json::to_vec(line) {
            text.push(b'\n');
            let _ = self.0.write_all(&text);
        }
    }

    pub(super) fn failed(&mut self, failure: SpawnFailure) {
        let SpawnFailure { message, exit_code } = failure;
        self.report(&Line::Failed { message, exit_code });
    }
}

/// The daemon's end.
#[derive(Debug)]
pub struct Report {
    end: File,
    unread: Vec<u8>,
    /// What the child reads while it is on its way.
    ground: Option<Box<Ground>>,
    is_over: bool,
}

/// A child that is on its way still reads its ground, which is never freed then.
impl Drop for Report {
    fn drop(&mut self) {
        if !self.is_over {
            std::mem::forget(self.ground.take());
        }
    }
}

/// What one look at a report found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What was reported since the last look.
    pub lines: Vec<Line>,
    /// The child has executed its program, or has ended.
    pub is_over: bool,
}

impl Report {
    pub(super) fn new(end: OwnedFd) -> Report {
        Report {
            end: File::from(end),
            unread: Vec::new(),
            ground: None,
            is_over: false,
        }
    }

    /// Of a child that reads this ground.
    pub(super) fn on(end: OwnedFd, ground: Box<Ground>) -> Report {
        let mut report = Report::new(end);
        report.ground = Some(ground);
        report
    }

    /// Whether the child is on a copy of the daemon's memory, and not on the memory itself.
    pub fn is_of_a_copy(&self) -> bool {
        self.ground.is_none()
    }

    /// Whether there is something to read, if only the end.
    pub fn has_news(&self) -> bool {
        let mut end = [PollFd::new(self.end.as_fd(), PollFlags::POLLIN)];
        poll(&mut end, PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }

    /// Reads what there is. Never waits.
    pub fn look(&mut self) -> Progress {
        let mut progress = Progress::default();
        let mut buffer = [0; READ_BYTES];
        loop {
            match self.end.read(&mut buffer) {
                Ok(count @ 1..) => self.take(&buffer[..count], &mut progress.lines),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // No error is left that a pipe could have; the child may still be on its way.
                end => {
                    progress.is_over = true;
                    // The kernel closes the other end after the child has left this memory.
                    self.is_over = end.is_ok();
                    break;
                }
            }
        }
        progress
    }

    fn take(&mut self, bytes: &[u8], lines: &mut Vec<Line>) {
        self.unread.extend_from_slice(bytes);
        while let Some(end) = memchr::memchr(b'\n', &self.unread) {
            lines.extend(serde_json::from_slice(&self.unread[..end]));
            self.unread.drain(..=end);
        }
        if self.unread.len() > MAX_LINE {
            self.unread.clear();
        }
    }
}

impl AsRawFd for Report {
    fn as_raw_fd(&self) -> RawFd {
        self.end.as_raw_fd()
    }
}

#[cfg(test)]
impl std::os::fd::AsFd for Report {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.end.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::sys::pipe;

    #[test]
    fn lines_arrive_whole_and_the_end_is_seen() {
        let (ours, theirs) = pipe::pipe().unwrap();
        let (mut report, mut reporter) = (Report::new(ours), Reporter::new(theirs));
        assert_eq!(report.look(), Progress::default());
        let long = Line::Note("x".repeat(3 * READ_BYTES));
        reporter.report(&long);
        reporter.report(&Line::User(7));
        let lines = vec![long, Line::User(7)];
        let is_over = false;
        assert_eq!(report.look(), Progress { lines, is_over });
        reporter.0.write_all(b"{\"failed\":{\"message\":").unwrap();
        assert_eq!(report.look(), Progress::default());
        reporter
            .0
            .write_all(b"\"\xc3\xa9\",\"exit_code\":126}}\n")
            .unwrap();
        drop(reporter);
        let failed = Line::Failed {
            message: "\u{e9}".into(),
            exit_code: 126,
        };
        let (lines, is_over) = (vec![failed], true);
        assert_eq!(report.look(), Progress { lines, is_over });
    }

    #[test]
    fn what_is_no_line_of_a_child_is_left_out() {
        let (ours, theirs) = pipe::pipe().unwrap();
        let (mut report, mut reporter) = (Report::new(ours), Reporter::new(theirs));
        reporter
            .0
            .write_all(b"nonsense\n\n{\"user\":-1}\n{\"user\":3}\n")
            .unwrap();
        assert_eq!(report.look().lines, [Line::User(3)]);
        for _ in 0..40 {
            reporter.0.write_all(&[b'x'; READ_BYTES]).unwrap();
            report.look();
            assert!(report.unread.len() <= MAX_LINE);
        }
    }
}
