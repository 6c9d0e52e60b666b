//! What to write instead of a command line, where a program and its arguments are wanted: as TOML that can be pasted.

use std::fmt::Write;

/// What is no program in any PATH, and means something at the start of a line of a shell.
const OF_A_SHELL: [&str; 14] = [
    "cd", "exec", "export", "source", ".", "eval", "set", "unset", "ulimit", "umask", "trap",
    "while", "for", "if",
];

/// A basic string (TOML 1.0.0, "String").
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            other if other.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(other));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Strings with commas between them, without the brackets of their array.
pub(super) fn listed<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    words.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// The keys of a program with these arguments; `has_args`: where some stand already.
pub(super) fn keys(program: &str, arguments: &[&str], has_args: bool) -> String {
    let (program, listed) = (quoted(program), listed(arguments.iter().copied()));
    match (arguments, has_args) {
        ([], _) => format!("write command = {program}"),
        (_, false) => format!("write command = {program} and args = [{listed}]"),
        (_, true) => format!("write command = {program} and put {listed} in front of args"),
    }
}

/// Whether a line is one that a shell has to read: more than words with blanks between them.
pub(super) fn needs_shell(line: &str) -> bool {
    let line = line.trim();
    let first = line.split_whitespace().next().unwrap_or_default();
    let is_assignment = first.contains('=') && !first.starts_with(['/', '.']);
    let marks = [
        '|', '&', ';', '<', '>', '$', '`', '(', '*', '"', '\'', '\\', '\n', '#', '~', '?', '[', '{',
    ];
    let is_line = line.contains(char::is_whitespace) || line.starts_with(['$', '~']);
    is_line && (line.contains(marks) || is_assignment || OF_A_SHELL.contains(&first))
}

/// A shell and the line that it is to read. `sh -c 'LINE'` names both.
pub(super) fn shell_and_line(line: &str) -> (&str, &str) {
    let line = line.trim();
    match line.split_once(" -c ") {
        Some((shell, script)) if shell.ends_with("sh") && !shell.contains(char::is_whitespace) => {
            let script = script.trim();
            let inner = |quote: char| script.strip_prefix(quote)?.strip_suffix(quote);
            (shell, inner('\'').or_else(|| inner('"')).unwrap_or(script))
        }
        _ => ("sh", line),
    }
}

/// The words of a line, where quotes hold blanks together.
pub(super) fn words(line: &str) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), line.trim_start());
    while let Some(first) = rest.chars().next() {
        let quote = Some(first).filter(|first| ['"', '\''].contains(first));
        let (word, behind) = quote
            .and_then(|quote| rest[1..].split_once(quote))
            .or_else(|| rest.split_once(char::is_whitespace))
            .unwrap_or((rest, ""));
        words.push(word);
        rest = behind.trim_start();
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_back(written: &str) -> Vec<String> {
        let table: toml::de::DeTable<'_> = toml::de::DeTable::parse(written).unwrap().into_inner();
        let array = table["x"].get_ref().as_array().unwrap();
        let text = |item: &toml::Spanned<toml::de::DeValue<'_>>| {
            item.get_ref().as_str().unwrap().to_owned()
        };
        array.iter().map(text).collect()
    }

    proptest! {
        #[test]
        fn what_is_quoted_can_be_read_back(words in proptest::collection::vec(any::<String>(), 0..4)) {
            let written = format!("x = [{}]", listed(words.iter().map(String::as_str)));
            prop_assert_eq!(read_back(&written), words);
        }

        #[test]
        fn no_line_panics(line in "[ a'\"é\\\\\n-]{0,12}") {
            let _ = (words(&line), shell_and_line(&line), needs_shell(&line));
        }
    }

    #[test]
    fn a_line_for_a_shell_is_known_by_more_than_its_words() {
        for line in [
            "a | b",
            "cd /tmp && x",
            "X=1 sleep 5",
            "$HOME/bin/x",
            "~/x",
            "exec sleep 5",
            "echo a\nb",
            "grep -E \\d x",
            "sleep 1 # for ever",
            "while true; do x; done",
            "sh -c 'x y'",
            "! true; x",
            "(sleep 5)",
            "ls *.c",
        ] {
            assert!(needs_shell(line), "{line}");
        }
        for line in [
            "",
            "nginx",
            "nginx -g off",
            "/opt/my(app)",
            "redis-cli ping",
            "dd if=/dev/zero",
        ] {
            assert!(!needs_shell(line), "{line}");
        }
    }

    #[test]
    fn a_shell_that_is_named_is_the_one_to_use() {
        for (line, both) in [
            ("a | b", ("sh", "a | b")),
            ("sh -c 'a | b'", ("sh", "a | b")),
            ("/bin/bash -c \"x\"", ("/bin/bash", "x")),
            ("sh -c x y", ("sh", "x y")),
            ("grep -c x | y", ("sh", "grep -c x | y")),
        ] {
            assert_eq!(shell_and_line(line), both, "{line}");
        }
    }

    #[test]
    fn quotes_hold_words_together() {
        for (line, wanted) in [
            ("", vec![]),
            ("-g off", vec!["-g", "off"]),
            ("-g 'daemon off;' x", vec!["-g", "daemon off;", "x"]),
            ("-c \"a b\"", vec!["-c", "a b"]),
            ("it's", vec!["it's"]),
            ("'open", vec!["'open"]),
        ] {
            assert_eq!(words(line), wanted, "{line}");
        }
    }
}
