//! The descriptors the daemon was started with.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

/// Marks everything from 3 on close-on-exec, so that nothing the daemon inherited leaks into children
/// (close_range(2); one by one on kernels before 5.11).
pub fn mark_inherited_close_on_exec() {
    // SAFETY: the call takes numbers only and closes nothing.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    } == 0;
    if done {
        return;
    }
    for fd in open_from(3) {
        // SAFETY: setting a flag on a number; one that is not open is an error that changes nothing.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Closes every descriptor but these (close_range(2); one by one on kernels before 5.9, and where a filter forbids the
/// call). For a child that runs on a copy of the daemon's memory: objects that own the others must not be used or
/// dropped any more.
pub fn close_all_but(kept: &mut [RawFd]) {
    kept.sort_unstable();
    let firsts = std::iter::once(0).chain(kept.iter().map(|fd| fd + 1));
    let lasts = kept.iter().map(|fd| fd - 1).chain([RawFd::MAX]);
    let gaps = firsts.zip(lasts).filter(|(first, last)| first <= last);
    for (first, last) in gaps {
        // SAFETY: the call takes numbers only.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
            continue;
        }
        for fd in open_from(first).filter(|fd| *fd <= last) {
            // SAFETY: as above.
            unsafe { libc::close(fd) };
        }
    }
}

/// What kind of file a descriptor leads to (`S_IFMT`), 0 where that is not known. A file system of a server is not asked:
/// a file's kind never changes (statx(2), AT_STATX_DONT_SYNC).
pub fn kind(fd: RawFd) -> libc::mode_t {
    // SAFETY: all zeroes is a valid statx.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    // SAFETY: the path is empty and ends with a zero, and the place to write to is valid.
    let done = unsafe { libc::statx(fd, c"".as_ptr(), flags, libc::STATX_TYPE, &raw mut found) };
    if done == 0 {
        return libc::mode_t::from(found.stx_mode) & libc::S_IFMT;
    }
    // Before Linux 4.11, and where a filter forbids the call.
    // SAFETY: as above.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the place to write to is valid.
    match unsafe { libc::fstat(fd, &raw mut found) } {
        0 => found.st_mode & libc::S_IFMT,
        _ => 0,
    }
}

/// The numbers that may be open.
fn open_from(first: RawFd) -> impl Iterator<Item = RawFd> {
    let listed: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
        .map(|entries| {
            entries
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .collect()
        })
        .unwrap_or_else(|_| (0..1024).collect());
    listed.into_iter().filter(move |fd| *fd >= first)
}

/// Opens /dev/null on each of 0, 1 and 2 that is closed, so that no other file takes its number.
pub fn ensure_standard_descriptors() {
    for fd in 0..=2 {
        // SAFETY: asking for the flags of a number.
        let refused = unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0;
        // Any other error is one of asking.
        let closed = || std::io::Error::last_os_error().raw_os_error() == Some(libc::EBADF);
        if refused && closed() {
            // The lowest free number is the one that is missing. It stays open for the daemon's life, and
            // in a main program that inherits it. Without a /dev, a folder takes the number: whatever is
            // written to it is refused, and nobody mistakes it for anything else.
            let null = OpenOptions::new().read(true).write(true).open("/dev/null");
            let Ok(null) = null.or_else(|_| File::open("/")) else {
                continue;
            };
            if null.as_raw_fd() > 2 {
                // None was missing.
                continue;
            }
            let null = null.into_raw_fd();
            // SAFETY: clearing a flag of a descriptor that was opened here.
            unsafe { libc::fcntl(null, libc::F_SETFD, 0) };
        }
    }
}
