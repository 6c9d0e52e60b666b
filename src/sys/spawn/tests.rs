//! Real children, and what they see of themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod failures;

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io::{PipeReader, Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid as RawPid;

use super::*;
use crate::sys::descriptors;
use crate::sys::pty::Pty;

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// A shell with a script, its output not yet anywhere.
fn shell(script: &str) -> Program {
    Program {
        path: c("/bin/sh"),
        argv: vec![c("sh"), c("-c"), c(script)],
        envp: vec![c("PATH=/usr/bin:/bin").into()],
        cwd: None,
        ids: None,
        umask: None,
        nice: None,
        oom_score_adj: None,
        limits: Vec::new(),
        no_new_privs: false,
        text: None,
    }
}

const BARE: Handed = Handed {
    stdio: Stdio::Inherit,
    session: Session::New,
    ready_fd: None,
};

fn spawn_with(handed: Handed, program: Program) -> Result<Pid, SpawnFailure> {
    start_and_wait(&handed, |_| Ok(program))
}

fn spawn(program: Program) -> Result<Pid, SpawnFailure> {
    spawn_with(BARE, program)
}

fn wait(pid: Pid) -> i32 {
    match waitpid(RawPid::from_raw(pid.0), None).unwrap() {
        WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    }
}

/// Both outputs of a program, and its exit code.
fn output_of(program: Program) -> (String, i32) {
    output_in(Session::New, program)
}

fn output_in(session: Session, program: Program) -> (String, i32) {
    let (mut reader, writer): (PipeReader, _) = std::io::pipe().unwrap();
    let fd = writer.as_raw_fd();
    let handed = Handed {
        stdio: Stdio::Pipes { out: fd, err: fd },
        session,
        ..BARE
    };
    let pid = spawn_with(handed, program).unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    (text.trim_end().to_owned(), wait(pid))
}

fn says(program: Program) -> String {
    let (text, code) = output_of(program);
    assert_eq!(code, 0, "{text}");
    text
}

/// A tester who is not root cannot become anybody else.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a start failed at this, for this reason.
fn assert_refused(started: Result<Pid, SpawnFailure>, what: &str, errno: i32) {
    let message = started.unwrap_err().message;
    let why = nix::errno::Errno::from_raw(errno).desc();
    assert!(
        message.starts_with(what) && message.contains(why),
        "{message}"
    );
}

fn stranger() -> Ids {
    Ids {
        uid: 12345,
        gid: 12346,
        groups: vec![12346, 12347],
        name: "stranger".into(),
        key: "user",
    }
}

#[test]
fn hands_over_arguments_environment_and_exit_code() {
    let mut program = shell("echo \"$0 $1 $WORD\"; env | wc -l; exit 7");
    program.argv.extend([c("zero"), c("a b")]);
    program.envp.push(c("WORD=x=y").into());
    let (text, code) = output_of(program);
    // PWD is the shell's own.
    assert_eq!((text.as_str(), code), ("zero a b x=y\n3", 7));
}

#[test]
fn sets_directory_mask_and_priority() {
    let program = Program {
        cwd: Some(c("/usr")),
        umask: Some(0o027),
        nice: Some(7),
        oom_score_adj: Some(321),
        ..shell("pwd; umask; nice; cat /proc/self/oom_score_adj")
    };
    let before = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(says(program), "/usr\n0027\n7\n321");
    // The memory was shared; the score must not have been.
    assert_eq!(
        fs::read_to_string("/proc/self/oom_score_adj").unwrap(),
        before
    );
}

#[test]
fn sets_limits() {
    let limit = |resource, soft, hard| Limit {
        resource,
        soft: Some(soft),
        hard: Some(hard),
    };
    let program = Program {
        limits: vec![
            limit(Resource::Nofile, 64, 128),
            limit(Resource::Core, 0, 0),
            limit(Resource::Cpu, 100, 200),
        ],
        ..shell("ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -St; ulimit -Ht")
    };
    assert_eq!(says(program), "64\n128\n0\n100\n200");
}

#[test]
fn becomes_another_user_in_all_ids_and_groups() {
    if !is_root() {
        return;
    }
    let program = Program {
        ids: Some(stranger()),
        no_new_privs: true,
        ..shell("grep -E '^(Uid|Gid|Groups|NoNewPrivs|CapEff):' /proc/self/status")
    };
    let text = says(program).replace([' ', '\t'], " ");
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "Uid: 12345 12345 12345 12345",
            "Gid: 12346 12346 12346 12346",
            "Groups: 12346 12347",
            "CapEff: 0000000000000000",
            "NoNewPrivs: 1",
        ]
    );
}

/// A child that changes its user clears the flag of its memory; `/proc/1/fd/1` would be closed to root without
/// CAP_SYS_PTRACE if that were the daemon's.
#[test]
fn the_daemon_stays_dumpable() {
    if !is_root() {
        return;
    }
    let ids = Some(stranger());
    says(Program {
        ids: ids.clone(),
        ..shell("true")
    });
    assert!(nix::sys::prctl::get_dumpable().unwrap());
    let failing = Program {
        ids,
        path: c("/nonexistent"),
        ..shell("true")
    };
    assert!(spawn(failing).is_err());
    assert!(nix::sys::prctl::get_dumpable().unwrap());
}

#[test]
fn another_user_can_open_its_output_again() {
    if !is_root() {
        return;
    }
    let program = Program {
        ids: Some(stranger()),
        ..shell("echo again > /proc/self/fd/1")
    };
    assert_eq!(says(program), "again");
}

