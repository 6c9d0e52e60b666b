//! A child that does the part of a check that touches paths, each of which may wait for ever: it finds a socket and
//! connects to it, or looks a host's name up. The daemon receives what came of it.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use super::aside::{self, Aside};
use super::commands::reason;
use super::facts::SystemFacts;
use super::released::ClosedPromptly;
use super::{guarded, service_user};
use crate::base::Pid;
use crate::config::endpoint::Authority;
use crate::config::model::Service;

/// The longest report: addresses, or an error.
const MAX_REPORT: usize = 4096;

/// The child at its work.
#[derive(Debug)]
pub struct CheckAside {
    pid: Pid,
    /// The connection in it may hold descriptors that a service has sent.
    socket: ClosedPromptly<UnixStream>,
}

/// What the child reports.
#[derive(Debug)]
pub enum Report {
    /// A connection, without waits.
    Connected(UnixStream),
    /// The addresses of the host.
    Addresses(Vec<SocketAddr>),
    /// Why not.
    Failed(String),
}

impl CheckAside {
    /// Connects to a socket's path as far as the service's user may.
    ///
    /// # Errors
    /// When no process or descriptor is left.
    pub fn connect(path: &Path, service: &Service) -> io::Result<CheckAside> {
        CheckAside::start(|socket| {
            let rights = service_user::rights(service);
            let connected = rights.and_then(|rights| {
                guarded::find_socket(path, &rights)
                    .and_then(|found| mio::net::UnixStream::connect(&found.path))
                    .map_err(|error| cannot_connect(&error))
            });
            let (report, fd) = match &connected {
                Ok(stream) => (b"c".to_vec(), Some(stream.as_raw_fd())),
                Err(why) => ([b"e", why.as_bytes()].concat(), None),
            };
            send(socket, &report, fd)
        })
    }

    /// Looks up the addresses of a host and its port.
    ///
    /// # Errors
    /// As [`CheckAside::connect`].
    pub fn look_up(host: &str) -> io::Result<CheckAside> {
        CheckAside::start(|socket| {
            let host = Authority::parse(host);
            let found = host.map(|host| host.addresses(&SystemFacts::new()));
            let found: Vec<String> = found
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect();
            send(socket, &[b"a", found.join("\n").as_bytes()].concat(), None)
        })
    }

    fn start(work: impl FnOnce(&UnixStream) -> io::Result<()>) -> io::Result<CheckAside> {
        let Aside { pid, socket } = aside::start(c"go-overlay:check", |socket| {
            // A daemon that does not wait any more needs no report.
            let _ = work(&socket);
        })?;
        Ok(CheckAside {
            pid,
            socket: ClosedPromptly::new(socket),
        })
    }

    /// The child.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The report; None while there is none.
    pub fn receive(&self) -> Option<Report> {
        let mut bytes = [0; MAX_REPORT];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let received = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags);
        let (count, connection) = match received {
            Ok(message) => (
                message.bytes,
                message.cmsgs().ok().and_then(only_descriptor),
            ),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return None,
            Err(error) => return Some(Report::Failed(reason(&error.into()))),
        };
        Some(match (bytes[..count].split_first(), connection) {
            (Some((b'c', _)), Some(fd)) => Report::Connected(UnixStream::from(fd)),
            (Some((b'a', text)), _) => {
                let lines = String::from_utf8_lossy(text);
                Report::Addresses(lines.lines().filter_map(|line| line.parse().ok()).collect())
            }
            (Some((b'e', text)), _) => Report::Failed(String::from_utf8_lossy(text).into_owned()),
            _ => Report::Failed("the process that looks at its path ended early".into()),
        })
    }
}

impl AsRawFd for CheckAside {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The kernel connects at once or not at all (unix(7)).
pub fn cannot_connect(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock => "nobody takes the connections that wait already".into(),
        _ => reason(error),
    }
}

fn send(socket: &UnixStream, report: &[u8], fd: Option<RawFd>) -> io::Result<()> {
    let report = &report[..report.len().min(MAX_REPORT)];
    let fds = fd.map(|fd| [fd]);
    let messages = fds.as_ref().map(|fds| [ControlMessage::ScmRights(fds)]);
    let messages = messages.as_ref().map_or(&[][..], |messages| &messages[..]);
    let parts = [IoSlice::new(report)];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &parts,
        messages,
        MsgFlags::empty(),
        None,
    )?;
    Ok(())
}

fn only_descriptor(messages: impl Iterator<Item = ControlMessageOwned>) -> Option<OwnedFd> {
    let mut messages = messages.filter_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just made this descriptor for this process, which had room for one.
    messages
        .next()
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn report(aside: &CheckAside) -> Report {
        let mut ready = libc::pollfd {
            fd: aside.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one structure, which outlives the call.
        assert_eq!(unsafe { libc::poll(&raw mut ready, 1, 30_000) }, 1);
        let report = aside.receive().unwrap();
        let pid = nix::unistd::Pid::from_raw(aside.pid().0);
        nix::sys::wait::waitpid(pid, None).unwrap();
        report
    }

    #[test]
    fn a_connection_comes_back_and_takes_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let service = Service::default();
        let aside = CheckAside::connect(&path, &service).unwrap();
        let Report::Connected(mut ours) = report(&aside) else {
            panic!("no connection");
        };
        let (mut theirs, _) = listener.accept().unwrap();
        theirs.write_all(b"hello").unwrap();
        let mut bytes = [0; 5];
        ours.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        let none = ours.read(&mut bytes).expect_err("it waits");
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_failure_comes_back_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let service = Service::default();
        let aside = CheckAside::connect(&path, &service).unwrap();
        let Report::Failed(why) = report(&aside) else {
            panic!("no failure");
        };
        assert_eq!(why, "No such file or directory");
    }

    #[test]
    fn addresses_come_back() {
        let aside = CheckAside::look_up("localhost:80").unwrap();
        let Report::Addresses(addresses) = report(&aside) else {
            panic!("no addresses");
        };
        assert_eq!(addresses.len(), 2);
        let aside = CheckAside::look_up("no-such-host:80").unwrap();
        assert!(matches!(report(&aside), Report::Addresses(none) if none.is_empty()));
    }
}
