//! Who asks, and what that client may do.

/// A client, as its transport knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A process at the other end of a Unix socket (SO_PEERCRED).
    Peer {
        /// Its user id.
        uid: u32,
        /// It is root's, or the daemon's own user's.
        is_trusted: bool,
    },
}

/// What a verb demands of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: each client that can connect may ask.
    Anyone,
    /// The right to read output, which holds what services were trusted with.
    Logs,
    /// The right to change what runs.
    Change,
}

/// A client lacks the right that a verb demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The client.
    pub caller: Caller,
    /// What it lacks.
    pub access: Access,
}

impl Caller {
    /// Whether the client has this right.
    pub fn may(self, access: Access) -> bool {
        match (access, self) {
            (Access::Anyone, _) => true,
            (Access::Logs | Access::Change, Caller::Peer { is_trusted, .. }) => is_trusted,
        }
    }

    /// # Errors
    /// Where the client lacks this right.
    pub fn check(self, access: Access) -> Result<(), Denied> {
        let caller = self;
        match self.may(access) {
            true => Ok(()),
            false => Err(Denied { caller, access }),
        }
    }
}
