//! The sources as the rules see them: without comments, strings and tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::ALLOWED;

/// One source file, as the rules see it.
pub struct Source {
    /// Below `src/`, with `/`.
    pub path: String,
    /// The text with comments, strings and test modules blanked out, line for line.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            code: without_tests(&without_comments_and_strings(text)),
        }
    }

    /// The top-level module it belongs to.
    pub fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many modules deep its own module is: 1 for `cli.rs` and `sys/mod.rs`.
    fn depth(&self) -> usize {
        let inner = self.path.trim_end_matches("/mod.rs");
        inner.split('/').count()
    }

    pub fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    pub fn finding(&self, at: usize, what: &str) -> Option<String> {
        let number = self.line_of(at);
        let line = self.code.lines().nth(number - 1).unwrap_or_default();
        let allowed = ALLOWED
            .iter()
            .any(|(path, part, _)| *path == self.path && line.contains(part));
        (!allowed).then(|| format!("src/{}:{number}: {what}", self.path))
    }

    /// Every place where `word` stands by itself.
    pub fn places(&self, word: &str) -> Vec<usize> {
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
    pub fn used_modules(&self) -> Vec<(usize, String)> {
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
pub fn without_comments_and_strings(text: &str) -> String {
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

pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
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
pub fn sources() -> Vec<Source> {
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