/// Without the right to set groups, the daemon's own would stay: that must not pass for another user.
#[test]
fn does_not_become_another_user_with_the_old_groups() {
    if !is_root() {
        return;
    }
    // A thread's capabilities are its own; the thread ends with the test.
    let refused = std::thread::spawn(|| {
        drop_capability(CAP_SETGID);
        let program = Program {
            ids: Some(Ids {
                uid: 12345,
                gid: nix::unistd::getegid().as_raw(),
                groups: vec![0],
                ..stranger()
            }),
            ..shell("true")
        };
        let same = Program {
            ids: Some(Ids {
                uid: 0,
                gid: nix::unistd::getegid().as_raw(),
                groups: vec![0],
                ..stranger()
            }),
            ..shell("true")
        };
        let same = spawn(same).map(wait);
        (spawn(program), same)
    })
    .join()
    .unwrap();
    assert_refused(
        refused.0,
        "cannot run /bin/sh as user stranger",
        libc::EPERM,
    );
    assert_eq!(refused.1, Ok(0), "who stays the same needs no right");
}

/// To setresuid(2) it means "leave as it is": the program would run as root.
#[test]
fn the_id_that_changes_nothing_is_refused() {
    if !is_root() {
        return;
    }
    let minus_one = [
        Ids {
            uid: u32::MAX,
            ..stranger()
        },
        Ids {
            gid: u32::MAX,
            ..stranger()
        },
        Ids {
            groups: vec![u32::MAX],
            ..stranger()
        },
    ];
    for ids in minus_one {
        let program = Program {
            ids: Some(ids),
            ..shell("id")
        };
        assert_refused(
            spawn(program),
            "cannot run /bin/sh as user stranger",
            libc::EINVAL,
        );
    }
}

const CAP_SETGID: u32 = 6;

/// Takes a capability from the calling thread (capset(2)).
fn drop_capability(number: u32) {
    let mut header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [0u32; 6];
    // SAFETY: version 3 of the interface takes a header of two words and two sets of three.
    unsafe {
        let (header, data) = (header.as_mut_ptr(), data.as_mut_ptr());
        assert_eq!(libc::syscall(libc::SYS_capget, header, data), 0);
        *data &= !(1 << number);
        assert_eq!(libc::syscall(libc::SYS_capset, header, data), 0);
    }
}

#[test]
fn resets_signals() {
    let block = nix::sys::signal::SigSet::all();
    let mask = block
        .thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)
        .unwrap();
    let text = says(shell("grep -E '^Sig(Blk|Ign):' /proc/self/status"));
    mask.thread_set_mask().unwrap();
    assert_eq!(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000");
}

#[test]
fn leaves_the_daemons_mask_as_it_was() {
    let before = nix::sys::signal::SigSet::thread_get_mask().unwrap();
    says(shell("true"));
    let after = nix::sys::signal::SigSet::thread_get_mask().unwrap();
    assert_eq!(before, after);
}

#[test]
fn leaks_no_descriptor() {
    // 3 is the directory that ls itself reads.
    assert_eq!(says(shell("exec ls /proc/self/fd")), "0\n1\n2\n3");
    assert_eq!(says(shell("readlink /proc/self/fd/0")), "/dev/null");
}

#[test]
fn a_scripts_text_survives() {
    let started = start_and_wait(&BARE, |_| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"the text").unwrap();
        let script = format!(
            "test \"$(cat /proc/self/fd/{})\" = 'the text'",
            reader.as_raw_fd()
        );
        Ok(Program {
            text: Some(reader.into()),
            ..shell(&script)
        })
    });
    assert_eq!(started.map(wait), Ok(0));
}

#[test]
fn leads_a_session_with_a_terminal() {
    descriptors::mark_inherited_close_on_exec();
    let pty = Pty::open(24, 80).unwrap();
    let handed = Handed {
        stdio: Stdio::Terminal {
            terminal: pty.slave.as_raw_fd(),
            reads: true,
        },
        ..BARE
    };
    let script =
        "cut -d' ' -f1,5,6,8 /proc/$$/stat; tty > /dev/tty; ls /proc/self/fd | wc -l; sleep 0.1";
    let pid = spawn_with(handed, shell(script)).unwrap();
    let slave = fs::read_link(format!("/proc/self/fd/{}", pty.slave.as_raw_fd())).unwrap();
    drop(pty.slave);
    assert_eq!(wait(pid), 0);
    let mut text = String::new();
    // The end of a terminal is EIO.
    let _ = File::from(pty.master).read_to_string(&mut text);
    let id = pid.0;
    let expected = format!("{id} {id} {id} {id}\n{}\n4\n", slave.display());
    assert_eq!(text, expected);
}

#[test]
fn a_foreground_group_is_a_group_in_the_same_session() {
    let group = Session::Group { terminal: None };
    let (text, code) = output_in(group, shell("cut -d' ' -f1,5,6 /proc/$$/stat"));
    assert_eq!(code, 0, "{text}");
    let ids: Vec<i32> = text.split(' ').map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[2], nix::unistd::getsid(None).unwrap().as_raw());
}

/// Descriptors that have the very numbers they are to get, or each other's.
#[test]
fn standard_descriptors_may_come_from_among_themselves() {
    for stdio in [
        Stdio::Pipes { out: 1, err: 2 },
        Stdio::Pipes { out: 2, err: 1 },
        Stdio::Pipes { out: 0, err: 1 },
    ] {
        let pid = spawn_with(Handed { stdio, ..BARE }, shell("true"));
        assert_eq!(pid.map(wait), Ok(0), "{stdio:?}");
    }
}
