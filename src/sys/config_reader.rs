//! A child that reads the configuration, and asks the machine all that it names, since both may take for ever. The
//! daemon then checks the same text with the answers that the child has sent, which never waits.

use std::cell::RefCell;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::aside::{self, Aside, Keeps};
use super::config_file::{self, Pipes};
use super::facts::SystemFacts;
use super::recorded_facts::{Record, Recording, pack, unpack};
use super::shared_text::SharedText;
use crate::base::Pid;
use crate::config::{self, Files, Needed};

/// What a child may send: the largest file, and some 300 bytes of answers for each service that there can be.
const MAX_BYTES: usize = 256 << 20;

/// Answers that are sent together, in bytes.
const SENT_TOGETHER: usize = 8 << 10;

/// Read at a time, in bytes.
const READ_BYTES: usize = 16 << 10;

/// The child, and what it has sent.
#[derive(Debug)]
pub struct ConfigReader {
    aside: Aside,
    touches: SharedText,
    /// What is no whole message yet.
    received: Vec<u8>,
    count: usize,
    content: Option<Result<Vec<u8>, Unreadable>>,
    answers: Record,
    is_complete: bool,
}

/// Why there is no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// There is no such file.
    pub is_missing: bool,
    /// In words, to go on behind "cannot read …".
    pub why: String,
}

impl From<&io::Error> for Unreadable {
    fn from(error: &io::Error) -> Unreadable {
        Unreadable {
            is_missing: error.kind() == io::ErrorKind::NotFound,
            why: error.to_string(),
        }
    }
}

/// What came of receiving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The child has not sent more yet.
    Waits,
    /// There is more to receive.
    Goes,
    /// The child has sent all it will.
    Ended,
}

impl ConfigReader {
    /// For a reload.
    ///
    /// # Errors
    /// When no process, descriptor or memory is left.
    pub fn start(path: &Path) -> io::Result<ConfigReader> {
        let keeps = inherited(path).map_or(Keeps::None, Keeps::One);
        ConfigReader::start_with(path, keeps, Pipes::Refused)
    }

    /// Before the daemon has descriptors of its own: it may be started with the file on any of those it has.
    ///
    /// # Errors
    /// As [`ConfigReader::start`].
    pub fn start_at_boot(path: &Path) -> io::Result<ConfigReader> {
        ConfigReader::start_with(path, Keeps::All, Pipes::Inherited)
    }

    fn start_with(path: &Path, keeps: Keeps, pipes: Pipes) -> io::Result<ConfigReader> {
        let touches = SharedText::new()?;
        let aside = aside::start_with(c"go-overlay:read", keeps, |socket| {
            // The daemon may have ended the conversation.
            let _ = read_and_ask(path, pipes, &socket, &touches);
        })?;
        Ok(ConfigReader {
            aside,
            touches,
            received: Vec::new(),
            count: 0,
            content: None,
            answers: Record::new(),
            is_complete: false,
        })
    }

    /// The child.
    pub fn pid(&self) -> Pid {
        self.aside.pid
    }

    /// What the child touches now, or touched last: a path, or a name and where it is looked up.
    pub fn touches(&self) -> String {
        String::from_utf8_lossy(&self.touches.get()).into_owned()
    }

    /// Receives what is there, up to about so many bytes.
    pub fn receive(&mut self, budget: usize) -> Progress {
        let until = self.count.saturating_add(budget);
        let mut buffer = [0; READ_BYTES];
        while self.count < until {
            match self.aside.socket.read(&mut buffer) {
                Ok(count @ 1..) if self.count < MAX_BYTES => {
                    self.count += count;
                    self.received.extend_from_slice(&buffer[..count]);
                    self.take_messages();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Waits,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return Progress::Ended,
            }
        }
        Progress::Goes
    }

    fn take_messages(&mut self) {
        let mut rest = self.received.as_slice();
        while let Some((length, after)) = rest.split_first_chunk() {
            let Some(message) = after.get(..u32::from_ne_bytes(*length) as usize) else {
                break;
            };
            rest = &after[message.len()..];
            match unpack(message).as_deref() {
                Some([b"content", bytes]) => self.content = Some(Ok(bytes.to_vec())),
                Some([b"unreadable", is_missing, why]) => {
                    self.content = Some(Err(Unreadable {
                        is_missing: *is_missing == b"missing",
                        why: String::from_utf8_lossy(why).into_owned(),
                    }));
                }
                Some([b"answer", question, answer]) => {
                    self.answers.insert(question.to_vec(), answer.to_vec());
                }
                Some([b"complete"]) => self.is_complete = true,
                _ => {}
            }
        }
        let taken = self.received.len() - rest.len();
        self.received.drain(..taken);
    }

    /// The file's content, or why it cannot be read; None where neither was received.
    pub fn take_content(&mut self) -> Option<Result<Vec<u8>, Unreadable>> {
        self.content.take()
    }

    /// Whether the child came to its end. One that was killed did not.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The answer to a packed question, if it was received.
    pub fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        self.answers.get(question).cloned()
    }
}

impl AsRawFd for ConfigReader {
    fn as_raw_fd(&self) -> RawFd {
        self.aside.socket.as_raw_fd()
    }
}

impl AsFd for ConfigReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.aside.socket.as_fd()
    }
}

/// The descriptor that a path names.
fn inherited(path: &Path) -> Option<RawFd> {
    let name = ["/dev/fd", "/proc/self/fd"]
        .iter()
        .find_map(|folder| path.strip_prefix(folder).ok())?;
    let number: RawFd = name.to_str()?.parse().ok()?;
    (number > 2).then_some(number)
}

/// In the child.
fn read_and_ask(
    path: &Path,
    pipes: Pipes,
    socket: &UnixStream,
    touches: &SharedText,
) -> io::Result<()> {
    let out = RefCell::new(BufWriter::with_capacity(SENT_TOGETHER, socket));
    let send = |fields: &[&[u8]]| out.borrow_mut().write_all(&pack(&[&pack(fields)]));
    touches.set(path.as_os_str().as_bytes());
    let content = match config_file::read(path, pipes) {
        Ok(content) => content,
        Err(error) => {
            let Unreadable { is_missing, why } = Unreadable::from(&error);
            let kind: &[u8] = if is_missing { b"missing" } else { b"other" };
            send(&[b"unreadable", kind, why.as_bytes()])?;
            send(&[b"complete"])?;
            return out.borrow_mut().flush();
        }
    };
    send(&[b"content", &content])?;
    out.borrow_mut().flush()?;
    let touched = |path: &[u8]| touches.set(path);
    // An error is that of the last message too.
    let answered = |question: &[u8], answer: &[u8]| {
        let _ = send(&[b"answer", question, answer]);
    };
    let facts = SystemFacts::read(&touched);
    let recording = Recording::new(&facts, &touched, &answered);
    // What is found is found again by the daemon.
    let files = Files::of(path.to_string_lossy(), content);
    let _ = config::load(files, &recording, Needed::ByAll);
    send(&[b"complete"])?;
    out.borrow_mut().flush()
}
