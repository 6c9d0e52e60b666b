//! The quick way to a program that needs nothing looked up: the child shares the daemon's memory until it executes the
//! program (CLONE_VM), and the daemon goes on meanwhile. Nothing is copied, and nothing is waited for.
//!
//! That is only for a child that stays what the daemon is. No other user can signal or trace it, so that no other user
//! reaches the daemon's memory through it; a program that runs as another user takes the long way. Since both run at
//! the same time, the child makes system calls and nothing else: no allocation, no lock, no library function, and not
//! even errno, which both would write. What it reads is [`Ground`], which nobody changes while it is on its way.
//!
//! It says no more than that it failed. Then the long way is taken, which finds out why.

use std::cell::RefCell;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::rc::Rc;

use super::{Handed, Program, Report, Session, Started, Stdio, kernel_limits};
use crate::base::Pid;
use crate::sys::pipe;
use crate::sys::signals::{self, KernelAction, SET_BYTES};
use crate::sys::syscall::{self, call};

/// The child's stack, in bytes. It calls a handful of functions that hold next to nothing.
const STACK_BYTES: usize = 32 * 1024;

/// The pages of a stack (mmap(2)): in the heap they would leave holes.
#[derive(Debug)]
struct Pages(ptr::NonNull<libc::c_void>);

impl Pages {
    fn new() -> io::Result<Pages> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: new pages at a place of the kernel's choice.
        let place = unsafe { libc::mmap(ptr::null_mut(), STACK_BYTES, access, kind, -1, 0) };
        match ptr::NonNull::new(place) {
            Some(place) if place.as_ptr() != libc::MAP_FAILED => Ok(Pages(place)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the pages are this object's own, and no child is on them.
        unsafe { libc::munmap(self.0.as_ptr(), STACK_BYTES) };
    }
}

/// Stacks that children have left, for the next ones: while many are started, one by one is mapped, touched and unmapped
/// otherwise, which costs a tenth of all that the daemon does for a start. As many as were in use at a time.
#[derive(Clone, Debug, Default)]
pub struct Stacks(Rc<RefCell<Vec<Pages>>>);

impl Stacks {
    fn take(&self) -> io::Result<Stack> {
        let left = self.0.borrow_mut().pop();
        Ok(Stack {
            pages: Some(left.map_or_else(Pages::new, Ok)?),
            stacks: self.clone(),
        })
    }

