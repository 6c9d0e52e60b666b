//! The architecture holds: layers use only what is below them, decisions are pure, and nothing that the
//! outside can cause ends in a panic. Each rule fails with the file, the line and what is wrong there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "architecture/words.rs"]
mod words;

/// The layers, low to high. A module uses modules of lower layers, never one above or beside it.
const LAYERS: [(&str, u8); 18] = [
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
const IMPURE: [(&str, &str); 13] = [
    ("std::fs", "files belong to sys"),
    ("std::net", "sockets belong to sys"),
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

/// What is allowed all the same: file, what its line contains, and the reason.
const ALLOWED: [(&str, &str, &str); 0] = [];

/// One source file, as the rules see it.
struct Source {
    /// Below `src/`, with `/`.
    path: String,
    /// The text with comments, strings and test modules blanked out, line for line.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            code: without_tests(&without_comments_and_strings(text)),
        }
    }

    /// The top-level module it belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many modules deep its own module is: 1 for `cli.rs` and `sys/mod.rs`.
    fn depth(&self) -> usize {
        let inner = self.path.trim_end_matches("/mod.rs");
        inner.split('/').count()
    }

    fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    fn finding(&self, at: usize, what: &str) -> Option<String> {
        let number = self.line_of(at);
        let line = self.code.lines().nth(number - 1).unwrap_or_default();
        let allowed = ALLOWED
            .iter()
            .any(|(path, part, _)| *path == self.path && line.contains(part));
        (!allowed).then(|| format!("src/{}:{number}: {what}", self.path))
    }

    /// Every place where `word` stands by itself.
    fn places(&self, word: &str) -> Vec<usize> {
        let starts_a_name = word.starts_with(|c: char| c.is_alphanumeric());
        let ends_a_name = word.ends_with(|c: char| c.is_alphanumeric());
        let in_name = |c: char| c.is_alphanumeric() || c == '_';
        self.code
            .match_indices(word)
            .filter(|(at, _)| {
                let before = self.code[..*at].chars().next_back();
                let after = self.code[at + word.len()..].chars().next();
                !(starts_a_name && before.is_some_and(in_name)
                    || ends_a_name && after.is_some_and(in_name))
            })
            .map(|(at, _)| at)
            .collect()
    }

    /// The top-level modules it names, each with its place.
    fn used_modules(&self) -> Vec<(usize, String)> {
        let mut used = Vec::new();
        let root_by_super = "super::".repeat(self.depth());
        for root in ["crate::", "go_overlay::", root_by_super.as_str()] {
            for at in self.places(root) {
                let by_super = root.starts_with("super");
                if by_super && self.code[..at].ends_with("super::") {
                    continue;
                }
                let rest = &self.code[at + root.len()..];
                used.extend(first_names(rest).into_iter().map(|name| (at, name)));
            }
        }
        used
    }
}

/// The first names of the paths that begin here: of `a::b` it is `a`, of `{a::{b, c}, d}` `a` and `d`.
fn first_names(text: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let Some(group) = text.strip_prefix('{') else {
        return vec![name(text)];
    };
    let mut names = Vec::new();
    let mut depth = 0;
    let mut begins = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            c if begins && !c.is_whitespace() => {
                names.push(name(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    names
}

/// Blanks out comments, strings and character literals; every line break stays where it is.
fn without_comments_and_strings(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_blank(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        }
        while at < end.min(chars.len()) {
            code.push(if chars[at] == '\n' { '\n' } else { ' ' });
            at += 1;
        }
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn end_of_blank(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    let in_name = |c: &char| c.is_alphanumeric() || *c == '_';
    let inside_name = at > 0 && in_name(&chars[at - 1]);
    match (chars[at], next) {
        ('/', Some('/')) => find(chars, at, &['\n']),
        ('/', Some('*')) => find(chars, at + 2, &['*', '/']) + 2,
        ('"', _) => end_of_string(chars, at + 1, '"'),
        ('r', Some('"' | '#')) if !inside_name => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            if chars.get(at + 1 + hashes) != Some(&'"') {
                return at;
            }
            let mut closing = vec!['"'];
            closing.extend(std::iter::repeat_n('#', hashes));
            find(chars, at + 2 + hashes, &closing) + closing.len()
        }
        ('\'', Some('\\')) => end_of_string(chars, at + 1, '\''),
        ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn find(chars: &[char], from: usize, wanted: &[char]) -> usize {
    (from..chars.len())
        .find(|at| chars[*at..].starts_with(wanted))
        .unwrap_or(chars.len())
}

fn end_of_string(chars: &[char], from: usize, closing: char) -> usize {
    let mut at = from;
    while at < chars.len() && chars[at] != closing {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Blanks out every item behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    while let Some(start) = code.find("#[cfg(test)]") {
        let mut depth = 0;
        let length = code[start..].char_indices().find_map(|(at, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0 && (c == '}' || c == ';')).then_some(at + 1)
        });
        let end = length.map_or(code.len(), |length| start + length);
        let blank: String = code[start..end]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// The files that `#[cfg(test)] mod x;` brings in.
fn test_files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in rust_files(folder) {
        let text = fs::read_to_string(&path).unwrap();
        let code = without_comments_and_strings(&text);
        for (at, marker) in code.match_indices("#[cfg(test)]") {
            // Attributes may stand between the marker and the module.
            let item = code[at + marker.len()..].split([';', '{']).next().unwrap();
            let ends_there = code[at + marker.len() + item.len()..].starts_with(';');
            let Some(name) = item.trim().rsplit_once("mod ").map(|(_, name)| name.trim()) else {
                continue;
            };
            if !ends_there {
                continue;
            }
            let base = match path.file_name().unwrap().to_str().unwrap() {
                "mod.rs" | "lib.rs" | "main.rs" => path.parent().unwrap().to_owned(),
                _ => path.with_extension(""),
            };
            found.insert(base.join(format!("{name}.rs")));
            found.insert(base.join(name));
        }
    }
    found
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Every file of the program except its tests.
fn sources() -> Vec<Source> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let tests = test_files(&folder);
    let is_test = |path: &Path| tests.iter().any(|test| path.starts_with(test));
    rust_files(&folder)
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| {
            let below = path.strip_prefix(&folder).unwrap().to_str().unwrap();
            Source::new(below, &fs::read_to_string(&path).unwrap())
        })
        .collect()
}

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
        let what = format!("module {from} has no layer: give it one in tests/architecture.rs");
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
}
