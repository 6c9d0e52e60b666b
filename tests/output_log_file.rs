//! A log file is only ever added to, and trouble with it costs its lines and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use go_overlay::base::Moment;
use go_overlay::sys::log_file::{LogFile, Owner};
use nix::sys::stat::Mode;

const NOW: Moment = Moment(0);

fn opened(path: &Path, owner: Owner) -> LogFile {
    let (log, complaint) = LogFile::open(path, owner, None);
    assert_eq!(complaint, None);
    log
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn refusal(path: &Path) -> String {
    let (_, complaint) = LogFile::open(path, None, None);
    complaint.expect("refused")
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
fn a_line_that_is_being_written_ends_in_the_file_in_which_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    let old = folder.path().join("web.log.1");
    let (mut log, complaint) = LogFile::open(&path, None, None);
    assert_eq!(complaint, None);
    log.write(b"one\ntw", Moment(0));
    std::fs::rename(&path, &old).unwrap();
    log.reopen_after_line().unwrap();
    assert!(!path.exists(), "the line goes on");
    log.write(b"o\nthree\nfo", Moment(0));
    assert_eq!(std::fs::read(&old).unwrap(), b"one\ntwo\n");
    assert_eq!(std::fs::read(&path).unwrap(), b"three\nfo");
    // A line that pauses holds nobody up.
    let older = folder.path().join("web.log.2");
    std::fs::rename(&path, &older).unwrap();
    log.reopen_after_line().unwrap();
    assert_eq!(log.pause_in_line(), None);
    log.write(b"ur\n", Moment(0));
    assert_eq!(std::fs::read(&path).unwrap(), b"ur\n");
    // Nor does one that has paused already: whoever compresses the old file waits for nothing.
    log.write(b"fi", Moment(0));
    assert_eq!(log.pause_in_line(), None);
    std::fs::rename(&path, &older).unwrap();
    log.reopen_after_line().unwrap();
    log.write(b"ve", Moment(0));
    assert_eq!(std::fs::read(&older).unwrap(), b"ur\nfi");
    assert_eq!(std::fs::read(&path).unwrap(), b"ve");
    // One that went on after its pause is being written again.
    assert_eq!(log.pause_in_line(), None);
    log.write(b" si", Moment(0));
    std::fs::rename(&path, &older).unwrap();
    log.reopen_after_line().unwrap();
    log.write(b"x\nseven\n", Moment(0));
    assert_eq!(std::fs::read(&older).unwrap(), b"ve six\n");
    assert_eq!(std::fs::read(&path).unwrap(), b"seven\n");
    // Between lines it is done at once.
    std::fs::rename(&path, &old).unwrap();
    log.reopen_after_line().unwrap();
    assert!(path.exists());
}

#[test]
fn what_is_there_stays_and_lines_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    fs::write(&path, "before\n").unwrap();
    let mut log = opened(&path, None);
    assert_eq!(log.write(b"one\n\xff\n", NOW), None);
    // Another writer's lines are not written over.
    fs::write(&path, "cut\n").unwrap();
    assert_eq!(log.write(b"two\n", NOW), None);
    assert_eq!(fs::read(&path).unwrap(), b"cut\ntwo\n");
}

#[test]
fn a_new_file_is_the_services_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    let owner = is_root().then_some((12_345, 23_456));
    opened(&path, owner);
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
    let mut log = opened(&path, None);
    log.write(b"one\n", NOW);
    fs::rename(&path, &old).unwrap();
    log.write(b"two\n", NOW);
    log.reopen().unwrap();
    log.write(b"three\n", NOW);
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
    let mut log = opened(&path, None);
    fs::rename(&path, &old).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(log.reopen().is_err());
    log.write(b"one\n", NOW);
    assert_eq!(fs::read(&old).unwrap(), b"one\n");
}

#[test]
fn a_full_disk_is_told_once() {
    let mut log = opened(Path::new("/dev/full"), None);
    let complaint = log.write(b"one\n", NOW).unwrap();
    assert!(
        complaint.contains("/dev/full: No space left"),
        "{complaint}"
    );
    for line in [&b"two\n"[..], b"thr", b"ee\n"] {
        assert_eq!(log.write(line, NOW), None);
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
    let mut log = opened(&path, None);
    assert_eq!(log.write(b"first\n", NOW), None);
    // More than the kernel holds for a pipe: the write stops in the middle of a line.
    let long = vec![b'x'; 200_000];
    assert!(log.write(&long, NOW).is_some());
    assert_eq!(log.write(b"lost too", NOW), None);
    let before = read_up(&mut reader);
    assert!(before.starts_with(b"first\nxxx") && before.ends_with(b"x"));
    let message = log.write(b" the end of the long line\nsecond\n", NOW);
    assert!(message.unwrap().ends_with("1 line is missing in it"));
    assert_eq!(read_up(&mut reader), b"\nsecond\n");
    // It worked again: the next trouble is told again.
    drop(reader);
    assert!(
        log.write(b"third\n", NOW)
            .is_some_and(|text| text.contains("Broken pipe"))
    );
}

#[test]
fn half_a_line_is_ended_before_the_next_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut reader) = pipe_in(folder.path());
    let mut log = opened(&path, None);
    let mut long = vec![b'x'; 200_000];
    long.push(b'\n');
    assert!(log.write(&long, NOW).is_some());
    assert!(!read_up(&mut reader).ends_with(b"\n"));
    let message = log.write(b"next\n", NOW);
    assert!(message.unwrap().ends_with("1 line is missing in it"));
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
    opened(&link, Some((12_345, 23_456))).write(b"one\n", NOW);
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
        let (_, complaint) = LogFile::open(&link, Some((12_345, 23_456)), None);
        assert!(complaint.is_some());
        assert!(!target.exists());
    }
}
