//! From a service's configuration to the program that is executed. Done at each start, from what the
//! files and the environment hold then; nothing is kept in between.

mod env_file;
pub mod environment;
mod script;
mod shebang;

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::config::log::folder_of;
use crate::config::model::{EnvValue, Health, Probe, Script, Service, User};
use crate::domain::{Role, SpawnFailure};
use crate::sys::commands::{DEFAULT_PATH, Refusal, candidates, find_command};
use crate::sys::guarded::Rights;
use crate::sys::service_user::{is_folder, look_up, rights};
use crate::sys::spawn::{Ids, Program, quick};

use environment::{Environment, Made};
use script::Invocation;

/// What came of looking everything up.
#[derive(Debug)]
pub struct Plan {
    /// What to execute.
    pub program: Program,
    /// What the operator should know of the start.
    pub notes: Vec<String>,
}

/// What to execute for one of a service's programs; `inherited` is the daemon's own environment. Reads whatever the
/// service names, which may never answer: for the child that becomes the program.
///
/// # Errors
/// Why it cannot be executed, where that can be seen before the attempt, and the exit code it stands for.
pub fn plan(inherited: &Environment, service: &Service, role: Role) -> Result<Plan, SpawnFailure> {
    let failure = |(exit_code, message): Refusal| SpawnFailure { message, exit_code };
    let script = match role {
        Role::Main | Role::Check => None,
        Role::PreScript => service.pre_script.as_ref(),
        Role::PostScript => service.post_script.as_ref(),
    };
    let (key, spec) = match (&service.script_user, role) {
        (Some(user), Role::PreScript | Role::PostScript) => ("script_user", Some(user)),
        _ => ("user", service.user.as_ref()),
    };
    let user = spec.map(|spec| look_up(spec, key)).transpose();
    let identity = user.map_err(|why| failure((1, why)))?;
    let user = identity.as_ref().map(|(user, _)| user);
    let is_another_user = key == "script_user" && !runs_as(service, user);
    let made = environment::of(inherited, service, user, is_another_user);
    let Made {
        environment,
        mut notes,
    } = made.map_err(|why| failure((1, why)))?;
    let search = environment.get("PATH").unwrap_or(OsStr::new(DEFAULT_PATH));
    check_working_dir(service, user).map_err(failure)?;
    if matches!(role, Role::Main | Role::PreScript) {
        check_log_folder(service).map_err(failure)?;
    }
    let invocation = match script {
        None => match (role, service.health.as_deref()) {
            (
                Role::Check,
                Some(Health {
                    probe: Probe::Exec(words),
                    ..
                }),
            ) => command(service, words, search),
            _ => {
                let own = std::iter::once(&service.command).chain(&service.args);
                command(service, own.cloned().collect::<Vec<_>>().as_slice(), search)
            }
        },
        Some(Script::Path(path)) => script::file(path, search, &Rights::of(user)).map(|file| {
            if file.foreign && is_another_user {
                notes.push(foreign_script(path));
            }
            file.invocation
        }),
        Some(Script::Inline(text)) => script::inline(text, search),
    };
    invocation
        .and_then(|invocation| {
            let ids = identity.as_ref().map(|(_, ids)| ids.clone());
            build(service, ids, invocation, environment)
        })
        .map(|program| Plan { program, notes })
        .map_err(failure)
}

/// A service's main program and where it may be, if that takes no look at any file; it may prove wrong. None where only
/// the whole plan will do.
pub fn quick(inherited: &Environment, service: &Service) -> Option<(Program, Vec<CString>)> {
    let is_text = |value: &EnvValue| matches!(value, EnvValue::Text(_));
    let needs_a_look = service.user.is_some()
        || service.log_file.is_some()
        || !service.env_file.is_empty()
        || !service.env.iter().all(|(_, value)| is_text(value));
    if needs_a_look || !quick::IS_KNOWN {
        return None;
    }
    let made = environment::of(inherited, service, None, false).ok()?;
    let search = made.environment.get("PATH");
    let search = search.unwrap_or(OsStr::new(DEFAULT_PATH));
    let cwd = service.working_dir.as_deref();
    let paths: Vec<CString> = candidates(&service.command, search, cwd)
        .into_iter()
        .map(|path| CString::new(path.into_os_string().into_vec()).ok())
        .collect::<Option<_>>()?;
    let words = std::iter::once(&service.command).chain(&service.args);
    let invocation = Invocation {
        path: Default::default(),
        argv: words.map(|word| word.as_bytes().to_vec()).collect(),
        text: None,
    };
    let program = build(service, None, invocation, made.environment).ok()?;
    (!paths.is_empty()).then_some((program, paths))
}

fn foreign_script(path: &Path) -> String {
    format!(
        "others can write script {} or replace it, and so act as its script_user; move it to a folder of root's",
        path.display()
    )
}

/// Whether the service itself runs as this user; one that cannot be looked up is another.
fn runs_as(service: &Service, user: Option<&User>) -> bool {
    rights(service).is_ok_and(|own| own.same_user(&Rights::of(user)))
}

