//! The service manager above the daemon: it is told on the socket that NOTIFY_SOCKET named at the start
//! (sd_notify(3)). systemd with `Type=notify` and `podman --sdnotify=container` listen there.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The end of the daemon's to the manager's socket. It never waits.
#[derive(Debug)]
pub struct ManagerSocket(UnixDatagram);

impl ManagerSocket {
    /// Connects to an address as NOTIFY_SOCKET has it: a path, or `@` and an abstract name.
    ///
    /// # Errors
    /// When it is neither, or no process listens there.
    pub fn connect(address: &OsStr) -> io::Result<ManagerSocket> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                let why = "it is neither an absolute path nor @ and an abstract name";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        Ok(ManagerSocket(socket))
    }

    /// Sends one datagram; false when the manager has no room for it now.
    ///
    /// # Errors
    /// When the manager is gone.
    pub fn send(&self, text: &str) -> io::Result<bool> {
        match self.0.send(text.as_bytes()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}
