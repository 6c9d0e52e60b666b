//! The log file of a loop that may not wait. A child opens it and rotates it, and bytes wait meanwhile in a bounded
//! queue. The loop itself writes only to an open file of a local file system; any other is written by a child that
//! takes the queue over a socket.
//!
//! ```text
//! queueing ──Opened──▶ here ──its size reached──▶ queueing ──rotated, refused or late──▶ here
//!    │                   └──a write was slow──▶ away
//!    └──Remote──▶ away ──it is opened again──▶ queueing
//! ```

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use memchr::memchr_iter;

use super::{Answer, Failure, Identity, Line, LogFile, RETRY, Rotation, Rotator, after};
use crate::base::Moment;
use crate::output::queue::Queue;

/// A write that took longer has stopped the loop for too long: a child makes the next ones.
const SLOW: Duration = Duration::from_millis(100);

/// A file that was slow is written by the loop again after this, and after twice as long where it is slow again.
const SLOW_FOR: Duration = Duration::from_secs(60);
const SLOW_AT_MOST: Duration = Duration::from_secs(3600);

/// What waits for a file at most when its service waits with it: its last words are taken nevertheless.
const MAX_WAITING: usize = 4 * 1024 * 1024;

/// What a child is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Open the path.
    Open(Why),
    /// Put a new file in the place of this one.
    Rotate(Identity),
}

/// Why a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is new.
    First,
    /// After another program renamed it.
    Asked,
    /// The last time it could not be.
    Retry,
}

/// What a child does for a file, and what waits for it.
#[derive(Debug)]
pub(super) struct Deferred {
    opens: Option<Why>,
    rotates: Option<Identity>,
    under_way: Option<Errand>,
    /// The one under way takes long: nothing is to wait for it.
    is_late: bool,
    queue: Queue,
    /// Bytes go to the queue.
    pub queueing: bool,
    /// A child writes: the queue is for it.
    away: bool,
    /// The file to go on with where the present line ends.
    next: Option<File>,
    /// Its service waits rather than lose lines.
    is_patient: bool,
    /// The write that was too slow.
    slow: Option<Duration>,
    back_at: Option<Moment>,
    slow_for: Duration,
}

impl Deferred {
    pub fn note_time(&mut self, took: Duration) {
        if took >= SLOW {
            self.slow = Some(took);
        }
    }
}

impl LogFile {
    /// One that is to be opened by a child. Nothing is opened here.
    pub fn deferred(path: &Path, rotation: Option<Rotation>, is_patient: bool) -> LogFile {
        let mut log = LogFile::closed(path, None, rotation);
        log.deferred = Some(Box::new(Deferred {
            opens: Some(Why::First),
            rotates: None,
            under_way: None,
            is_late: false,
            queue: Queue::new(),
            queueing: true,
            away: false,
            next: None,
            is_patient,
            slow: None,
            back_at: None,
            slow_for: SLOW_FOR,
        }));
        log
    }

