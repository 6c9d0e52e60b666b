//! Rotation by the daemon: nothing is lost, no line is torn over two files, and what is wrong costs the file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use go_overlay::base::Moment;
use go_overlay::sys::log_file::{self, Answer, Errand, LogFile, Report, Rotation, Settings, Work};
use proptest::prelude::*;

const NOW: Moment = Moment(0);

fn rotating(path: &Path, max_size: u64, keep: u32, compress: bool) -> LogFile {
    let rotation = Rotation {
        max_size,
        keep,
        compress,
    };
    let (log, complaint) = LogFile::open(path, None, Some(rotation));
    assert_eq!(complaint, None);
    log
}

fn finish(log: &mut LogFile) {
    while log.has_work() {
        assert_eq!(log.work(), None);
    }
}

/// Names of what lies in the folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The content, unpacked by the real gzip where it is packed.
fn content(path: &Path) -> Vec<u8> {
    if path.extension().is_some_and(|extension| extension == "gz") {
        let output = Command::new("gzip").arg("-dc").arg(path).output().unwrap();
        assert!(output.status.success(), "{path:?}: {output:?}");
        return output.stdout;
    }
    fs::read(path).unwrap()
}

/// All files of a log, the oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for number in (1..200).rev() {
        for end in ["", ".gz"] {
            let file = PathBuf::from(format!("{}.{number}{end}", path.display()));
            if file.exists() {
                files.push(file);
            }
        }
    }
    files.push(path.to_owned());
    files
}

#[test]
fn old_files_move_up_and_the_oldest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    let mut log = rotating(&path, 10, 2, true);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    for text in [
        b"one one one\n",
        b"two two two\n",
        b"333 333 333\n",
        b"444 444 444\n",
    ] {
        assert_eq!(log.write(text, NOW), None);
        finish(&mut log);
    }
    log.write(b"now\n", NOW);
    assert_eq!(
        names(folder.path()),
        ["web.log", "web.log.1.gz", "web.log.2.gz"]
    );
    assert_eq!(content(&path), b"now\n");
    assert_eq!(
        content(&folder.path().join("web.log.1.gz")),
        b"444 444 444\n"
    );
    assert_eq!(
        content(&folder.path().join("web.log.2.gz")),
        b"333 333 333\n"
    );
    for name in names(folder.path()) {
        let mode = fs::metadata(folder.path().join(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o604);
    }
}

#[test]
fn an_existing_file_counts_and_with_none_to_keep_it_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    fs::write(&path, "was here before\n").unwrap();
    let mut log = rotating(&path, 20, 0, true);
    log.write(b"fills\nrest\n", NOW);
    assert_eq!(names(folder.path()), ["web.log"]);
    assert_eq!(content(&path), b"rest\n");
}

#[test]
fn a_rotation_in_the_middle_of_a_compression_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    fs::write(folder.path().join("web.log.1.gz.tmp"), "left over").unwrap();
    let mut log = rotating(&path, 100_000, 9, true);
    let block = b"0123456789\n".repeat(10_000);
    log.write(&block, NOW);
    assert!(log.has_work());
    log.work();
    log.write(&block, NOW);
    finish(&mut log);
    log.write(b"end\n", NOW);
    let all: Vec<u8> = files(&path).iter().flat_map(|file| content(file)).collect();
    assert_eq!(all, [&block[..], &block, b"end\n"].concat());
    assert!(names(folder.path()).contains(&"web.log.2".to_owned()));
    drop(log);
    assert!(
        !names(folder.path())
            .iter()
            .any(|name| name.ends_with("tmp"))
    );
}

#[test]
fn somebody_who_cuts_the_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    let mut log = rotating(&path, 20, 3, false);
    log.write(b"twelve bytes\n", NOW);
    // As logrotate's copytruncate does.
    fs::write(&path, "").unwrap();
    log.write(b"and some\n", NOW);
    assert_eq!(names(folder.path()), ["web.log"]);
    log.write(b"until full\nnext\n", NOW);
    assert_eq!(
        content(&folder.path().join("web.log.1")),
        b"and some\nuntil full\n"
    );
    assert_eq!(content(&path), b"next\n");
}

