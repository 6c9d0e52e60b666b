//! `KEY=value` files, as systemd, Docker and Compose understand them where they agree.
//!
//! Works on bytes: a value need not be UTF-8.

/// What is set, in the file's order.
pub type Assignments = Vec<(Vec<u8>, Vec<u8>)>;

/// A line that is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1.
    pub number: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Reads the text of a file. Blank lines and those that begin with `#` or `;` say nothing; `export ` in
/// front is passed over. An unquoted value is taken to the end of its line as it is. A quoted one may have
/// several lines; in double quotes a backslash takes the meaning from `"`, `\`, `$`, a backquote, and the
/// end of the line. Nothing is expanded.
///
/// # Errors
/// The first line that is no assignment.
pub fn parse(text: &[u8]) -> Result<Assignments, BadLine> {
    let mut lines = Lines {
        rest: Some(text),
        number: 0,
    };
    let mut assignments = Vec::new();
    while let Some(line) = lines.next() {
        let line = without_marks(line);
        if matches!(line.first(), None | Some(b'#' | b';')) {
            continue;
        }
        let bad = |why| BadLine {
            number: lines.number,
            why,
        };
        let line = without_export(line);
        let equals = line.iter().position(|byte| *byte == b'=');
        let (key, value) = line.split_at(equals.ok_or_else(|| bad("it has no ="))?);
        let key = key.trim_ascii_end();
        if key.is_empty() {
            return Err(bad("there is no name before the ="));
        }
        if key.iter().any(|byte| byte.is_ascii_whitespace()) {
            return Err(bad("the name before the = has a space in it"));
        }
        let first = lines.number;
        let value = value_of(value.get(1..).unwrap_or_default(), &mut lines)?;
        if key.contains(&0) || value.contains(&0) {
            return Err(BadLine {
                number: first,
                why: "it has a NUL byte in it",
            });
        }
        assignments.push((key.to_vec(), value));
    }
    Ok(assignments)
}

/// Lines without their ends, LF or CR LF.
struct Lines<'t> {
    rest: Option<&'t [u8]>,
    /// Of the line given last.
    number: usize,
}

impl<'t> Iterator for Lines<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        let rest = self.rest?;
        let end = memchr::memchr(b'\n', rest);
        let line = &rest[..end.unwrap_or(rest.len())];
        self.rest = end.map(|end| &rest[end + 1..]);
        self.number += 1;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// Without blanks and byte order marks in front. Some editors begin a file with a mark, and files that were put
/// together have it in the middle.
fn without_marks(line: &[u8]) -> &[u8] {
    let mut rest = line.trim_ascii_start();
    while let Some(after) = rest.strip_prefix(b"\xef\xbb\xbf") {
        rest = after.trim_ascii_start();
    }
    rest
}

fn without_export(line: &[u8]) -> &[u8] {
    match line.strip_prefix(b"export") {
        Some(rest) if rest.first().is_some_and(u8::is_ascii_whitespace) => rest.trim_ascii_start(),
        _ => line,
    }
}

fn value_of<'t>(text: &'t [u8], lines: &mut Lines<'t>) -> Result<Vec<u8>, BadLine> {
    let text = text.trim_ascii_start();
    match text.split_first() {
        Some((quote @ (b'"' | b'\''), rest)) => quoted(*quote, rest, lines),
        _ => Ok(text.trim_ascii_end().to_vec()),
    }
}

fn quoted<'t>(quote: u8, text: &'t [u8], lines: &mut Lines<'t>) -> Result<Vec<u8>, BadLine> {
    let begun = lines.number;
    let mut value = Vec::new();
    let mut line = text;
    loop {
        match take_quoted(quote, line, &mut value) {
            End::Closed(rest) if matches!(rest.trim_ascii().first(), None | Some(b'#')) => {
                return Ok(value);
            }
            End::Closed(_) => {
                return Err(BadLine {
                    number: lines.number,
                    why: "there is text after the closing quote",
                });
            }
            End::Open => value.push(b'\n'),
            End::Joined => {}
        }
        line = lines.next().ok_or(BadLine {
            number: begun,
            why: "its quote is never closed",
        })?;
    }
}

