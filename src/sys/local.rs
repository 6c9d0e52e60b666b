//! Whether what a descriptor leads to can be used without waiting for anything but this machine's disks (fstatfs(2)).

use std::os::fd::AsFd;

use nix::sys::statfs::fstatfs;

/// File systems that ask no server, by their magic numbers (linux/magic.h).
const LOCAL: [u32; 19] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0xf2f5_2010, // f2fs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
    0x3153_464a, // jfs
    0x5265_4973, // reiserfs
    0x3434,      // nilfs
    0x4d44,      // vfat
    0x2011_bab0, // exfat
    0x7366_746e, // ntfs3
    0x2405_1905, // ubifs
    0x72b6,      // jffs2
    0x1cd1,      // devpts
    0x5049_5045, // pipes
];

/// Whether its file system is one that asks no server. The question itself may go to a server and never be answered,
/// so it is for children ([`super::aside`]), or for what the daemon's start waits for anyway.
pub fn is_local(file: impl AsFd) -> bool {
    let kind = fstatfs(file).map(|system| system.filesystem_type().0);
    // The kernel's number has 32 bits; the type's width differs.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    kind.is_ok_and(|kind| LOCAL.contains(&(kind as u32)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn devices_are_local_and_what_the_kernel_makes_up_is_not() {
        assert!(is_local(std::fs::File::open("/dev/null").unwrap()));
        assert!(!is_local(std::fs::File::open("/proc/version").unwrap()));
    }
}
