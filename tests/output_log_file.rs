//! A log file is only ever added to, and trouble with it costs its lines and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use go_overlay::sys::log_file::LogFile;
use nix::sys::stat::Mode;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn refusal(path: &Path) -> String {
    LogFile::open(path, None).expect_err("refused").to_string()
}

/// A named pipe, and a reader of it that does not wait.
fn pipe_in(folder: &Path) -> (std::path::PathBuf, File) {
    let path = folder.join("pipe");
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
    let mut options = OpenOptions::new();
    let reader = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .unwrap();
    (path, reader)
}

fn read_up(reader: &mut File) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 65536]);
    while let Ok(count @ 1..) = reader.read(&mut buffer) {
        all.extend_from_slice(&buffer[..count]);
    }
    all
}

#[test]
fn what_is_there_stays_and_lines_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    fs::write(&path, "before\n").unwrap();
    let mut log = LogFile::open(&path, None).unwrap();
    assert_eq!(log.write(b"one\n\xff\n"), None);
    // Another writer's lines are not written over.
    fs::write(&path, "cut\n").unwrap();
    assert_eq!(log.write(b"two\n"), None);
    assert_eq!(fs::read(&path).unwrap(), b"cut\ntwo\n");
}

#[test]
fn a_new_file_is_the_services_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    let owner = is_root().then_some((12_345, 23_456));
    LogFile::open(&path, owner).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7137, 0);
    if let Some(owner) = owner {
        assert_eq!((metadata.uid(), metadata.gid()), owner);
    }
}

#[test]
fn a_renamed_file_is_left_when_it_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (
        folder.path().join("web.log"),
        folder.path().join("web.log.1"),
    );
    let mut log = LogFile::open(&path, None).unwrap();
    log.write(b"one\n");
    fs::rename(&path, &old).unwrap();
    log.write(b"two\n");
    log.reopen().unwrap();
    log.write(b"three\n");
    assert_eq!(fs::read(&old).unwrap(), b"one\ntwo\n");
    assert_eq!(fs::read(&path).unwrap(), b"three\n");
}

#[test]
fn a_file_that_cannot_be_opened_anew_stays_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (
        folder.path().join("web.log"),
        folder.path().join("web.log.1"),
    );
    let mut log = LogFile::open(&path, None).unwrap();
    fs::rename(&path, &old).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(log.reopen().is_err());
    log.write(b"one\n");
    assert_eq!(fs::read(&old).unwrap(), b"one\n");
}

#[test]
fn a_full_disk_is_told_once() {
    let mut log = LogFile::open(Path::new("/dev/full"), None).unwrap();
    let complaint = log.write(b"one\n").unwrap();
    assert!(
        complaint.contains("/dev/full: No space left"),
        "{complaint}"
    );
    for line in [&b"two\n"[..], b"thr", b"ee\n"] {
        assert_eq!(log.write(line), None);
    }
}

#[test]
fn a_pipe_that_nobody_reads_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (path, reader) = pipe_in(folder.path());
    drop(reader);
    assert!(refusal(&path).ends_with("nobody reads it"));
}

#[test]
fn a_pipe_whose_reader_goes_or_stalls_costs_lines_and_never_half_a_line_more() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut reader) = pipe_in(folder.path());
    let mut log = LogFile::open(&path, None).unwrap();
    assert_eq!(log.write(b"first\n"), None);
    // More than the kernel holds for a pipe: the write stops in the middle of a line.
    let long = vec![b'x'; 200_000];
    assert!(log.write(&long).is_some());
    assert_eq!(log.write(b"lost too"), None);
    let before = read_up(&mut reader);
    assert!(before.starts_with(b"first\nxxx") && before.ends_with(b"x"));
    assert_eq!(log.write(b" the end of the long line\nsecond\n"), None);
    assert_eq!(read_up(&mut reader), b"\nsecond\n");
    // It worked again: the next trouble is told again.
    drop(reader);
    assert!(
        log.write(b"third\n")
            .is_some_and(|text| text.contains("Broken pipe"))
    );
}

#[test]
fn half_a_line_is_ended_before_the_next_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut reader) = pipe_in(folder.path());
    let mut log = LogFile::open(&path, None).unwrap();
    let mut long = vec![b'x'; 200_000];
    long.push(b'\n');
    assert!(log.write(&long).is_some());
    assert!(!read_up(&mut reader).ends_with(b"\n"));
    assert_eq!(log.write(b"next\n"), None);
    assert_eq!(read_up(&mut reader), b"\nnext\n");
}

#[test]
fn the_daemons_own_standard_output_is_refused() {
    let identity = |path: &str| fs::metadata(path).map(|own| (own.dev(), own.ino())).ok();
    if identity("/proc/self/fd/1") == identity("/dev/null") {
        return; // Lines that go nowhere may go there twice.
    }
    assert!(refusal(Path::new("/proc/self/fd/1")).starts_with("cannot open log file"));
}

#[test]
fn links_of_ones_own_are_followed_and_those_of_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let (link, target) = (folder.path().join("link"), folder.path().join("target"));
    symlink(&target, &link).unwrap();
    LogFile::open(&link, Some((12_345, 23_456)))
        .unwrap()
        .write(b"one\n");
    assert_eq!(fs::read(&target).unwrap(), b"one\n");
    // What a link leads to is never given away.
    assert_eq!(
        fs::metadata(&target).unwrap().uid(),
        nix::unistd::geteuid().as_raw()
    );
    if is_root() {
        lchown(&link, Some(12_345), None).unwrap();
        assert!(refusal(&link).contains("a symlink of another user (12345)"));
        fs::remove_file(&target).unwrap();
        assert!(LogFile::open(&link, Some((12_345, 23_456))).is_err());
        assert!(!target.exists());
    }
}
