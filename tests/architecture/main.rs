//! The architecture holds: layers use only what is below them, decisions are pure, and nothing that the
//! outside can cause ends in a panic. Each rule fails with the file, the line and what is wrong there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod circles;
mod limits;
mod source;

use source::{Source, sources};

mod words;

/// The layers, low to high. A module uses modules of lower layers, never one above or beside it.
const LAYERS: [(&str, u8); 19] = [
    ("base", 0),
    ("domain", 1),
    ("schedule", 1),
    ("config", 2),
    // Beside the supervisor, which knows no protocol.
    ("control", 3),
    ("output", 3),
    ("supervisor", 3),
    ("api", 4),
    ("render", 4),
    ("sys", 4),
    ("probe", 4),
    ("wire", 5),
    // Uses the kernel through sys.
    ("launch", 5),
    ("reactor", 6),
    ("client", 6),
    ("daemon", 7),
    ("cli", 8),
    ("main", 9),
    // The build script, a program of its own that nobody uses.
    ("link", 9),
];

/// Modules that decide and compute, and never touch the world.
const PURE: [&str; 11] = [
    "base",
    "domain",
    "schedule",
    "config",
    "control",
    "output",
    "supervisor",
    "api",
    "render",
    "probe",
    "wire",
];

/// Modules that hold reasons and views as data.
const DATA: [&str; 2] = ["domain", "supervisor"];

/// What a module of data does not name, and why.
const NOT_DATA: [(&str, &str); 5] = [
    ("serde", "what is sent belongs to control"),
    ("serde_json", "what is sent belongs to control"),
    ("format!(", "sentences belong to api/words.rs"),
    ("write!(", "sentences belong to api/words.rs"),
    ("format_args!(", "sentences belong to api/words.rs"),
];

/// What a pure module does not name, and why.
const IMPURE: [(&str, &str); 17] = [
    ("std::fs", "files belong to sys"),
    // Addresses are data, in std::net and core::net alike.
    ("net::*", "sockets belong to sys: name the addresses"),
    ("TcpStream", "sockets belong to sys"),
    ("TcpListener", "sockets belong to sys"),
    ("UdpSocket", "sockets belong to sys"),
    ("ToSocketAddrs", "lookups belong to sys"),
    ("std::os", "the kernel belongs to sys"),
    ("std::process", "processes belong to sys"),
    ("std::env", "the environment is handed in"),
    ("std::thread", "there are no threads"),
    ("Instant::now", "the time is handed in"),
    ("SystemTime::now", "the time is handed in"),
    ("mio::", "readiness belongs to the reactor"),
    ("nix::", "the kernel belongs to sys"),
    ("libc::", "the kernel belongs to sys"),
    ("HashMap", "its order differs from run to run: use BTreeMap"),
    ("HashSet", "its order differs from run to run: use BTreeSet"),
];

/// What ends the program where an error should be handled.
const PANICS: [&str; 7] = [
    ".unwrap()",
    ".expect(",
    "panic!(",
    "unreachable!(",
    "todo!(",
    "unimplemented!(",
    "process::abort(",
];

/// The files that are the reactor's turn. Every other one in `reactor/` is a part, which is given a context.
const TURN: [&str; 6] = [
    "reactor/mod.rs",
    "reactor/setup.rs",
    "reactor/ready.rs",
    "reactor/rest.rs",
    "reactor/perform.rs",
    "reactor/reaping.rs",
];

/// Lines of the turn's own file.
const MAX_TURN_LINES: usize = 200;

/// What the reactor owns.
const MAX_PARTS: usize = 15;

/// What is allowed all the same: file, what its line contains, and the reason.
const ALLOWED: [(&str, &str, &str); 0] = [];

fn layer(module: &str) -> Option<u8> {
    let row = LAYERS.iter().find(|(name, _)| *name == module);
    row.map(|(_, layer)| *layer)
}

