//! The fuzz targets of `tests/fuzz` on what is kept of their corpora, on inputs that once broke something, and on
//! a few thousand inputs that are made of these and differ from day to day.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "fuzz/src/lib.rs"]
mod fuzz;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuzz::TARGETS;

/// Made and tried for each target, so far as the time allows.
const MADE: usize = 3000;

/// How long that may take; the targets run side by side.
const PATIENCE: Duration = Duration::from_secs(2);

/// A longer input would take the time of many.
const MAX_INPUT: usize = 16 * 1024;

/// Gives another day's inputs, or those of a failure again.
const SEED: &str = "GO_OVERLAY_FUZZ_SEED";

#[test]
fn config() {
    try_all("config");
}

#[test]
fn control() {
    try_all("control");
}

#[test]
fn http() {
    try_all("http");
}

#[test]
fn lines() {
    try_all("lines");
}

#[test]
fn notify() {
    try_all("notify");
}

#[test]
fn supervisor() {
    try_all("supervisor");
}

#[test]
fn every_corpus_has_a_target() {
    for kept in ["corpus", "regressions"] {
        for entry in std::fs::read_dir(folder(kept)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(TARGETS.iter().any(|(target, _)| *target == name), "{name}");
        }
    }
}

fn try_all(name: &str) {
    let (_, run) = *TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let mut inputs = kept(&folder("corpus").join(name));
    assert!(!inputs.is_empty(), "the corpus of {name} is empty");
    inputs.extend(kept(&folder("regressions").join(name)));
    for (path, input) in &inputs {
        if !holds(run, input) {
            panic!("{} breaks a promise of {name}, see above", path.display());
        }
    }
    let inputs: Vec<Vec<u8>> = inputs.into_iter().map(|(_, input)| input).collect();
    try_more(name, run, &inputs);
}

/// Inputs that are made of those that are kept.
fn try_more(name: &str, run: fn(&[u8]), inputs: &[Vec<u8>]) {
    let seed = std::env::var(SEED).map_or_else(|_| today(), |seed| seed.parse().unwrap());
    let mut dice = Dice(seed);
    let began = Instant::now();
    for number in 0..MADE {
        let input = dice.input(inputs);
        if !holds(run, &input) {
            let path =
                Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{seed}-{number}"));
            std::fs::write(&path, &input).unwrap();
            panic!(
                "{name}: input {number} of {SEED}={seed} breaks a promise, see above; it is in {}: \
                 mend the fault and keep the input in tests/fuzz/regressions/{name}",
                path.display()
            );
        }
        if began.elapsed() > PATIENCE {
            break;
        }
    }
}

/// The number of the day, so that a day's runs are the same.
fn today() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs() / 86_400
}

fn holds(run: fn(&[u8]), input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| run(input))).is_ok()
}

fn folder(kept: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz")
        .join(kept)
}

/// The files of a folder, in an order that does not change.
fn kept(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
    paths.into_iter().map(read).collect()
}

/// Numbers that follow from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end.max(1) as u64) as usize
    }

    /// A kept input with a few changes.
    fn input(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut input = inputs[self.below(inputs.len())].clone();
        for _ in 0..1 + self.below(4) {
            self.change(&mut input, inputs);
        }
        input.truncate(MAX_INPUT);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let length = self.below((input.len() - at).min(64) + 1);
        let byte = self.roll() as u8;
        match self.below(6) {
            0 => drop(input.drain(at..at + length)),
            1 => input.insert(at, byte),
            2 => {
                let again = input[at..at + length].to_vec();
                input.splice(at..at, again);
            }
            3 => {
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len() + 1);
                let to = from + self.below((other.len() - from).min(256) + 1);
                input.splice(at..at + length, other[from..to].iter().copied());
            }
            4 => input[at..at + length].fill(byte),
            _ => {
                if let Some(old) = input.get_mut(at) {
                    *old ^= 1 << (byte % 8);
                }
            }
        }
    }
}
