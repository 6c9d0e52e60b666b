//! The socket on which a service reports its state (sd_notify(3)): datagrams with the credentials of the sender
//! (unix(7), SCM_CREDENTIALS).
//!
//! It is a file of the service's user, so that no other user can send to it and fill it (root's is found only by
//! what root's service has started); an abstract one where there is no place for a file. In either case a sender is believed only when it belongs to the service.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, bind, setsockopt, socket, sockopt,
};

use super::notify_folder::{Folder, SocketFile};
use super::random;
use super::released::{ClosedPromptly, Promptly};
use crate::base::Pid;

/// A service's socket.
#[derive(Debug)]
pub struct NotifySocket {
    fd: ClosedPromptly<OwnedFd>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(SocketFile),
    Abstract(String),
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
    /// A socket that processes of the daemon's user can send to, and of another one that it is given to.
    ///
    /// # Errors
    /// When no descriptor is left, when the directory is gone (ENOENT), or when a file in it cannot be made.
    pub fn in_folder(folder: &Folder, is_own: bool) -> io::Result<NotifySocket> {
        let fd = ClosedPromptly::new(new_socket()?);
        let place = Place::File(folder.bind(&fd, is_own)?);
        Ok(NotifySocket { fd, place })
    }

    /// A socket that every process of the network namespace can send to; /proc/net/unix lists its name.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn open_to_all() -> io::Result<NotifySocket> {
        let fd = ClosedPromptly::new(new_socket()?);
        let name = format!("go-overlay/notify/{:032x}", random::unguessable());
        bind(fd.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        let place = Place::Abstract(name);
        Ok(NotifySocket { fd, place })
    }

    /// Whether only the service's processes can know where it is.
    pub fn is_unlisted(&self) -> bool {
        matches!(&self.place, Place::File(file) if file.is_unlisted())
    }

    /// Lets this user send to it, where it is a file.
    ///
    /// # Errors
    /// When the daemon may not give files away; then every user can send to it.
    pub fn give_to(&self, uid: u32) -> io::Result<()> {
        match &self.place {
            Place::File(file) => file.give_to(uid),
            Place::Abstract(_) => Ok(()),
        }
    }

    /// The value of NOTIFY_SOCKET.
    pub fn address(&self) -> String {
        match &self.place {
            Place::File(file) => file.path().display().to_string(),
            Place::Abstract(name) => format!("@{name}"),
        }
    }

    /// The next datagram, cut to the buffer; None when there is none.
    ///
    /// Descriptors that come with it (FDSTORE=1, BARRIER=1) are never taken: the room is for the credentials, which
    /// come first. The kernel closes the descriptors, which is what the sender of BARRIER=1 waits for, and marks the
    /// message as cut (MSG_CTRUNC), which says nothing about the credentials. A look at the message beforehand shows
    /// whether any are there, whose end must not be waited for.
    ///
    /// # Errors
    /// None that a correct caller can provoke.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Option<Sender>)>> {
        let Some((_, _, is_cut)) = self.take(buffer, libc::MSG_PEEK)? else {
            return Ok(None);
        };
        let _promptly = is_cut.then(Promptly::begin);
        let taken = self.take(buffer, 0)?;
        Ok(taken.map(|(count, sender, _)| (count, sender)))
    }

    /// A datagram's length, its sender, and whether there was no room for all that came with it.
    fn take(
        &self,
        buffer: &mut [u8],
        flags: libc::c_int,
    ) -> io::Result<Option<(usize, Option<Sender>, bool)>> {
        let mut control = Control([0; CONTROL_BYTES]);
        let mut part = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        // SAFETY: all zeroes is a valid msghdr; musl has private padding in it.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_BYTES as _;
        let flags = flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        let is_cut = |message: &libc::msghdr| message.msg_flags & libc::MSG_CTRUNC != 0;
        // SAFETY: the message names buffers that live as long as the call, with their sizes.
        let count = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &mut message, flags) };
        match usize::try_from(count) {
            // SAFETY: the kernel filled the message in, and its control buffer still lives.
            Ok(count) => Ok(Some((count, unsafe { sender(&message) }, is_cut(&message)))),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                error => Err(error),
            },
        }
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    // Before it has a name, so that no datagram comes without credentials.
    setsockopt(&fd, sockopt::PassCred, &true)?;
    Ok(fd)
}