#[test]
fn bytes_of_another_writer_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    let mut log = rotating(&path, 1000, 3, false);
    log.write(b"one\n", NOW);
    let mut other = fs::OpenOptions::new().append(true).open(&path).unwrap();
    other.write_all(&[b'x'; 2000]).unwrap();
    assert_eq!(log.write(b"two\nthree\n", NOW), None);
    assert_eq!(content(&path), b"three\n");
    let old = content(&folder.path().join("web.log.1"));
    assert!(old.starts_with(b"one\nxxx") && old.ends_with(b"xtwo\n"));
    // Cut again and again by somebody else, it is never full.
    for _ in 0..1000 {
        fs::write(&path, "").unwrap();
        assert_eq!(log.write(b"0123456789\n", NOW), None);
    }
    assert_eq!(names(folder.path()), ["web.log", "web.log.1"]);
}

#[test]
fn a_file_that_replaces_another_takes_no_further_descriptor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    let mut log = rotating(&path, 10, 1, false);
    let numbers = || -> Vec<PathBuf> {
        let entries = fs::read_dir("/proc/self/fd").unwrap();
        let links = entries.map(|entry| entry.unwrap().path());
        links
            .filter(|link| fs::read_link(link).is_ok_and(|file| file == path))
            .collect()
    };
    let before = numbers();
    assert_eq!(before.len(), 1);
    for _ in 0..10 {
        log.write(b"0123456789\n", NOW);
        log.reopen().unwrap();
        assert_eq!(numbers(), before);
    }
}

#[test]
fn what_cannot_be_rotated_is_written_on_and_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    let mut log = rotating(&path, 10, 3, false);
    // A directory in the way of the old file, with something in it.
    fs::create_dir_all(folder.path().join("web.log.1/x")).unwrap();
    fs::create_dir_all(folder.path().join("web.log.2/x")).unwrap();
    fs::create_dir_all(folder.path().join("web.log.3/x")).unwrap();
    let complaint = log.write(b"0123456789\n", NOW).unwrap();
    assert!(complaint.contains("cannot rotate log file"), "{complaint}");
    for _ in 0..20 {
        assert_eq!(log.write(b"0123456789\n", NOW), None);
    }
    assert_eq!(content(&path), b"0123456789\n".repeat(21));
    for number in 1..=3 {
        fs::remove_dir_all(folder.path().join(format!("web.log.{number}"))).unwrap();
    }
    assert_eq!(log.write(b"0123456789\n", NOW), None);
    assert_eq!(content(&path), b"");
}

#[test]
fn a_pipe_is_not_rotated() {
    let (mut log, complaint) = LogFile::open(
        Path::new("/dev/null"),
        None,
        Some(Rotation {
            max_size: 10,
            keep: 3,
            compress: true,
        }),
    );
    assert_eq!(complaint, None);
    for _ in 0..10 {
        assert_eq!(log.write(b"0123456789\n", NOW), None);
    }
    assert!(!Path::new("/dev/null.1").exists());
}

#[test]
fn a_file_that_cannot_be_opened_is_tried_again_once_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later/web.log");
    let (mut log, complaint) = LogFile::open(&path, None, None);
    assert!(complaint.unwrap().contains("cannot open log file"));
    assert_eq!(log.write(b"lost\nlost\n", NOW), None);
    fs::create_dir(folder.path().join("later")).unwrap();
    let soon = Moment(900_000_000);
    assert_eq!(log.write(b"lost\n", soon), None);
    let message = log.write(b"kept\n", Moment(1_000_000_000)).unwrap();
    assert!(message.contains("3 lines are missing"), "{message}");
    assert_eq!(content(&path), b"kept\n");
}

/// What a child answers, which is a thread here.
fn perform(settings: &Settings, errand: Errand) -> Answer {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let settings = settings.clone();
    let child = std::thread::spawn(move || {
        log_file::perform(&theirs, &[Work::File(Rc::new(settings), errand)]);
    });
    let answer = loop {
        match Report::receive(&ours) {
            Ok(Some(Report::Answer(answer))) => break answer,
            Ok(Some(Report::Absent)) => break Answer::Failed("no folder".into()),
            Ok(other) => panic!("{other:?}"),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    };
    drop(ours);
    child.join().unwrap();
    answer
}

fn deferred(path: &Path, rotation: Option<Rotation>) -> (Settings, LogFile) {
    let settings = Settings {
        path: path.to_owned(),
        owner: None,
        rotation,
    };
    (settings, LogFile::deferred(path, rotation, true))
}

#[test]
fn lines_wait_for_a_file_that_a_child_opens_and_one_that_cannot_be_costs_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later/web.log");
    let (settings, mut log) = deferred(&path, None);
    assert_eq!(log.write(b"one\ntw", NOW), None);
    let errand = log.take_errand().unwrap();
    assert_eq!(log.take_errand(), None, "one thing at a time");
    let told = log.finish_errand(perform(&settings, errand), NOW);
    assert!(told.unwrap().contains("cannot open log file"));
    fs::create_dir(folder.path().join("later")).unwrap();
    assert_eq!(log.write(b"o\nlost\n", Moment(1)), None);
    assert!(!log.has_wish(), "it is tried again once a second");
    let second = Moment(1_000_000_000);
    assert_eq!(log.write(b"kept\n", second), None);
    let errand = log.take_errand().unwrap();
    let told = log.finish_errand(perform(&settings, errand), second);
    assert!(told.unwrap().ends_with("3 lines are missing in it"));
    assert_eq!(log.write(b"more\n", second), None);
    assert_eq!(content(&path), b"kept\nmore\n");
}

