//! What the fuzzer calls: one function a target, which takes any bytes and panics when a promise is broken.
//! The programs in `fuzz_targets` hand it what libFuzzer thinks up; `tests/corpora.rs` hands it what is kept.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use go_overlay::base::terminal::steers;

pub mod config;
pub mod control;
pub mod cursor;
pub mod http;
pub mod kernel;
pub mod lines;
pub mod machine;
pub mod notify;
pub mod services;
pub mod supervisor;

/// Takes any bytes; panics when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its corpus.
pub const TARGETS: [(&str, Target); 6] = [
    ("config", config::run),
    ("control", control::run),
    ("http", http::run),
    ("lines", lines::run),
    ("notify", notify::run),
    ("supervisor", supervisor::run),
];

/// Text that is shown on several lines does nothing else on a terminal.
fn steers_nothing(shown: &str) {
    let found = shown.chars().find(|c| *c != '\n' && steers(*c));
    assert_eq!(found, None, "{shown:?} steers a terminal");
}
