//! The daemon's own standard output and standard error: a bounded queue before each, written without
//! ever blocking. Standard output carries the services' lines and makes them wait when its reader
//! stalls; standard error carries the daemon's own messages and drops them instead.

use std::io;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::token::Source;
use crate::base::Moment;
use crate::output::queue::Queue;
use crate::sys::clock;
use crate::sys::output_end::OutputEnd;

/// The daemon's own messages held while nobody reads them.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// How long the last bytes wait for a reader that takes none of them, before the daemon ends.
const FINAL_STALL: Duration = Duration::from_secs(1);

/// One of the two ends.
pub(super) struct Console {
    end: OutputEnd,
    source: Source,
    pub queue: Queue,
    /// Registered for writability: only while it is stalled, so that a reader's progress wakes nobody
    /// otherwise.
    stalled: bool,
    /// The reader is gone for good; whatever comes is thrown away.
    broken: bool,
    /// What could not be written last, and whether that was told.
    refused: Option<io::Error>,
    said_refused: bool,
}

impl Console {
    pub fn new(end: OutputEnd, source: Source) -> Console {
        Console {
            end,
            source,
            queue: Queue::new(),
            stalled: false,
            broken: false,
            refused: None,
            said_refused: false,
        }
    }

    /// That lines are lost, once for all that are lost in a row.
    pub fn complaint(&mut self) -> Option<String> {
        let error = self.refused.take()?;
        let told = std::mem::replace(&mut self.said_refused, true);
        (!told).then(|| format!("cannot write to standard output: {error}; lines are lost"))
    }

    /// Adds one of the daemon's own messages, if there is room.
    pub fn message(&mut self, text: &str) {
        if self.queue.len() + text.len() < MAX_MESSAGE_BYTES {
            self.queue.append(b"go-overlay: ");
            self.queue.append(text.as_bytes());
            self.queue.append(b"\n");
        }
    }

    /// Writes as much as the reader takes.
    pub fn flush(&mut self, registry: &Registry) {
        let blocked = self.write_out();
        if blocked != self.stalled {
            self.watch(blocked, registry);
        }
    }

    /// Writes until all is written, or the reader takes nothing for a while, or `until`.
    pub fn final_flush(&mut self, until: Moment) {
        let mut stalled_since = clock::now();
        while !self.queue.is_empty() && !self.broken {
            let before = self.queue.len();
            if !self.write_out() {
                return;
            }
            let now = clock::now();
            if self.queue.len() < before {
                stalled_since = now;
            }
            let give_up = stalled_since.after(FINAL_STALL).min(until);
            if now >= give_up || self.end.wait_writable(give_up.since(now)).is_err() {
                return;
            }
        }
    }

    /// True when the reader takes no more for now.
    fn write_out(&mut self) -> bool {
        while !self.queue.is_empty() {
            if self.broken {
                self.queue.clear();
                return false;
            }
            match self.end.write(self.queue.front()) {
                Ok(count) => {
                    self.queue.consume(count);
                    self.said_refused = false;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_gone(&error) => self.broken = true,
                // A full disk costs the lines that do not fit, not those that come later.
                Err(error) => {
                    self.queue.clear();
                    self.refused = Some(error);
                }
            }
        }
        false
    }

    fn watch(&mut self, stalled: bool, registry: &Registry) {
        self.stalled = stalled;
        let Some(fd) = self.end.poll_fd() else { return };
        // Failing to register leaves the queue to the next turn, which tries again.
        let result = match stalled {
            true => registry.register(&mut SourceFd(&fd), self.source.token(), Interest::WRITABLE),
            false => registry.deregister(&mut SourceFd(&fd)),
        };
        if result.is_err() {
            self.stalled = false;
        }
    }
}

/// The reader has closed its end, or there never was one.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPIPE | libc::EBADF | libc::ECONNRESET | libc::ENOTCONN)
    )
}