/// Room for the credentials and nothing else.
// SAFETY: CMSG_SPACE computes with its argument.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize;

/// Aligned as a cmsghdr has to be.
#[repr(align(8))]
struct Control([u8; CONTROL_BYTES]);

/// The credentials in a message that was received.
///
/// # Safety
/// `msg_control` points to `msg_controllen` bytes that the kernel filled in.
unsafe fn sender(message: &libc::msghdr) -> Option<Sender> {
    // SAFETY: the header is inside of the control buffer, or null; what it announces was written by the kernel.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message).as_ref()?;
        let is_whole =
            header.cmsg_len as usize >= libc::CMSG_LEN(size_of::<libc::ucred>() as u32) as usize;
        if header.cmsg_level != libc::SOL_SOCKET
            || header.cmsg_type != libc::SCM_CREDENTIALS
            || !is_whole
        {
            return None;
        }
        let credentials: libc::ucred = std::ptr::read_unaligned(libc::CMSG_DATA(header).cast());
        Some(Sender {
            pid: Pid(credentials.pid),
            uid: credentials.uid,
        })
    }
}

impl AsRawFd for NotifySocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    #[test]
    fn a_datagram_comes_with_its_sender() {
        let socket = NotifySocket::open_to_all().unwrap();
        let mut buffer = [0; 64];
        assert_eq!(socket.receive(&mut buffer).unwrap(), None);
        let name = socket.address();
        let to = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        let from = UnixDatagram::unbound().unwrap();
        from.send_to_addr(b"READY=1", &to).unwrap();
        let (count, sender) = socket.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..count], b"READY=1");
        let own = Pid(std::process::id() as i32);
        let uid = nix::unistd::geteuid().as_raw();
        assert_eq!(sender, Some(Sender { pid: own, uid }));
        assert_ne!(NotifySocket::open_to_all().unwrap().address(), name);
    }
    #[test]
    fn a_file_is_its_users_alone_and_goes_with_the_socket() {
        let folder = Folder::make().unwrap();
        let own = nix::unistd::geteuid().as_raw();
        let socket = NotifySocket::in_folder(&folder, true).unwrap();
        let file = std::path::PathBuf::from(socket.address());
        let metadata = std::fs::metadata(&file).unwrap();
        // One of root's may be sent to by whoever knows its path.
        let mode = if own == 0 { 0o666 } else { 0o600 };
        assert_eq!((metadata.mode() & 0o777, metadata.uid()), (mode, own));
        let listed = std::fs::read_to_string("/proc/net/unix").unwrap();
        assert_eq!(listed.contains(&socket.address()), own != 0);
        let directory = file.parent().unwrap();
        assert_eq!(std::fs::metadata(directory).unwrap().mode() & 0o777, 0o711);
        let from = UnixDatagram::unbound().unwrap();
        from.send_to(b"READY=1", &file).unwrap();
        assert!(socket.receive(&mut [0; 64]).unwrap().is_some());
        let of_another = (own == 0).then(|| NotifySocket::in_folder(&folder, false).unwrap());
        if let Some(socket) = of_another {
            socket.give_to(20_001).unwrap();
            let metadata = std::fs::metadata(socket.address()).unwrap();
            assert_eq!((metadata.mode() & 0o777, metadata.uid()), (0o600, 20_001));
        }
        // What lives is not taken for what was left behind; what was left behind goes.
        let other = Folder::make().unwrap();
        assert!(file.exists());
        drop(socket);
        assert!(!file.exists());
        drop(folder);
        let third = Folder::make().unwrap();
        assert!(!directory.exists());
        other.remove();
        third.remove();
    }
}