    /// Whether its service waits while no more bytes can wait, from now on.
    pub fn set_patient(&mut self, is_patient: bool) {
        if let Some(deferred) = &mut self.deferred {
            deferred.is_patient = is_patient;
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a child has something to do for it.
    pub fn has_wish(&self) -> bool {
        self.deferred.as_ref().is_some_and(|deferred| {
            let wishes = deferred.opens.is_some() || deferred.rotates.is_some();
            match deferred.away {
                true => wishes || !deferred.queue.is_empty(),
                false => wishes && deferred.under_way.is_none(),
            }
        })
    }

    /// What a child is to do now; [`LogFile::finish_errand`] is to follow.
    pub fn take_errand(&mut self) -> Option<Errand> {
        let deferred = self.deferred.as_mut()?;
        if deferred.under_way.is_some() || deferred.away {
            return None;
        }
        let rotation = deferred.rotates.take().map(Errand::Rotate);
        deferred.under_way = rotation.or_else(|| deferred.opens.take().map(Errand::Open));
        deferred.under_way
    }

    /// What a child is doing.
    pub fn errand(&self) -> Option<Errand> {
        self.deferred.as_ref()?.under_way
    }

    /// Opens the path again, once.
    pub fn ask_to_reopen(&mut self) {
        let is_closed = self.file.is_none() && !self.is_queueing();
        if let Some(deferred) = &mut self.deferred {
            deferred.opens = deferred.opens.or(Some(Why::Asked));
            deferred.queueing |= is_closed;
        }
    }

    pub(super) fn wish_to_open(&mut self, why: Why) {
        if let Some(deferred) = &mut self.deferred
            && deferred.under_way.is_none()
        {
            deferred.opens = deferred.opens.or(Some(why));
            deferred.queueing = true;
            self.line = Line::Ended;
        }
    }

    pub(super) fn wish_to_rotate(&mut self) -> Option<String> {
        let identity = Rotator::identity(self.file.as_ref()?);
        let (rotator, deferred) = (self.rotator.as_mut()?, self.deferred.as_mut()?);
        rotator.on_tried();
        match identity {
            // One thing at a time: it goes on to grow.
            Ok(_) if deferred.under_way.is_some() || deferred.next.is_some() => None,
            Ok(identity) => {
                deferred.rotates = Some(identity);
                deferred.queueing = true;
                None
            }
            Err(error) => rotator.complaint(&self.path, &error),
        }
    }

    /// What came of the errand. What comes back is for the user.
    pub fn finish_errand(&mut self, answer: Answer, now: Moment) -> Option<String> {
        let deferred = self.deferred.as_mut()?;
        let errand = deferred.under_way.take()?;
        deferred.is_late = false;
        if deferred.away {
            // It was slow meanwhile: the child that writes it opens it again.
            deferred.opens = Some(Why::Retry);
            return None;
        }
        match (errand, answer) {
            (_, Answer::Opened(file)) => match self.affordable(file) {
                Ok(file) => self.go_on_with(file),
                Err(error) => self.fail_to_open(Why::First, &error.to_string(), now),
            },
            (_, Answer::Remote) => {
                self.file = None;
                self.go_away();
                self.recovered()
            }
            (Errand::Open(why), Answer::Failed(reason)) => self.fail_to_open(why, &reason, now),
            (Errand::Rotate(_), Answer::Failed(reason)) => {
                let error = io::Error::other(reason);
                let complaint = self.rotator.as_mut()?.complaint(&self.path, &error);
                complaint.or(self.write_what_waited())
            }
            (_, Answer::Unneeded) => self.write_what_waited(),
        }
    }

    fn go_on_with(&mut self, file: File) -> Option<String> {
        if self.file.is_some() && !self.is_queueing() && self.goes_on() {
            self.deferred.as_mut()?.next = Some(file);
            return None;
        }
        self.begin(file);
        self.write_what_waited()
    }

    fn fail_to_open(&mut self, why: Why, reason: &str, now: Moment) -> Option<String> {
        let complaint = self.cannot_open(reason);
        let told = (why != Why::Retry).then_some(complaint);
        if self.file.is_some() {
            return told;
        }
        self.retry_at = now.after(RETRY);
        let deferred = self.deferred.as_mut()?;
        let queue = std::mem::take(&mut deferred.queue);
        deferred.queueing = false;
        self.lose(queue.front());
        told
    }

    fn lose(&mut self, bytes: &[u8]) {
        self.lost += memchr_iter(b'\n', bytes).count() as u64;
        self.skipping |= !bytes.is_empty() && !bytes.ends_with(b"\n");
    }

    /// The bytes that waited come before any other.
    fn write_what_waited(&mut self) -> Option<String> {
        let deferred = self.deferred.as_mut()?;
        if !std::mem::take(&mut deferred.queueing) {
            return None;
        }
        let queue = std::mem::take(&mut deferred.queue);
        let went_on = std::mem::replace(&mut self.line, Line::Ended);
        if queue.is_empty() {
            self.line = went_on;
        }
        match self.write_rotating(queue.front()) {
            Ok(complaint) if self.skipping || !self.is_settled() => complaint,
            Ok(complaint) => complaint.or_else(|| self.recovered()),
            Err(Failure { error, unwritten }) => {
                self.lose(unwritten);
                self.complaint(&error)
            }
        }
    }

    /// The errand takes long. What waits is written to the file that is open, where one is.
    pub fn note_late(&mut self) -> Option<String> {
        let deferred = self.deferred.as_mut()?;
        deferred.is_late = true;
        match self.file.is_some() {
            true => self.write_what_waited(),
            false => None,
        }
    }

    /// Whether no more bytes are to come for now: they would be lost, or wait without a bound. For a child that is to
    /// answer soon even a service waits whose lines may be dropped.
    pub fn is_full(&mut self) -> bool {
        self.deferred.as_mut().is_some_and(|deferred| {
            let holds = deferred.is_patient || !(deferred.away || deferred.is_late);
            deferred.queueing && holds && !deferred.queue.accepts()
        })
    }

    pub(super) fn is_queueing(&self) -> bool {
        super::is_queueing(&self.deferred)
    }

    /// Whether what is written arrives, as far as is known.
    pub(super) fn is_settled(&self) -> bool {
        let deferred = self.deferred.as_ref();
        deferred.is_none_or(|deferred| !deferred.queueing || deferred.away)
    }

    pub(super) fn queue<'b>(&mut self, bytes: &'b [u8]) -> Result<(), Failure<'b>> {
        let Some(deferred) = &mut self.deferred else {
            return Ok(());
        };
        let has_room = match deferred.is_patient || !(deferred.away || deferred.is_late) {
            true => deferred.queue.len() < MAX_WAITING,
            false => deferred.queue.accepts(),
        };
        if !has_room {
            // Half a line is worth nothing, and its rest is about to be lost.
            if self.line == Line::Going && deferred.queue.cut_line() {
                self.line = Line::Ended;
            }
            return Err(Failure {
                error: io::Error::other("it does not answer"),
                unwritten: bytes,
            });
        }
        if !bytes.is_empty() {
            deferred.queue.append(bytes);
            self.line = after(bytes);
        }
        Ok(())
    }

