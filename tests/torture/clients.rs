//! Clients by the thousand: in a hurry, silent, talking nonsense, following the logs, gone in mid-answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::aftermath;
use crate::patient::{Patient, RESTARTS, Services};
use crate::support::{Choices, PATIENCE, Stage, torture_time};

const COUNT: usize = 200;

/// How many come at the same time from each place.
const PLACES: u64 = 8;

/// How many come at least.
const THOUSAND: u64 = 1000;

fn request(choices: &mut Choices) -> Vec<u8> {
    let name = format!("s{}", choices.below(COUNT as u64));
    let text = match choices.below(24) {
        0 => json!({"command": "list"}).to_string(),
        1 => json!({"command": "status"}).to_string(),
        2 => json!({"command": "status", "service": name}).to_string(),
        3 => json!({"command": "logs", "follow": true}).to_string(),
        4 => json!({"command": "events", "follow": true}).to_string(),
        5 => json!({"command": "wait", "service": name, "for": "stopped"}).to_string(),
        6 => json!({"command": "restart", "services": [name]}).to_string(),
        7 => json!({"command": "signal", "service": name, "signal": "TERM"}).to_string(),
        8 => json!({"command": "reload"}).to_string(),
        9 => "{\"command\":\"li".repeat(1 + choices.below(2000) as usize),
        10 => "[".repeat(choices.below(70_000) as usize),
        11 => String::from_utf8_lossy(&[0xff; 300]).into_owned(),
        12..16 => json!({"command": "health"}).to_string(),
        _ => json!({"command": "version"}).to_string(),
    };
    let lines = 1 + choices.below(3) as usize;
    format!("{text}\n").repeat(lines).into_bytes()
}

/// One client's life: how many bytes it was answered.
fn live(socket: &Path, choices: &mut Choices, held: &mut Vec<UnixStream>) -> u64 {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return 0;
    };
    let patience = Some(Duration::from_millis(1 + choices.below(200)));
    stream.set_read_timeout(patience).unwrap();
    stream.set_write_timeout(patience).unwrap();
    let text = request(choices);
    let part = choices.below(4) == 0;
    let end = match part {
        true => choices.below(text.len() as u64) as usize,
        false => text.len(),
    };
    let _ = stream.write_all(&text[..end]);
    let mut answered = 0;
    match choices.below(4) {
        0 => {}
        1 => held.push(stream),
        _ => {
            let mut buffer = vec![0; 1 + choices.below(20_000) as usize];
            answered += stream.read(&mut buffer).unwrap_or(0) as u64;
        }
    }
    if held.len() > 100 {
        held.drain(..choices.below(100) as usize);
    }
    answered
}

#[test]
fn clients_by_the_thousand() {
    need_pid_one!();
    let mut choices = Choices::from_environment();
    let more = format!("{RESTARTS}log_buffer = \"4KiB\"\n");
    let patient = Patient::new(
        Stage::new(),
        Services::default().sleepers("s", COUNT, &more),
    );
    let socket = &patient.daemon.socket;
    let until = Instant::now() + torture_time(2 * crate::SHORT);
    let (lives, answered) = std::thread::scope(|scope| {
        let places: Vec<_> = (0..PLACES)
            .map(|_| {
                let mut own = Choices::from_seed(choices.below(u64::MAX));
                scope.spawn(move || {
                    let (mut lives, mut answered, mut held) = (0, 0, Vec::new());
                    // A slow machine takes longer to see as many.
                    let enough =
                        |lives| lives > THOUSAND / PLACES || Instant::now() > until + PATIENCE;
                    while Instant::now() < until || !enough(lives) {
                        answered += live(socket, &mut own, &mut held);
                        lives += 1;
                    }
                    (lives, answered)
                })
            })
            .collect();
        places
            .into_iter()
            .map(|place| place.join().unwrap())
            .fold((0, 0), |all, place| (all.0 + place.0, all.1 + place.1))
    });
    eprintln!("{lives} clients, {answered} bytes of answers");
    assert!(lives > THOUSAND && answered > 0, "{lives} clients");
    aftermath::check(patient, &mut choices);
}
