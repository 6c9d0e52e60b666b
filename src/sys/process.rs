//! Where a process comes from: its parents, its group and its session (getsid(2), proc_pid_status(5)).
//!
//! A process id is a number that the kernel assigns again as soon as nothing holds it. A child that has not
//! been reaped holds its own number for its parent; the members of a group or session hold that number. The
//! functions here name which process has to be held by the caller, and believe nothing else.

use std::ffi::OsStr;

use nix::unistd;

use crate::base::Pid;

/// The longest line of parents that is followed.
const MAX_ANCESTORS: usize = 32;

/// A line of parents that changes while it is read is read again this often.
const LOOKS: usize = 3;

/// How one process is related to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kin {
    /// It is that process, in its session, or descended from it.
    Own,
    /// It descends from this process by another child of this process.
    Adopted {
        /// That child.
        by_way_of: Pid,
        /// The session that the process itself is in.
        session: Pid,
    },
    /// It comes from elsewhere, or from where cannot be seen.
    Other,
    /// There is no such process any more.
    Gone,
}

/// How `pid` is related to `to`, which the caller holds: a child that has not been reaped, or a process
/// that is known to run after the call too. The session of this process proves nothing.
pub fn kin(pid: Pid, to: Pid) -> Kin {
    let Some(session) = session(pid) else {
        return Kin::Gone;
    };
    if pid == to || (is_session_of(session, to) && Some(session) != self::session(own())) {
        return Kin::Own;
    }
    for _ in 0..LOOKS {
        let line = lineage(pid, to);
        // A parent that ends is replaced by one that adopts, never by a process that is younger than the
        // child. So a number that is found twice was held by the same process in between.
        if line == lineage(pid, to) {
            return match line.as_slice() {
                [.., last] if *last == to => Kin::Own,
                [.., top, last] if *last == own() => Kin::Adopted {
                    by_way_of: *top,
                    session,
                },
                _ => Kin::Other,
            };
        }
    }
    Kin::Other
}

fn is_session_of(number: Pid, process: Pid) -> bool {
    session(process) == Some(number)
}

/// A process and its parents, as far as `to`, this process, or what can be seen.
fn lineage(pid: Pid, to: Pid) -> Vec<Pid> {
    let mut line = vec![pid];
    let mut at = pid;
    while at != to && at != own() && line.len() < MAX_ANCESTORS {
        match Status::of(at) {
            Some(status) if status.parent.0 > 0 => at = status.parent,
            _ => break,
        }
        line.push(at);
    }
    line
}

/// This process.
pub fn own() -> Pid {
    Pid(unistd::getpid().as_raw())
}

/// The session that a process is in; None when the process is gone. A zombie still has one.
pub fn session(pid: Pid) -> Option<Pid> {
    let session = unistd::getsid(Some(unistd::Pid::from_raw(pid.0))).ok()?;
    Some(Pid(session.as_raw()))
}

/// The process group that a process is in; None when the process is gone. A zombie still has one.
pub fn group(pid: Pid) -> Option<Pid> {
    let group = unistd::getpgid(Some(unistd::Pid::from_raw(pid.0))).ok()?;
    Some(Pid(group.as_raw()))
}

/// Every process that /proc shows.
pub fn all() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| number(&entry.file_name()).map(Pid))
}

fn number(name: &OsStr) -> Option<i32> {
    name.to_str()?.parse().ok()
}

/// A part of /proc/PID/status, which the kernel writes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The parent; 0 where that is in another PID namespace.
    pub parent: Pid,
    /// It waits in the kernel, where no signal reaches it (state D).
    pub waits: bool,
}

impl Status {
    /// None for a process that is gone, or not to be seen.
    pub fn of(pid: Pid) -> Option<Status> {
        let text = std::fs::read(format!("/proc/{}/status", pid.0)).ok()?;
        let state = field(&text, b"State:")?;
        Some(Status {
            parent: Pid(parent_in(&text)?),
            waits: state.starts_with('D'),
        })
    }
}

