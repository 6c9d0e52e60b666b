//! What holds after each torture: the table is true, no zombie is left, descriptors and memory are back at their
//! level, and shutdown ends in time with the right code.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::patient::Patient;
use crate::support::{Choices, Daemon, PATIENCE, Row, children, status_field, until};

/// What the daemon may hold more than before, in KiB of memory that is its own: the places of 512 clients, its
/// remembered events (64 KiB of text), its queues, and what lies scattered in a heap that was larger meanwhile.
const MORE_KIB: u64 = 1024;

/// What a service may hold more, in KiB: what it wrote last (`log_buffer`, twice that with spare capacity).
const MORE_KIB_A_SERVICE: u64 = 2;

/// `global_shutdown_timeout` of every patient, what the daemon allows itself for strays and for those whom even
/// SIGKILL does not end, and for a machine with other work to do.
const SHUTDOWN: Duration = Duration::from_secs(4 + 1 + 2 + 3);

/// How much a daemon holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Level {
    /// Open descriptors.
    pub descriptors: usize,
    /// Resident memory of its own (RssAnon), in KiB: the pages of the program file come and go.
    pub memory: u64,
}

impl Level {
    /// Now.
    pub fn of(daemon: &Daemon) -> Level {
        let pid = daemon.pid();
        Level {
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            memory: status_field(pid, "RssAnon").unwrap(),
        }
    }
}

/// A child of the daemon's, from /proc.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its number in the daemon's namespace.
    pub pid: i32,
    /// Its number here.
    pub outer: i32,
    /// R, S, T, Z …
    pub state: char,
    /// Its command line.
    pub command: Vec<String>,
}

/// The children of the daemon, zombies included.
pub fn children_of(daemon: &Daemon) -> Vec<Child> {
    let outer = children(daemon.pid());
    outer.into_iter().filter_map(child).collect()
}

