//! The change of user in the child: groups, ids, and the capabilities that go with them.
//!
//! The child has a copy of the daemon's memory, in which secrets may be. A change of user makes a process traceable for
//! that user where fs.suid_dumpable is 1 (proc(5)), until it executes its program. So the child keeps its capabilities
//! over the change, which a tracer without them may not trace, forbids tracing, and drops them then.
//!
//! The system calls themselves are made: the library's functions are for processes with several threads.

use std::ptr;

use super::Ids;
use super::errno;

// Where ids once had 16 bits, the plain names still are the calls for those, to which 65535 is -1.
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
use libc::{
    SYS_getresgid as GETRESGID, SYS_getresuid as GETRESUID, SYS_setgroups as SETGROUPS,
    SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID,
};
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
use libc::{
    SYS_getresgid32 as GETRESGID, SYS_getresuid32 as GETRESUID, SYS_setgroups32 as SETGROUPS,
    SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID,
};

/// Version 3 of the interface of capget(2): two words, then two sets of effective, permitted, inheritable.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// The calling thread's capabilities, in the kernel's layout.
type Capabilities = [u32; 6];

/// The places of the effective set in it.
const EFFECTIVE: [usize; 2] = [0, 3];

/// The places of the inheritable set in it.
const INHERITABLE: [usize; 2] = [2, 5];

/// Becomes the user, and has afterwards what a process of that user has: no capability that the daemon holds
/// beyond it. With the daemon's own ids nothing changes. Below 0, errno says why it failed.
///
/// # Safety
/// To be called in the child only.
pub(super) unsafe fn become_user(ids: &Ids) -> i64 {
    // To these calls it means "leave as it is".
    if ids.uid == u32::MAX || ids.gid == u32::MAX {
        return fail(libc::EINVAL);
    }
    // SAFETY: system calls on numbers and on a list of groups that the caller holds.
    unsafe {
        let keeps_ids = is_already(ids);
        if !keeps_ids {
            control(libc::PR_SET_DUMPABLE, ZERO);
            control(libc::PR_SET_KEEPCAPS, ONE);
        }
        // Who may not set groups may stay who it is, with the groups it has. Another user with the
        // daemon's groups would be no drop of privilege.
        let groups = libc::syscall(SETGROUPS, ids.groups.len(), ids.groups.as_ptr());
        if groups < 0 && !(errno() == libc::EPERM && keeps_ids) {
            return groups;
        }
        let gid = libc::syscall(SETRESGID, ids.gid, ids.gid, ids.gid);
        if gid < 0 {
            return gid;
        }
        let uid = libc::syscall(SETRESUID, ids.uid, ids.uid, ids.uid);
        if uid < 0 {
            return uid;
        }
        // Whatever the calls answered: nothing is executed under ids that were not asked for.
        if !is_already(ids) {
            return fail(libc::EPERM);
        }
        if keeps_ids {
            return 0;
        }
        // The change has set it to fs.suid_dumpable; the execution sets it anew.
        control(libc::PR_SET_DUMPABLE, ZERO);
        drop_capabilities(ids.uid)
    }
}

const ZERO: libc::c_ulong = 0;
const ONE: libc::c_ulong = 1;

/// One of prctl(2)'s calls with one argument. What it is for does without where a filter forbids it.
unsafe fn control(option: libc::c_int, argument: libc::c_ulong) {
    // SAFETY: a system call on numbers.
    unsafe { libc::syscall(libc::SYS_prctl, option, argument, ZERO, ZERO, ZERO) };
}

fn fail(number: i32) -> i64 {
    // SAFETY: the place exists as long as the thread does.
    unsafe { *libc::__errno_location() = number };
    -1
}

/// Whether real, effective and saved ids are all these. Keeps errno: these calls cannot fail.
unsafe fn is_already(ids: &Ids) -> bool {
    let (mut uids, mut gids) = ([u32::MAX; 3], [u32::MAX; 3]);
    let [real, effective, saved] = &mut uids;
    // SAFETY: the kernel writes three numbers each.
    unsafe {
        libc::syscall(
            GETRESUID,
            &raw mut *real,
            &raw mut *effective,
            &raw mut *saved,
        );
        let [real, effective, saved] = &mut gids;
        libc::syscall(
            GETRESGID,
            &raw mut *real,
            &raw mut *effective,
            &raw mut *saved,
        );
    }
    uids == [ids.uid; 3] && gids == [ids.gid; 3]
}

/// A change of ids clears capabilities only on the way from root to another user, and never the inheritable ones
/// (capabilities(7)). What a daemon has that is not root, or that was started with SECBIT_NO_SETUID_FIXUP,
/// would stay: as ambient or inheritable capabilities it would even survive the execution.
unsafe fn drop_capabilities(uid: u32) -> i64 {
    let header: [u32; 2] = [CAPABILITY_VERSION, 0];
    let mut kept: Capabilities = [0; 6];
    // SAFETY: the kernel reads a header and reads or writes two sets of three words.
    unsafe {
        let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong;
        // Without an ambient set, before Linux 4.3, this fails; with one, capset(2) below clears it too.
        libc::syscall(
            libc::SYS_prctl,
            libc::PR_CAP_AMBIENT,
            clear,
            ZERO,
            ZERO,
            ZERO,
        );
        if uid == 0 {
            // Root has all that its container allows; what it passes on is for its own programs to say.
            let read = libc::syscall(libc::SYS_capget, &raw const header, &raw mut kept);
            if read < 0 {
                return read;
            }
            for place in INHERITABLE {
                kept[place] = 0;
            }
        }
        let set = libc::syscall(libc::SYS_capset, &raw const header, &raw const kept);
        if set >= 0 {
            return 0;
        }
        // A filter may forbid the call; that does no harm where there is nothing to drop.
        let why = errno();
        let mut left: Capabilities = [u32::MAX; 6];
        libc::syscall(
            libc::SYS_capget,
            ptr::from_ref(&header),
            ptr::from_mut(&mut left),
        );
        // The permitted set is kept until the execution, which gives none of it to a user that is not root.
        let is_dropped = |place: usize| left[place] == kept[place];
        let dropped = match uid {
            0 => left == kept,
            _ => EFFECTIVE.into_iter().chain(INHERITABLE).all(is_dropped),
        };
        if dropped { 0 } else { fail(why) }
    }
}
