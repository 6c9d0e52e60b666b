//! A second destination of a service's output. Opened for appending, never truncated; trouble with it
//! costs lines of the file, never the service, and is told once until it works again.
//!
//! What may never finish is done where it is called, or by a child of the daemon (`deferred`).

mod children;
mod deferred;
mod opening;
mod rotation;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memchr::{memchr, memchr_iter};

use crate::base::Moment;
use crate::sys::clock;
use crate::sys::limits::{self, Holder};
pub use children::{Answer, Report, Settings, Work, perform, write_what_comes};
use deferred::Deferred;
pub use deferred::{Errand, Why};
use rotation::Rotator;
pub use rotation::{Identity, Rotation};

/// How often a file that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Where the line stands that was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Ended,
    /// Its end is to come.
    Going,
    /// Its end may never come.
    Paused,
}

/// User and group id.
pub type Owner = Option<(u32, u32)>;

/// A log file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    owner: Owner,
    /// None: it could not be opened; it is tried again from then on.
    file: Option<File>,
    retry_at: Moment,
    rotator: Option<Rotator>,
    /// It does not work, and that was told.
    complained: bool,
    /// Lines that were not written since then.
    lost: u64,
    line: Line,
    /// It is to be opened anew where the present line ends.
    reopens: bool,
    /// The beginning of the present line was lost, and so its rest is not written either.
    skipping: bool,
    /// A child opens and rotates it, or writes it; None: all is done here.
    deferred: Option<Box<Deferred>>,
}

impl LogFile {
    /// Opens it for appending, and makes it where it is missing, with mode 0640 and for `owner`. Never
    /// waits: a pipe that nobody reads is tried again later, as is anything else that cannot be opened; why
    /// it could not comes back in words.
    pub fn open(
        path: &Path,
        owner: Owner,
        rotation: Option<Rotation>,
    ) -> (LogFile, Option<String>) {
        let mut log = LogFile::closed(path, owner, rotation);
        let complaint = log.reopen().err().map(|error| error.to_string());
        (log, complaint)
    }

    fn closed(path: &Path, owner: Owner, rotation: Option<Rotation>) -> LogFile {
        LogFile {
            path: path.to_owned(),
            owner,
            file: None,
            retry_at: Moment::default(),
            rotator: rotation.map(Rotator::new),
            complained: false,
            lost: 0,
            line: Line::Ended,
            reopens: false,
            skipping: false,
            deferred: None,
        }
    }

    /// Opens the path anew, after somebody renamed the file: now, or at the end of the line that is being
    /// written, so that none is torn over two files.
    ///
    /// # Errors
    /// As [`LogFile::reopen`].
    pub fn reopen_after_line(&mut self) -> io::Result<()> {
        self.reopens = self.file.is_some() && self.goes_on();
        if self.reopens { Ok(()) } else { self.reopen() }
    }

    /// Whether the rest of the present line is to come. That of a line which could not be written is lost.
    fn goes_on(&self) -> bool {
        self.line == Line::Going && !self.complained && !self.skipping
    }

    /// The present line goes on some other time, if at all: whoever waits for the old file to be closed does
    /// not wait for that. What comes back is a complaint.
    pub fn pause_in_line(&mut self) -> Option<String> {
        if self.line == Line::Going {
            self.line = Line::Paused;
        }
        self.take_up_next();
        let due = std::mem::take(&mut self.reopens);
        due.then(|| self.reopen().err().map(|error| error.to_string()))
            .flatten()
    }

    /// Opens the path anew at once.
    ///
    /// # Errors
    /// In words: the path, and why. The old file stays in use then.
    pub fn reopen(&mut self) -> io::Result<()> {
        let file = opening::open(&self.path, self.owner).and_then(|file| self.affordable(file));
        let file = file.map_err(|error| {
            let text = self.cannot_open(&opening::why(&error));
            io::Error::new(error.kind(), text)
        })?;
        self.begin(file);
        Ok(())
    }

    /// The complaint, for the user.
    fn cannot_open(&mut self, why: &str) -> String {
        self.complained |= self.file.is_none();
        format!("cannot open log file {}: {why}", self.path.display())
    }

    /// Goes on with a file that was just opened.
    fn begin(&mut self, file: File) {
        if let Some(rotator) = &mut self.rotator {
            rotator.on_open(&file);
        }
        self.take_up(file);
        self.line = Line::Ended;
        self.reopens = false;
    }

    /// With the last descriptors the daemon has to be able to answer. A file that replaces another takes none.
    fn affordable(&self, file: File) -> io::Result<File> {
        match self.file.is_none() && limits::is_kept_free(file.as_raw_fd(), Holder::Service) {
            true => Err(io::Error::other(
                "too many open files; raise the daemon's limit (ulimit -n)",
            )),
            false => Ok(file),
        }
    }

    fn take_up(&mut self, file: File) {
        self.file = Some(match self.file.take() {
            Some(old) => opening::replace(old, file),
            None => file,
        });
    }

    /// Writes the bytes as they are. What comes back is for the user: that it begins to fail, or that it
    /// works again. The file goes on with a whole line on a line of its own then.
    pub fn write(&mut self, bytes: &[u8], now: Moment) -> Option<String> {
        self.come_back(now);
        let said = self.write_lines(bytes, now);
        let left = self.leave_if_slow(now);
        said.or(left)
    }