fn illegal_edges(source: &Source) -> Vec<String> {
    let from = source.module();
    if from == "lib" {
        return Vec::new();
    }
    let Some(own) = layer(from) else {
        let what = format!("module {from} has no layer: give it one in tests/architecture");
        return source.finding(0, &what).into_iter().collect();
    };
    let edges = source.used_modules().into_iter();
    edges
        .filter(|(_, to)| to != from)
        .filter_map(|(at, to)| match layer(&to) {
            Some(other) if other < own => None,
            Some(_) => source.finding(at, &format!("{from} must not use {to}: it is not below")),
            None => source.finding(at, &format!("{from} uses {to}, which has no layer")),
        })
        .collect()
}

fn impurities(source: &Source) -> Vec<String> {
    let module = source.module();
    if !PURE.contains(&module) {
        return Vec::new();
    }
    let used = source.used_modules().into_iter();
    let impure = used.filter(|(_, to)| !PURE.contains(&to.as_str()));
    let edges = impure.filter_map(|(at, to)| {
        source.finding(
            at,
            &format!("pure module {module} must not use {to}: it is not pure"),
        )
    });
    let mut findings = named(source, &IMPURE, "pure");
    findings.extend(edges);
    findings
}

fn prose_and_wire(source: &Source) -> Vec<String> {
    match DATA.contains(&source.module()) {
        true => named(source, &NOT_DATA, "data"),
        false => Vec::new(),
    }
}

/// Each place of each of these words in a module of this kind.
fn named(source: &Source, words: &[(&str, &str)], kind: &str) -> Vec<String> {
    words
        .iter()
        .flat_map(|(word, why)| {
            source
                .places(word)
                .into_iter()
                .map(move |at| (at, word, why))
        })
        .filter_map(|(at, word, why)| {
            source.finding(
                at,
                &format!("{word} in {kind} module {}: {why}", source.module()),
            )
        })
        .collect()
}

fn unsafe_outside_sys(source: &Source) -> Vec<String> {
    if source.module() == "sys" {
        return Vec::new();
    }
    let places = source.places("unsafe").into_iter();
    places
        .filter_map(|at| source.finding(at, "unsafe outside sys"))
        .collect()
}

fn panics(source: &Source) -> Vec<String> {
    PANICS
        .iter()
        .flat_map(|word| source.places(word).into_iter().map(move |at| (at, word)))
        .filter_map(|(at, word)| source.finding(at, &format!("{word} can end the program")))
        .collect()
}

fn long_turn(source: &Source) -> Vec<String> {
    let lines = source.code.lines().count();
    let is_long = source.path == "reactor/mod.rs" && lines > MAX_TURN_LINES;
    let finding =
        is_long.then(|| format!("src/{}: {lines} lines, of {MAX_TURN_LINES}", source.path));
    finding.into_iter().collect()
}

fn reactor_in_a_part(source: &Source) -> Vec<String> {
    if source.module() != "reactor" || TURN.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let places = source.places("Reactor").into_iter();
    places
        .filter_map(|at| source.finding(at, "a part knows the reactor: give it a context"))
        .collect()
}

/// Fields of the reactor beyond the bound.
fn too_many_parts(source: &Source) -> Vec<String> {
    let Some(at) = source.places("struct Reactor").first().copied() else {
        return Vec::new();
    };
    let body = source.code[at..].split_once('{').unwrap().1;
    let body = body.split_once('}').unwrap().0;
    let fields = body.lines().filter(|line| line.contains(": ")).count();
    let finding = (fields > MAX_PARTS)
        .then(|| source.finding(at, &format!("{fields} fields, of {MAX_PARTS}")));
    finding.flatten().into_iter().collect()
}

