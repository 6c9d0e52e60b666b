//! How a `pre_script` or `pos_script` is executed: a file as it is or through its interpreter, an
//! inline text from memory (memfd_create(2)), so that no writable folder and no execute bit is needed.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::sys::environment::{Usable, find_command, usable};

/// The longest `#!` line that is looked at; the kernel's own bound is 256.
const SHEBANG_BYTES: usize = 256;

/// What to execute for a script.
#[derive(Debug)]
pub struct Invocation {
    /// The program.
    pub path: PathBuf,
    /// Its arguments, the name first.
    pub argv: Vec<Vec<u8>>,
    /// The script's text, which has to stay open in the program.
    pub text: Option<OwnedFd>,
}

/// The invocation of a script file. One without the execute bit gets it where that is possible, and is
/// otherwise run through its interpreter.
///
/// # Errors
/// A shell's exit code, and why.
pub fn file(path: &Path, search: &OsStr) -> Result<Invocation, (u8, String)> {
    match usable(path) {
        Usable::Missing => Err((
            127,
            format!("cannot run {}: there is no such file", path.display()),
        )),
        Usable::Yes => Ok(direct(path)),
        Usable::NotExecutable if path.is_dir() => Err((
            126,
            format!("cannot run {}: it is a directory", path.display()),
        )),
        Usable::NotExecutable if make_executable(path) => Ok(direct(path)),
        Usable::NotExecutable => {
            let mut start = Vec::new();
            let read = File::open(path)
                .and_then(|file| file.take(SHEBANG_BYTES as u64).read_to_end(&mut start));
            read.map_err(|error| (126, format!("cannot read {}: {error}", path.display())))?;
            through(&start, path.as_os_str().as_bytes(), search)
        }
    }
}

/// The invocation of an inline script.
///
/// # Errors
/// A shell's exit code, and why.
pub fn inline(text: &str, search: &OsStr) -> Result<Invocation, (u8, String)> {
    if !Path::new("/proc/self/fd").exists() {
        // Without /proc there is no path to memory; the shell takes a text as an argument.
        let mut invocation = through(text.as_bytes(), b"-c", search)?;
        if text.starts_with("#!") && !is_shell(&invocation.path) {
            return Err((
                126,
                format!(
                    "cannot run an inline script with {}: /proc is not mounted",
                    invocation.path.display()
                ),
            ));
        }
        invocation.argv.push(text.as_bytes().to_vec());
        return Ok(invocation);
    }
    let cannot = |error: std::io::Error| {
        (
            1,
            format!("cannot hold an inline script in memory: {error}"),
        )
    };
    let memory =
        memfd_create(c"script", MFdFlags::MFD_CLOEXEC).map_err(|error| cannot(error.into()))?;
    let mut memory = File::from(memory);
    memory.write_all(text.as_bytes()).map_err(cannot)?;
    // Another user than ours opens it again by path.
    memory
        .set_permissions(PermissionsExt::from_mode(0o555))
        .map_err(cannot)?;
    let name = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let invocation = through(text.as_bytes(), name.as_bytes(), search)?;
    Ok(Invocation {
        text: Some(memory.into()),
        ..invocation
    })
}

fn direct(path: &Path) -> Invocation {
    Invocation {
        path: path.to_owned(),
        argv: vec![path.as_os_str().as_bytes().to_vec()],
        text: None,
    }
}

fn make_executable(path: &Path) -> bool {
    let Ok(metadata) = std::fs::metadata(path) else {
        return false;
    };
    let mode = metadata.permissions().mode();
    // Whoever may read it may run it.
    let mode = mode | ((mode & 0o444) >> 2);
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).is_ok()
        && usable(path) == Usable::Yes
}

/// The interpreter of the text's `#!` line with its one argument, as the kernel would, or the shell.
fn through(text: &[u8], script: &[u8], search: &OsStr) -> Result<Invocation, (u8, String)> {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(&line[..line.len().min(SHEBANG_BYTES)]).into_owned();
    let (interpreter, argument) = match line.strip_prefix("#!").map(str::trim) {
        Some(rest) if !rest.is_empty() => {
            let (interpreter, argument) =
                rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            (interpreter.to_owned(), argument.trim().to_owned())
        }
        _ => ("sh".to_owned(), String::new()),
    };
    let path = find_command(&interpreter, search, None)
        .or_else(|error| {
            if interpreter == "sh" {
                find_command("/bin/sh", search, None)
            } else {
                Err(error)
            }
        })
        .map_err(|(code, why)| (code, format!("cannot run the script's interpreter: {why}")))?;
    let mut argv = vec![path.as_os_str().as_bytes().to_vec()];
    if !argument.is_empty() {
        argv.push(argument.into_bytes());
    }
    argv.push(script.to_vec());
    Ok(Invocation {
        path,
        argv,
        text: None,
    })
}

fn is_shell(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        ["sh", "bash", "dash", "ash"]
            .iter()
            .any(|shell| name == *shell)
    })
}

/// A string for the kernel.
///
/// # Errors
/// In words, for one that holds a NUL byte.
pub fn c_string(bytes: Vec<u8>) -> Result<CString, String> {
    CString::new(bytes).map_err(|_| "cannot pass an argument that holds a NUL byte".to_owned())
}
