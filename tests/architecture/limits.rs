//! Limits of size, and matches that name every case.

use std::fs;
use std::path::Path;

use crate::source::{Source, rust_files, sources, without_comments_and_strings};

/// Lines of a source file.
const FILE: usize = 500;

/// Lines of a function, without comments and empty ones.
const FUNCTION: usize = 70;

/// Fields of a struct.
const STRUCT: usize = 20;

/// Enums that are dispatched on: a case without a handler must not compile.
const DISPATCHED: [&str; 6] = ["Source", "Action", "Event", "Request", "Response", "Notice"];

/// What is allowed all the same: the rule, what the finding begins with, and the reason.
const ALLOWED: [(&str, &str, &str); 8] = [
    (
        "structs",
        "config/model.rs: Service",
        "it mirrors the keys of a service in the file",
    ),
    (
        "functions",
        "tests/config_diagnostics.rs: malformed",
        "a table",
    ),
    ("functions", "tests/lookups.rs: lacking", "a table"),
    (
        "functions",
        "tests/simulation/small_worlds/worlds.rs: worlds",
        "a table",
    ),
    (
        "functions",
        "tests/supervisor_restart.rs: what_follows",
        "a table",
    ),
    (
        "functions",
        "tests/containers/swarm.rs: replicas",
        "one story",
    ),
    (
        "functions",
        "tests/security/files.rs: an_env_file",
        "one story",
    ),
    (
        "functions",
        "bench/micro.rs: main",
        "one measurement after the other",
    ),
];

/// Of these folders the functions are measured.
const MEASURED: [&str; 3] = ["src", "tests", "bench"];

/// Where the brace at `open` is closed.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    let found = code[open..].char_indices().find_map(|(at, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(open + at)
    });
    found.unwrap_or(code.len())
}

/// The name that begins here.
fn name(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    &text[..end.unwrap_or(text.len())]
}

fn long_file(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > FILE).then(|| format!("{path}: {lines} lines, at most {FILE}"))
}

/// Of a source with its tests: the lines between the braces of each function.
fn long_functions(source: &Source) -> Vec<String> {
    let code = &source.code;
    let long = source.places("fn").into_iter().filter_map(|at| {
        let name = name(&code[at + 2..]);
        let body = code[at..].find(['{', ';']).map(|end| at + end)?;
        if name.is_empty() || code[body..].starts_with(';') {
            return None;
        }
        let inside = &code[body + 1..closing(code, body)];
        let lines = inside
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count();
        (lines > FUNCTION).then(|| {
            format!(
                "{}: {name} has {lines} lines, at most {FUNCTION}",
                source.path
            )
        })
    });
    long.collect()
}

fn wide_structs(source: &Source) -> Vec<String> {
    let code = &source.code;
    let wide = source.places("struct").into_iter().filter_map(|at| {
        let name = name(&code[at + 6..]);
        let body = code[at..].find(['{', ';', '(']).map(|end| at + end)?;
        if !code[body..].starts_with('{') {
            return None;
        }
        let inside = &code[body + 1..closing(code, body)];
        let is_field = |line: &&str| {
            let line = line.trim_start();
            let field = line.strip_prefix("pub").map_or(line, |rest| {
                rest.split_once(") ").map_or(rest, |(_, field)| field)
            });
            let rest = &field.trim_start()[self::name(field).len()..];
            rest.starts_with(": ")
        };
        let fields = inside.lines().filter(is_field).count();
        (fields > STRUCT).then(|| {
            format!(
                "{}: {name} has {fields} fields, at most {STRUCT}",
                source.path
            )
        })
    });
    wide.collect()
}

/// Each `_ =>` of a match whose other arms name a dispatched enum.
fn catch_alls(source: &Source) -> Vec<String> {
    let code = &source.code;
    let is_caught = |at: &usize| {
        let mut depth = 0;
        let opens = code[..*at].char_indices().rev().find_map(|(at, c)| {
            match c {
                '}' => depth += 1,
                '{' => depth -= 1,
                _ => {}
            }
            (depth < 0).then_some(at)
        });
        let Some(open) = opens else {
            return false;
        };
        let arms = patterns(&code[open + 1..closing(code, open)]);
        let arms = Source::new("arms.rs", &arms);
        DISPATCHED
            .iter()
            .any(|name| !arms.places(&format!("{name}::")).is_empty())
    };
    let all = code.match_indices("_ =>").map(|(at, _)| at);
    all.filter(|at| code[..*at].ends_with(char::is_whitespace))
        .filter(is_caught)
        .map(|at| {
            let line = source.line_of(at);
            format!(
                "{}:{line}: _ => over an enum that is dispatched on",
                source.path
            )
        })
        .collect()
}

