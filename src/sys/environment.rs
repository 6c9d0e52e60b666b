//! A child's environment, made anew at each start, and where its commands are found.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::model::{EnvValue, Service, User};
use crate::sys::env_file;

/// Where commands are looked for when nobody says.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a service manager said to the daemon; its children would take it for theirs.
const NOT_INHERITED: [&str; 10] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "JOURNAL_STREAM",
    "INVOCATION_ID",
    "MANAGERPID",
    "SYSTEMD_EXEC_PID",
];

/// The largest `env_file`, in bytes.
const MAX_ENV_FILE: u64 = 1024 * 1024;

/// The largest value from a file, in bytes: the kernel takes no string above 128 KiB.
const MAX_VALUE: u64 = 128 * 1024;

/// Names and values, sorted by name.
pub type Environment = BTreeMap<OsString, OsString>;

/// The exit code a shell would give (127 not found, 126 not executable), and why.
pub type Refusal = (u8, String);

/// The environment of one of a service's programs, run as `user`: the daemon's own, the user's, that of
/// each `env_file`, and `env`, each replacing what came before.
///
/// # Errors
/// In words, when a file cannot be read or a line of it is wrong.
pub fn of(service: &Service, user: Option<&User>) -> Result<Environment, String> {
    onto(std::env::vars_os(), service, user)
}

fn onto(
    inherited: impl Iterator<Item = (OsString, OsString)>,
    service: &Service,
    user: Option<&User>,
) -> Result<Environment, String> {
    let mut environment: Environment = inherited
        .filter(|(key, _)| !NOT_INHERITED.iter().any(|name| key == name))
        .collect();
    if let Some(user) = user {
        // A number without a name is still better than the daemon's name.
        let name = user.name.clone().unwrap_or_else(|| user.uid.to_string());
        environment.insert("HOME".into(), user.home.clone().into());
        environment.insert("SHELL".into(), user.shell.clone().into());
        environment.insert("USER".into(), name.clone().into());
        environment.insert("LOGNAME".into(), name.into());
    }
    for file in &service.env_file {
        environment.extend(assignments(file)?);
    }
    for (key, value) in &service.env {
        environment.insert(key.into(), value_of(key, value)?);
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

fn assignments(file: &Path) -> Result<Vec<(OsString, OsString)>, String> {
    let shown = file.display();
    let text = read_at_most(file, MAX_ENV_FILE)
        .map_err(|why| format!("cannot read env_file {shown}: {why}"))?;
    let parsed = env_file::parse(&text).map_err(|bad| {
        let env_file::BadLine { number, why } = bad;
        format!("cannot use env_file {shown}:{number}: {why}; write KEY=value")
    })?;
    let text = OsString::from_vec;
    Ok(parsed
        .into_iter()
        .map(|(key, value)| (text(key), text(value)))
        .collect())
}

fn value_of(key: &str, value: &EnvValue) -> Result<OsString, String> {
    let path = match value {
        EnvValue::Text(text) => return Ok(text.into()),
        EnvValue::File(path) => path,
    };
    let cannot = |why: String| format!("cannot set {key} from {}: {why}", path.display());
    let mut bytes = read_at_most(path, MAX_VALUE).map_err(cannot)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.contains(&0) {
        return Err(cannot("it has a NUL byte in it".into()));
    }
    Ok(OsString::from_vec(bytes))
}

/// A file's bytes. Never waits: a pipe that nobody writes to is empty, and a terminal is not taken over.
fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(reason(&error)),
        Ok(_) if bytes.len() as u64 > limit => Err(format!("it has more than {limit} bytes")),
        Ok(_) => Ok(bytes),
    }
}

/// The kernel's word for an error, without its number.
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

/// The file that a command stands for: with a slash the one of that path, seen from `cwd`; otherwise the
/// first executable of that name in the folders of `path`.
///
/// # Errors
/// 127 where there is none, 126 where there is one that nobody may execute.
pub fn find_command(command: &str, path: &OsStr, cwd: Option<&Path>) -> Result<PathBuf, Refusal> {
    // Absolute, since it is executed after the change to a `cwd` that may be relative itself.
    let seen_from_cwd = |file: &Path| {
        let file = cwd.map_or_else(|| file.to_owned(), |cwd| cwd.join(file));
        std::path::absolute(&file).unwrap_or(file)
    };
    if command.contains('/') {
        let file = seen_from_cwd(Path::new(command));
        let shown = file.display();
        return match usable(&file) {
            Usable::Yes => Ok(file),
            Usable::Missing => Err((127, format!("cannot find {shown}: there is no such file"))),
            Usable::NotExecutable => Err((126, format!("cannot execute {shown}: {}", not(&file)))),
        };
    }
    let mut refused = None;
    for folder in std::env::split_paths(path) {
        let file = seen_from_cwd(&folder.join(command));
        match usable(&file) {
            Usable::Yes => return Ok(file),
            Usable::NotExecutable => refused = refused.or(Some(file)),
            Usable::Missing => {}
        }
    }
    Err(match refused {
        Some(file) => (
            126,
            format!("cannot execute {}: {}", file.display(), not(&file)),
        ),
        None => {
            let path = path.to_string_lossy();
            let advice = "install it or give its whole path";
            (
                127,
                format!("cannot find {command} in PATH ({path}): {advice}"),
            )
        }
    })
}

