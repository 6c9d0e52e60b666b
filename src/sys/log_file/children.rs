//! What children of the daemon do for its log files: whatever may wait for a file system.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;

use memchr::memchr_iter;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::rotation::Rotator;
use super::{Errand, Identity, LogFile, Owner, Rotation, opening};
use crate::config::model::UserSpec;
use crate::sys::local::is_local;
use crate::sys::signals::{self, Set};
use crate::sys::{clock, report, service_user};

/// A child that has rotated a file waits so long for the next time, in milliseconds: a file that fills fast needs no
/// child of its own each time.
const LINGER_MILLIS: u16 = 1000;

/// Read of what is to be written at a time.
const READ_BYTES: usize = 64 * 1024;

/// What a log file is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it becomes when it is made.
    pub owner: Option<Box<UserSpec>>,
    /// When it is rotated.
    pub rotation: Option<Rotation>,
}

impl Settings {
    /// Reads the passwd file.
    fn owner(&self) -> Owner {
        service_user::owner_of(self.owner.as_deref()?)
    }

    /// The folder and the owner may be made before the service starts.
    fn is_absent(&self) -> bool {
        !service_user::has_log_folder(&self.path)
            || (self.owner.is_some() && self.owner().is_none())
    }
}

/// A piece of work for a child.
#[derive(Clone, Debug)]
pub enum Work {
    /// For a log file.
    File(Rc<Settings>, Errand),
    /// Whether this descriptor, which is the child's too, leads to a local file.
    IsLocal(RawFd),
}

/// What came of an errand.
#[derive(Debug)]
pub enum Answer {
    /// The open file, of a local file system.
    Opened(File),
    /// It can be opened, and its file system may wait for a server.
    Remote,
    /// The file has room, and is not rotated.
    Unneeded,
    /// In words.
    Failed(String),
}

/// What a child reports.
#[derive(Debug)]
pub enum Report {
    /// What came of the errand that was the next one.
    Answer(Answer),
    /// The folder of a file that is opened for the first time is not there yet, or its owner is not.
    Absent,
    /// Whether the descriptor leads to a local file.
    IsLocal(bool),
    /// So many bytes were dealt with, and lines that end in them.
    Written {
        /// Bytes.
        bytes: usize,
        /// Ends of lines.
        lines: u64,
    },
    /// Words for the user.
    Said(String),
}

const OPENED: u8 = 1;
const REMOTE: u8 = 2;
const UNNEEDED: u8 = 3;
const FAILED: u8 = 4;
const ABSENT: u8 = 5;
const IS_LOCAL: u8 = 6;
const WRITTEN: u8 = 7;
const SAID: u8 = 8;

impl Report {
    /// # Errors
    /// As [`report::Report::send`].
    pub fn send(self, socket: &UnixStream) -> io::Result<()> {
        let mut packed = report::Report::default();
        packed.tag = match self {
            Report::Answer(Answer::Opened(file)) => {
                packed.file = Some(file);
                OPENED
            }
            Report::Answer(Answer::Remote) => REMOTE,
            Report::Answer(Answer::Unneeded) => UNNEEDED,
            Report::Answer(Answer::Failed(why)) => {
                packed.text = why;
                FAILED
            }
            Report::Absent => ABSENT,
            Report::IsLocal(is_local) => {
                packed.number = is_local.into();
                IS_LOCAL
            }
            Report::Written { bytes, lines } => {
                packed.number = (lines << 32) | bytes as u64;
                WRITTEN
            }
            Report::Said(text) => {
                packed.text = text;
                SAID
            }
        };
        packed.send(socket)
    }

    /// The next one; None when the child has ended.
    ///
    /// # Errors
    /// As [`report::Report::receive`].
    pub fn receive(socket: &UnixStream) -> io::Result<Option<Report>> {
        let Some(packed) = report::Report::receive(socket)? else {
            return Ok(None);
        };
        Ok(Some(match (packed.tag, packed.file) {
            (OPENED, Some(file)) => Report::Answer(Answer::Opened(file)),
            (OPENED, None) => Report::Answer(Answer::Failed(
                "too many open files; raise the daemon's limit (ulimit -n)".into(),
            )),
            (REMOTE, _) => Report::Answer(Answer::Remote),
            (UNNEEDED, _) => Report::Answer(Answer::Unneeded),
            (FAILED, _) => Report::Answer(Answer::Failed(packed.text)),
            (ABSENT, _) => Report::Absent,
            (IS_LOCAL, _) => Report::IsLocal(packed.number != 0),
            (WRITTEN, _) => Report::Written {
                bytes: (packed.number & u64::from(u32::MAX)) as usize,
                lines: packed.number >> 32,
            },
            (SAID, _) => Report::Said(packed.text),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }))
    }
}

