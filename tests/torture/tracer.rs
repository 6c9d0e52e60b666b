//! Another time of day for the daemon alone: whatever CLOCK_REALTIME it asks the kernel for is shifted, as somebody
//! would who sets the clock, and the clock of this machine is left alone.
//!
//! The daemon is traced (ptrace(2)) from before its program is executed. At that moment the kernel's own code is taken
//! out of what it is told (`AT_SYSINFO_EHDR`), so that it has to ask by system calls, whose answers can be changed.
//! What cannot be shown so is what the kernel does with timers on CLOCK_REALTIME when the clock is set; so those that
//! are made are noted instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What the daemon is told, and what it asked for.
#[derive(Default)]
pub struct Clock {
    /// Seconds that are added to the time of day.
    pub shift: AtomicI64,
    /// Answers that were changed.
    pub changed: AtomicU64,
    /// Timers on a clock that does not care for the time of day.
    pub steady_timers: AtomicU64,
    /// Timers and sleeps on CLOCK_REALTIME.
    pub wall_timers: AtomicU64,
}

/// Follows a process until it ends.
pub struct Tracer {
    /// What it is told.
    pub clock: Arc<Clock>,
    thread: JoinHandle<()>,
}

impl Tracer {
    /// Takes hold of a process that is going to execute the program.
    pub fn of(pid: i32) -> Tracer {
        let clock = Arc::new(Clock::default());
        let (tell, told) = mpsc::channel();
        let own = Arc::clone(&clock);
        // Only the thread that took hold of it may do all the rest.
        let thread = std::thread::spawn(move || {
            let pid = Pid::from_raw(pid);
            let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC;
            ptrace::seize(pid, options).unwrap();
            tell.send(()).unwrap();
            follow(pid, &own);
        });
        told.recv().unwrap();
        Tracer { clock, thread }
    }

    /// Waits for the end of the process.
    pub fn join(self) {
        self.thread.join().unwrap();
    }
}

fn follow(pid: Pid, clock: &Clock) {
    let mut executed = false;
    let mut asked = None;
    loop {
        let Ok(status) = waitpid(pid, Some(WaitPidFlag::__WALL)) else {
            return;
        };
        let mut signal: Option<Signal> = None;
        match status {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return,
            WaitStatus::PtraceEvent(_, _, event) if event == libc::PTRACE_EVENT_EXEC => {
                hide_kernel_code(pid);
                executed = true;
                // What is seen next is the end of execve(2).
                asked = Some(Call::Other);
            }
            WaitStatus::PtraceSyscall(_) => asked = on_call(pid, asked.take(), clock),
            WaitStatus::Stopped(_, which) => signal = Some(which),
            _ => {}
        }
        let gone_on = match executed {
            true => ptrace::syscall(pid, signal),
            false => ptrace::cont(pid, signal),
        };
        if gone_on == Err(Errno::ESRCH) {
            continue;
        }
        gone_on.unwrap();
    }
}

/// A call begins, or with `asked` ends: where it wants the time of day written.
fn on_call(pid: Pid, asked: Option<Call>, clock: &Clock) -> Option<Call> {
    let registers = ptrace::getregs(pid).ok()?;
    if let Some(call) = asked {
        if let Call::TimeOfDay(place) = call
            && registers.rax == 0
        {
            let seconds = ptrace::read(pid, place as ptrace::AddressType).unwrap();
            let shifted = seconds + clock.shift.load(Ordering::Relaxed);
            ptrace::write(pid, place as ptrace::AddressType, shifted).unwrap();
            clock.changed.fetch_add(1, Ordering::Relaxed);
        }
        return None;
    }
    let clock_id = i32::try_from(registers.rdi).unwrap_or(-1);
    let is_wall = matches!(
        clock_id,
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_ALARM | libc::CLOCK_REALTIME_COARSE
    );
    match registers.orig_rax.cast_signed() {
        libc::SYS_clock_gettime if is_wall => return Some(Call::TimeOfDay(registers.rsi)),
        libc::SYS_gettimeofday => return Some(Call::TimeOfDay(registers.rdi)),
        libc::SYS_timerfd_create | libc::SYS_timer_create | libc::SYS_clock_nanosleep => {
            let which = match is_wall {
                true => &clock.wall_timers,
                false => &clock.steady_timers,
            };
            which.fetch_add(1, Ordering::Relaxed);
        }
        _ => {}
    }
    Some(Call::Other)
}

/// A call that has begun.
enum Call {
    TimeOfDay(u64),
    Other,
}

/// Takes the address of the kernel's code (vdso(7)) out of what a program finds on its stack when it begins:
/// the number of arguments, these and a zero, the environment and a zero, and pairs of which the last is of kind 0.
fn hide_kernel_code(pid: Pid) {
    let stack = ptrace::getregs(pid).unwrap().rsp;
    let at = |word: u64| (stack + 8 * word) as ptrace::AddressType;
    let read = |word: u64| ptrace::read(pid, at(word)).unwrap();
    let mut place = 1 + read(0).cast_unsigned() + 1;
    while read(place) != 0 {
        place += 1;
    }
    place += 1;
    loop {
        match read(place).cast_unsigned() {
            libc::AT_NULL => return,
            libc::AT_SYSINFO_EHDR => {
                ptrace::write(pid, at(place), libc::AT_IGNORE.cast_signed()).unwrap();
            }
            _ => {}
        }
        place += 2;
    }
}
