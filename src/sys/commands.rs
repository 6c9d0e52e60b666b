//! Where commands are found, and why they are not.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where commands are looked for when nobody says.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The exit code a shell would give (127 not found, 126 not executable), and why.
pub type Refusal = (u8, String);

/// The kernel's word for an error, without its number.
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

/// Why a command stands for no file that can be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// It stands for this file, which cannot be executed.
    Unusable(PathBuf),
    /// There is nothing at this path.
    Nothing(PathBuf),
    /// No folder of PATH has it.
    NotInPath,
}

/// The file that a command stands for: with a slash the one of that path, seen from `cwd`; otherwise the
/// first executable of that name in the folders of `path`.
///
/// # Errors
/// Where there is none that can be executed.
pub fn look_up(command: &str, path: &OsStr, cwd: Option<&Path>) -> Result<PathBuf, NotFound> {
    if command.contains('/') {
        let file = seen_from(cwd, Path::new(command));
        return match usable(&file) {
            Usable::Yes => Ok(file),
            Usable::Missing => Err(NotFound::Nothing(file)),
            Usable::NotExecutable => Err(NotFound::Unusable(file)),
        };
    }
    let mut refused = NotFound::NotInPath;
    for file in candidates(command, path, cwd) {
        match usable(&file) {
            Usable::Yes => return Ok(file),
            Usable::NotExecutable if refused == NotFound::NotInPath => {
                refused = NotFound::Unusable(file);
            }
            Usable::NotExecutable | Usable::Missing => {}
        }
    }
    Err(refused)
}

/// As [`look_up`], with the refusal of a shell.
///
/// # Errors
/// 127 where there is none, 126 where there is one that nobody may execute.
pub fn find_command(command: &str, path: &OsStr, cwd: Option<&Path>) -> Result<PathBuf, Refusal> {
    look_up(command, path, cwd).map_err(|refused| match refused {
        NotFound::Unusable(file) => {
            let shown = file.display();
            let why = why_unsuitable(&file)
                .unwrap_or_else(|| format!("it is not executable; chmod +x {shown}"));
            (126, format!("cannot execute {shown}: {why}"))
        }
        NotFound::Nothing(file) => {
            let shown = file.display();
            (127, format!("cannot find {shown}: there is no such file"))
        }
        NotFound::NotInPath => {
            let path = path.to_string_lossy();
            let advice = "install it or give its whole path";
            (
                127,
                format!("cannot find {command} in PATH ({path}): {advice}"),
            )
        }
    })
}

/// The files that a command may stand for, the first one that is there being meant. Looks at none of them.
pub fn candidates(command: &str, path: &OsStr, cwd: Option<&Path>) -> Vec<PathBuf> {
    match command.contains('/') {
        true => vec![seen_from(cwd, Path::new(command))],
        false => std::env::split_paths(path)
            .map(|folder| seen_from(cwd, &folder.join(command)))
            .collect(),
    }
}

/// Absolute, since it is executed after the change to a `cwd` that may be relative itself.
fn seen_from(cwd: Option<&Path>, file: &Path) -> PathBuf {
    let file = cwd.map_or_else(|| file.to_owned(), |cwd| cwd.join(file));
    std::path::absolute(&file).unwrap_or(file)
}

/// Why a file cannot be executed whatever its mode is; None where the execute bit is all that it lacks.
pub fn why_unsuitable(file: &Path) -> Option<String> {
    match std::fs::metadata(file) {
        Err(error) => Some(reason(&error)),
        Ok(metadata) if metadata.is_dir() => Some("it is a directory".into()),
        Ok(metadata) if !metadata.is_file() => Some("it is not a regular file".into()),
        Ok(_) => None,
    }
}

/// What stands behind a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// A file that somebody may execute.
    Yes,
    /// A file that nobody may execute, or no file.
    NotExecutable,
    /// Nothing.
    Missing,
}

/// Whether a path can be executed by somebody: the service's user need not be the daemon's.
pub fn usable(file: &Path) -> Usable {
    match std::fs::metadata(file) {
        Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 => {
            Usable::Yes
        }
        Ok(_) => Usable::NotExecutable,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Usable::NotExecutable,
        Err(_) => Usable::Missing,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::ffi::OsString;

    use super::*;

    #[test]
    fn commands_are_found_as_a_shell_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, program) = (folder.path().join("plain"), folder.path().join("program"));
        std::fs::write(&plain, "").unwrap();
        std::fs::write(&program, "").unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let path = OsString::from(format!("/no/such:{}", folder.path().display()));
        let find = |command: &str, cwd| find_command(command, &path, cwd);
        assert_eq!(find("program", None), Ok(program.clone()));
        assert_eq!(
            find("./program", Some(folder.path())).map(|found| found.exists()),
            Ok(true)
        );
        assert_eq!(
            find_command("program", OsStr::new(""), Some(folder.path())),
            Ok(program)
        );
        assert_eq!(find("plain", None).map_err(|(code, _)| code), Err(126));
        assert_eq!(
            find("/", None),
            Err((126, "cannot execute /: it is a directory".into()))
        );
        assert_eq!(find("none", None).map_err(|(code, _)| code), Err(127));
        let missing = "cannot find /no/such: there is no such file";
        assert_eq!(find("/no/such", None), Err((127, missing.into())));
    }
}