    pub(super) fn has_next(&self) -> bool {
        let deferred = self.deferred.as_ref();
        deferred.is_some_and(|deferred| deferred.next.is_some())
    }

    pub(super) fn take_up_next(&mut self) {
        let next = self
            .deferred
            .as_mut()
            .and_then(|deferred| deferred.next.take());
        if let Some(file) = next {
            self.begin(file);
        }
    }

    fn go_away(&mut self) {
        if let Some(deferred) = &mut self.deferred {
            (deferred.away, deferred.queueing) = (true, true);
            deferred.next = None;
        }
    }

    /// A write was too slow: a child makes the next ones.
    pub(super) fn leave_if_slow(&mut self, now: Moment) -> Option<String> {
        let deferred = self.deferred.as_mut()?;
        let took = deferred.slow.take()?;
        if self.file.take().is_none() || deferred.queueing {
            return None;
        }
        deferred.back_at = Some(now.after(deferred.slow_for));
        deferred.slow_for = (deferred.slow_for * 2).min(SLOW_AT_MOST);
        self.go_away();
        let (path, took) = (self.path.display(), took.as_millis());
        Some(format!(
            "log file {path}: its disk took {took} ms for a write; a child process writes it for a while"
        ))
    }

    /// A file that was slow a while ago is opened again, to be written here.
    pub(super) fn come_back(&mut self, now: Moment) {
        if let Some(deferred) = &mut self.deferred
            && deferred.queue.is_empty()
            && deferred.back_at.take_if(|at| *at <= now).is_some()
        {
            deferred.opens = deferred.opens.or(Some(Why::Retry));
        }
    }

    /// Whether a child writes it.
    pub fn is_away(&self) -> bool {
        let deferred = self.deferred.as_ref();
        deferred.is_some_and(|deferred| deferred.away)
    }

