//! A terminal of the test's own, and what a person in front of it sees.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use nix::pty::{Winsize, openpty};
use serde_json::Value;

/// Both ends: the one that shows, and the one that programs use.
pub fn open(columns: u16, rows: u16) -> (OwnedFd, OwnedFd) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pair = openpty(&size, None).unwrap();
    // An end that a program inherits would never be seen to close.
    for end in [&pair.master, &pair.slave] {
        let flags = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
        nix::fcntl::fcntl(end, flags).unwrap();
    }
    (pair.master, pair.slave)
}

/// Sets the size; the kernel tells the programs in the foreground.
pub fn resize(end: &OwnedFd, columns: u16, rows: u16) {
    go_overlay::sys::pty::set_size(end, rows, columns).unwrap();
}

/// What a terminal emulator makes of bytes.
#[derive(Debug)]
pub struct Screen {
    /// The rows from the first one on, each as runs of text and style (`red`, `bold on blue`).
    pub rows: Vec<Vec<(String, String)>>,
    /// What was asked of the terminal beside text, colours and line ends.
    pub steered: Vec<String>,
    /// The rows at whose end a colour was still on.
    pub left_on: Vec<u64>,
}

impl Screen {
    /// Shows `bytes` on a terminal of so many columns, by an emulator in the tests' Python environment.
    pub fn show(python: &std::path::Path, bytes: &str, columns: u16) -> Screen {
        let emulator = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/screen.py");
        let mut child = Command::new(python)
            .args([emulator, &columns.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(bytes.as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        Screen {
            rows: serde_json::from_value(said["rows"].clone()).unwrap(),
            steered: serde_json::from_value(said["steered"].clone()).unwrap(),
            left_on: serde_json::from_value(said["left_on"].clone()).unwrap(),
        }
    }

    /// The rows without their styles.
    pub fn text(&self) -> Vec<String> {
        let row = |runs: &Vec<(String, String)>| runs.iter().map(|run| run.0.as_str()).collect();
        self.rows.iter().map(row).collect()
    }

    /// The style of `needle` on the first row that has it in one style.
    pub fn style_of(&self, needle: &str) -> &str {
        let found = self
            .rows
            .iter()
            .flatten()
            .find(|run| run.0.contains(needle));
        let run = found.unwrap_or_else(|| panic!("no {needle:?} in {:#?}", self.text()));
        &run.1
    }
}