/// The parent in a /proc/PID/status that may be cut. In the name, which is before it, the kernel escapes ends of lines.
pub fn parent_in(status: &[u8]) -> Option<i32> {
    field(status, b"PPid:")?.parse().ok()
}

/// What stands behind a name at the start of a whole line.
fn field<'s>(status: &'s [u8], name: &[u8]) -> Option<&'s str> {
    let mut lines = status.split_inclusive(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_suffix(b"\n"))?;
    str::from_utf8(value).ok().map(str::trim)
}

/// A part of /proc/PID/stat. Newer kernels let a reader wait while that process executes a program, which its user can
/// draw out: so it is only for what nothing else shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Ended and not reaped, or about to go.
    pub is_dead: bool,
    /// When it started, in clock ticks since the machine did.
    pub started: u64,
}

impl Stat {
    /// None for a process that is gone, or not to be seen.
    pub fn of(pid: Pid) -> Option<Stat> {
        Stat::parse(&std::fs::read(format!("/proc/{}/stat", pid.0)).ok()?)
    }

    fn parse(stat: &[u8]) -> Option<Stat> {
        let mut fields = fields(stat)?;
        let state = fields.next()?;
        Some(Stat {
            is_dead: matches!(state, "Z" | "X" | "x"),
            started: fields.nth(18)?.parse().ok()?,
        })
    }
}

/// The fields from the third on. The second one, a name in brackets, may hold anything, brackets and
/// spaces too; no later one does.
fn fields(stat: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    Some(rest.split_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::process::{Child, Command};

    use super::*;

    #[test]
    fn the_fields_are_found_whatever_the_name_is() {
        let line = b"42 (a) b (c)) Z 7 42 6 0 -1 4194304 90 0 0 0 11 22 100 200 20 0 1 0 55 0 0";
        let stat = Stat {
            is_dead: true,
            started: 55,
        };
        assert_eq!(Stat::parse(line), Some(stat));
        for broken in ["", "42", "42 (a", "42 (a) S", "42 (a) S x 42 6 0"] {
            assert_eq!(Stat::parse(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn the_parent_is_found_whatever_the_name_is() {
        let status = "Name:\tPPid:\t1\\nPPid:\t2\nUmask:\t0022\nState:\tS (sleeping)\nPPid:\t7\nTracerPid:\t0\n";
        assert_eq!(parent_in(status.as_bytes()), Some(7));
        for broken in ["", "Name:\ta\n", "PPid:\t7", "PPid:\n", "PPid:\tx\n"] {
            assert_eq!(parent_in(broken.as_bytes()), None, "{broken:?}");
        }
    }

    fn sleeper(before: &[&str]) -> Child {
        let words = [before, &["sleep", "60"]].concat();
        Command::new(words[0]).args(&words[1..]).spawn().unwrap()
    }

    fn until_leader(pid: Pid) {
        while session(pid) != Some(pid) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_comes_from_where() {
        let (mut child, mut other) = (sleeper(&["env"]), sleeper(&["setsid"]));
        let pid = |child: &Child| Pid(i32::try_from(child.id()).unwrap());
        let (one, two) = (pid(&child), pid(&other));
        assert_eq!(kin(one, one), Kin::Own);
        assert_eq!(kin(one, own()), Kin::Own, "a child");
        let adopted = |pid, session| Kin::Adopted {
            by_way_of: pid,
            session,
        };
        until_leader(two);
        assert_eq!(kin(two, one), adopted(two, two), "another child");
        assert_eq!(kin(own(), one), Kin::Other, "a parent");
        // It is in the session of this process, which proves nothing.
        assert_eq!(kin(one, two), adopted(one, session(own()).unwrap()));
        child.kill().unwrap();
        assert_eq!(kin(one, own()), Kin::Own, "a zombie");
        child.wait().unwrap();
        assert_eq!(kin(one, own()), Kin::Gone);
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