    fn write_lines(&mut self, bytes: &[u8], now: Moment) -> Option<String> {
        let due = self.reopens || self.has_next();
        let Some(end) = memchr(b'\n', bytes).filter(|_| due) else {
            return self.write_here(bytes, now);
        };
        let (line, rest) = bytes.split_at(end + 1);
        let of_line = self.write_here(line, now);
        let of_file = self.pause_in_line();
        let of_rest = self.write_here(rest, now);
        of_line.or(of_file).or(of_rest)
    }

    fn write_here(&mut self, bytes: &[u8], now: Moment) -> Option<String> {
        if self.file.is_none() && !self.is_queueing() && self.retry_at <= now {
            self.retry_at = now.after(RETRY);
            // Why not was told at the first try.
            match &self.deferred {
                Some(_) => self.wish_to_open(Why::Retry),
                None => _ = self.reopen(),
            }
        }
        let mut rest = bytes;
        if self.skipping {
            let end = memchr(b'\n', bytes)? + 1;
            self.lost += 1;
            rest = &bytes[end..];
        }
        if rest.is_empty() {
            self.skipping = false;
            return None;
        }
        let torn = self.skipping || self.complained;
        let result = match torn && self.line != Line::Ended {
            true => self
                .write_all(b"\n")
                .map_err(|Failure { error, .. }| Failure {
                    error,
                    unwritten: rest,
                })
                .and_then(|()| self.write_rotating(rest)),
            false => self.write_rotating(rest),
        };
        match result {
            Ok(complaint) => {
                self.skipping = false;
                complaint.or_else(|| self.is_settled().then(|| self.recovered()).flatten())
            }
            Err(Failure { error, unwritten }) => {
                self.skipping = !rest.ends_with(b"\n");
                self.lost += memchr_iter(b'\n', unwritten).count() as u64;
                self.complaint(&error)
            }
        }
    }

    /// Whether [`LogFile::work`] has something to do.
    pub fn has_work(&self) -> bool {
        self.rotator.as_ref().is_some_and(Rotator::has_work)
    }

    /// Compresses a bounded slice of a rotated file. What comes back is a complaint.
    pub fn work(&mut self) -> Option<String> {
        self.rotator.as_mut()?.work(&self.path)
    }

    /// A file that has reached its size is rotated at the end of a line, so that none is torn.
    fn write_rotating<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<String>, Failure<'b>> {
        let mut rest = bytes;
        let mut complaint = None;
        if let (Some(rotator), Some(file), false) =
            (&mut self.rotator, &self.file, is_queueing(&self.deferred))
        {
            // Others may have written to it, or have cut it (`copytruncate`).
            rotator.measure(file);
        }
        while let Some(rotator) = self.rotator.as_ref().filter(|_| !self.is_queueing())
            && let Some(end) = rotator.end_within(rest)
        {
            self.write_all(&rest[..end]).map_err(|failure| Failure {
                unwritten: &rest[end - failure.unwritten.len()..],
                error: failure.error,
            })?;
            rest = &rest[end..];
            complaint = self.rotate().or(complaint);
        }
        self.write_all(rest).map(|()| complaint)
    }

    fn rotate(&mut self) -> Option<String> {
        if self.deferred.is_some() {
            return self.wish_to_rotate();
        }
        let (rotator, file) = (self.rotator.as_mut()?, self.file.as_ref()?);
        match rotator.rotate(&self.path, self.owner, file) {
            Ok(None) => None,
            Ok(Some(new)) => {
                self.take_up(new);
                None
            }
            Err(error) => rotator.complaint(&self.path, &error),
        }
    }

    fn write_all<'b>(&mut self, bytes: &'b [u8]) -> Result<(), Failure<'b>> {
        let mut unwritten = bytes;
        if self.is_queueing() {
            return self.queue(bytes);
        }
        let began = self.deferred.as_ref().map(|_| clock::coarse());
        let Some(file) = &mut self.file else {
            let error = io::Error::from(io::ErrorKind::NotFound);
            return Err(Failure { error, unwritten });
        };
        while !unwritten.is_empty() {
            match file.write(unwritten) {
                Ok(0) => {
                    let error = io::ErrorKind::WriteZero.into();
                    return Err(Failure { error, unwritten });
                }
                Ok(count) => {
                    self.line = after(&unwritten[..count]);
                    unwritten = &unwritten[count..];
                    if let Some(rotator) = &mut self.rotator {
                        rotator.on_written(count);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure { error, unwritten }),
            }
        }
        if let (Some(began), Some(deferred)) = (began, &mut self.deferred) {
            deferred.note_time(clock::coarse().since(began));
        }
        Ok(())
    }

    fn complaint(&mut self, error: &io::Error) -> Option<String> {
        if self.complained {
            return None;
        }
        self.complained = true;
        Some(format!(
            "cannot write log file {}: {error}; lines are missing in it until it works again",
            self.path.display()
        ))
    }

    fn recovered(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.complained) {
            return None;
        }
        let lines = std::mem::take(&mut self.lost);
        let path = self.path.display();
        Some(match lines {
            0 => format!("log file {path} works again"),
            1 => format!("log file {path} works again; 1 line is missing in it"),
            _ => format!("log file {path} works again; {lines} lines are missing in it"),
        })
    }
}

/// Where the line stands after these bytes, of which there are some.
fn after(bytes: &[u8]) -> Line {
    match bytes.ends_with(b"\n") {
        true => Line::Ended,
        false => Line::Going,
    }
}

fn is_queueing(deferred: &Option<Box<Deferred>>) -> bool {
    deferred.as_ref().is_some_and(|deferred| deferred.queueing)
}

/// What could not be written, and why.
struct Failure<'b> {
    error: io::Error,
    unwritten: &'b [u8],
}
