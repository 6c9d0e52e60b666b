//! The client's way to the daemon.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::{Address, open_stream_within, peer, places, refusal};

/// How long a daemon may have more clients waiting at its door than the kernel takes, all places together.
const DOOR_PATIENCE: Duration = Duration::from_secs(5);

/// The same for an abstract name that was not named by the user: any user can listen there and take no connection.
const ABSTRACT_PATIENCE: Duration = Duration::from_secs(1);

/// What a place has when the patience of all is used up.
const LEAST_PATIENCE: Duration = Duration::from_millis(10);

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
    let until = Instant::now() + DOOR_PATIENCE;
    for address in places {
        let left = until.saturating_duration_since(Instant::now());
        let patience = match (&address, explicit) {
            (Address::Abstract(_), None) => left.min(ABSTRACT_PATIENCE),
            (Address::Abstract(_) | Address::Path(_), _) => left,
        };
        let patience = patience.max(LEAST_PATIENCE);
        match connect_to(&address, explicit.is_some(), patience) {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => tried.push((address, error)),
        }
    }
    Err(ConnectError { tried })
}

/// Waits in the kernel's queue while many clients wait at the door, so that none of them passes by.
fn connect_to(address: &Address, named: bool, patience: Duration) -> io::Result<UnixStream> {
    let stream = match open_stream_within(address, patience) {
        Err(Errno::EAGAIN) => {
            let text = "a daemon is there and takes no connections; is it stopped?";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        result => result?,
    };
    stream.set_write_timeout(Some(DOOR_PATIENCE))?;
    // Before a word of it is believed: any user can listen on an abstract name.
    match refusal(peer(stream.as_fd())?, address, named) {
        None => Ok(stream),
        Some(why) => Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
    }
}
