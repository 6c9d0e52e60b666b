//! A child's environment, made anew at each start.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::rc::Rc;

use memchr::memchr;

use super::env_file;
use crate::config::model::{EnvValue, Service, User};
use crate::sys::commands::{DEFAULT_PATH, reason};
use crate::sys::guarded::{self, Links, Rights};

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

/// Names and values, sorted by name, each as execve(2) takes it. A copy shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(Vec<Rc<CStr>>);

impl Environment {
    /// The daemon's own, without what was meant for the daemon alone.
    pub fn inherited() -> Environment {
        Environment::without_private(std::env::vars_os())
    }

    fn without_private(variables: impl Iterator<Item = (OsString, OsString)>) -> Environment {
        let mut environment = Environment::default();
        for (name, value) in
            variables.filter(|(name, _)| !NOT_INHERITED.iter().any(|not| name == not))
        {
            // It cannot fail: what came by execve(2) ends at its first NUL byte.
            let _ = environment.set(&name, &value);
        }
        environment
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let entry = &self.0[self.place(name.as_bytes()).ok()?];
        entry
            .to_bytes()
            .get(name.len() + 1..)
            .map(OsStr::from_bytes)
    }

    /// Sets a variable, whether there is one of its name or not.
    ///
    /// # Errors
    /// In words, where no program could be given it.
    pub fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Result<(), String> {
        let (name, value) = (name.as_ref().as_bytes(), value.as_ref().as_bytes());
        let entry = c_string([name, b"=", value].concat())?.into();
        match self.place(name) {
            Ok(at) => self.0[at] = entry,
            Err(at) => self.0.insert(at, entry),
        }
        Ok(())
    }

    fn set_unless_there(&mut self, name: &str, value: &str) -> Result<(), String> {
        match self.place(name.as_bytes()) {
            Ok(_) => Ok(()),
            Err(_) => self.set(name, value),
        }
    }

    /// Where a variable is, or where it would be.
    fn place(&self, name: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|entry| name_of(entry).cmp(name))
    }

    /// Each variable as `NAME=value`.
    pub fn into_entries(self) -> Vec<Rc<CStr>> {
        self.0
    }
}

/// Up to the first `=` that is not the first byte (as std::env::vars_os reads it).
fn name_of(entry: &CStr) -> &[u8] {
    let bytes = entry.to_bytes();
    let end = memchr(b'=', bytes.get(1..).unwrap_or_default());
    end.map_or(bytes, |end| &bytes[..=end])
}

/// A string as the kernel takes it.
///
/// # Errors
/// In words, where it has a NUL byte in it.
pub fn c_string(bytes: Vec<u8>) -> Result<CString, String> {
    CString::new(bytes).map_err(|error| {
        let text = String::from_utf8_lossy(&error.into_vec()).replace('\0', "\\0");
        let shown: String = text.chars().take(60).collect();
        format!("cannot pass {shown:?} on: it has a NUL byte in it")
    })
}

/// What a program finds in its environment.
#[derive(Debug)]
pub struct Made {
    /// The variables.
    pub environment: Environment,
    /// What was left out of it, and why.
    pub notes: Vec<String>,
}

/// The environment of one of a service's programs, run as `user`: the daemon's own, the user's, that of
/// each `env_file`, and `env`, each replacing what came before.
///
/// A program of another user than the service's (`is_another_user`, by `script_user`) takes nothing from files that
/// somebody else than root, the daemon's user and its own can write: `PATH` and `LD_PRELOAD` are only the best known of the variables
/// that make one program run another.
///
/// # Errors
/// In words, when a file cannot be read, a line of it is wrong, or a value cannot be passed on.
pub fn of(
    inherited: &Environment,
    service: &Service,
    user: Option<&User>,
    is_another_user: bool,
) -> Result<Made, String> {
    let mut environment = inherited.clone();
    let mut notes = Vec::new();
    if let Some(user) = user {
        // A number without a name is still better than the daemon's name.
        let name = user
            .name
            .clone()
            .unwrap_or_else(|| user.uid.to_string().into());
        environment.set("HOME", &user.home)?;
        environment.set("SHELL", &user.shell)?;
        environment.set("USER", &name)?;
        environment.set("LOGNAME", &name)?;
    }
    let reader = Reader {
        rights: Rights::of(user),
        is_another_user,
    };
    for file in &service.env_file {
        match assignments(file, &reader)? {
            Some(assignments) => {
                for (name, value) in assignments {
                    environment.set(name, value)?;
                }
            }
            None => notes.push(reader.left_out("env_file", file)),
        }
    }
    for (name, value) in &service.env {
        match value {
            EnvValue::Text(text) => environment.set(name, text)?,
            EnvValue::File(file) => match value_of(name, file, &reader)? {
                Some(value) => environment.set(name, value)?,
                None => notes.push(reader.left_out(name, file)),
            },
        }
    }
    environment.set_unless_there("PATH", DEFAULT_PATH)?;
    if service.tty {
        environment.set_unless_there("TERM", "xterm")?;
    }
    Ok(Made { environment, notes })
}