/// In a child: does one piece of work after the other, and reports each. It goes on only while the daemon's end of the
/// socket is open for writing. After a rotation it compresses the old file, and takes further identities of the same log
/// file that are to be rotated.
pub fn perform(socket: &UnixStream, list: &[Work]) {
    signals::set_mask(Set::ALL);
    for (number, work) in list.iter().enumerate() {
        if number > 0 && !matches!(wait(socket, Some(0)), Ok(false)) {
            return;
        }
        let report = match work {
            Work::IsLocal(fd) => {
                // SAFETY: the standard descriptors stay open.
                Report::IsLocal(is_local(unsafe { BorrowedFd::borrow_raw(*fd) }))
            }
            Work::File(settings, Errand::Open(why)) => {
                if *why == super::Why::First && settings.is_absent() {
                    Report::Absent
                } else {
                    let opened = opening::open(&settings.path, settings.owner());
                    Report::Answer(answer(opened.map(Some), opening::why))
                }
            }
            Work::File(settings, Errand::Rotate(identity)) => {
                if let Some(rules) = settings.rotation {
                    rotate_on(socket, settings, rules, *identity);
                }
                return;
            }
        };
        if report.send(socket).is_err() {
            return;
        }
    }
}

fn answer(done: io::Result<Option<File>>, why: fn(&io::Error) -> String) -> Answer {
    match done {
        Ok(Some(file)) if is_local(&file) => Answer::Opened(file),
        Ok(Some(_)) => Answer::Remote,
        Ok(None) => Answer::Unneeded,
        Err(error) => Answer::Failed(why(&error)),
    }
}

fn rotate_on(socket: &UnixStream, settings: &Settings, rules: Rotation, first: Identity) {
    let mut rotator = Rotator::new(rules);
    let mut next = Some(first);
    loop {
        if let Some(identity) = next.take() {
            // One that is not finished leaves its file as it was.
            rotator.abandon();
            let done = rules.perform(&settings.path, settings.owner(), identity);
            if matches!(done, Ok(Some(_))) {
                rotator.on_rotated(Some(identity));
            }
            let answer = answer(done, ToString::to_string);
            if Report::Answer(answer).send(socket).is_err() {
                return;
            }
        }
        let has_work = rotator.has_work();
        let patience = if has_work { 0 } else { LINGER_MILLIS };
        match wait(socket, Some(patience)) {
            Ok(true) => match read_identity(socket) {
                Some(identity) => next = Some(identity),
                None => return,
            },
            Ok(false) if has_work => {
                if let Some(complaint) = rotator.work(&settings.path) {
                    let _ = Report::Said(complaint).send(socket);
                }
            }
            Ok(false) | Err(_) => return,
        }
    }
}

fn read_identity(mut socket: &UnixStream) -> Option<Identity> {
    let (mut device, mut inode) = ([0; 8], [0; 8]);
    socket.read_exact(&mut device).ok()?;
    socket.read_exact(&mut inode).ok()?;
    Some((u64::from_ne_bytes(device), u64::from_ne_bytes(inode)))
}

/// Whether there is something to read, or the end, within so many milliseconds; None: for ever.
fn wait(socket: &UnixStream, millis: Option<u16>) -> io::Result<bool> {
    let timeout = millis.map_or(PollTimeout::NONE, PollTimeout::from);
    loop {
        match poll(
            &mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)],
            timeout,
        ) {
            Ok(count) => return Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// In a child: writes to the file whatever comes, until the daemon closes its end, and reports it.
pub fn write_what_comes(mut socket: &UnixStream, settings: &Settings) {
    signals::set_mask(Set::ALL);
    let (mut log, complaint) = LogFile::open(&settings.path, settings.owner(), settings.rotation);
    let say = |said: Option<String>| match said {
        Some(text) => Report::Said(text).send(socket),
        None => Ok(()),
    };
    let mut result = say(complaint);
    let mut buffer = vec![0; READ_BYTES];
    while result.is_ok() {
        if log.has_work() && matches!(wait(socket, Some(0)), Ok(false)) {
            result = say(log.work());
            continue;
        }
        let count = match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let bytes = &buffer[..count];
        let said = log.write(bytes, clock::now());
        let lines = memchr_iter(b'\n', bytes).count() as u64;
        result = say(said).and_then(|()| {
            let bytes = count;
            Report::Written { bytes, lines }.send(socket)
        });
    }
    // An old file that is half compressed is left as it was.
    drop(log);
}
