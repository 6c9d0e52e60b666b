//! The client's way to the daemon.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::geteuid;

use super::{Address, BETWEEN_TRIES, TRIES, is_believed, open_stream, peer, places};

/// Why no daemon was reached.
#[derive(Debug)]
pub struct ConnectError {
    /// Where it was looked for, and what was found there.
    pub tried: Vec<(Address, io::Error)>,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Could not connect to the daemon")?;
        for (address, error) in &self.tried {
            write!(f, "\n  tried {address}: {error}")?;
        }
        Ok(())
    }
}

/// Connects to the daemon at the named place, or at the first default one where one lives.
///
/// # Errors
/// Every place that was tried.
pub fn connect(explicit: Option<&Path>) -> Result<(UnixStream, Address), ConnectError> {
    let places = match explicit {
        Some(path) => vec![Address::from(path)],
        None => places::to_look(),
    };
    let mut tried = Vec::new();
    for address in places {
        match connect_to(&address) {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => tried.push((address, error)),
        }
    }
    Err(ConnectError { tried })
}

/// A daemon that has many clients waiting at its door is tried again for a while.
fn connect_to(address: &Address) -> io::Result<UnixStream> {
    let mut result = open_stream(address);
    for _ in 0..TRIES {
        if !matches!(result, Err(Errno::EAGAIN)) {
            break;
        }
        std::thread::sleep(BETWEEN_TRIES);
        result = open_stream(address);
    }
    let stream = match result {
        Err(Errno::EAGAIN) => {
            let text = "a daemon is there and takes no connections; is it stopped?";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        result => result?,
    };
    let uid = peer(stream.as_fd())?.uid;
    // Root can see for itself what it talks to.
    if is_believed(uid) || geteuid().is_root() {
        return Ok(stream);
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("it belongs to another user ({uid})"),
    ))
}