fn not(file: &Path) -> String {
    match std::fs::metadata(file) {
        Err(error) => reason(&error),
        Ok(metadata) if metadata.is_dir() => "it is a directory".into(),
        Ok(metadata) if !metadata.is_file() => "it is not a regular file".into(),
        Ok(_) => format!("it is not executable; chmod +x {}", file.display()),
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

/// `KEY=value`, as execve(2) takes it.
pub fn joined(environment: &Environment) -> Vec<Vec<u8>> {
    environment
        .iter()
        .map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes()].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn made(inherited: &[(&str, &str)], service: &Service) -> Result<Environment, String> {
        let inherited = inherited
            .iter()
            .map(|(key, value)| (key.into(), value.into()));
        onto(inherited, service, service.user.as_ref())
    }

    fn get<'e>(environment: &'e Environment, key: &str) -> Option<&'e str> {
        environment
            .get(OsStr::new(key))
            .map(|value| value.to_str().unwrap())
    }

    fn alice() -> User {
        User {
            name: Some("alice".into()),
            uid: 1000,
            gid: 1000,
            groups: vec![1000],
            home: "/home/alice".into(),
            shell: "/bin/zsh".into(),
        }
    }

    #[test]
    fn each_source_replaces_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (env_file, secret) = (folder.path().join("a.env"), folder.path().join("secret"));
        std::fs::write(&env_file, "A=file\nB=file\nHOME=/from/file\n").unwrap();
        std::fs::write(&secret, "s3cret\n\n").unwrap();
        let service = Service {
            user: Some(alice()),
            env_file: vec![env_file],
            env: vec![
                ("B".into(), EnvValue::Text("env".into())),
                ("SECRET".into(), EnvValue::File(secret)),
            ],
            ..Service::default()
        };
        let inherited = [
            ("A", "daemon"),
            ("C", "daemon"),
            ("USER", "root"),
            ("HOME", "/root"),
        ];
        let made = made(&inherited, &service).unwrap();
        assert_eq!(get(&made, "A"), Some("file"));
        assert_eq!(get(&made, "B"), Some("env"));
        assert_eq!(get(&made, "C"), Some("daemon"));
        assert_eq!(get(&made, "SECRET"), Some("s3cret\n"));
        assert_eq!(get(&made, "HOME"), Some("/from/file"));
        assert_eq!(get(&made, "USER"), Some("alice"));
        assert_eq!(get(&made, "LOGNAME"), Some("alice"));
        assert_eq!(get(&made, "SHELL"), Some("/bin/zsh"));
        assert_eq!(get(&made, "PATH"), Some(DEFAULT_PATH));
    }

    #[test]
    fn a_terminal_is_named_and_the_service_manager_is_not() {
        let inherited = [("NOTIFY_SOCKET", "/run/n"), ("LISTEN_FDS", "1")];
        let with_tty = made(&inherited, &Service::default()).unwrap();
        assert_eq!(get(&with_tty, "TERM"), Some("xterm"));
        assert_eq!(get(&with_tty, "NOTIFY_SOCKET"), None);
        assert_eq!(get(&with_tty, "LISTEN_FDS"), None);
        let without = Service {
            tty: false,
            ..Service::default()
        };
        assert_eq!(get(&made(&inherited, &without).unwrap(), "TERM"), None);
        let own = made(&[("TERM", "screen")], &Service::default()).unwrap();
        assert_eq!(get(&own, "TERM"), Some("screen"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.env");
        std::fs::write(&path, "A=1\nnonsense\n").unwrap();
        let of_file = |path: &Path| Service {
            env_file: vec![path.to_owned()],
            ..Service::default()
        };
        let shown = path.display();
        let expected = format!("cannot use env_file {shown}:2: it has no =; write KEY=value");
        assert_eq!(made(&[], &of_file(&path)), Err(expected));
        let missing = "cannot read env_file /no/such: No such file or directory";
        assert_eq!(
            made(&[], &of_file(Path::new("/no/such"))),
            Err(missing.into())
        );
        let endless = "cannot read env_file /dev/zero: it has more than 1048576 bytes";
        assert_eq!(
            made(&[], &of_file(Path::new("/dev/zero"))),
            Err(endless.into())
        );
        assert!(made(&[], &of_file(Path::new("/dev/null"))).is_ok());
        let secret = Service {
            env: vec![("KEY".into(), EnvValue::File("/no/such".into()))],
            ..Service::default()
        };
        let missing = "cannot set KEY from /no/such: No such file or directory";
        assert_eq!(made(&[], &secret), Err(missing.into()));
    }

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
