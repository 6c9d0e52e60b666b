//! A child's environment: the daemon's own, the user's, the files', the configuration's, in this order.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::config::model::{EnvValue, Service, User};

/// Where commands are looked for when nobody says.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is meant for the daemon and would mislead its children.
const NOT_INHERITED: [&str; 7] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "GO_OVERLAY_CONFIG",
];

/// Sorted by name.
pub type Environment = BTreeMap<OsString, OsString>;

/// The environment of a service's program, run as `user`.
///
/// # Errors
/// In words, when a file cannot be read or a line of it is wrong.
pub fn of(service: &Service, user: Option<&User>) -> Result<Environment, String> {
    let mut environment: Environment = std::env::vars_os()
        .filter(|(key, _)| !NOT_INHERITED.iter().any(|name| key == *name))
        .collect();
    if let Some(user) = user {
        let name = user.name.clone().unwrap_or_else(|| user.uid.to_string());
        for (key, value) in [
            ("HOME", &user.home),
            ("SHELL", &user.shell),
            ("USER", &name),
            ("LOGNAME", &name),
        ] {
            environment.insert(key.into(), value.into());
        }
    }
    for file in &service.env_file {
        environment.extend(read_file(file)?);
    }
    for (key, value) in &service.env {
        environment.insert(key.into(), value_of(value)?);
    }
    environment
        .entry("PATH".into())
        .or_insert_with(|| DEFAULT_PATH.into());
    if service.tty {
        environment
            .entry("TERM".into())
            .or_insert_with(|| "xterm".into());
    }
    Ok(environment)
}

fn value_of(value: &EnvValue) -> Result<OsString, String> {
    match value {
        EnvValue::Text(text) => Ok(text.into()),
        EnvValue::File(path) => {
            let mut bytes = std::fs::read(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            if bytes.contains(&0) {
                return Err(format!(
                    "cannot use {}: it holds a NUL byte",
                    path.display()
                ));
            }
            Ok(OsString::from_vec(bytes))
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<(OsString, OsString)>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&text).map_err(|(line, why)| format!("cannot use {}:{line}: {why}", path.display()))
}

/// `KEY=value` a line; `#` and blank lines, a leading `export`, and one pair of quotes are understood.
fn parse(text: &str) -> Result<Vec<(OsString, OsString)>, (usize, &'static str)> {
    let mut variables = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with(';') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) = line
            .split_once('=')
            .ok_or((number, "there is no = in it"))?;
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err((number, "the name before the = is empty or holds a space"));
        }
        if line.contains('\0') {
            return Err((number, "it holds a NUL byte"));
        }
        variables.push((key.into(), unquoted(value.trim()).into()));
    }
    Ok(variables)
}

fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

/// The file that a command stands for: itself where it has a slash, otherwise the first executable of
/// that name in a PATH. The error is a shell's exit code and the reason.
///
/// # Errors
/// 127 where there is none, 126 where there is one that may not be executed.
pub fn find_command(
    command: &str,
    path: &OsStr,
    cwd: Option<&Path>,
) -> Result<std::path::PathBuf, (u8, String)> {
    if command.contains('/') {
        let file = cwd.map_or_else(|| Path::new(command).to_owned(), |cwd| cwd.join(command));
        return match usable(&file) {
            Usable::Yes => Ok(file),
            Usable::NotExecutable => Err((
                126,
                format!("cannot execute {}: it is not executable", file.display()),
            )),
            Usable::Missing => Err((
                127,
                format!("cannot execute {}: there is no such file", file.display()),
            )),
        };
    }
    let mut refused = None;
    for directory in std::env::split_paths(path) {
        let file = directory.join(command);
        match usable(&file) {
            Usable::Yes => return Ok(file),
            Usable::NotExecutable => refused = refused.or(Some(file)),
            Usable::Missing => {}
        }
    }
    match refused {
        Some(file) => Err((
            126,
            format!("cannot execute {}: it is not executable", file.display()),
        )),
        None => Err((
            127,
            format!("cannot find {command} in PATH ({})", path.to_string_lossy()),
        )),
    }
}

/// What stands behind a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// A file with an execute bit.
    Yes,
    /// A file without, or a directory.
    NotExecutable,
    /// Nothing.
    Missing,
}

/// Whether a path can be executed by somebody: the service's user need not be the daemon's.
pub fn usable(file: &Path) -> Usable {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::metadata(file) {
        Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 => {
            Usable::Yes
        }
        Ok(_) => Usable::NotExecutable,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Usable::NotExecutable,
        Err(_) => Usable::Missing,
    }
}

/// `KEY=value`, as execve(2) wants it.
pub fn joined(environment: &Environment) -> Vec<Vec<u8>> {
    environment
        .iter()
        .map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes()].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_env_file_is_read_as_docker_and_systemd_read_it() {
        let text = "# comment\n\nA=1\nexport B = two words \nC=\"quoted # not a comment\"\nD='single'\nE=\n";
        let parsed = parse(text).map(|pairs| {
            pairs
                .iter()
                .map(|(key, value)| format!("{}={}", key.display(), value.display()))
                .collect::<Vec<_>>()
        });
        assert_eq!(
            parsed,
            Ok([
                "A=1",
                "B=two words",
                "C=quoted # not a comment",
                "D=single",
                "E="
            ]
            .map(String::from)
            .to_vec())
        );
        assert_eq!(parse("A=1\nnonsense\n"), Err((2, "there is no = in it")));
    }
}