/// The program for which files are read.
struct Reader {
    rights: Rights,
    /// It does not run as its service does.
    is_another_user: bool,
}

impl Reader {
    /// A file's bytes; None where others have a say in them and the program is not the service's own. Never waits: a
    /// pipe that nobody writes to is empty, and a terminal is not taken over.
    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, String> {
        let mut bytes = Vec::new();
        let read = guarded::find(path, &self.rights, Links::Judged).and_then(|place| {
            if self.is_another_user && place.foreign {
                return Ok(false);
            }
            let file = place.open_to_read(&self.rights)?;
            file.take(limit + 1).read_to_end(&mut bytes)?;
            Ok(true)
        });
        match read {
            Err(error) => Err(reason(&error)),
            Ok(false) => Ok(None),
            Ok(_) if bytes.len() as u64 > limit => Err(format!("it has more than {limit} bytes")),
            Ok(_) => Ok(Some(bytes)),
        }
    }

    fn left_out(&self, what: &str, file: &Path) -> String {
        format!(
            "{what} from {} is not given to a script of another user, because others can write the file or replace it; \
             set what the script needs in env",
            file.display()
        )
    }
}

type Assignments = Vec<(OsString, OsString)>;

fn assignments(file: &Path, reader: &Reader) -> Result<Option<Assignments>, String> {
    let shown = file.display();
    let text = reader
        .read(file, MAX_ENV_FILE)
        .map_err(|why| format!("cannot read env_file {shown}: {why}"))?;
    let Some(text) = text else { return Ok(None) };
    let parsed = env_file::parse(&text).map_err(|bad| {
        let env_file::BadLine { number, why } = bad;
        format!("cannot use env_file {shown}:{number}: {why}; write KEY=value")
    })?;
    let text = OsString::from_vec;
    let parsed = parsed
        .into_iter()
        .map(|(key, value)| (text(key), text(value)));
    Ok(Some(parsed.collect()))
}

fn value_of(key: &str, path: &Path, reader: &Reader) -> Result<Option<OsString>, String> {
    let cannot = |why: String| format!("cannot set {key} from {}: {why}", path.display());
    let Some(mut bytes) = reader.read(path, MAX_VALUE).map_err(cannot)? else {
        return Ok(None);
    };
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.contains(&0) {
        return Err(cannot("it has a NUL byte in it".into()));
    }
    Ok(Some(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::config::model::{IdOrName, UserSpec};

    fn made(inherited: &[(&str, &str)], service: &Service) -> Result<Environment, String> {
        let inherited = inherited
            .iter()
            .map(|(key, value)| (key.into(), value.into()));
        let inherited = Environment::without_private(inherited);
        let alice = alice();
        let user = service.user.as_ref().map(|_| &alice);
        of(&inherited, service, user, false).map(|made| made.environment)
    }

    fn get<'e>(environment: &'e Environment, key: &str) -> Option<&'e str> {
        environment.get(key).map(|value| value.to_str().unwrap())
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
            user: Some(Box::new(UserSpec {
                user: IdOrName::Name("alice".into()),
                group: None,
            })),
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
    fn a_copy_is_changed_alone_and_names_are_whole() {
        let base = Environment::without_private(
            [("A", "1"), ("AB", "2"), ("=C:", "x=y"), ("A", "3")]
                .into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        let mut copy = base.clone();
        copy.set("A", "4").unwrap();
        copy.set("B", "").unwrap();
        let all = |environment: Environment| -> Vec<String> {
            let entries = environment.into_entries();
            entries
                .iter()
                .map(|entry| entry.to_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!((get(&copy, "A"), get(&copy, "AB")), (Some("4"), Some("2")));
        assert_eq!((get(&copy, "B"), get(&copy, "C")), (Some(""), None));
        assert_eq!(all(copy), ["=C:=x=y", "A=4", "AB=2", "B="]);
        assert_eq!(all(base), ["=C:=x=y", "A=3", "AB=2"]);
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
}
