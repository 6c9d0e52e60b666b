//! Every kind of standard output, with a reader that does not read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::mpsc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::*;
use crate::sys::pty::Pty;

/// Fails instead of hanging, should a write block.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    let result = receiver.recv_timeout(Duration::from_secs(20));
    result.expect("a write blocked")
}

/// Writes until nothing more is taken; gives back what was.
fn fill(end: &mut OutputEnd) -> Vec<u8> {
    let line: Vec<u8> = (b'a'..=b'z')
        .chain([b'\t', b'\n'])
        .cycle()
        .take(7_001)
        .collect();
    let mut taken = Vec::new();
    loop {
        match end.write(&line) {
            Ok(count) => taken.extend(&line[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return taken,
            Err(error) => panic!("{error}"),
        }
    }
}

fn blocks(fd: impl AsFd) -> bool {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap());
    !flags.contains(OFlag::O_NONBLOCK)
}

fn with_way(fd: RawFd, way: Way) -> OutputEnd {
    OutputEnd {
        way,
        ..OutputEnd::new(fd)
    }
}

fn pipe() -> (PipeReader, PipeWriter) {
    std::io::pipe().unwrap()
}

/// Fills it, reads all, and fills it again; the inherited description stays as it was.
fn check_pipe(make: fn(RawFd) -> OutputEnd) {
    in_time(move || {
        let (mut reader, writer) = pipe();
        let mut end = make(writer.as_raw_fd());
        for _ in 0..2 {
            let taken = fill(&mut end);
            assert!(taken.len() >= 32_000, "{}", taken.len());
            assert!(blocks(&writer));
            assert!(!end.wait_writable(Duration::ZERO).unwrap());
            let mut read = vec![0; taken.len()];
            reader.read_exact(&mut read).unwrap();
            assert!(read == taken);
            assert!(end.wait_writable(Duration::ZERO).unwrap());
        }
        drop(reader);
        // A child that another test is just starting may hold a copy until it executes its program.
        let error = (0..10_000).find_map(|_| {
            std::thread::yield_now();
            end.write(b"x").err()
        });
        assert_eq!(
            error.map(|error| error.kind()),
            Some(io::ErrorKind::BrokenPipe)
        );
    });
}

#[test]
fn a_pipe_is_opened_anew() {
    let (_reader, writer) = pipe();
    let end = OutputEnd::new(writer.as_raw_fd());
    assert!(matches!(end.way, Way::Own(_)));
    assert!(end.poll_fd().is_some_and(|fd| fd != writer.as_raw_fd()));
    check_pipe(OutputEnd::new);
}

#[test]
fn a_pipe_that_cannot_be_opened_is_written_without_waiting() {
    check_pipe(|fd| with_way(fd, Way::NoWait));
    check_pipe(|fd| with_way(fd, Way::Poll));
}

#[test]
fn a_pipe_whose_reader_is_gone_is_an_error() {
    let (reader, writer) = pipe();
    drop(reader);
    let mut end = OutputEnd::new(writer.as_raw_fd());
    assert_eq!(
        end.write(b"x").unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
}

fn check_terminal(make: fn(RawFd) -> OutputEnd) {
    in_time(move || {
        let Pty { master, slave } = Pty::open(24, 80).unwrap();
        cook(&slave);
        let mut end = make(slave.as_raw_fd());
        let mut master = File::from(master);
        for _ in 0..2 {
            let taken = fill(&mut end);
            assert!(taken.len() >= 4_000, "{}", taken.len());
            assert!(blocks(&slave));
            let read = drain(&mut master);
            assert_eq!(read, cooked(&taken));
        }
    });
}

/// Line ends become CR LF, as on the terminals that people sit at.
fn cook(slave: &OwnedFd) {
    use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
    let mut settings = tcgetattr(slave).unwrap();
    settings.output_flags = OutputFlags::OPOST | OutputFlags::ONLCR;
    tcsetattr(slave, SetArg::TCSANOW, &settings).unwrap();
}

fn cooked(bytes: &[u8]) -> usize {
    bytes.len() + bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// Reads until nothing came for a while: the kernel moves a terminal's bytes in a thread of its own.
fn drain(master: &mut File) -> usize {
    let mut buffer = [0; 4096];
    let mut total = 0;
    let mut idle = 0;
    while idle < 20 {
        match master.read(&mut buffer) {
            Ok(count) => (total, idle) = (total + count, 0),
            Err(_) => {
                idle += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    total
}

#[test]
fn a_terminal_never_blocks() {
    check_terminal(OutputEnd::new);
}

#[test]
fn a_terminal_that_cannot_be_opened_never_blocks() {
    check_terminal(|fd| with_way(fd, Way::NoWait));
}

#[test]
fn a_socket_never_blocks() {
    in_time(|| {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        let mut end = OutputEnd::new(writer.as_raw_fd());
        assert!(matches!(end.way, Way::Socket));
        let taken = fill(&mut end);
        assert!(blocks(&writer));
        let mut read = vec![0; taken.len()];
        reader.read_exact(&mut read).unwrap();
        assert!(read == taken);
        drop(reader);
        assert_eq!(
            end.write(b"x").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
        let (_reader, writer) = UnixDatagram::pair().unwrap();
        fill(&mut OutputEnd::new(writer.as_raw_fd()));
    });
}

#[test]
fn files_and_dev_null_take_all_and_are_not_watched() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
    for output in [file.as_file(), &null] {
        let mut end = OutputEnd::new(output.as_raw_fd());
        if end.is_unknown() {
            // Nobody knows yet whether it is of this machine.
            let refused = end.write(b"early").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
            end.set_plain();
        }
        assert_eq!(end.write(&[b'x'; 100_000]).unwrap(), 100_000);
        assert_eq!(end.write(b"yz").unwrap(), 2);
        assert_eq!(end.poll_fd(), None);
        assert!(end.wait_writable(Duration::ZERO).unwrap());
    }
    // At the common position: what others write in between is not overwritten.
    assert_eq!(std::fs::metadata(file.path()).unwrap().len(), 100_002);
}
