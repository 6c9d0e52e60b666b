//! Where services report their state: a notify socket or the reading end of a pipe each.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};

use mio::Interest;
use mio::unix::SourceFd;

use super::children::Children;
use super::context::Context;
use super::table::Table;
use super::token::{Slot, Source};
use crate::base::{JobId, Pid};
use crate::domain::NeverReady;
use crate::probe::notify::{self, MAX_DATAGRAM};
use crate::supervisor::event::Word;
use crate::sys::notify::{NotifySocket, Sender};
use crate::sys::notify_folder::Folder;
use crate::sys::pinned::Pinned;
use crate::sys::process::{Kin, kin};

/// Datagrams of one service before other events have a turn.
const DATAGRAMS_A_TURN: usize = 64;

/// How often a datagram is read for where reading fails.
const READS_OF_A_DATAGRAM: usize = 8;

/// What a datagram with MAINPID= counts for: finding out where two processes come from takes many looks at /proc.
const MAINPID_COUNTS_FOR: usize = 16;

/// Such portions that are received of a process that has ended: more than a socket holds (`net.unix.max_dgram_qlen`),
/// unless many name a main process.
const LAST_PORTIONS: usize = 16;

#[derive(Default)]
pub(super) struct Signs {
    table: Table<Sign>,
    /// Those with more to read than one turn takes.
    again: VecDeque<usize>,
    /// Where the notify sockets are; made with the first of them.
    folder: Option<Folder>,
    /// That there is no such place was reported.
    said_open: bool,
}

struct Sign {
    job: JobId,
    /// The main process. The sign goes before it is reaped, so that its number and its session are held.
    main: Pid,
    /// The user that it runs as; None until its child has looked that up.
    uid: Option<u32>,
    /// A sender was complained about.
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
    /// The process that it names as its main one.
    pub successor: Option<(JobId, Pinned)>,
    /// What was not believed, the first time.
    pub complaint: Option<(JobId, String)>,
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
    /// A notify socket, for a program that runs as the daemon's own user or is given it, and a complaint, once, where
    /// others can send to it too.
    pub fn open(&mut self, is_own: bool) -> io::Result<(NotifySocket, Option<String>)> {
        let mut refused = None;
        // The second time, where the directory was removed meanwhile.
        for _ in 0..2 {
            let made = match self.folder.take() {
                Some(folder) => Ok(folder),
                None => Folder::make(),
            };
            let opened =
                made.and_then(|folder| NotifySocket::in_folder(self.folder.insert(folder), is_own));
            match opened {
                Ok(socket) => return Ok((socket, None)),
                Err(error) => refused = Some(error),
            }
            if refused
                .as_ref()
                .is_some_and(|error| error.kind() != io::ErrorKind::NotFound)
            {
                break;
            }
            self.folder = None;
        }
        let complaint = refused.filter(|_| !std::mem::replace(&mut self.said_open, true));
        let complaint = complaint.map(|error| {
            format!(
                "cannot make a file for the notify socket: {error}; using an abstract one, which other users of the \
                 network namespace can fill; give the container a writable /run (a tmpfs is enough)"
            )
        });
        Ok((NotifySocket::open_to_all()?, complaint))
    }

    /// At the end of the daemon: nothing is left of the sockets.
    pub fn finish(&mut self) {
        if let Some(folder) = self.folder.take() {
            folder.remove();
        }
    }

    /// Watches for what a program says that is being executed as `uid`.
    pub fn add(
        &mut self,
        job: JobId,
        (leader, uid): (Pid, Option<u32>),
        post: Post,
        cx: &Context<'_>,
    ) -> io::Result<()> {
        let token = Source::Sign(self.table.next_slot()).token();
        cx.registry
            .register(&mut SourceFd(&post.fd()), token, Interest::READABLE)?;
        self.table.insert(Sign {
            job,
            main: leader,
            uid,
            complained: false,
            post,
        });
        Ok(())
    }

    /// A job goes on in another process.
    pub fn moved(&mut self, job: JobId, pid: Pid) {
        for (_, sign) in self.table.iter_mut().filter(|(_, sign)| sign.job == job) {
            sign.main = pid;
        }
    }

    /// The user that a job's program runs as is known.
    pub fn is_of_user(&mut self, job: JobId, uid: u32) {
        for (_, sign) in self.table.iter_mut().filter(|(_, sign)| sign.job == job) {
            sign.uid = Some(uid);
        }
    }

    /// The jobs that have said something.
    pub fn ready_jobs(&self) -> Vec<JobId> {
        let ready = self.again.iter().filter_map(|key| self.table.get(*key));
        ready.map(|sign| sign.job).collect()
    }

    /// Whether some service said more than one turn takes.
    pub fn has_work(&self) -> bool {
        !self.again.is_empty()
    }

    /// The kernel says that there is something to read.
    pub fn on_ready(&mut self, slot: Slot) {
        if let Some(place) = self.table.place_of(slot)
            && !self.again.contains(&place)
        {
            self.again.push_back(place);
        }
    }

    /// What was said, a portion of each service.
    pub fn listen(&mut self, children: &Children) -> Vec<Heard> {
        let ready = std::mem::take(&mut self.again);
        ready
            .into_iter()
            .map(|key| self.hear(key, children))
            .collect()
    }

    /// What a program said whose process has ended and is not reaped.
    pub fn last_words(&mut self, job: JobId, children: &Children) -> Vec<Heard> {
        let mut heard = Vec::new();
        for key in self.of_job(job) {
            for _ in 0..LAST_PORTIONS {
                self.again.retain(|other| *other != key);
                heard.push(self.hear(key, children));
                if !self.again.contains(&key) {
                    break;
                }
            }
        }
        heard
    }

