//! The least that any supervisor could do: a loop of posix_spawn(3), a wait for SIGCHLD or SIGTERM, a loop of
//! kill(2) and wait(2). Run by this program itself, as a process of its own.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// `floor COUNT SERVICE plain|terminals`.
pub fn run(arguments: &[String]) -> ExitCode {
    let count: usize = arguments[0].parse().unwrap();
    let program = CString::new(arguments[1].as_str()).unwrap();
    let with_terminals = arguments[2] == "terminals";
    let mut watched = SigSet::empty();
    watched.add(Signal::SIGCHLD);
    watched.add(Signal::SIGTERM);
    watched.thread_block().unwrap();
    let terminals: Vec<Option<Terminal>> = (0..count)
        .map(|_| with_terminals.then(Terminal::open))
        .collect();
    let environment: Vec<CString> = std::env::vars()
        .map(|(name, value)| CString::new(format!("{name}={value}")).unwrap())
        .collect();
    let start = |index: usize| spawn(&program, &environment, terminals[index].as_ref());
    let mut alive: BTreeMap<Pid, usize> = (0..count).map(|index| (start(index), index)).collect();
    while watched.wait().unwrap() != Signal::SIGTERM {
        while let Ok(WaitStatus::Signaled(pid, ..) | WaitStatus::Exited(pid, _)) =
            waitpid(None, Some(WaitPidFlag::WNOHANG))
        {
            if let Some(index) = alive.remove(&pid) {
                alive.insert(start(index), index);
            }
        }
    }
    for pid in alive.keys() {
        kill(*pid, Signal::SIGTERM).unwrap();
    }
    for _ in 0..alive.len() {
        waitpid(None, None).unwrap();
    }
    ExitCode::SUCCESS
}

struct Terminal {
    _master: OwnedFd,
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
            _master: master.into(),
            name: CString::new(name).unwrap(),
        }
    }
}

/// In a session of its own, whose terminal is the one that is opened first.
fn spawn(program: &CString, environment: &[CString], terminal: Option<&Terminal>) -> Pid {
    let mut attributes = PosixSpawnAttr::init().unwrap();
    let flags = nix::libc::POSIX_SPAWN_SETSID | nix::libc::POSIX_SPAWN_SETSIGMASK as i16;
    attributes
        .set_flags(PosixSpawnFlags::from_bits_retain(flags.into()))
        .unwrap();
    attributes.set_sigmask(&SigSet::empty()).unwrap();
    let mut actions = PosixSpawnFileActions::init().unwrap();
    if let Some(terminal) = terminal {
        actions
            .add_open(0, terminal.name.as_c_str(), OFlag::O_RDWR, Mode::empty())
            .unwrap();
        actions.add_dup2(0, 1).unwrap();
        actions.add_dup2(0, 2).unwrap();
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
