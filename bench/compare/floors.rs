//! The least that any supervisor could do: a loop of posix_spawn(3), a wait for SIGCHLD or SIGTERM, a loop of
//! kill(2) and wait(2). Once with nothing else, once with the pipes and once with the terminals that taking output needs. Run by this program itself, as a process of its own.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2, read};

/// `floor COUNT SERVICE plain|pipes|terminals`.
pub fn run(arguments: &[String]) -> ExitCode {
    let count: usize = arguments[0].parse().unwrap();
    let program = CString::new(arguments[1].as_str()).unwrap();
    let output: fn() -> Output = match arguments[2].as_str() {
        "terminals" => || Output::Terminal(Terminal::open()),
        "pipes" => || Output::Pipes([pipe(), pipe()]),
        _ => || Output::Own,
    };
    let mut watched = SigSet::empty();
    watched.add(Signal::SIGCHLD);
    watched.add(Signal::SIGTERM);
    watched.thread_block().unwrap();
    let environment: Vec<CString> = std::env::vars()
        .map(|(name, value)| CString::new(format!("{name}={value}")).unwrap())
        .collect();
    let start = || {
        let output = output();
        let pid = spawn(&program, &environment, &output);
        (pid, output.ours())
    };
    let mut alive: BTreeMap<Pid, Vec<OwnedFd>> = (0..count).map(|_| start()).collect();
    while watched.wait().unwrap() != Signal::SIGTERM {
        while let Ok(WaitStatus::Signaled(pid, ..) | WaitStatus::Exited(pid, _)) =
            waitpid(None, Some(WaitPidFlag::WNOHANG))
        {
            if alive.remove(&pid).is_some() {
                alive.extend([start()]);
            }
        }
    }
    for pid in alive.keys() {
        kill(*pid, Signal::SIGTERM).unwrap();
    }
    while !alive.is_empty() {
        // Whoever takes output reads it to its end.
        let ends = alive.remove(&waitpid(None, None).unwrap().pid().unwrap());
        for end in ends.iter().flatten() {
            let _ = read(end, &mut [0; 64]);
        }
    }
    ExitCode::SUCCESS
}

/// Where a service writes.
enum Output {
    /// Where this program itself does.
    Own,
    /// A pipe for standard output, and one for standard error.
    Pipes([(OwnedFd, OwnedFd); 2]),
    Terminal(Terminal),
}

impl Output {
    /// The ends to read from; the others are closed.
    fn ours(self) -> Vec<OwnedFd> {
        match self {
            Output::Own => Vec::new(),
            Output::Pipes(both) => both.into_iter().map(|(ours, _)| ours).collect(),
            Output::Terminal(terminal) => vec![terminal.master],
        }
    }
}

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap()
}

struct Terminal {
    master: OwnedFd,
    name: CString,
}

impl Terminal {
    fn open() -> Terminal {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname_r(&master).unwrap();
        let mut mode = tcgetattr(&master).unwrap();
        cfmakeraw(&mut mode);
        tcsetattr(&master, SetArg::TCSANOW, &mode).unwrap();
        Terminal {
            master: master.into(),
            name: CString::new(name).unwrap(),
        }
    }
}

/// In a session of its own, whose terminal is the one that is opened first.
fn spawn(program: &CString, environment: &[CString], output: &Output) -> Pid {
    let mut attributes = PosixSpawnAttr::init().unwrap();
    let flags = nix::libc::POSIX_SPAWN_SETSID | nix::libc::POSIX_SPAWN_SETSIGMASK as i16;
    attributes
        .set_flags(PosixSpawnFlags::from_bits_retain(flags.into()))
        .unwrap();
    attributes.set_sigmask(&SigSet::empty()).unwrap();
    let mut actions = PosixSpawnFileActions::init().unwrap();
    match output {
        Output::Own => {}
        Output::Pipes(both) => {
            for ((_, end), number) in both.iter().zip(1..) {
                actions.add_dup2(end.as_raw_fd(), number).unwrap();
            }
        }
        Output::Terminal(terminal) => {
            actions
                .add_open(0, terminal.name.as_c_str(), OFlag::O_RDWR, Mode::empty())
                .unwrap();
            actions.add_dup2(0, 1).unwrap();
            actions.add_dup2(0, 2).unwrap();
        }
    }
    let arguments = [program.clone()];
    posix_spawn(
        program.as_c_str(),
        &actions,
        &attributes,
        &arguments,
        environment,
    )
    .unwrap()
}