    /// Unmaps those that are not in use but one, for the next restart: it holds a page.
    pub fn give_back(&self) {
        let mut left = self.0.borrow_mut();
        left.truncate(1);
        left.shrink_to_fit();
    }
}

/// One that a child is on. Dropped, when the child has left it, it goes back to the others.
#[derive(Debug)]
struct Stack {
    pages: Option<Pages>,
    stacks: Stacks,
}

impl Stack {
    /// Where it begins: it grows downwards.
    fn top(&self) -> *mut libc::c_void {
        let start = self.pages.as_ref().map(|pages| pages.0.as_ptr());
        // SAFETY: one past the end of the pages.
        start.map_or(ptr::null_mut(), |start| unsafe {
            start.byte_add(STACK_BYTES)
        })
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.stacks.0.borrow_mut().extend(self.pages.take());
    }
}

/// [`super::Line::Retry`], as it is written.
const RETRY: &[u8] = b"\"retry\"\n";

const DEFAULT_ACTION: KernelAction = [libc::SIG_DFL; 4];

/// Whether this way is known here. valgrind knows no such clone(2).
pub const IS_KNOWN: bool = syscall::IS_KNOWN && !cfg!(valgrind);

/// What a child reads. It stays where it is, and as it is, until the child's report is over.
#[derive(Debug)]
pub struct Ground {
    /// Holds what the pointers lead to.
    program: Program,
    /// Where the program may be, in this order; never empty.
    _paths: Vec<CString>,
    path_pointers: Vec<*const libc::c_char>,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    limits: Vec<(libc::c_int, libc::rlimit64)>,
    signals: signals::Start,
    handed: Handed,
    report: RawFd,
    daemon: libc::pid_t,
    stack: Stack,
}

/// Starts a child for a program that is at one of these paths, absolute ones or seen from the program's directory; the
/// program's own path is not used.
///
/// # Errors
/// When no process, memory or descriptor is left, or the kernel has no such clone(2): the long way may still do.
pub fn start(
    handed: &Handed,
    program: Program,
    paths: Vec<CString>,
    stacks: &Stacks,
) -> io::Result<Started> {
    let needs_more = program.ids.is_some() || program.oom_score_adj.is_some();
    if !IS_KNOWN || needs_more || program.text.is_some() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let (ours, theirs) = pipe::pipe()?;
    let theirs = match handed.ready_fd {
        // The child does not have to move it then.
        Some((_, to)) if theirs.as_raw_fd() == to => theirs.try_clone()?,
        _ => theirs,
    };
    let ground = Box::new(Ground::new(
        handed,
        program,
        paths,
        &theirs,
        stacks.take()?,
    )?);
    let flags = libc::CLONE_VM | libc::SIGCHLD;
    // SAFETY: the child runs on a stack of its own, aligned to 16 bytes, and reads the ground, which is boxed and kept
    // in the report until that is over: by then the child has left this memory.
    let pid = unsafe {
        let argument = ptr::from_ref::<Ground>(&ground).cast_mut().cast();
        libc::clone(run, ground.stack.top(), flags, argument)
    };
    match pid {
        0.. => Ok(Started {
            pid: Pid(pid),
            report: Report::on(ours, ground),
        }),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Ground {
    fn new(
        handed: &Handed,
        program: Program,
        paths: Vec<CString>,
        report: &OwnedFd,
        stack: Stack,
    ) -> io::Result<Ground> {
        Ok(Ground {
            path_pointers: paths.iter().map(|path| path.as_ptr()).collect(),
            _paths: paths,
            argv: super::pointers(&program.argv),
            envp: super::pointers(&program.envp),
            limits: kernel_limits(&program),
            signals: match handed.session {
                Session::New => signals::Start::by_default(),
                Session::Group { .. } => return Err(io::ErrorKind::Unsupported.into()),
            },
            handed: *handed,
            report: report.as_raw_fd(),
            daemon: std::process::id().cast_signed(),
            stack,
            program,
        })
    }
}

extern "C" fn run(ground: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the ground outlives the child, and is only read; only system calls are made.
    unsafe {
        let ground = &*ground.cast::<Ground>();
        execute(ground);
        let (text, length) = (RETRY.as_ptr().addr(), RETRY.len());
        call(libc::SYS_write, [word(ground.report), text, length, 0, 0]);
        call(libc::SYS_exit_group, [127, 0, 0, 0, 0]);
    }
    127
}

/// Returns only when that failed.
///
/// # Safety
/// In the child only, as everything below: system calls on numbers and on what the ground holds.
unsafe fn execute(ground: &Ground) {
    // SAFETY: as above.
    unsafe {
        let steps: [Step; 8] = [
            begin_session,
            set_stdio,
            set_ready_fd,
            close_others,
            tie_to_daemon,
            set_priority,
            set_limits,
            set_no_new_privs,
        ];
        for step in steps {
            if step(ground) < 0 {
                return;
            }
        }
        // From here on the child can be signalled as its program can, and may take any time.
        set_signals(&ground.signals);
        if let Some(folder) = &ground.program.cwd
            && call(libc::SYS_chdir, [folder.as_ptr().addr(), 0, 0, 0, 0]) < 0
        {
            return;
        }
        let (argv, envp) = (ground.argv.as_ptr().addr(), ground.envp.as_ptr().addr());
        for path in &ground.path_pointers {
            let error = call(libc::SYS_execve, [path.addr(), argv, envp, 0, 0]);
            // A shell goes on to the next folder as well, unless it is the file's interpreter that is missing.
            let is_missing = error == -(libc::ENOENT as isize) && !is_there(path.addr());
            if !is_missing && error != -(libc::ENOTDIR as isize) {
                return;
            }
        }
    }
}

unsafe fn is_there(path: usize) -> bool {
    let (folder, exists) = (libc::AT_FDCWD as usize, libc::F_OK as usize);
    // SAFETY: see `execute`.
    unsafe { call(libc::SYS_faccessat, [folder, path, exists, 0, 0]) == 0 }
}

/// A step of the child: below 0 it failed.
type Step = unsafe fn(&Ground) -> isize;

unsafe fn begin_session(_: &Ground) -> isize {
    // SAFETY: see `execute`.
    unsafe { call(libc::SYS_setsid, [0; 5]) }
}

unsafe fn set_stdio(ground: &Ground) -> isize {
    // SAFETY: see `execute`. The daemon's standard descriptors are open, so that none of these is one.
    unsafe {
        match ground.handed.stdio {
            Stdio::Inherit => 0,
            Stdio::Terminal { terminal, reads } => {
                let request = [word(terminal), libc::TIOCSCTTY as usize, 0, 0, 0];
                if call(libc::SYS_ioctl, request) < 0 {
                    return -1;
                }
                let input = match reads {
                    true => duplicate(terminal, 0),
                    false => read_nothing(),
                };
                input
                    .min(duplicate(terminal, 1))
                    .min(duplicate(terminal, 2))
            }
            Stdio::Pipes { out, err } => {
                read_nothing().min(duplicate(out, 1)).min(duplicate(err, 2))
            }
        }
    }
}

/// Without a /dev/null the long way has more to offer.
unsafe fn read_nothing() -> isize {
    let (folder, path) = (libc::AT_FDCWD as usize, c"/dev/null".as_ptr().addr());
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    // SAFETY: see `execute`.
    unsafe {
        let null = call(libc::SYS_openat, [folder, path, flags, 0, 0]);
        if null < 0 {
            return null;
        }
        duplicate(null as RawFd, 0)
    }
}

unsafe fn duplicate(from: RawFd, to: RawFd) -> isize {
    // SAFETY: see `execute`.
    unsafe { call(libc::SYS_dup3, [word(from), word(to), 0, 0, 0]) }
}

unsafe fn set_ready_fd(ground: &Ground) -> isize {
    // SAFETY: see `execute`.
    unsafe {
        match ground.handed.ready_fd {
            None => 0,
            Some((from, to)) if from == to => {
                let request = [word(to), libc::F_SETFD as usize, 0, 0, 0];
                call(libc::SYS_fcntl, request)
            }
            Some((from, to)) => duplicate(from, to),
        }
    }
}

/// What is left open would keep others waiting for its end, if this child is long on its way.
unsafe fn close_others(ground: &Ground) -> isize {
    let ready = ground.handed.ready_fd.map_or(ground.report, |(_, to)| to);
    let (low, high) = match ready < ground.report {
        true => (word(ready), word(ground.report)),
        false => (word(ground.report), word(ready)),
    };
    // SAFETY: see `execute`.
    unsafe {
        close_range(3, low.wrapping_sub(1))
            .min(close_range(low.wrapping_add(1), high.wrapping_sub(1)))
            .min(close_range(high.wrapping_add(1), u32::MAX as usize))
    }
}

unsafe fn close_range(first: usize, last: usize) -> isize {
    match first > last {
        true => 0,
        // SAFETY: see `execute`.
        false => unsafe { call(libc::SYS_close_range, [first, last, 0, 0, 0]) },
    }
}

unsafe fn tie_to_daemon(ground: &Ground) -> isize {
    if ground.daemon == 1 {
        return 0;
    }
    let (option, kill) = (libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize);
    // SAFETY: see `execute`.
    unsafe {
        call(libc::SYS_prctl, [option, kill, 0, 0, 0]);
        match call(libc::SYS_getppid, [0; 5]) == ground.daemon as isize {
            true => 0,
            false => -1,
        }
    }
}

unsafe fn set_priority(ground: &Ground) -> isize {
    // SAFETY: see `execute`.
    unsafe {
        if let Some(mask) = ground.program.umask {
            call(libc::SYS_umask, [mask as usize, 0, 0, 0, 0]);
        }
        let Some(nice) = ground.program.nice else {
            return 0;
        };
        let request = [libc::PRIO_PROCESS as usize, 0, word(nice), 0, 0];
        call(libc::SYS_setpriority, request)
    }
}

unsafe fn set_limits(ground: &Ground) -> isize {
    for (resource, limit) in &ground.limits {
        let limit = ptr::from_ref(limit).addr();
        // SAFETY: see `execute`.
        let result = unsafe { call(libc::SYS_prlimit64, [0, word(*resource), limit, 0, 0]) };
        if result < 0 {
            return result;
        }
    }
    0
}

unsafe fn set_no_new_privs(ground: &Ground) -> isize {
    let option = libc::PR_SET_NO_NEW_PRIVS as usize;
    match ground.program.no_new_privs {
        // SAFETY: see `execute`.
        true => unsafe { call(libc::SYS_prctl, [option, 1, 0, 0, 0]) },
        false => 0,
    }
}

unsafe fn set_signals(start: &signals::Start) {
    let action = DEFAULT_ACTION.as_ptr().addr();
    // SAFETY: see `execute`. Dispositions are the child's own (no CLONE_SIGHAND).
    unsafe {
        for number in 1..=64 {
            if start.to_default.contains(number) {
                let request = [word(number), action, 0, SET_BYTES, 0];
                call(libc::SYS_rt_sigaction, request);
            }
        }
        let (how, set) = (libc::SIG_SETMASK as usize, start.blocked.as_ptr().addr());
        call(libc::SYS_rt_sigprocmask, [how, set, 0, SET_BYTES, 0]);
    }
}

/// As the kernel takes a number that may be below 0.
fn word(number: i32) -> usize {
    number as isize as usize
}
