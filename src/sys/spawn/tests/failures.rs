//! Children that cannot become their program, and what the daemon learns of it.

use super::*;

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

fn fd_of(fd: RawFd) -> std::os::fd::BorrowedFd<'static> {
    // SAFETY: the standard descriptors stay open for the program's life.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}