    /// Whether it is to be opened again: the child that writes it is to end where a line ends.
    pub fn is_to_reopen(&self) -> bool {
        let deferred = self.deferred.as_ref();
        deferred.is_some_and(|deferred| deferred.opens.is_some())
    }

    /// Whether the line that was written last has not ended, and goes on.
    pub fn is_in_line(&self) -> bool {
        self.line == Line::Going
    }

    /// What waits for the child that writes.
    pub fn waiting(&self) -> &[u8] {
        let deferred = self.deferred.as_ref();
        deferred.map_or(&[], |deferred| deferred.queue.front())
    }

    /// The child has got these bytes.
    pub fn sent(&mut self, count: usize) {
        if let Some(deferred) = &mut self.deferred {
            deferred.queue.consume(count);
        }
    }

    /// The child that wrote it has ended; lines that it had got and not written are lost. What comes back is a complaint.
    pub fn end_writer(&mut self, lost: u64) -> Option<String> {
        let deferred = self.deferred.as_mut()?;
        deferred.away = false;
        deferred.opens = deferred.opens.or(Some(Why::Retry));
        self.lost += lost;
        let error = io::Error::other("the process that wrote it has ended");
        (lost > 0).then(|| self.complaint(&error)).flatten()
    }

    /// The daemon ends. What still waits is written to the file that is open, or else lost, and counted with what a child
    /// had got and not written.
    pub fn give_up(&mut self, unwritten: u64) -> Option<String> {
        let said = self.note_late();
        if let Some(deferred) = &mut self.deferred {
            let queue = std::mem::take(&mut deferred.queue);
            self.lose(queue.front());
        }
        self.lost += unwritten;
        let path = self.path.display();
        let lost = match self.lost {
            0 => None,
            1 => Some(format!("1 line could not be written to log file {path}")),
            lost => Some(format!(
                "{lost} lines could not be written to log file {path}"
            )),
        };
        lost.or(said)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_file_that_was_slow_is_written_by_a_child_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        let mut log = LogFile::deferred(&path, None, false);
        log.take_errand().unwrap();
        let file = File::create(&path).unwrap();
        assert_eq!(log.finish_errand(Answer::Opened(file), Moment(0)), None);
        assert_eq!(log.write(b"one\n", Moment(0)), None);
        log.deferred.as_mut().unwrap().note_time(SLOW);
        let told = log.write(b"two\n", Moment(0)).unwrap();
        assert!(told.contains("its disk took 100 ms"), "{told}");
        assert_eq!(log.write(b"three\n", Moment(0)), None);
        assert!(log.is_away() && log.has_wish());
        assert_eq!(log.waiting(), b"three\n");
        log.sent(6);
        // After a while it is opened again.
        let later = Moment(0).after(SLOW_FOR);
        assert_eq!(log.write(b"four\n", later), None);
        assert!(log.is_to_reopen());
        assert_eq!(log.end_writer(0), None);
        assert_eq!(log.take_errand(), Some(Errand::Open(Why::Retry)));
        let file = File::options().append(true).open(&path).unwrap();
        assert_eq!(log.finish_errand(Answer::Opened(file), later), None);
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\nfour\n");
    }

    #[test]
    fn a_queue_without_room_costs_whole_lines_and_the_loss_is_counted() {
        let mut log = LogFile::deferred(Path::new("/nowhere"), None, false);
        log.take_errand().unwrap();
        assert_eq!(log.finish_errand(Answer::Remote, Moment(0)), None);
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let (mut written, mut told) = (0, None);
        while told.is_none() {
            told = log
                .write(&line, Moment(0))
                .or(log.write(b"half", Moment(0)));
            log.write(b" a line\n", Moment(0));
            written += 2;
        }
        assert!(told.unwrap().contains("it does not answer"));
        assert!(log.waiting().ends_with(b"\n"));
        let kept = log.waiting().iter().filter(|byte| **byte == b'\n').count();
        log.sent(log.waiting().len());
        let told = log.write(b"next\n", Moment(0)).unwrap();
        let missing = written - kept;
        assert!(
            told.contains(&format!("; {missing} line")),
            "{told} {missing}"
        );
    }
}