    /// A job is over: nothing is received for it any more.
    pub fn forget(&mut self, job: JobId) {
        for key in self.of_job(job) {
            self.again.retain(|other| *other != key);
            self.table.remove(key);
        }
    }

    fn of_job(&self, job: JobId) -> Vec<usize> {
        let all = self.table.iter();
        all.filter(|(_, sign)| sign.job == job)
            .map(|(key, _)| key)
            .collect()
    }

    fn hear(&mut self, key: usize, children: &Children) -> Heard {
        let mut heard = Heard::default();
        let Some(sign) = self.table.get_mut(key) else {
            return heard;
        };
        match &mut sign.post {
            Post::Notify(_) => {
                if sign.take_datagrams(&mut heard, children) {
                    self.again.push_back(key);
                }
            }
            Post::Pipe(file) => {
                if let Some(word) = newline(file) {
                    heard.words.push((sign.job, word));
                    self.table.remove(key);
                }
            }
        }
        heard
    }
}

impl Sign {
    /// Whether a sender is of the service: of the session of its main process or descended from it; or an orphan
    /// that was adopted, of the service's user, that no other job's process answers for. Of one that is gone
    /// already (`systemd-notify` does not wait) no more is known than its user, and that it could reach the socket. One
    /// that is there may have become another user, where the service is root's.
    fn knows(&self, sender: Sender, children: &Children) -> Option<Kin> {
        let Sender { pid, uid } = sender;
        let own = self.uid?;
        let is_its_users = uid == own || uid == 0;
        if pid.0 <= 0 || !(is_its_users || self.may_have_changed_its_user()) {
            return None;
        }
        let kin = kin(pid, self.main);
        let known = match kin {
            Kin::Own => true,
            Kin::Gone => is_its_users,
            Kin::Adopted { by_way_of, session } => {
                uid == own && !children.is_job(by_way_of) && !children.is_job(session)
            }
            Kin::Other => false,
        };
        known.then_some(kin)
    }

    /// Root may become any other user. Without a path that no stranger knows, the number of a stranger that has ended
    /// might be a process's of the service by now.
    fn may_have_changed_its_user(&self) -> bool {
        let is_unlisted = matches!(&self.post, Post::Notify(socket) if socket.is_unlisted());
        self.uid == Some(0) && is_unlisted
    }

    /// The process that a sender names as the main one, held: it has to run, and to be of the service as far as its
    /// session or its parents show, or of the sender's own.
    fn successor(&self, pid: Pid, sender: Sender, children: &Children) -> Option<Pinned> {
        let named = Pinned::new(pid)?;
        let is_of_sender = || {
            let Some(held) = Pinned::new(sender.pid) else {
                return false;
            };
            let known = matches!(
                self.knows(sender, children),
                Some(Kin::Own | Kin::Adopted { .. })
            );
            known && kin(pid, sender.pid) == Kin::Own && held.is_running()
        };
        let is_of_service = kin(pid, self.main) == Kin::Own || is_of_sender();
        (is_of_service && named.is_running()).then_some(named)
    }

    /// True when there may be more.
    fn take_datagrams(&mut self, heard: &mut Heard, children: &Children) -> bool {
        let Post::Notify(socket) = &self.post else {
            return false;
        };
        let mut buffer = [0; MAX_DATAGRAM];
        let mut complaint = None;
        let mut left = DATAGRAMS_A_TURN;
        while left > 0 {
            let Some((count, sender)) = next_datagram(socket, &mut buffer) else {
                break;
            };
            left = left.saturating_sub(1);
            let Some(sender) = sender.filter(|sender| self.knows(*sender, children).is_some())
            else {
                complaint.get_or_insert_with(|| stranger(sender));
                continue;
            };
            for word in notify::words(buffer.get(..count).unwrap_or_default()) {
                match word {
                    Word::MainPid(pid) if pid == self.main => {}
                    Word::MainPid(pid) => {
                        left = left.saturating_sub(MAINPID_COUNTS_FOR);
                        match self.successor(pid, sender, children) {
                            Some(named) => heard.successor = Some((self.job, named)),
                            None => {
                                complaint.get_or_insert_with(|| no_such_process(pid));
                            }
                        }
                    }
                    word => heard.words.push((self.job, word)),
                }
            }
        }
        if let Some(text) = complaint.filter(|_| !self.complained) {
            self.complained = true;
            heard.complaint = Some((self.job, text));
        }
        left == 0
    }
}

fn no_such_process(pid: Pid) -> String {
    let pid = pid.0;
    format!("MAINPID={pid} is ignored: no running process of the service has this id")
}

/// Tries again where reading fails: no later event announces what is already waiting.
fn next_datagram(socket: &NotifySocket, buffer: &mut [u8]) -> Option<(usize, Option<Sender>)> {
    let mut reads = (0..READS_OF_A_DATAGRAM).map(|_| socket.receive(buffer));
    reads.find_map(Result::ok).flatten()
}

fn stranger(sender: Option<Sender>) -> String {
    let who = sender.map_or("a sender without credentials".into(), |sender| {
        format!("process {} of user {}", sender.pid.0, sender.uid)
    });
    format!("{who} is none of its processes: what it sends to NOTIFY_SOCKET is ignored")
}

/// A newline, or that there can be none any more (s6's notification-fd).
fn newline(file: &mut File) -> Option<Word> {
    let mut buffer = [0; 4096];
    // Somebody who writes more than this, and no newline, does not know what is asked.
    for _ in 0..DATAGRAMS_A_TURN {
        match file.read(&mut buffer) {
            Ok(0) => {
                return Some(Word::NeverReady(NeverReady::Closed));
            }
            Ok(count) if buffer[..count].contains(&b'\n') => return Some(Word::Ready),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    Some(Word::NeverReady(NeverReady::NoNewline))
}
