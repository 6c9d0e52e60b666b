//! Where services tell of themselves: a notify socket or the reading end of a pipe each.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use slab::Slab;

use super::token::{Slot, Source};
use crate::base::{JobId, Pid};
use crate::probe::notify::{self, MAX_DATAGRAM};
use crate::supervisor::event::Word;
use crate::sys::notify::{NotifySocket, Sender, belongs};

/// Datagrams of one service before somebody else has a turn.
const DATAGRAMS_A_TURN: usize = 64;

#[derive(Default)]
pub(super) struct Signs {
    slab: Slab<Sign>,
    next_generation: u32,
    /// Those with more to read than one turn takes.
    again: VecDeque<usize>,
}

struct Sign {
    job: JobId,
    generation: u32,
    /// The process that was started, and the one that took its place.
    leaders: Vec<Pid>,
    uid: u32,
    /// A stranger was complained about.
    complained: bool,
    post: Post,
}

/// Where a service writes.
pub(super) enum Post {
    /// Datagrams.
    Notify(NotifySocket),
    /// A newline.
    Pipe(File),
}

/// What one service said.
#[derive(Default)]
pub(super) struct Heard {
    pub words: Vec<(JobId, Word)>,
    /// The sender that was not believed, the first time.
    pub stranger: Option<(JobId, String)>,
}

impl Post {
    fn fd(&self) -> RawFd {
        match self {
            Post::Notify(socket) => socket.as_raw_fd(),
            Post::Pipe(fd) => fd.as_raw_fd(),
        }
    }
}

impl Signs {
    /// Watches for what a program says that has just been executed as `uid`.
    pub fn add(
        &mut self,
        job: JobId,
        (leader, uid): (Pid, u32),
        post: Post,
        registry: &Registry,
    ) -> io::Result<()> {
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let entry = self.slab.vacant_entry();
        let slot = Slot {
            index: entry.key() as u32,
            generation,
        };
        let token = Source::Sign(slot).token();
        registry.register(&mut SourceFd(&post.fd()), token, Interest::READABLE)?;
        entry.insert(Sign {
            job,
            generation,
            leaders: vec![leader],
            uid,
            complained: false,
            post,
        });
        Ok(())
    }

    /// A job goes on in another process: what comes from that one counts too.
    pub fn moved(&mut self, job: JobId, pid: Pid) {
        for (_, sign) in self.slab.iter_mut().filter(|(_, sign)| sign.job == job) {
            // The first one stays: its session may live on.
            sign.leaders.truncate(1);
            sign.leaders.push(pid);
        }
    }

    /// Whether some service said more than one turn takes.
    pub fn has_work(&self) -> bool {
        !self.again.is_empty()
    }

    /// The kernel says that there is something to read.
    pub fn on_ready(&mut self, slot: Slot) {
        let key = slot.index as usize;
        let known = self.slab.get(key);
        if known.is_some_and(|sign| sign.generation == slot.generation)
            && !self.again.contains(&key)
        {
            self.again.push_back(key);
        }
    }

    /// What was said, a portion of each service.
    pub fn listen(&mut self) -> Vec<Heard> {
        let ready = std::mem::take(&mut self.again);
        ready.into_iter().map(|key| self.hear(key)).collect()
    }

    /// What a program said before it ended; nothing more is heard of it.
    pub fn last_words(&mut self, job: JobId) -> Vec<Heard> {
        let of_job = |(_, sign): &(usize, &Sign)| sign.job == job;
        let keys: Vec<usize> = self
            .slab
            .iter()
            .filter(of_job)
            .map(|(key, _)| key)
            .collect();
        let heard = keys.iter().map(|key| self.hear(*key)).collect();
        for key in keys {
            self.again.retain(|other| *other != key);
            if self.slab.contains(key) {
                self.slab.remove(key);
            }
        }
        heard
    }

    fn hear(&mut self, key: usize) -> Heard {
        let mut heard = Heard::default();
        let Some(sign) = self.slab.get_mut(key) else {
            return heard;
        };
        match &mut sign.post {
            Post::Notify(_) => {
                if sign.take_datagrams(&mut heard) {
                    self.again.push_back(key);
                }
            }
            Post::Pipe(file) => {
                if let Some(word) = newline(file) {
                    heard.words.push((sign.job, word));
                    self.slab.remove(key);
                }
            }
        }
        heard
    }
}

impl Sign {
    fn knows(&self, sender: Sender) -> bool {
        let mut leaders = self.leaders.iter();
        leaders.any(|leader| belongs(sender, *leader, self.uid))
    }

    /// What may be believed of a process of the service: not that another's process is its main one.
    fn believes(&self, word: &Word) -> bool {
        match word {
            Word::MainPid(pid) => self.knows(Sender {
                pid: *pid,
                uid: self.uid,
            }),
            _ => true,
        }
    }

    /// True when there may be more.
    fn take_datagrams(&mut self, heard: &mut Heard) -> bool {
        let Post::Notify(socket) = &self.post else {
            return false;
        };
        let mut buffer = [0; MAX_DATAGRAM];
        for _ in 0..DATAGRAMS_A_TURN {
            let Ok(Some((count, sender))) = socket.receive(&mut buffer) else {
                return false;
            };
            match sender {
                Some(sender) if self.knows(sender) => {
                    let words = notify::words(&buffer[..count]);
                    let believed = words.into_iter().filter(|word| self.believes(word));
                    heard.words.extend(believed.map(|word| (self.job, word)));
                }
                _ if self.complained => {}
                sender => {
                    self.complained = true;
                    let who = sender.map_or("nobody known".into(), |sender| {
                        format!("process {} of user {}", sender.pid.0, sender.uid)
                    });
                    heard.stranger = Some((self.job, who));
                }
            }
        }
        true
    }
}

/// A newline, or that there can be none any more (s6's notification-fd).
fn newline(file: &mut File) -> Option<Word> {
    let mut buffer = [0; 4096];
    // Somebody who writes more than this, and no newline, does not know what is asked.
    for _ in 0..DATAGRAMS_A_TURN {
        match file.read(&mut buffer) {
            Ok(0) => {
                let why = "closed its readiness descriptor without a newline";
                return Some(Word::NeverReady(why.into()));
            }
            Ok(count) if buffer[..count].contains(&b'\n') => return Some(Word::Ready),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    let why = "wrote much to its readiness descriptor, and no newline";
    Some(Word::NeverReady(why.into()))
}
