//! What a user may do to a file, by the file's mode.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use nix::unistd::geteuid;

use crate::config::model::User;

/// The bits of one class in a file's mode.
pub(super) const READ: u32 = 0o4;
pub(super) const WRITE: u32 = 0o2;
pub(super) const EXECUTE: u32 = 0o1;

/// A user on whose behalf a file is used.
#[derive(Clone, Debug)]
pub struct Rights {
    pub(super) uid: u32,
    groups: Vec<u32>,
}

impl Rights {
    /// Those of this user; None is the daemon's own.
    pub fn of(user: Option<&User>) -> Rights {
        match user {
            Some(user) => Rights {
                uid: user.uid,
                groups: [&[user.gid], user.groups.as_slice()].concat(),
            },
            None if geteuid().is_root() => Rights {
                uid: 0,
                groups: Vec::new(),
            },
            None => {
                let groups = nix::unistd::getgroups().unwrap_or_default();
                let own = [nix::unistd::getegid()];
                Rights {
                    uid: geteuid().as_raw(),
                    groups: own.iter().chain(&groups).map(|gid| gid.as_raw()).collect(),
                }
            }
        }
    }

    /// Whether they are the daemon's: the kernel judges.
    pub fn are_own(&self) -> bool {
        self.uid == geteuid().as_raw()
    }

    /// Whether it is the same user; the groups need not be the same.
    pub fn same_user(&self, other: &Rights) -> bool {
        self.uid == other.uid
    }

    /// Whether the mode lets this user execute a file.
    pub fn may_execute(&self, file: &Metadata) -> bool {
        match self.uid {
            0 => file.mode() & 0o111 != 0,
            _ => self.bits(file) & EXECUTE != 0,
        }
    }

    /// Whether the mode gives this user one of the accesses above.
    pub(super) fn may(&self, access: u32, file: &Metadata) -> bool {
        self.uid == 0 || self.are_own() || self.bits(file) & access != 0
    }

    /// The class that the kernel takes: one alone, the first that fits.
    fn bits(&self, file: &Metadata) -> u32 {
        let shift = match self.uid {
            uid if uid == file.uid() => 6,
            _ if self.groups.contains(&file.gid()) => 3,
            _ => 0,
        };
        file.mode() >> shift & 0o7
    }
}
