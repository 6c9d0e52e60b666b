//! Many services at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::{Launch, Stage, sleeper};

const DEEP: usize = 50;
const WIDE: usize = 10;

fn name(level: usize, place: usize) -> String {
    format!("s{level:02}-{place}")
}

/// What a service depends on: three of the level before.
fn dependencies(level: usize, place: usize) -> Vec<String> {
    match level {
        0 => Vec::new(),
        _ => (0..3)
            .map(|step| name(level - 1, (place + step) % WIDE))
            .collect(),
    }
}

#[test]
fn five_hundred_services_start_in_order() {
    let stage = Stage::new();
    let mut config = String::new();
    for level in 0..DEEP {
        for place in 0..WIDE {
            let more = format!("depends_on = {:?}", dependencies(level, place));
            config += &sleeper(&name(level, place), &more);
        }
    }
    let began = Instant::now();
    let mut daemon = Launch::on(&stage).config(config).start();
    let last = name(DEEP - 1, WIDE - 1);
    daemon.wait_state_for(&last, "RUNNING", Duration::from_secs(60));
    let rows = daemon.wait_all("RUNNING");
    eprintln!("500 services up after {:?}", began.elapsed());
    assert_eq!(rows.len(), DEEP * WIDE);

    let uptimes: BTreeMap<&str, f64> = rows
        .iter()
        .map(|row| (row.name(), row.uptime().unwrap()))
        .collect();
    for level in 1..DEEP {
        for place in 0..WIDE {
            let own = name(level, place);
            for dependency in dependencies(level, place) {
                assert!(
                    uptimes[dependency.as_str()] >= uptimes[own.as_str()],
                    "{own} ran before {dependency}"
                );
            }
        }
    }
    daemon.shut_down();
}