fn check(rule: fn(&Source) -> Vec<String>) {
    let findings: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn modules_use_only_what_is_below_them() {
    check(illegal_edges);
}

#[test]
fn decisions_are_pure() {
    check(impurities);
}

#[test]
fn the_supervisor_has_no_sentences_and_no_wire_types() {
    check(prose_and_wire);
}

#[test]
fn unsafe_stays_in_sys() {
    check(unsafe_outside_sys);
}

#[test]
fn nothing_panics() {
    check(panics);
}

#[test]
fn the_reactor_is_a_turn_and_its_parts() {
    check(reactor_in_a_part);
    check(too_many_parts);
    check(long_turn);
    let sources = sources();
    for file in TURN {
        let source = sources.iter().find(|source| source.path == file);
        let is_needed = source.is_some_and(|source| !source.places("Reactor").is_empty());
        assert!(
            is_needed,
            "src/{file} does not know the reactor: it is a part"
        );
    }
}

#[test]
fn every_exception_is_still_needed() {
    let sources = sources();
    for (path, part, reason) in ALLOWED {
        let source = sources.iter().find(|source| source.path == path);
        let used = source.is_some_and(|source| source.code.contains(part));
        assert!(
            used,
            "nothing in src/{path} needs the exception {part:?} ({reason})"
        );
    }
}

#[test]
fn a_planted_edge_is_found() {
    let planted = |path: &str, text: &str| illegal_edges(&Source::new(path, text));
    let found = planted(
        "config/check.rs",
        "//! Reads.\n\nuse crate::reactor::turn;\n",
    );
    assert_eq!(
        found,
        ["src/config/check.rs:3: config must not use reactor: it is not below"]
    );
    // Every way to write it.
    for text in [
        "use crate::{base::Pid, sys::{self, pty}};",
        "fn f() { crate::sys::kill() }",
        "use super::super::sys;",
        "pub(crate) use crate::sys as s;",
    ] {
        assert_eq!(planted("control/frame.rs", text).len(), 1, "{text}");
    }
    // Beside is not below; a module without a layer is no way around.
    assert_eq!(
        planted("config/mod.rs", "use crate::control::message;").len(),
        1
    );
    assert_eq!(planted("utils.rs", "").len(), 1);
    assert_eq!(planted("main.rs", "use go_overlay::cli;").len(), 0);
    // What is no code counts for nothing.
    for text in [
        "// crate::sys is not used",
        "const S: &str = \"crate::sys\"; /* crate::sys */",
        "const R: &str = r#\"a \" crate::sys\"#; const C: char = '\"'; const D: char = '\\'';",
        "use crate::base::Pid; use crate::config::model; use super::model;",
        "#[cfg(test)]\nmod tests { use crate::sys; fn f() { { } } }",
        "#[cfg(test)]\nmod tests;",
    ] {
        assert_eq!(planted("config/check.rs", text), [""; 0], "{text}");
    }
}

#[test]
fn planted_prose_and_wire_types_are_found() {
    for (path, text) in [
        ("supervisor/x.rs", "use serde::Serialize;"),
        ("supervisor/x.rs", "fn f() { serde_json::to_vec(&1) }"),
        ("supervisor/x.rs", "fn f() -> String { format!(\"no\") }"),
        ("domain/x.rs", "fn f() { write!(f, \"no\") }"),
        ("domain/x.rs", "#[derive(serde::Serialize)] struct S;"),
    ] {
        assert_eq!(prose_and_wire(&Source::new(path, text)).len(), 1, "{text}");
    }
    for (path, text) in [
        ("supervisor/x.rs", "use crate::control::message::State;"),
        ("supervisor/x.rs", "use crate::api::words::Words;"),
        ("domain/x.rs", "use crate::config::model;"),
        ("domain/x.rs", "use crate::supervisor::event::Word;"),
    ] {
        assert_eq!(illegal_edges(&Source::new(path, text)).len(), 1, "{text}");
    }
    for text in [
        "use crate::domain::State; use crate::config::model;",
        "fn f() { debug_assert!(true, \"{x} is wrong\") }",
        "#[cfg(test)]\nmod tests { fn f() { format!(\"fine\") } }",
    ] {
        let source = Source::new("supervisor/x.rs", text);
        assert_eq!(prose_and_wire(&source), [""; 0], "{text}");
        assert_eq!(illegal_edges(&source), [""; 0], "{text}");
    }
    let words = Source::new("api/words.rs", "fn f() { write!(f, \"yes\") }");
    assert_eq!(prose_and_wire(&words), [""; 0]);
}

#[test]
fn what_stands_between_transport_and_core_is_pure() {
    for (path, text) in [
        ("wire/x.rs", "use crate::sys::socket::Peer;"),
        ("wire/x.rs", "use crate::reactor::Reactor;"),
        ("wire/x.rs", "use mio::net::UnixStream;"),
        ("api/x.rs", "use std::net::TcpStream;"),
        ("api/x.rs", "use crate::sys::usage::Watch;"),
    ] {
        assert_eq!(impurities(&Source::new(path, text)).len(), 1, "{text}");
    }
    // Between them the direction is one: a codec writes what the api says.
    let found = illegal_edges(&Source::new("api/x.rs", "use crate::wire::json_line;"));
    assert_eq!(
        found,
        ["src/api/x.rs:1: api must not use wire: it is not below"]
    );
    let codec = Source::new("wire/x.rs", "use crate::api::{stream, verbs};");
    assert_eq!(illegal_edges(&codec), [""; 0]);
    assert_eq!(impurities(&codec), [""; 0]);
}

#[test]
fn planted_impurity_unsafe_and_panics_are_found() {
    let source = Source::new(
        "supervisor/x.rs",
        "fn f() -> u8 {\n let now = std::time::Instant::now();\n unsafe { g() }.unwrap()\n}",
    );
    assert_eq!(impurities(&source).len(), 1);
    assert_eq!(unsafe_outside_sys(&source).len(), 1);
    assert_eq!(
        panics(&source),
        ["src/supervisor/x.rs:3: .unwrap() can end the program"]
    );
    let fine = Source::new("sys/x.rs", "fn unsafety() { unsafe { g() }.unwrap_or(3) }");
    assert!(panics(&fine).is_empty() && impurities(&fine).is_empty());
    assert!(unsafe_outside_sys(&fine).is_empty());
    for root in ["std", "core"] {
        for (item, findings) in [
            ("TcpStream", 1),
            ("*", 1),
            ("{IpAddr, UdpSocket}", 1),
            ("IpAddr", 0),
        ] {
            let text = format!("use {root}::net::{item};");
            let source = Source::new("config/x.rs", &text);
            assert_eq!(impurities(&source).len(), findings, "{text}");
        }
    }
}

#[test]
fn planted_violations_of_the_reactors_shape_are_found() {
    let long = "fn f() {}\n".repeat(201);
    assert_eq!(
        long_turn(&Source::new("reactor/mod.rs", &long)),
        ["src/reactor/mod.rs: 201 lines, of 200"]
    );
    assert_eq!(long_turn(&Source::new("reactor/jobs.rs", &long)), [""; 0]);
    for text in [
        "impl Reactor { fn f(&self) {} }",
        "fn f(reactor: &mut Reactor) {}",
        "use crate::reactor::Reactor;",
    ] {
        let in_a_part = |path| reactor_in_a_part(&Source::new(path, text)).len();
        assert_eq!(in_a_part("reactor/jobs.rs"), 1, "{text}");
        assert_eq!(in_a_part("reactor/probes/asides.rs"), 1, "{text}");
        assert_eq!(in_a_part("reactor/perform.rs"), 0, "{text}");
        assert_eq!(in_a_part("daemon.rs"), 0, "{text}");
    }

    let fields = |count| {
        let fields: String = (0..count).map(|n| format!("    f{n}: u8,\n")).collect();
        let text = format!("/// All: it.\npub struct Reactor {{\n    /// One: a.\n{fields}}}\n");
        too_many_parts(&Source::new("reactor/mod.rs", &text)).len()
    };
    assert_eq!([fields(MAX_PARTS), fields(MAX_PARTS + 1)], [0, 1]);
}
