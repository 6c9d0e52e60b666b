//! The program is one small static file that needs little memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{Launch, PATIENCE, PROGRAM, Stage, skip, sleeper, status_field, until};

/// As MAX_SIZE in the Makefile.
const LARGEST_BYTES: u64 = 3_000_000;

/// At the start, and at rest.
const MOST_WRITTEN_KIB: u64 = 512;
const MOST_RESIDENT_KIB: u64 = 1024;

/// Whether the program under test is the release binary; otherwise says why the test has nothing to measure.
fn is_release() -> bool {
    let release = PROGRAM.contains("/release/");
    if !release {
        eprintln!("skipped: the debug build says nothing about the release binary");
    }
    release
}

#[test]
fn the_release_binary_is_static() {
    // The name of the dynamic loader stands in every program that needs one.
    let program = std::fs::read(PROGRAM).unwrap();
    for loader in ["ld-linux", "ld-musl"] {
        let found = memchr::memmem::find(&program, format!("/{loader}").as_bytes());
        let interpreted = found.is_some_and(|at| program_headers_reach(&program, at));
        assert!(!interpreted, "needs {loader}");
    }
}

/// Whether the place lies in the PT_INTERP segment (elf(5), 64 bit).
fn program_headers_reach(program: &[u8], place: usize) -> bool {
    let number = |at: usize, bytes: usize| -> usize {
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(&program[at..at + bytes]);
        usize::try_from(u64::from_le_bytes(value)).unwrap()
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).map(|index| table + index * size).any(|header| {
        let (kind, offset, length) = (
            number(header, 4),
            number(header + 8, 8),
            number(header + 32, 8),
        );
        kind == 3 && (offset..offset + length).contains(&place)
    })
}

#[test]
fn the_release_binary_is_small() {
    if !is_release() {
        return;
    }
    let size = std::fs::metadata(PROGRAM).unwrap().len();
    eprintln!("{size} bytes");
    assert!(size <= LARGEST_BYTES, "{size} bytes");
}

/// What the daemon has written to counts at once. Pages of the program's own file, which the kernel maps sixteen at a
/// time and shares, count when the daemon has returned what only the start and its clients needed.
#[test]
fn ten_services_take_under_1_mib() {
    if !is_release() {
        return;
    }
    let stage = Stage::new();
    let config: String = (0..10).map(|n| sleeper(&format!("s{n}"), "")).collect();
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_all("RUNNING");
    let pid = daemon.pid();
    let Some(written) = status_field(pid, "RssAnon") else {
        return skip("/proc does not say how much memory a process has");
    };
    assert!(written <= MOST_WRITTEN_KIB, "{written} KiB");
    let resident = until("what the start needed to be returned", PATIENCE, || {
        status_field(pid, "VmRSS").filter(|resident| *resident <= MOST_RESIDENT_KIB)
    });
    eprintln!("{written} KiB written at the start, {resident} KiB resident at rest");
    daemon.shut_down();
}
