//! How a `pre_script` or `pos_script` is executed: a file as it is or through its interpreter, an inline
//! text from memory (memfd_create(2)), so that no writable folder and no execute bit is needed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::shebang::{self, Beginning, Shebang};
use crate::sys::commands::{Refusal, find_command, reason};
use crate::sys::executable::{executes, in_memory};
use crate::sys::guarded::{self, Links, Place, Rights};

/// What to execute for a script.
#[derive(Debug)]
pub struct Invocation {
    /// The program.
    pub path: PathBuf,
    /// Its arguments, the name first.
    pub argv: Vec<Vec<u8>>,
    /// The script's text, which has to stay open in the program under the same number.
    pub text: Option<OwnedFd>,
}

/// A script file, and what to execute for it.
#[derive(Debug)]
pub struct ScriptFile {
    /// What to execute.
    pub invocation: Invocation,
    /// Another user than root, the daemon's and the one that runs it can write it.
    pub foreign: bool,
}

/// The invocation of a script file. One of the daemon's own user, in a place that nobody else can write, is made
/// executable for whoever may read it; any other that its user may not execute is run through its `#!` interpreter.
/// Without a `#!` line the shell runs it. A relative path is seen from the daemon's folder.
///
/// # Errors
/// A shell's exit code, and why.
pub fn file(path: &Path, search: &OsStr, user: &Rights) -> Result<ScriptFile, Refusal> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let shown = path.display();
    let cannot = |code, why: &str| Err((code, format!("cannot run {shown}: {why}")));
    let place = match guarded::find(&path, user, Links::Judged).and_then(existing) {
        Ok((place, true)) => place,
        Ok((_, false)) => return cannot(126, "it is not a file"),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return cannot(126, &reason(&error));
        }
        Err(error) => return cannot(127, &reason(&error)),
    };
    let text = place.open_to_read(user);
    let executable = executes(&place, text.as_ref().ok(), user);
    let beginning = match (text.and_then(beginning_of), executable) {
        (Ok(start), _) => {
            shebang::read(&start).map_err(|why| (126, format!("cannot run {shown}: {why}")))?
        }
        // Who may execute it need not be able to read it.
        (Err(_), true) => Beginning::Binary,
        (Err(error), false) => return cannot(126, &reason(&error)),
    };
    let invocation = of_file(&path, &beginning, executable, search)?;
    Ok(ScriptFile {
        invocation,
        foreign: place.foreign,
    })
}

/// The place of something that is there, and whether it is a file.
fn existing(place: Place) -> std::io::Result<(Place, bool)> {
    let is_file = place.metadata()?.is_file();
    Ok((place, is_file))
}

fn of_file(
    path: &Path,
    beginning: &Beginning,
    executable: bool,
    search: &OsStr,
) -> Result<Invocation, Refusal> {
    let name = path.as_os_str().as_bytes();
    match beginning {
        Beginning::Binary if executable => Ok(direct(path)),
        Beginning::Binary => {
            let why = "it is a program without the execute bit; chmod +x it";
            Err((126, format!("cannot run {}: {why}", path.display())))
        }
        Beginning::Shebang(line) => {
            let through = through(line, name, search)?;
            // The kernel does not look an interpreter up.
            Ok(if executable && line.interpreter.contains(&b'/') {
                direct(path)
            } else {
                through
            })
        }
        Beginning::Text => through_shell(&[name], search),
    }
}

/// The invocation of an inline script.
///
/// # Errors
/// A shell's exit code, and why.
pub fn inline(text: &str, search: &OsStr) -> Result<Invocation, Refusal> {
    let text = normalised(text);
    let beginning = shebang::read(text.as_bytes())
        .map_err(|why| (126, format!("cannot run the script: {why}")))?;
    if !Path::new("/proc/self/fd").exists() {
        return as_argument(&text, &beginning, search);
    }
    let memory = in_memory(text.as_bytes()).map_err(|error| {
        (
            1,
            format!("cannot hold the script in memory: {}", reason(&error)),
        )
    })?;
    let name = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let invocation = match beginning {
        Beginning::Shebang(line) => through(&line, name.as_bytes(), search)?,
        Beginning::Text | Beginning::Binary => through_shell(&[name.as_bytes()], search)?,
    };
    Ok(Invocation {
        text: Some(memory.into()),
        ..invocation
    })
}

/// Blank lines before the `#!`, and the line ends of an editor that puts a CR before each LF, are not meant.
fn normalised(text: &str) -> String {
    let text = text.trim_start_matches(['\r', '\n']);
    match text.split_once('\n') {
        Some((first, _)) if first.ends_with('\r') => text.replace("\r\n", "\n"),
        _ => text.to_owned(),
    }
}

/// Without /proc memory has no path; a shell takes its script as an argument instead.
fn as_argument(text: &str, beginning: &Beginning, search: &OsStr) -> Result<Invocation, Refusal> {
    let arguments = [b"-c".as_slice(), text.as_bytes()];
    match beginning {
        Beginning::Shebang(line) if line.is_shell() => {
            let mut invocation = through(line, arguments[0], search)?;
            invocation.argv.push(text.into());
            Ok(invocation)
        }
        Beginning::Shebang(line) => Err((
            126,
            format!(
                "cannot run an inline script with {}: there is no /proc; mount it, or make the script a file",
                String::from_utf8_lossy(&line.interpreter)
            ),
        )),
        Beginning::Text | Beginning::Binary => through_shell(&arguments, search),
    }
}

fn beginning_of(file: File) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.take(shebang::MAX_LINE).read_to_end(&mut start)?;
    Ok(start)
}

fn direct(path: &Path) -> Invocation {
    Invocation {
        path: path.to_owned(),
        argv: vec![path.as_os_str().as_bytes().to_vec()],
        text: None,
    }
}

/// As the kernel does it: the interpreter, its one argument, the script.
fn through(line: &Shebang, script: &[u8], search: &OsStr) -> Result<Invocation, Refusal> {
    let interpreter = String::from_utf8_lossy(&line.interpreter);
    let path = find_command(&interpreter, search, None)
        .map_err(|(code, why)| (code, format!("cannot run the script's interpreter: {why}")))?;
    if let Some(program) = line.looked_up() {
        find_command(&String::from_utf8_lossy(program), search, None)
            .map_err(|(code, why)| (code, format!("cannot run the script's interpreter: {why}")))?;
    }
    let name = line.interpreter.clone();
    let argv = [Some(name), line.argument.clone(), Some(script.to_vec())];
    Ok(Invocation {
        path,
        argv: argv.into_iter().flatten().collect(),
        text: None,
    })
}

fn through_shell(arguments: &[&[u8]], search: &OsStr) -> Result<Invocation, Refusal> {
    let path = find_command("/bin/sh", search, None)
        .or_else(|_| find_command("sh", search, None))
        .map_err(|_| {
            let advice = "begin it with a #! line that names its interpreter";
            (
                127,
                format!("cannot run the script: there is no /bin/sh; {advice}"),
            )
        })?;
    let argv = std::iter::once(b"sh".as_slice()).chain(arguments.iter().copied());
    Ok(Invocation {
        path,
        argv: argv.map(<[u8]>::to_vec).collect(),
        text: None,
    })
}
