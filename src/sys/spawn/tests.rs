//! Real children, and what they see of themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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

/// A file with this text and mode; its path stands beside the folder that keeps it.
fn file(text: &str, mode: u32) -> (tempfile::TempDir, CString) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("file");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    let path = c(path.to_str().unwrap());
    (folder, path)
}

fn refusal(path: &CStr) -> (String, u8) {
    let program = Program {
        path: path.to_owned(),
        ..shell("true")
    };
    let failure = spawn(program).unwrap_err();
    (failure.message, failure.exit_code)
}

#[test]
fn tells_why_a_program_cannot_be_executed() {
    let (message, code) = refusal(c"/nonexistent");
    assert_eq!(code, 127);
    assert!(
        message.starts_with("cannot execute /nonexistent: No such file or directory ("),
        "{message}"
    );
    let (_folder, path) = file("#!/nonexistent\n", 0o755);
    assert_eq!(refusal(&path).1, 127);
    let (_folder, path) = file("echo", 0o644);
    let (message, code) = refusal(&path);
    assert_eq!(code, 126);
    assert!(message.contains("Permission denied ("), "{message}");
    let (_folder, path) = file("no magic\n", 0o755);
    let (message, code) = refusal(&path);
    assert_eq!(code, 126);
    assert!(message.contains("Exec format error ("), "{message}");
    assert_eq!(refusal(c"/usr").1, 126);
}

#[test]
fn tells_which_step_failed() {
    let nowhere = Program {
        cwd: Some(c("/nonexistent")),
        ..shell("true")
    };
    assert_refused(
        spawn(nowhere),
        "cannot enter the working directory",
        libc::ENOENT,
    );
    let upside_down = Program {
        limits: vec![Limit {
            resource: Resource::Core,
            soft: Some(2),
            hard: Some(1),
        }],
        ..shell("true")
    };
    let failure = spawn(upside_down);
    assert_eq!(
        failure.as_ref().map_err(|failure| failure.exit_code),
        Err(1)
    );
    assert_refused(failure, "cannot set the limits of /bin/sh", libc::EINVAL);
    let no_terminal = Handed {
        stdio: Stdio::Terminal {
            terminal: File::open("/dev/null").unwrap().into_raw_fd(),
            reads: true,
        },
        ..BARE
    };
    let failure = spawn_with(no_terminal, shell("true"));
    assert_refused(
        failure,
        "cannot give it its terminal or pipes",
        libc::ENOTTY,
    );
    let no_program = start_and_wait(&BARE, |_| {
        Err(SpawnFailure {
            message: "there is none".into(),
            exit_code: 99,
        })
    });
    assert_eq!(no_program.map_err(|failure| failure.exit_code), Err(99));
}

/// What is entered is what the service's user may enter, not what the daemon may.
#[test]
fn enters_the_directory_as_the_other_user() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let program = Program {
        ids: Some(stranger()),
        cwd: Some(c(folder.path().to_str().unwrap())),
        ..shell("true")
    };
    assert_refused(
        spawn(program),
        "cannot enter the working directory",
        libc::EACCES,
    );
}

#[test]
fn a_failure_leaves_no_child_and_no_descriptor() {
    let open = |fd: RawFd| nix::fcntl::fcntl(fd_of(fd), nix::fcntl::FcntlArg::F_GETFD).is_ok();
    let error = spawn(Program {
        path: c("/nonexistent"),
        ..shell("true")
    });
    assert!(error.is_err());
    assert!(open(0) && open(1) && open(2));
}

fn wait_for_report(report: &mut Report) {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    while !report.look().is_over {
        let end = PollFd::new(report.as_fd(), PollFlags::POLLIN);
        poll(&mut [end], PollTimeout::NONE).unwrap();
    }
}

/// Makes the table large. Other tests close descriptors of theirs at any time.
fn fill_table(many: &mut Vec<File>) {
    while many.last().is_none_or(|file| file.as_raw_fd() < 150) {
        many.push(File::open("/dev/null").unwrap());
    }
}

#[test]
fn a_child_that_shares_the_table_leaves_the_daemons_as_it_was() {
    let (mut many, mut shared) = (Vec::new(), 0);
    let pool = quick::Pool::default();
    // More than can be on their way at a time, unless what they were lent is returned.
    for _ in 0..40 {
        many.pop();
        fill_table(&mut many);
        let (mut reader, writer): (PipeReader, _) = std::io::pipe().unwrap();
        let (fd, paths) = (writer.as_raw_fd(), vec![c("/bin/sh")]);
        let handed = Handed {
            stdio: Stdio::Pipes { out: fd, err: fd },
            ..BARE
        };
        let program = shell("ls /proc/self/fd | xargs; echo error >&2; exit 3");
        let mut started = quick::start(&handed, program, paths, &pool).unwrap();
        assert!(!started.report.is_of_a_copy());
        shared += pool.slots.lent();
        drop(writer);
        wait_for_report(&mut started.report);
        assert_eq!(pool.slots.lent(), 0);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "0 1 2 3\nerror\n");
        assert_eq!(wait(started.pid), 3);
    }
    assert!(shared > 20, "most got a copy of the table");
}

#[test]
fn a_child_that_ends_before_it_has_its_own_table_is_seen_to_end() {
    let (mut many, mut shared) = (Vec::new(), 0);
    let pool = quick::Pool::default();
    for _ in 0..50 {
        many.pop();
        fill_table(&mut many);
        let paths = vec![c("/bin/true")];
        let mut started = quick::start(&BARE, shell(""), paths, &pool).unwrap();
        let pid = RawPid::from_raw(started.pid.0);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        waitpid(pid, None).unwrap();
        shared += pool.slots.lent();
        started.report.child_ended();
        wait_for_report(&mut started.report);
        assert_eq!(pool.slots.lent(), 0);
    }
    assert!(shared > 20, "most got a copy of the table");
}

fn fd_of(fd: RawFd) -> std::os::fd::BorrowedFd<'static> {
    // SAFETY: the standard descriptors stay open for the program's life.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}
