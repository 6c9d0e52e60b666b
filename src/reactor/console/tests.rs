//! Messages, whatever takes them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use mio::Poll;

use super::*;

const NOW: Moment = Moment(0);

/// Writes until nothing waits, or the reader takes no more.
fn flushed(console: &mut Console, poll: &Poll) {
    console.flush(poll.registry(), NOW);
}

/// A regular file that was found to be of a local file system.
fn local(file: &File) -> OutputEnd {
    let mut end = OutputEnd::new(file.as_raw_fd());
    end.set_plain();
    end
}

#[test]
fn messages_beyond_the_bound_are_written_as_they_come() {
    let poll = Poll::new().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut console = Console::new(local(file.as_file()), Kind::Stderr);
    for number in 0..10_000 {
        console.message(&format!("service number {number}: FAILED"));
        assert!(console.queue.len() <= MAX_MESSAGE_BYTES + 12);
    }
    flushed(&mut console, &poll);
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert_eq!(text.lines().count(), 10_000);
    assert!(text.ends_with("number 9999: FAILED\n"));
}

#[test]
fn a_message_longer_than_the_bound_is_written() {
    let poll = Poll::new().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut console = Console::new(local(file.as_file()), Kind::Stderr);
    for _ in 0..3 {
        console.message(&"x".repeat(2 * MAX_MESSAGE_BYTES));
    }
    flushed(&mut console, &poll);
    assert!(std::fs::metadata(file.path()).unwrap().len() > 6 * MAX_MESSAGE_BYTES as u64);
}

#[test]
fn messages_that_nothing_takes_are_counted_and_the_count_is_reported() {
    let poll = Poll::new().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut console = Console::new(OutputEnd::new(writer.as_raw_fd()), Kind::Stderr);
    for number in 0..10_000 {
        console.message(&format!("service number {number}: FAILED"));
    }
    flushed(&mut console, &poll);
    let mut text = Vec::new();
    let mut buffer = [0; 1 << 16];
    while console.dropped > 0 || !console.queue.is_empty() {
        let count = reader.read(&mut buffer).unwrap();
        text.extend_from_slice(&buffer[..count]);
        flushed(&mut console, &poll);
    }
    drop((console, writer));
    reader.read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let (mut shown, mut dropped) = (0, 0);
    for line in text.lines() {
        let said = line.strip_prefix("go-overlay: ").unwrap();
        match said.split_once(" messages dropped") {
            Some((number, _)) => dropped += number.replace(',', "").parse::<usize>().unwrap(),
            None => shown += 1,
        }
    }
    assert!(dropped > 0);
    assert_eq!(shown + dropped, 10_000);
}

#[test]
fn standard_error_that_is_a_fifo_goes_on_with_its_next_reader() {
    let poll = Poll::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let open = || -> File {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        options.open(&path).unwrap()
    };
    let reader = open();
    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    let mut console = Console::new(OutputEnd::new(writer.as_raw_fd()), Kind::Stderr);
    drop(reader);
    console.message("first");
    flushed(&mut console, &poll);
    assert_eq!(console.take_reports().len(), 1);
    console.message("second");
    // Nothing is tried until a process opens it.
    flushed(&mut console, &poll);
    let mut reader = open();
    flushed(&mut console, &poll);
    assert!(!console.queue.is_empty());
    console.on_opened();
    flushed(&mut console, &poll);
    let mut text = [0; 100];
    let count = reader.read(&mut text).unwrap();
    assert_eq!(&text[..count], b"go-overlay: first\ngo-overlay: second\n");
    assert_eq!(
        console.take_reports(),
        ["a process reads standard error again"]
    );
}

#[test]
fn what_a_full_disk_costs_is_counted_and_the_next_line_begins_a_line() {
    let poll = Poll::new().unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut console = Console::new(OutputEnd::new(full.as_raw_fd()), Kind::Stdout);
    for _ in 0..2 {
        console.queue.append(b"one\ntwo\n");
        flushed(&mut console, &poll);
    }
    let reports = console.take_reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!((console.lost, console.fails), (4, true));

    let file = tempfile::NamedTempFile::new().unwrap();
    console.end = local(file.as_file());
    // As after a write of a part.
    console.is_torn = true;
    console.queue.append(b"three\n");
    flushed(&mut console, &poll);
    assert_eq!(std::fs::read(file.path()).unwrap(), b"\nthree\n");
    assert_eq!(
        console.take_reports(),
        ["standard output works again; 4 lines lost"]
    );
}
