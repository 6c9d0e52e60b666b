//! No banned phrase in the finished pages. The phrases are the first column of a table in `docs/STYLE.md`.

use std::fs;
use std::path::{Path, PathBuf};

const STYLE: &str = "docs/STYLE.md";

/// Files and directories that are held to the table. A finished part of `src` or `tests` is one more row.
const FINISHED: [&str; 15] = [
    "README.md",
    "docs/CLI-COMMANDS.md",
    "docs/CONFIGURATION.md",
    "docs/CONTAINERS.md",
    "docs/MIGRATION-compose.md",
    "docs/MIGRATION-s6-overlay.md",
    "docs/MIGRATION-supervisord.md",
    "docs/PERFORMANCE.md",
    "docs/PROTOCOL.md",
    "docs/QUICK-INSTALL.md",
    "docs/SECURITY.md",
    "docs/STYLE.md",
    "docs/TEST-GRACEFUL-SHUTDOWN.md",
    "docs/containers",
    "docs/examples",
];

/// The phrases of the table below "Banned phrases", in lower case.
fn banned(style: &str) -> Vec<String> {
    let (_, section) = style.split_once("\n## Banned phrases\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    section
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_lowercase)
        .collect()
}

/// The text with code blocks and code spans blanked out, which quote the program; every line break stays.
fn prose(page: &str) -> String {
    let mut in_block = false;
    let mut prose = String::with_capacity(page.len());
    for line in page.split_inclusive('\n') {
        let fence = line.trim_start().starts_with("```");
        in_block ^= fence;
        match fence || in_block {
            true => prose.push('\n'),
            false => prose.push_str(line),
        }
    }
    let mut in_span = false;
    let without_spans = prose.chars().map(|c| {
        in_span ^= c == '`';
        if c != '\n' && (in_span || c == '`') {
            '·'
        } else {
            c
        }
    });
    without_spans.collect()
}

/// Where a phrase is in the text as whole words, also across a line break: line numbers.
fn lines_with(text: &str, phrase: &str) -> Vec<usize> {
    let words: Vec<&str> = phrase.split(' ').collect();
    let numbered = text.lines().enumerate();
    let text: Vec<(usize, String)> = numbered
        .flat_map(|(at, line)| {
            let comment = line.trim_start().trim_start_matches(['#', '/', '!']);
            let words = comment.split_whitespace().map(move |word| (at + 1, word));
            words.map(|(at, word)| {
                let is_part = |c: char| c.is_alphanumeric() || c == '·' || c == '_';
                (at, word.trim_matches(|c| !is_part(c)).to_lowercase())
            })
        })
        .collect();
    let matches = |window: &&[(usize, String)]| {
        let pairs = window.iter().zip(&words);
        pairs.clone().all(|((_, word), wanted)| word == wanted)
    };
    text.windows(words.len())
        .filter(matches)
        .map(|window| window[0].0)
        .collect()
}

fn findings(path: &str, text: &str, banned: &[String]) -> Vec<String> {
    let text = match path.ends_with(".md") {
        true => prose(text),
        false => text.to_owned(),
    };
    banned
        .iter()
        .flat_map(|phrase| {
            let lines = lines_with(&text, phrase).into_iter();
            lines.map(move |line| format!("{path}:{line}: {phrase:?}: {STYLE} has what to write"))
        })
        .collect()
}

fn files_below(path: PathBuf) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path];
    }
    let entries = fs::read_dir(path).unwrap();
    entries
        .flat_map(|entry| files_below(entry.unwrap().path()))
        .collect()
}

#[test]
fn finished_pages_have_no_banned_phrase() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let banned = banned(&fs::read_to_string(root.join(STYLE)).unwrap());
    let findings: Vec<String> = FINISHED
        .iter()
        .flat_map(|path| files_below(root.join(path)))
        .flat_map(|file| {
            let path = file.strip_prefix(root).unwrap().display().to_string();
            findings(&path, &fs::read_to_string(&file).unwrap(), &banned)
        })
        .collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn a_planted_phrase_is_found() {
    let style = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(STYLE)).unwrap();
    let banned = banned(&style);
    assert!(banned.len() > 30, "{banned:?}");
    for (path, text) in [
        ("docs/X.md", "# X\n\nThe file is made anew.\n"),
        ("docs/X.md", "# X\n\nNobody, (he), reads.\n"),
        (
            "docs/X.md",
            "# X\n\nThe program is not\nto be had: it lies.\n",
        ),
        ("src/x.rs", "//! Gives\n//! back what was *told*.\n"),
        ("docs/examples/x.toml", "# Read for\n# ever.\n"),
    ] {
        assert!(!findings(path, text, &banned).is_empty(), "{text}");
    }
    let found = findings("docs/X.md", "# X\n\nThe file is made anew.\n", &banned);
    assert_eq!(
        found,
        ["docs/X.md:3: \"anew\": docs/STYLE.md has what to write"]
    );
    // What quotes the program, and words that only contain a phrase.
    for text in [
        "# X\n\n```console\n$ go-overlay\nhe is told anew\n```\n",
        "# X\n\nIt prints `told anew` and `nobody\nhears`.\n",
        "# X\n\nThe relies, the sheer, so-so long_term.\n",
    ] {
        assert_eq!(findings("docs/X.md", text, &banned), [""; 0], "{text}");
    }
}
