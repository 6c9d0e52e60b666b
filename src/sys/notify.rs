//! The socket on which a service says how it is (sd_notify(3)): datagrams with the credentials of whoever
//! sent them (unix(7), SCM_CREDENTIALS).
//!
//! It is an abstract one, since a service may live in another root or on a read-only one. Anybody may send
//! to it, so a sender is believed only when it belongs to the service.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials,
    bind, recvmsg, setsockopt, socket, sockopt,
};
use nix::unistd;

use crate::base::Pid;
use crate::sys::random;

/// How many parents of a sender are looked at.
const MAX_ANCESTORS: usize = 32;

/// A service's socket.
#[derive(Debug)]
pub struct NotifySocket {
    fd: OwnedFd,
    name: String,
}

/// Who sent a datagram; the kernel says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// 0 where it is in a namespace that we do not see.
    pub pid: Pid,
    /// User id.
    pub uid: u32,
}

impl NotifySocket {
    /// A socket of a name that nobody can guess beforehand.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<NotifySocket> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        // Before the name is there, so that no datagram comes without credentials.
        setsockopt(&fd, sockopt::PassCred, &true)?;
        let name = format!("go-overlay/notify/{:032x}", random::unguessable());
        bind(fd.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        Ok(NotifySocket { fd, name })
    }

    /// What NOTIFY_SOCKET says.
    pub fn address(&self) -> String {
        format!("@{}", self.name)
    }

    /// The next datagram, cut to the buffer; None when there is none. Descriptors that come with it (such as
    /// BARRIER=1 brings) are closed by the kernel for want of room, which is what their sender waits for.
    ///
    /// # Errors
    /// None that a correct caller can provoke.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Option<Sender>)>> {
        let mut space = nix::cmsg_space!(UnixCredentials);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let fd = self.fd.as_raw_fd();
        match recvmsg::<UnixAddr>(fd, &mut parts, Some(&mut space), flags) {
            Ok(message) => {
                // Credentials come first; what follows them has been cut off.
                let sender = message.cmsgs().ok().and_then(|mut all| all.next());
                let sender = match sender {
                    Some(ControlMessageOwned::ScmCredentials(credentials)) => Some(Sender {
                        pid: Pid(credentials.pid()),
                        uid: credentials.uid(),
                    }),
                    _ => None,
                };
                Ok(Some((message.bytes, sender)))
            }
            Err(nix::errno::Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsRawFd for NotifySocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

/// Whether a process is of the session that `leader` leads, or comes from it. One that is gone already
/// (`systemd-notify` does not wait) is believed when it ran as the service's user, or as root.
pub fn belongs(sender: Sender, leader: Pid, service_uid: u32) -> bool {
    let Sender { pid, uid } = sender;
    if pid.0 <= 0 || (uid != service_uid && uid != 0) {
        return false;
    }
    match unistd::getsid(Some(unistd::Pid::from_raw(pid.0))) {
        Ok(session) if session.as_raw() == leader.0 => true,
        Ok(_) => descends(pid, leader),
        Err(_) => true,
    }
}

/// Whether `pid` is `leader` or comes from it, as far as /proc says.
fn descends(pid: Pid, leader: Pid) -> bool {
    let mut at = pid;
    for _ in 0..MAX_ANCESTORS {
        if at == leader {
            return true;
        }
        match parent(at) {
            Some(parent) if parent.0 > 1 => at = parent,
            _ => return false,
        }
    }
    false
}

/// The parent of a process, where /proc tells (proc_pid_stat(5)).
pub fn parent(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.0)).ok()?;
    // The name in brackets may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok().map(Pid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    #[test]
    fn a_datagram_comes_with_its_sender() {
        let socket = NotifySocket::new().unwrap();
        let mut buffer = [0; 64];
        assert_eq!(socket.receive(&mut buffer).unwrap(), None);
        let name = socket.address();
        let to = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        let from = UnixDatagram::unbound().unwrap();
        from.send_to_addr(b"READY=1", &to).unwrap();
        let (count, sender) = socket.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..count], b"READY=1");
        let own = Pid(std::process::id() as i32);
        let uid = unistd::geteuid().as_raw();
        assert_eq!(sender, Some(Sender { pid: own, uid }));
        assert_ne!(NotifySocket::new().unwrap().address(), name);
    }

    #[test]
    fn only_who_comes_from_the_service_is_believed() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid(child.id() as i32);
        let own = Pid(std::process::id() as i32);
        let sender = Sender { pid, uid: 1000 };
        assert!(belongs(sender, pid, 1000));
        assert!(belongs(sender, own, 1000), "a child");
        assert!(belongs(Sender { pid, uid: 0 }, own, 1000), "root");
        assert!(
            !belongs(Sender { pid, uid: 1001 }, own, 1000),
            "another user"
        );
        assert!(
            !belongs(
                Sender {
                    pid: own,
                    uid: 1000
                },
                pid,
                1000
            ),
            "a stranger"
        );
        assert!(
            !belongs(
                Sender {
                    pid: Pid(0),
                    uid: 0
                },
                pid,
                0
            ),
            "another namespace"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(belongs(sender, own, 1000), "gone already");
    }
}