/// What is in front of each `=>` of a match, without what is in braces and in brackets.
fn patterns(arms: &str) -> String {
    let mut depth = 0;
    let outer: String = arms
        .chars()
        .filter(|c| {
            match c {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth -= 1,
                _ => {}
            }
            depth == 0 && !matches!(c, '}' | ')' | ']')
        })
        .collect();
    let arms = outer.split("=>").map(|arm| {
        // The expression of the arm before ends with a comma or with its line.
        arm.rsplit([',', '\n'])
            .next()
            .unwrap_or_default()
            .to_owned()
    });
    arms.collect::<Vec<_>>().join("\n")
}

/// The sources below a folder, tests included.
fn with_tests(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    rust_files(&root.join(folder))
        .into_iter()
        .filter(|path| !path.components().any(|part| part.as_os_str() == "target"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let path = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let code = without_comments_and_strings(&text);
            Source { path, code }
        })
        .collect()
}

/// Fails with what is not allowed, and with an exception that nothing needs.
fn check(rule: &str, found: Vec<String>) {
    let mut refused = found;
    for (_, place, reason) in ALLOWED.iter().filter(|(of, ..)| *of == rule) {
        let before = refused.len();
        refused.retain(|finding| !finding.starts_with(place));
        assert!(
            refused.len() < before,
            "{place} needs no exception any more ({reason})"
        );
    }
    assert!(refused.is_empty(), "\n{}\n", refused.join("\n"));
}

#[test]
fn files_are_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = rust_files(&root.join("src"))
        .into_iter()
        .filter_map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            long_file(path.strip_prefix(root).unwrap().to_str().unwrap(), &text)
        });
    check("files", files.collect());
}

#[test]
fn functions_are_short() {
    let sources = MEASURED.iter().flat_map(|folder| with_tests(folder));
    let found = sources.flat_map(|source| long_functions(&source));
    check("functions", found.collect());
}

#[test]
fn structs_are_small() {
    let found = sources().iter().flat_map(wide_structs).collect();
    check("structs", found);
}

#[test]
fn a_match_that_dispatches_names_every_case() {
    let found = sources().iter().flat_map(catch_alls).collect();
    check("dispatch", found);
}

#[test]
fn planted_excesses_are_found() {
    let lines = |count: usize| "x();\n".repeat(count);
    assert_eq!(long_file("src/x.rs", &lines(FILE)), None);
    let found = long_file("src/x.rs", &lines(FILE + 1));
    assert_eq!(found.unwrap(), "src/x.rs: 501 lines, at most 500");

    let function = |count: usize| {
        let text = format!(
            "trait T {{ fn g(&self); }}\npub fn f<T>(t: T) -> u8\nwhere T: Copy,\n{{\n// One.\n\n{}}}\n",
            lines(count)
        );
        long_functions(&Source::new("x.rs", &text))
    };
    assert_eq!(function(FUNCTION), [""; 0]);
    assert_eq!(function(FUNCTION + 1), ["x.rs: f has 71 lines, at most 70"]);

    let fields = |count: usize| {
        let fields: String = (0..count)
            .map(|n| format!("    /// One: more.\n    pub(super) f{n}: Vec<(u8, u8)>,\n"))
            .collect();
        wide_structs(&Source::new(
            "x.rs",
            &format!("struct U;\npub struct S<T> {{\n{fields}}}\n"),
        ))
    };
    assert_eq!(fields(STRUCT), [""; 0]);
    assert_eq!(fields(STRUCT + 1), ["x.rs: S has 21 fields, at most 20"]);
}

#[test]
fn a_planted_catch_all_is_found() {
    let found = |arms: &str| {
        let text = format!("fn f() {{\n    match x {{\n        {arms}\n    }}\n}}\n");
        catch_alls(&Source::new("reactor/x.rs", &text)).len()
    };
    for arms in [
        "Source::Signals => {}\n _ => {}",
        "Event::Exited { job, .. } if job == 1 => { match y { 1 => {} 2 => {} } }\n        _ => return,",
        "Action::Exit(_) | Action::Notice(_) => f(a, b),\n        _ => {}",
    ] {
        assert_eq!(found(arms), 1, "{arms}");
    }
    for arms in [
        "Source::Signals => {}\n        Source::Stdout | Source::Stderr => {}",
        "1 => tell(Event::Boot),\n        _ => tell(Event::Boot),",
        "Source::Client(slot) => match slot { 1 => {} _ => {} },\n        Source::Stdout => {}",
        "Phase::Running => Action::Exit(1),\n        _ => {}",
    ] {
        assert_eq!(found(arms), 0, "{arms}");
    }
}