#[test]
fn a_rotation_that_is_late_holds_no_line_and_the_present_one_ends_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    let rotation = Rotation {
        max_size: 10,
        keep: 3,
        compress: false,
    };
    let (settings, mut log) = deferred(&path, Some(rotation));
    let errand = log.take_errand().unwrap();
    assert_eq!(log.finish_errand(perform(&settings, errand), NOW), None);
    assert_eq!(log.write(b"0123456789\nwaits\n", NOW), None);
    assert_eq!(content(&path), b"0123456789\n");
    let errand = log.take_errand().unwrap();
    let answer = perform(&settings, errand);
    assert_eq!(log.note_late(), None);
    assert_eq!(log.write(b"goes on\nha", NOW), None);
    assert_eq!(log.finish_errand(answer, NOW), None);
    assert_eq!(log.write(b"lf\nnew\n", NOW), None);
    let old = content(&folder.path().join("web.log.1"));
    assert_eq!(old, b"0123456789\nwaits\ngoes on\nhalf\n");
    assert_eq!(content(&path), b"new\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_same_is_so_where_children_open_and_rotate_and_answer_some_time(
        writes in proptest::collection::vec("[a-c\n]{0,40}", 1..40),
        max_size in 5..60u64,
        what in proptest::collection::vec(0..4u8, 40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        let rotation = Rotation { max_size, keep: 199, compress: false };
        let (settings, mut log) = deferred(&path, Some(rotation));
        let mut answer = None;
        for (text, what) in writes.iter().zip(what) {
            prop_assert_eq!(log.write(text.as_bytes(), NOW), None);
            let given = answer.take_if(|_| what != 3).or_else(|| {
                let errand = log.take_errand().filter(|_| answer.is_none())?;
                Some(perform(&settings, errand))
            });
            match (what, given) {
                (0 | 1, Some(given)) => prop_assert_eq!(log.finish_errand(given, NOW), None),
                (2, given) => {
                    prop_assert_eq!(log.note_late(), None);
                    answer = given.or(answer);
                }
                (_, given) => answer = given.or(answer),
            }
        }
        // The line that goes on ends where it began.
        prop_assert_eq!(log.write(b"\n", NOW), None);
        while let Some(given) = answer
            .take()
            .or_else(|| log.take_errand().map(|errand| perform(&settings, errand)))
        {
            prop_assert_eq!(log.finish_errand(given, NOW), None);
        }
        let files = files(&path);
        for old in &files[..files.len() - 1] {
            let content = content(old);
            prop_assert!(content.ends_with(b"\n") && content.len() as u64 >= max_size);
        }
        let all: Vec<u8> = files.iter().flat_map(|file| content(file)).collect();
        prop_assert_eq!(all, (writes.concat() + "\n").into_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn all_files_together_are_what_was_written_and_each_ends_with_a_line(
        writes in proptest::collection::vec("[a-c\n]{0,40}", 1..40),
        max_size in 5..60u64,
        compress: bool,
        work in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        let mut log = rotating(&path, max_size, 199, compress);
        for (text, work) in writes.iter().zip(work) {
            prop_assert_eq!(log.write(text.as_bytes(), NOW), None);
            if work {
                log.work();
            }
        }
        let files = files(&path);
        for old in &files[..files.len() - 1] {
            let content = content(old);
            prop_assert!(content.ends_with(b"\n") && content.len() as u64 >= max_size);
        }
        let all: Vec<u8> = files.iter().flat_map(|file| content(file)).collect();
        prop_assert_eq!(all, writes.concat().into_bytes());
    }
}
