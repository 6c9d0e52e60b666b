//! Files of one module use each other in one direction only. A module and what is inside it count as one there: a file
//! may use its parent, which names it.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, sources};

/// Circles that are still there: the module, and the one of its edges that is to go.
const CIRCLES: [(&str, &str, &str); 6] = [
    ("api", "journal", "stream"),
    ("config", "user", "entry"),
    ("config", "diagnostic", "files"),
    ("reactor", "console", "log_helpers"),
    ("reactor", "launches", "jobs"),
    ("reactor", "log_helpers", "output"),
];

type Path = Vec<String>;

/// What uses what, by the module that holds both.
type Edges = BTreeMap<Path, BTreeMap<String, BTreeSet<String>>>;

fn segments(path: &str) -> Path {
    path.split("::")
        .map(|name| name.trim().to_owned())
        .collect()
}

/// `sys/log_file/children.rs` is `sys::log_file::children`, `sys/mod.rs` is `sys`.
fn module_of(file: &str) -> Path {
    let inner = file.trim_end_matches(".rs").trim_end_matches("/mod");
    inner.split('/').map(str::to_owned).collect()
}

/// The paths of a use declaration: of `a::{b, c::d}` they are `a::b` and `a::c::d`.
fn expanded(tree: &str) -> Vec<String> {
    let Some((before, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.trim().to_owned()];
    };
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match (c, depth) {
            (',', 0) => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(c),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts
        .flat_map(|part| expanded(part))
        .map(|part| format!("{}{part}", before.trim()))
        .collect()
}

/// Every path that a file names, in use declarations and in code. One that is called is a function, not a module.
fn paths(source: &Source) -> Vec<String> {
    let mut rest = source.code.clone();
    let mut found = Vec::new();
    for at in source.places("use") {
        let declaration = &source.code[at + 3..];
        let tree = declaration.split(';').next().unwrap_or_default();
        if tree.starts_with(char::is_whitespace) {
            found.extend(expanded(tree));
            rest.replace_range(at..at + 3 + tree.len(), &" ".repeat(tree.len() + 3));
        }
    }
    let in_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut from = 0;
    while let Some(start) = rest[from..].find(in_path).map(|at| from + at) {
        let length = rest[start..]
            .find(|c| !in_path(c))
            .unwrap_or(rest.len() - start);
        let path = rest[start..start + length].trim_end_matches(':');
        let is_called = rest[start + length..].starts_with('(');
        let path = match path.rsplit_once("::") {
            Some((module, _)) if is_called => module,
            _ => path,
        };
        if path.contains("::") || is_called {
            found.push(path.to_owned());
        }
        from = start + length;
    }
    found
}

/// The module that a path leads to, as seen from `from`; None for one of another crate.
fn target(path: &str, from: &Path, modules: &BTreeSet<Path>) -> Option<Path> {
    let mut names = segments(path);
    names.retain(|name| name != "self" || path.starts_with("self"));
    let ups = names.iter().take_while(|name| *name == "super").count();
    let (mut at, names): (Path, &[String]) = match names.first()?.as_str() {
        "crate" => (Vec::new(), &names[1..]),
        "self" => (from.clone(), &names[1..]),
        "super" => (from[..from.len().checked_sub(ups)?].to_vec(), &names[ups..]),
        _ => (from.clone(), &names[..]),
    };
    for name in names {
        let next: Path = at.iter().chain([name]).cloned().collect();
        if !modules.contains(&next) {
            break;
        }
        at = next;
    }
    Some(at)
}

fn edges(sources: &[Source]) -> Edges {
    let all = sources.iter().map(|source| module_of(&source.path));
    let with_parents = |path: Path| (1..=path.len()).map(move |depth| path[..depth].to_vec());
    let modules: BTreeSet<Path> = all.flat_map(with_parents).collect();
    let mut edges = Edges::new();
    for source in sources {
        let from = module_of(&source.path);
        for path in paths(source) {
            let Some(to) = target(&path, &from, &modules) else {
                continue;
            };
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if common > 0 && common < from.len().min(to.len()) {
                let of = edges.entry(from[..common].to_vec()).or_default();
                of.entry(from[common].clone())
                    .or_default()
                    .insert(to[common].clone());
            }
        }
    }
    edges
}

/// The shortest way from a node back to itself.
fn circle(of: &BTreeMap<String, BTreeSet<String>>, start: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in of.get(way.last()?).into_iter().flatten() {
                let way: Vec<String> = way.iter().chain([next]).cloned().collect();
                if next == start {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

fn circles(mut edges: Edges, allowed: &[(&str, &str, &str)]) -> Vec<String> {
    for (module, from, to) in allowed {
        let is_there = edges
            .get_mut(&segments(module))
            .and_then(|of| of.get_mut(*from))
            .is_some_and(|tos| tos.remove(*to));
        assert!(
            is_there,
            "{module}: nothing needs the exception {from} -> {to}"
        );
    }
    let mut found = Vec::new();
    for (module, of) in &edges {
        let mut reported = BTreeSet::new();
        for start in of.keys() {
            if reported.contains(start) {
                continue;
            }
            if let Some(way) = circle(of, start) {
                found.push(format!("{}: {}", module.join("::"), way.join(" -> ")));
                reported.extend(way);
            }
        }
    }
    found
}

#[test]
fn no_module_has_a_circle_inside() {
    let found = circles(edges(&sources()), &CIRCLES);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_planted_circle_is_found() {
    let found = |files: &[(&str, &str)]| {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect();
        circles(edges(&sources), &[])
    };
    let circle = ["sys: a -> b -> a"];
    assert_eq!(
        found(&[
            ("sys/a.rs", "use super::b::X;"),
            ("sys/b.rs", "use super::a;")
        ]),
        circle
    );
    // Every way to write it, and from further inside.
    for back in [
        "fn f() { super::a::g() }",
        "use crate::sys::{a::{self, X}, c};",
        "#[derive(Debug)]\nstruct B;\npub(super) use super::{c, a::X as Y};",
        "fn f(a: crate::sys::a::X) {}",
    ] {
        assert_eq!(
            found(&[("sys/a.rs", "use super::b;"), ("sys/b.rs", back)]),
            circle,
            "{back}"
        );
    }
    let inner = ("sys/a/deep.rs", "fn f() { super::super::b::g() }");
    assert_eq!(
        found(&[
            ("sys/a.rs", "mod deep;"),
            inner,
            ("sys/b.rs", "use super::a::X;")
        ]),
        circle
    );
    let three = [
        ("sys/a.rs", "use super::b;"),
        ("sys/b.rs", "use super::c;"),
        ("sys/c.rs", "use super::a;"),
    ];
    assert_eq!(found(&three), ["sys: a -> b -> c -> a"]);
    // A parent and a child, one direction, a function of the parent with the name of a module, tests.
    for fine in [
        [
            ("sys/mod.rs", "mod a; use a::X;"),
            ("sys/a.rs", "use super::Y; use crate::sys;"),
        ],
        [
            ("sys/a.rs", "use super::b;"),
            ("sys/b.rs", "use crate::base::a; use std::fs;"),
        ],
        [
            ("sys/a.rs", "use super::b::X;"),
            ("sys/b.rs", "fn f() { super::a(1) }"),
        ],
        [
            ("sys/a.rs", "use super::b;"),
            (
                "sys/b.rs",
                "#[cfg(test)]\nmod tests { use super::super::a; }",
            ),
        ],
    ] {
        assert_eq!(found(&fine), [""; 0], "{fine:?}");
    }
}