fn child(outer: i32) -> Option<Child> {
    let status = fs::read_to_string(format!("/proc/{outer}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line[name.len()..].trim())
    };
    let command = fs::read(format!("/proc/{outer}/cmdline")).ok()?;
    let words = command.split(|byte| *byte == 0);
    let mut command: Vec<String> = words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    command.pop();
    Some(Child {
        pid: field("NSpid:")?.split_whitespace().last()?.parse().ok()?,
        outer,
        state: field("State:")?.chars().next()?,
        command,
    })
}

/// What the table says that is not so, and what it does not say.
pub fn lies(
    rows: &[Row],
    children: &[Child],
    commands: &BTreeMap<String, Vec<String>>,
) -> Vec<String> {
    let mut lies = Vec::new();
    let mut listed = BTreeMap::new();
    for row in rows {
        let (name, state) = (row.name(), row.state());
        let lives = matches!(state, "RUNNING" | "STOPPING");
        let Some(pid) = row.pid() else {
            if lives {
                lies.push(format!("{name} is {state} without a process"));
            }
            continue;
        };
        if let Some(other) = listed.insert(pid, name) {
            lies.push(format!("{name} and {other} are both process {pid}"));
        }
        if !lives && state != "STARTING" {
            lies.push(format!("{name} is {state} and has process {pid}"));
        }
        match children.iter().find(|child| child.pid == pid) {
            None => lies.push(format!("process {pid} of {name} is no child of the daemon")),
            Some(child) if child.state == 'Z' => {
                lies.push(format!("process {pid} of {name} is a zombie"));
            }
            Some(child) if !child.command.ends_with(&commands[name]) => {
                let command = &child.command;
                lies.push(format!("process {pid} of {name} is {command:?}"));
            }
            Some(_) => {}
        }
    }
    for child in children {
        if child.state != 'Z' && !listed.contains_key(&child.pid) {
            let (pid, command) = (child.pid, &child.command);
            lies.push(format!("process {pid}, {command:?}, is not in the table"));
        }
    }
    if rows.len() != commands.len() {
        lies.push(format!("{} of {} services", rows.len(), commands.len()));
    }
    lies
}

/// Waits until the table is true. Table and /proc cannot be read at one moment: they are compared where the table
/// was the same before and after.
fn table_is_true(patient: &Patient) {
    let deadline = Instant::now() + PATIENCE;
    let key = |rows: &[Row]| -> Vec<_> {
        rows.iter()
            .map(|row| (row.state().to_owned(), row.pid()))
            .collect()
    };
    loop {
        let before = patient.daemon.list();
        let children = children_of(&patient.daemon);
        let after = patient.daemon.list();
        let lies = match key(&before) == key(&after) {
            true => lies(&before, &children, &patient.commands),
            false => vec!["the table changes".to_owned()],
        };
        if lies.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the table is not true: {lies:#?}\n{}",
            patient.daemon.said()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// All five. Every enabled service has to come up again first.
pub fn check(mut patient: Patient, choices: &mut Choices) {
    patient.wait_until_up();
    table_is_true(&patient);
    let daemon = &patient.daemon;
    until("no zombie", PATIENCE, || {
        let children = children_of(daemon);
        (!children.iter().any(|child| child.state == 'Z')).then_some(())
    });
    levels_are_back(&patient);
    ends_in_time(&mut patient, choices);
}

fn levels_are_back(patient: &Patient) {
    let before = patient.before;
    let more = MORE_KIB + MORE_KIB_A_SERVICE * patient.commands.len() as u64;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = Level::of(&patient.daemon);
        if now.descriptors <= before.descriptors && now.memory <= before.memory + more {
            let largest = patient.largest();
            eprintln!("before {before:?}, after {now:?}, at most {largest} KiB");
            return;
        }
        assert!(
            Instant::now() < deadline,
            "before {before:?}, after {now:?}, allowed {more} KiB more: {:?}",
            open_files(&patient.daemon)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What the daemon's descriptors are, with how many are alike.
fn open_files(daemon: &Daemon) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap_or_default();
        let target = target.display().to_string();
        let kind = target.split('[').next().unwrap_or_default().to_owned();
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// By SIGTERM, which gives 0, or by the command, which gives the code that was asked for.
fn ends_in_time(patient: &mut Patient, choices: &mut Choices) {
    let everything = patient.daemon.everything();
    let code = choices.below(2) * choices.below(256);
    let began = Instant::now();
    match code {
        0 => patient.daemon.sigterm(),
        code => {
            let code = code.to_string();
            patient.daemon.cli_ok(&["shutdown", "--exit-code", &code]);
        }
    }
    let ended = patient.daemon.wait_exit(SHUTDOWN);
    let took = began.elapsed();
    assert_eq!(ended, code as i32, "{}", patient.daemon.said());
    assert_eq!(everything.alive(), [0; 0], "{}", patient.daemon.said());
    eprintln!("ended with {ended} after {took:?}");
}

/// The eye itself: it has to see each lie it is there for.
#[test]
fn a_table_that_lies_is_seen() {
    let command = |word: &str| vec!["/bin/sleep".to_owned(), word.to_owned()];
    let commands = BTreeMap::from([("a".into(), command("1")), ("b".into(), command("2"))]);
    let row = |name: &str, state: &str, pid: Option<i32>| {
        Row(serde_json::json!({"name": name, "state": state, "pid": pid}))
    };
    let child = |pid: i32, state: char, word: &str| Child {
        pid,
        outer: pid,
        state,
        command: command(word),
    };
    let (a, b) = (row("a", "RUNNING", Some(10)), row("b", "STOPPED", None));
    let sees = |rows: &[&Row], children: &[Child]| {
        let rows: Vec<Row> = rows.iter().map(|row| (*row).clone()).collect();
        !lies(&rows, children, &commands).is_empty()
    };
    assert!(!sees(&[&a, &b], &[child(10, 'S', "1")]));
    assert!(!sees(
        &[&a, &b],
        &[child(10, 'T', "1"), child(11, 'Z', "2")]
    ));
    assert!(sees(&[&a, &b], &[]), "no such child");
    assert!(sees(&[&a, &b], &[child(10, 'Z', "1")]), "a zombie");
    assert!(sees(&[&a, &b], &[child(10, 'S', "2")]), "another program");
    let two = [child(10, 'S', "1"), child(11, 'S', "2")];
    assert!(sees(&[&a, &b], &two), "a child that is not listed");
    assert!(!sees(&[&a, &row("b", "RUNNING", Some(11))], &two));
    assert!(
        sees(&[&a, &row("b", "FAILED", Some(11))], &two),
        "FAILED with a process"
    );
    assert!(
        sees(&[&a, &row("b", "RUNNING", None)], &two[..1]),
        "RUNNING without"
    );
    assert!(
        sees(&[&a, &row("b", "RUNNING", Some(10))], &two[..1]),
        "twice"
    );
    assert!(sees(&[&a], &two[..1]), "a service is missing");
}