fn take_quoted<'t>(quote: u8, line: &'t [u8], value: &mut Vec<u8>) -> End<'t> {
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        at += 1;
        match (byte, line.get(at)) {
            _ if byte == quote => return End::Closed(&line[at..]),
            (b'\\', None) if quote == b'"' => return End::Joined,
            (b'\\', Some(next @ (b'"' | b'\\' | b'$' | b'`'))) if quote == b'"' => {
                value.push(*next);
                at += 1;
            }
            _ => value.push(byte),
        }
    }
    End::Open
}

/// What follows a quoted stretch of one line.
enum End<'t> {
    /// The closing quote, and the rest of the line.
    Closed(&'t [u8]),
    /// The line's end, which belongs to the value.
    Open,
    /// The line's end, taken away by a backslash.
    Joined,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::{BadLine, parse};

    fn check(text: &str, expected: &[(&str, &str)]) {
        let parsed = parse(text.as_bytes()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let parsed: Vec<(String, String)> = parsed
            .iter()
            .map(|(key, value)| (text(key), text(value)))
            .collect();
        let parsed: Vec<(&str, &str)> = parsed
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(parsed, expected);
    }

    fn check_bad(text: &str, number: usize, why: &'static str) {
        assert_eq!(parse(text.as_bytes()), Err(BadLine { number, why }));
    }

    #[test]
    fn plain_lines_are_taken_as_they_are() {
        check("", &[]);
        check("A=1", &[("A", "1")]);
        check("A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]);
        check(
            "\u{feff}# a comment\n; another\n\n  A = two words \n",
            &[("A", "two words")],
        );
        check("export A=1\nexport\tB=2\n", &[("A", "1"), ("B", "2")]);
        check("exported=1\nE=\n", &[("exported", "1"), ("E", "")]);
        check("URL=http://h/?a=b#c\n", &[("URL", "http://h/?a=b#c")]);
        check("P=a #b $c \\d\n", &[("P", "a #b $c \\d")]);
        check(
            "J={\"a\": \"b\"}\nI=it's\n",
            &[("J", "{\"a\": \"b\"}"), ("I", "it's")],
        );
    }

    #[test]
    fn byte_order_marks_of_joined_files_are_no_part_of_a_name() {
        let joined =
            "\u{feff}A=1\n\u{feff}B=2\n\u{feff}\u{feff}# three\n \u{feff} export C=3\n\u{feff}";
        check(joined, &[("A", "1"), ("B", "2"), ("C", "3")]);
        // In a value it is a character like any other.
        check("A='\n\u{feff}B=2'\n", &[("A", "\n\u{feff}B=2")]);
        check_bad(
            "\u{feff}A=1\n\u{feff}=2\n",
            2,
            "there is no name before the =",
        );
    }

    #[test]
    fn quotes_are_taken_away() {
        check(
            "A=\" 1 \"\nB=' 2 '  # said\n",
            &[("A", " 1 "), ("B", " 2 ")],
        );
        check(
            r#"A="say \"hi\" for \$5, \\ and \n""#,
            &[("A", r#"say "hi" for $5, \ and \n"#)],
        );
        check(r"A='\$5 \ \\'", &[("A", r"\$5 \ \\")]);
        check(
            "KEY=\"-----BEGIN \n abc \r\n-----END\"\nB=1",
            &[("KEY", "-----BEGIN \n abc \n-----END"), ("B", "1")],
        );
        check("A=\"one \\\ntwo\"", &[("A", "one two")]);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        check_bad("A=1\n\nnonsense\n", 3, "it has no =");
        check_bad("=1", 1, "there is no name before the =");
        check_bad("A B=1", 1, "the name before the = has a space in it");
        check_bad("A=1\nB=\"open\nC=2\n", 2, "its quote is never closed");
        check_bad("A=\"x\ny\"z", 2, "there is text after the closing quote");
        check_bad("A=\0", 1, "it has a NUL byte in it");
    }
}
