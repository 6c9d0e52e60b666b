//! One stream of a service: a PTY master or a pipe, how it is read, and how it ends.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use crate::base::{JobId, Moment, ServiceId};
use crate::output::awaited::Awaited;
use crate::output::format::{Origin, StreamKind};
use crate::output::sink::StreamText;
use crate::sys::pipe;

/// One read; a PTY gives 4 KiB at most, a pipe up to its 64 KiB.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// A PTY's reads end here (`N_TTY_BUF_SIZE`). As much room is left for each packet of a pipe in packet mode
/// (PIPE_BUF): what does not fit is lost.
const PTY_BYTES: usize = 4096;

/// A shorter read has emptied a PTY, and the kernel tells of what comes (epoll(7)). Of a pipe it says nothing: in packet
/// mode (O_DIRECT, pipe(2)), which a service can choose, each read returns one packet.
const FULL_PTY_READ: usize = PTY_BYTES - 1;

/// So much at once in a pipe asks for a wider one: half of what the kernel gives at first. Most services never
/// write that much, and need not pay for the room.
const WIDE_BYTES: usize = 32 * 1024;

/// A stream that is to be watched.
pub(super) struct NewStream {
    pub service: ServiceId,
    /// The job that writes to it.
    pub job: JobId,
    pub fd: OwnedFd,
    pub origin: Origin,
    pub follows_size: bool,
    /// The text that its job is ready with; not empty.
    pub awaits: Option<(JobId, String)>,
}

pub(super) struct Stream {
    pub service: ServiceId,
    /// The job that writes to it; None once that job is over.
    pub job: Option<JobId>,
    pub file: File,
    pub text: StreamText,
    is_pty: bool,
    /// A pipe that was found full enough to want more room, and has it.
    is_wide: bool,
    /// The terminal has the size of the daemon's own.
    pub follows_size: bool,
    pub is_ready: bool,
    /// Nothing came of it so far, so that its end means nothing to anybody.
    pub is_silent: bool,
    pub last_read: Moment,
    pub awaited: Option<Box<Awaited>>,
}

/// What a stream has after it was read.
pub(super) enum Portion {
    More,
    Empty,
    End,
    /// It cannot be read any more.
    Lost(io::Error),
}

impl Stream {
    pub fn new(new: NewStream, now: Moment) -> Stream {
        Stream {
            service: new.service,
            job: Some(new.job),
            file: File::from(new.fd),
            text: StreamText::new(new.origin),
            is_pty: new.origin.stream == StreamKind::Tty,
            is_wide: false,
            follows_size: new.follows_size,
            is_ready: false,
            is_silent: true,
            last_read: now,
            awaited: new
                .awaits
                .map(|(job, text)| Box::new(Awaited::new(job, &text))),
        }
    }

    /// Fills the buffer, or empties the stream: a PTY gives little at a time, and its writer waits while we
    /// look at it. `to_end`: until the kernel says that there is nothing. Gives back how many bytes there were, and
    /// how the last read went.
    pub fn gather(&mut self, buffer: &mut [u8], to_end: bool) -> (usize, Portion) {
        let mut filled = 0;
        while buffer.len() - filled >= PTY_BYTES {
            let room = &mut buffer[filled..];
            match self.file.read(room) {
                Ok(0) => return (filled, Portion::End),
                Ok(count) => {
                    filled += count;
                    if count >= WIDE_BYTES && !self.is_wide && !self.is_pty {
                        self.is_wide = true;
                        pipe::widen(&self.file);
                    }
                    if self.is_pty && count < FULL_PTY_READ && !to_end {
                        return (filled, Portion::Empty);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return (filled, Portion::Empty);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if self.ends_with(&error) => return (filled, Portion::End),
                Err(error) => return (filled, Portion::Lost(error)),
            }
        }
        (filled, Portion::More)
    }

    /// Whether it stays open at its end. The last slave of a terminal is closed while its job lives when every
    /// standard descriptor is redirected. Closing the master then would end that job by SIGHUP, and the job may
    /// still open /dev/tty: epoll reports what it writes there, and nothing until then.
    pub fn outlasts_its_end(&self) -> bool {
        self.is_pty && self.job.is_some()
    }

    /// A PTY master reads EIO while no process has the slave open (tty(4) does not document this).
    fn ends_with(&self, error: &io::Error) -> bool {
        self.is_pty && error.raw_os_error() == Some(libc::EIO)
    }
}
