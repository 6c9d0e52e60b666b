//! From a service's configuration to the program that is executed. Done at each start from what the
//! files and the environment hold then; nothing is kept in between.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::config::model::{Script, Service, User};
use crate::supervisor::event::{Role, SpawnFailure};
use crate::sys::environment::{self, DEFAULT_PATH};
use crate::sys::script::{self, Invocation, c_string};
use crate::sys::spawn::{Ids, Program, Session, Stdio};

/// A program, and what has to stay open until it is executed.
#[derive(Debug)]
pub struct Plan {
    /// What to spawn. Its standard descriptors and session are the caller's to set.
    pub program: Program,
    _text: Option<OwnedFd>,
}

/// What to execute for one of a service's programs.
///
/// # Errors
/// Why it cannot be executed, found before the attempt, with a shell's exit code.
pub fn plan(service: &Service, role: Role) -> Result<Plan, SpawnFailure> {
    let user = match role {
        Role::Main => service.user.as_ref(),
        Role::PreScript | Role::PostScript => {
            service.script_user.as_ref().or(service.user.as_ref())
        }
    };
    let environment = environment::of(service, user).map_err(|message| SpawnFailure {
        message,
        exit_code: 1,
    })?;
    let search = environment
        .get(OsStr::new("PATH"))
        .map_or(OsStr::new(DEFAULT_PATH), |path| path.as_os_str());
    let invocation = match script_of(service, role) {
        None => command(service, search),
        Some(Script::Path(path)) => script::file(path, search),
        Some(Script::Inline(text)) => script::inline(text, search),
    };
    let invocation =
        invocation.map_err(|(exit_code, message)| SpawnFailure { message, exit_code })?;
    let envp = environment::joined(&environment);
    build(service, user, invocation, envp).map_err(|message| SpawnFailure {
        message,
        exit_code: 1,
    })
}

fn script_of(service: &Service, role: Role) -> Option<&Script> {
    match role {
        Role::Main => None,
        Role::PreScript => service.pre_script.as_ref(),
        Role::PostScript => service.post_script.as_ref(),
    }
}

fn command(service: &Service, search: &OsStr) -> Result<Invocation, (u8, String)> {
    let path = environment::find_command(&service.command, search, service.working_dir.as_deref())?;
    let argv = std::iter::once(&service.command)
        .chain(&service.args)
        .map(|word| word.as_bytes().to_vec())
        .collect();
    Ok(Invocation {
        path,
        argv,
        text: None,
    })
}

fn build(
    service: &Service,
    user: Option<&User>,
    invocation: Invocation,
    envp: Vec<Vec<u8>>,
) -> Result<Plan, String> {
    let strings = |list: Vec<Vec<u8>>| {
        list.into_iter()
            .map(c_string)
            .collect::<Result<Vec<_>, _>>()
    };
    let cwd = service
        .working_dir
        .as_ref()
        .map(|path| c_string(path.as_os_str().as_bytes().to_vec()))
        .transpose()?;
    let program = Program {
        path: c_string(invocation.path.into_os_string().as_bytes().to_vec())?,
        argv: strings(invocation.argv)?,
        envp: strings(envp)?,
        cwd,
        ids: user.map(|user| Ids {
            uid: user.uid,
            gid: user.gid,
            groups: user.groups.clone(),
        }),
        umask: service.umask,
        nice: service.nice,
        oom_score_adj: service.oom_score_adj,
        limits: service.limits.clone(),
        no_new_privs: service.no_new_privs,
        stdio: Stdio::Inherit,
        session: Session::New,
        script_fd: invocation.text.as_ref().map(AsRawFd::as_raw_fd),
    };
    Ok(Plan {
        program,
        _text: invocation.text,
    })
}
