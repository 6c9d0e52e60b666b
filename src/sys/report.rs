//! What a child of the daemon's own reports through its socket ([`super::aside`]): a tag, a number, a text, and where
//! there is one an open file along with them (unix(7), SCM_RIGHTS).

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// A longer text is cut. A report is one message, so that the end of it never has to be waited for.
const MAX_TEXT: usize = 1024;

/// The tag, the length of the text, and the number.
const HEADER: usize = 1 + 2 + 8;

/// One report.
#[derive(Debug, Default)]
pub struct Report {
    /// What it is about; sender and receiver agree on it.
    pub tag: u8,
    /// A number that belongs to it.
    pub number: u64,
    /// Words for the user.
    pub text: String,
    /// The open file that came along.
    pub file: Option<File>,
}

impl Report {
    /// One without anything but its tag.
    pub fn of(tag: u8) -> Report {
        Report {
            tag,
            ..Report::default()
        }
    }

    /// Sends it; waits for room.
    ///
    /// # Errors
    /// When the other end is closed.
    pub fn send(&self, socket: &UnixStream) -> io::Result<()> {
        let mut end = self.text.len().min(MAX_TEXT);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let text = &self.text.as_bytes()[..end];
        let mut bytes = vec![self.tag];
        bytes.extend(u16::try_from(end).unwrap_or(0).to_ne_bytes());
        bytes.extend(self.number.to_ne_bytes());
        bytes.extend(text);
        let fds: Vec<RawFd> = self.file.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let rights = if fds.is_empty() { &[] } else { &rights[..] };
        let (slices, flags) = ([IoSlice::new(&bytes)], MsgFlags::MSG_NOSIGNAL);
        loop {
            match sendmsg::<()>(socket.as_raw_fd(), &slices, rights, flags, None) {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next report; None when the other end is closed. A file for which no descriptor is left is not there.
    ///
    /// # Errors
    /// `WouldBlock` when none has come; any other error is the end of the socket's use.
    pub fn receive(mut socket: &UnixStream) -> io::Result<Option<Report>> {
        let mut header = [0; HEADER];
        let mut control = nix::cmsg_space!(RawFd);
        let (count, file) = {
            let mut slices = [IoSliceMut::new(&mut header)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
            let fd = socket.as_raw_fd();
            let message = recvmsg::<()>(fd, &mut slices, Some(&mut control), flags)?;
            let mut file = None;
            // A message that was cut has no descriptors.
            for part in message.cmsgs().into_iter().flatten() {
                if let ControlMessageOwned::ScmRights(fds) = part {
                    // SAFETY: the kernel made these descriptors for this process just now.
                    let owned = fds
                        .into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
                    file = owned.map(File::from).next().or(file);
                }
            }
            (message.bytes, file)
        };
        match count {
            0 => return Ok(None),
            HEADER => {}
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        let [tag, low, high, number @ ..] = header;
        let mut text = vec![0; usize::from(u16::from_ne_bytes([low, high]))];
        socket.read_exact(&mut text)?;
        Ok(Some(Report {
            tag,
            number: u64::from_ne_bytes(number),
            text: String::from_utf8_lossy(&text).into_owned(),
            file,
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::io::{Seek, Write};

    use super::*;

    #[test]
    fn reports_arrive_one_by_one_and_with_their_file() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let nothing = Report::receive(&ours).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"of the file").unwrap();
        file.rewind().unwrap();
        let report = |number, text: &str, file| Report {
            tag: 7,
            number,
            text: text.into(),
            file,
        };
        report(1, "one", None).send(&theirs).unwrap();
        report(2, "", Some(file)).send(&theirs).unwrap();
        report(u64::MAX, &"ä".repeat(MAX_TEXT), None)
            .send(&theirs)
            .unwrap();
        drop(theirs);
        let next = || Report::receive(&ours).unwrap();
        let one = next().unwrap();
        assert_eq!((one.tag, one.number, one.text.as_str()), (7, 1, "one"));
        assert!(one.file.is_none());
        let mut text = String::new();
        let two = next().unwrap();
        two.file.unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((two.number, text.as_str()), (2, "of the file"));
        let three = next().unwrap();
        assert_eq!(three.text, "ä".repeat(MAX_TEXT / 2));
        assert!(next().is_none());
    }
}
