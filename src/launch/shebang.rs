//! How a script begins: the `#!` line, read as the kernel reads it (execve(2)).

/// How much of a file tells what it is, in bytes.
pub const MAX_LINE: u64 = 4096;

/// What a file's first bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// `#!interpreter [argument]`.
    Shebang(Shebang),
    /// No text, so no script.
    Binary,
    /// A text without such a line.
    Text,
}

/// A `#!` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shebang {
    /// The program.
    pub interpreter: Vec<u8>,
    /// The rest of the line is one argument, spaces and all.
    pub argument: Option<Vec<u8>>,
}

impl Shebang {
    /// The program that `/usr/bin/env` is asked to look up, where the line is as simple as that.
    pub fn looked_up(&self) -> Option<&[u8]> {
        let argument = self.argument.as_deref()?;
        let plain = !argument.starts_with(b"-")
            && !argument.contains(&b'=')
            && !argument.iter().any(u8::is_ascii_whitespace);
        (self.program() == b"env" && plain).then_some(argument)
    }

    /// Whether the interpreter takes `-c` and a text.
    pub fn is_shell(&self) -> bool {
        let program = self.looked_up().unwrap_or(self.program());
        [b"sh".as_slice(), b"bash", b"dash", b"ash", b"ksh", b"zsh"].contains(&program)
    }

    fn program(&self) -> &[u8] {
        let slash = self.interpreter.iter().rposition(|byte| *byte == b'/');
        &self.interpreter[slash.map_or(0, |slash| slash + 1)..]
    }
}

/// Reads the beginning of a file.
///
/// # Errors
/// What is wrong with a `#!` line that the kernel would refuse without saying why.
pub fn read(start: &[u8]) -> Result<Beginning, &'static str> {
    let line = start
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let Some(rest) = line.strip_prefix(b"#!") else {
        let binary = line.contains(&0);
        return Ok(if binary {
            Beginning::Binary
        } else {
            Beginning::Text
        });
    };
    if rest.ends_with(b"\r") {
        return Err("its lines end in CR LF; convert it: sed -i 's/\\r$//' FILE");
    }
    let rest = rest.trim_ascii();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = rest.iter().position(blank).unwrap_or(rest.len());
    let (interpreter, argument) = rest.split_at(end);
    if interpreter.is_empty() {
        return Ok(Beginning::Text);
    }
    let argument = argument.trim_ascii_start().to_vec();
    Ok(Beginning::Shebang(Shebang {
        interpreter: interpreter.to_vec(),
        argument: Some(argument).filter(|argument| !argument.is_empty()),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn check(start: &str, interpreter: &str, argument: Option<&str>) -> Shebang {
        let line = Shebang {
            interpreter: interpreter.into(),
            argument: argument.map(Into::into),
        };
        assert_eq!(read(start.as_bytes()), Ok(Beginning::Shebang(line.clone())));
        line
    }

    #[test]
    fn lines_are_read_as_the_kernel_reads_them() {
        assert!(check("#!/bin/sh\necho", "/bin/sh", None).is_shell());
        assert!(check("#! /bin/bash -e \n", "/bin/bash", Some("-e")).is_shell());
        assert!(check("#!/usr/bin/env sh", "/usr/bin/env", Some("sh")).is_shell());
        let python = check("#!/usr/bin/env python3\n", "/usr/bin/env", Some("python3"));
        assert_eq!(python.looked_up(), Some(b"python3".as_slice()));
        assert!(!python.is_shell());
        let split = check("#!/usr/bin/env -S a  b\n", "/usr/bin/env", Some("-S a  b"));
        assert_eq!(split.looked_up(), None);
        for text in ["", "echo hello\n", "# !/bin/sh\n", "#!\n"] {
            assert_eq!(read(text.as_bytes()), Ok(Beginning::Text), "{text:?}");
        }
        assert_eq!(read(b"\x7fELF\x02\0\0"), Ok(Beginning::Binary));
        assert!(read(b"#!/bin/sh\r\necho\r\n").is_err());
    }
}
