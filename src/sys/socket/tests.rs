//! Safety of the control socket, within one process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use super::{Address, BindError, bind, connect, peer};

/// A directory that others may read, as tempfile makes it.
fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn why(path: &Path) -> String {
    match bind(Some(path)) {
        Err(error @ BindError::Unusable { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_socket_is_for_its_owner_alone_and_goes_with_the_daemon() {
    let folder = folder();
    let path = folder.path().join("new/control.sock");
    let bound = bind(Some(&path)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777,
        0o700
    );
    let (stream, address) = connect(Some(&path)).unwrap();
    assert_eq!(address, Address::Path(path.clone()));
    assert_eq!(
        peer(stream.as_fd()).unwrap().pid,
        std::process::id().cast_signed()
    );
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn a_live_daemon_is_not_displaced_and_a_dead_one_is() {
    let folder = folder();
    let path = folder.path().join("control.sock");
    let bound = bind(Some(&path)).unwrap();
    let Err(BindError::AlreadyRunning { pid, .. }) = bind(Some(&path)) else {
        panic!("a second one was bound")
    };
    assert_eq!(pid, std::process::id().cast_signed());
    drop(bound);
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    bind(Some(&path)).unwrap();
}

#[test]
fn a_daemon_without_time_to_answer_is_alive() {
    let folder = folder();
    let path = folder.path().join("control.sock");
    let bound = bind(Some(&path)).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = super::open_stream(&bound.address) {
        waiting.push(stream);
    }
    let second = bind(Some(&path));
    assert!(
        matches!(second, Err(BindError::AlreadyRunning { .. })),
        "{second:?}"
    );
    let refused = connect(Some(&path)).unwrap_err().to_string();
    assert!(refused.contains("takes no connections"), "{refused}");
}

#[test]
fn a_socket_that_another_daemon_made_meanwhile_stays() {
    let folder = folder();
    let path = folder.path().join("control.sock");
    let bound = bind(Some(&path)).unwrap();
    fs::rename(&path, folder.path().join("moved")).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(bound);
    assert!(path.exists());
}

#[test]
fn what_is_no_socket_of_ours_is_left_alone() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert!(why(&file).contains("something else is in its place"));
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    let datagrams = folder.path().join("datagrams");
    let _socket = UnixDatagram::bind(&datagrams).unwrap();
    assert!(why(&datagrams).contains("something else is in its place"));
    let dangling = folder.path().join("dangling");
    symlink("nowhere", &dangling).unwrap();
    why(&dangling);
    assert!(dangling.is_symlink());
}

#[test]
fn directories_that_others_can_write_are_refused() {
    let folder = folder();
    for mode in [0o777, 0o1777, 0o720] {
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        let why = why(&folder.path().join("control.sock"));
        assert!(why.contains("others can write"), "{why}");
        assert!(
            why.contains("choose a directory that only its owner can write"),
            "{why}"
        );
    }
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    assert!(why(&folder.path().join("a/b/control.sock")).contains("cannot make"));
    assert!(why(&folder.path().join("x".repeat(200))).contains("too long"));
}

#[test]
fn a_lock_that_is_never_given_back_is_an_error_in_time() {
    let folder = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let _held = super::lock::lock(folder.path(), 0o700).unwrap();
    assert!(why(&folder.path().join("control.sock")).contains("another process holds the lock"));
}

#[test]
fn an_abstract_name_has_one_daemon() {
    let name = format!("@go-overlay-test/{}/one", std::process::id());
    let bound = bind(Some(Path::new(&name))).unwrap();
    assert_eq!(bound.address.to_string(), name);
    assert!(matches!(
        bind(Some(Path::new(&name))),
        Err(BindError::AlreadyRunning { .. })
    ));
    let stream: UnixStream = connect(Some(Path::new(&name))).unwrap().0;
    drop((stream, bound));
    bind(Some(Path::new(&name))).unwrap();
}

#[test]
fn no_daemon_is_an_error_that_names_the_place() {
    let folder = folder();
    let path = folder.path().join("control.sock");
    let error = connect(Some(&path)).unwrap_err().to_string();
    assert!(error.starts_with("Could not connect"), "{error}");
    assert!(error.contains(&path.display().to_string()), "{error}");
}

#[test]
fn a_lock_that_another_user_can_hold_stops_no_start() {
    let folder = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let open = fs::File::open(folder.path()).unwrap();
    let _held = Flock::lock(open, FlockArg::LockSharedNonblock).unwrap();
    let path = folder.path().join("control.sock");
    let bound = bind(Some(&path)).unwrap();
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    drop(bound);
    // A daemon that was killed while it held the lock left the file.
    fs::write(folder.path().join(".go-overlay.lock"), "").unwrap();
    drop(bind(Some(&path)).unwrap());
}

#[test]
fn daemons_that_start_at_once_in_a_readable_directory_hold_the_lock_one_at_a_time() {
    let folder = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..500 {
                    // A crowd may keep one of them waiting for longer than its patience.
                    let Ok(_held) = super::lock::lock(folder.path(), 0o755) else {
                        continue;
                    };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}