/// The kernel's "no such file" would be taken for the program's.
fn check_working_dir(service: &Service, user: Option<&User>) -> Result<(), Refusal> {
    let Some(folder) = &service.working_dir else {
        return Ok(());
    };
    is_folder(folder, &Rights::of(user)).map_err(|why| {
        let shown = folder.display();
        (1, format!("cannot use working_dir {shown}: {why}"))
    })
}

/// A log file that could never be opened is known before the service runs.
fn check_log_folder(service: &Service) -> Result<(), Refusal> {
    let Some(path) = &service.log_file else {
        return Ok(());
    };
    let folder = folder_of(path);
    is_folder(folder, &Rights::of(None)).map_err(|why| {
        let (path, folder) = (path.display(), folder.display());
        let advice = format!("{folder}: {why}; mkdir -p {folder}");
        (1, format!("cannot open log_file {path} in {advice}"))
    })
}

fn command(service: &Service, words: &[String], search: &OsStr) -> Result<Invocation, Refusal> {
    let name = words.first().map_or("", String::as_str);
    let path = find_command(name, search, service.working_dir.as_deref())?;
    Ok(Invocation {
        path,
        argv: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
        text: None,
    })
}

fn build(
    service: &Service,
    ids: Option<Ids>,
    invocation: Invocation,
    environment: Environment,
) -> Result<Program, Refusal> {
    let c_string = |bytes: Vec<u8>| environment::c_string(bytes).map_err(|why| (1, why));
    let folder = |path: &Path| c_string(path.as_os_str().as_bytes().to_vec());
    let argv = invocation.argv.into_iter().map(c_string);
    Ok(Program {
        path: c_string(invocation.path.into_os_string().into_vec())?,
        argv: argv.collect::<Result<_, _>>()?,
        envp: environment.into_entries(),
        cwd: service.working_dir.as_deref().map(folder).transpose()?,
        ids,
        umask: service.umask,
        nice: service.nice,
        oom_score_adj: service.oom_score_adj,
        limits: service.limits.clone(),
        no_new_privs: service.no_new_privs,
        text: invocation.text,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;
    use tempfile::TempDir;

    use super::*;
    use crate::config::model::{IdOrName, UserSpec};
    use crate::sys::spawn::{Handed, Session, Stdio, start_and_wait};

    /// A folder that every user can write, and what its programs say: they write to `$OUT`.
    struct Ground(TempDir);

    impl Ground {
        fn new() -> Ground {
            let folder = tempfile::tempdir().unwrap();
            std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
            Ground(folder)
        }

        fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path
        }

        fn mode(&self, name: &str) -> u32 {
            let metadata = std::fs::metadata(self.0.path().join(name)).unwrap();
            metadata.permissions().mode() & 0o7777
        }

        fn service(&self, script: Script) -> Service {
            let out = self.0.path().join("out").display().to_string();
            Service {
                name: "web".into(),
                command: "true".into(),
                env: vec![("OUT".into(), EnvValue::Text(out))],
                pre_script: Some(script),
                ..Service::default()
            }
        }

        /// The exit code and what was written, or why there was no start.
        fn run(&self, service: &Service, role: Role) -> Result<(i32, String), SpawnFailure> {
            let handed = Handed {
                stdio: Stdio::Inherit,
                session: Session::New,
                ready_fd: None,
            };
            let pid = start_and_wait(&handed, |_| {
                plan(&Environment::inherited(), service, role).map(|plan| plan.program)
            })?;
            let WaitStatus::Exited(_, code) = waitpid(Pid::from_raw(pid.0), None).unwrap() else {
                panic!("it was killed");
            };
            let said = std::fs::read_to_string(self.0.path().join("out")).unwrap_or_default();
            Ok((code, said))
        }

        fn check(&self, script: Script, code: i32, said: &str) {
            let ran = self.run(&self.service(script.clone()), Role::PreScript);
            assert_eq!(ran, Ok((code, said.to_owned())), "{script:?}");
        }

        fn check_refused(&self, script: Script, exit_code: u8, part: &str) {
            let failure = self
                .run(&self.service(script), Role::PreScript)
                .unwrap_err();
            assert_eq!(failure.exit_code, exit_code, "{failure:?}");
            assert!(failure.message.contains(part), "{failure:?}");
        }
    }

    fn named(name: &str) -> Option<Box<UserSpec>> {
        let user = IdOrName::Name(name.into());
        Some(Box::new(UserSpec { user, group: None }))
    }

    fn inline(text: &str) -> Script {
        Script::Inline(text.into())
    }

    #[test]
    fn inline_scripts_run_through_what_they_name() {
        let ground = Ground::new();
        ground.check(inline("echo plain >$OUT\nexit 3\n"), 3, "plain\n");
        ground.check(
            inline("#!/bin/sh -e\nfalse\necho not here >$OUT\n"),
            1,
            "plain\n",
        );
        ground.check(inline("\n\n#!/bin/sh\r\necho dos >$OUT\r\n"), 0, "dos\n");
        let long = format!("#!/bin/sh\n# {}\necho long >$OUT\n", "x".repeat(1 << 20));
        ground.check(inline(&long), 0, "long\n");
        let python = "#!/usr/bin/env python3\nimport os\nprint('snake', file=open(os.environ['OUT'], 'w'))\n";
        ground.check(inline(python), 0, "snake\n");
        let missing = "#!/usr/bin/env no-such-language\n";
        ground.check_refused(inline(missing), 127, "cannot find no-such-language in PATH");
        ground.check_refused(inline("#!/no/such\n"), 127, "cannot find /no/such");
    }

    #[test]
    fn script_files_run_with_and_without_the_execute_bit() {
        let ground = Ground::new();
        let path = |name: &str, text: &str, mode| Script::Path(ground.file(name, text, mode));
        let own_name = format!("{}\n", ground.0.path().join("a").display());
        let text = "#!/bin/sh\necho $0 >$OUT\n";
        ground.check(path("a", text, 0o755), 0, &own_name);
        ground.check(path("b", "#!/bin/sh\necho b >$OUT\n", 0o644), 0, "b\n");
        // Others can write this folder, so that nothing in it is changed.
        assert_eq!(ground.mode("b"), 0o644);
        let closed = Ground(tempfile::tempdir().unwrap());
        let script = closed.file("b", "#!/bin/sh\necho closed >$OUT\n", 0o4644);
        closed.check(Script::Path(script), 0, "closed\n");
        assert_eq!(closed.mode("b"), 0o755);
        ground.check(path("c", "echo c >$OUT; exit 4", 0o755), 4, "c\n");
        ground.check(path("d", "echo d >$OUT", 0o600), 0, "d\n");
        ground.check(path("empty", "", 0o755), 0, "d\n");
        ground.check_refused(
            path("e", "#!/no/such\n", 0o755),
            127,
            "cannot find /no/such",
        );
        ground.check_refused(path("f", "#!/bin/sh\r\n", 0o755), 126, "CR LF");
        ground.check_refused(
            Script::Path("/no/such".into()),
            127,
            "cannot run /no/such: No such",
        );
        ground.check_refused(Script::Path("/".into()), 126, "it is not a file");
    }

    #[test]
    fn scripts_run_as_another_user() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can become another user");
            return;
        }
        let ground = Ground::new();
        let whose = "echo $(id -u) $USER $HOME >$OUT\n";
        let mut service = ground.service(inline(whose));
        service.user = named("nobody");
        let ran = ground.run(&service, Role::PreScript).unwrap();
        assert_eq!(ran, (0, "65534 nobody /nonexistent\n".into()));
        service.pre_script = Some(Script::Path(ground.file("mine", whose, 0o644)));
        assert_eq!(ground.run(&service, Role::PreScript), Ok(ran));
        // Executable for its owner, and read by everybody.
        let text = format!("#!/bin/sh\n{whose}");
        service.pre_script = Some(Script::Path(ground.file("owner", &text, 0o744)));
        assert_eq!(ground.run(&service, Role::PreScript).unwrap().0, 0);
        service.script_user = named("root");
        let ran = ground.run(&service, Role::PreScript).unwrap();
        assert_eq!(ran.1, "0 root /root\n");
        service.script_user = named("no-such-user");
        let failure = ground.run(&service, Role::PreScript).unwrap_err();
        assert_eq!(failure.exit_code, 1);
        let why =
            "cannot use `script_user`: there is no user `no-such-user` (not in the passwd file)";
        assert_eq!(failure.message, why);
    }

    #[test]
    fn a_plan_holds_what_the_service_says() {
        let ground = Ground::new();
        ground.file("program", "#!/bin/sh\necho \"$@\" in $(pwd) >$OUT\n", 0o755);
        let folder = ground.0.path().to_owned();
        let mut service = Service {
            command: "./program".into(),
            args: vec!["-g".into(), "daemon off;".into()],
            working_dir: Some(folder.clone()),
            ..ground.service(inline("true\n"))
        };
        let said = format!("-g daemon off; in {}\n", folder.display());
        assert_eq!(ground.run(&service, Role::Main), Ok((0, said)));
        service.working_dir = Some("/no/such".into());
        let failure = ground.run(&service, Role::Main).unwrap_err();
        assert_eq!(
            failure.message,
            "cannot use working_dir /no/such: No such file or directory"
        );
        service.working_dir = None;
        service.command = "no-such-program".into();
        assert_eq!(ground.run(&service, Role::Main).unwrap_err().exit_code, 127);
        service.command = "/etc/passwd".into();
        let failure = ground.run(&service, Role::Main).unwrap_err();
        assert_eq!(failure.exit_code, 126);
        assert_eq!(
            failure.message,
            "cannot execute /etc/passwd: it is not executable; chmod +x /etc/passwd"
        );
        service.args = vec!["a\0b".into()];
        service.command = "true".into();
        let failure = ground.run(&service, Role::Main).unwrap_err();
        assert_eq!(
            failure.message,
            "cannot pass \"a\\\\0b\" on: it has a NUL byte in it"
        );
    }
}
