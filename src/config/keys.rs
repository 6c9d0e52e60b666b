//! The keys of a service, one row a key: how it is read, what a reload does when it changed, and what it is.
//!
//! A key that is new has its row here, its field in the model, and its use. The rows are in the order of the model's
//! fields, which is the order in which a reload names what changed.

use super::entry::Entry;
use super::model::{Ready, Service};
use super::{
    depends_on, environment, health, limits, log, name, program, ready, restart, stopping,
    terminal, user,
};

use Change::{AtOnce, Depends, Never, NewProcess};

/// One key of a `[[services]]` entry.
pub(super) struct Key {
    pub name: &'static str,
    /// What it is, as `docs/CONFIGURATION.md` has it in its list.
    pub doc: &'static str,
    pub kind: Kind,
}

/// Whether a key has a value of its own in the model.
pub(super) enum Kind {
    /// It has.
    Whole {
        /// Reads the value into the entry's service, and reports what is wrong with it.
        read: fn(&mut Entry<'_>),
        change: Change,
    },
    /// It is read, and compared, with this key, whose value it belongs to.
    PartOf(&'static str),
}

/// What a reload does for a key whose value changed, and how two values are compared.
pub(super) enum Change {
    /// It cannot change: a service of another name is another service.
    Never,
    /// The process got the value when it was started, so that the service is restarted.
    NewProcess(fn(&Service, &Service) -> bool),
    /// The daemon goes by the new value from then on; the process stays.
    AtOnce(fn(&Service, &Service) -> bool),
    /// Which of the two it is depends on the values.
    Depends(fn(&Service, &Service) -> Option<Effect>),
}

/// What a change asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A new process.
    NewProcess,
    /// Nothing; it applies at once.
    AtOnce,
}

const fn key(
    name: &'static str,
    doc: &'static str,
    read: fn(&mut Entry<'_>),
    change: Change,
) -> Key {
    let kind = Kind::Whole { read, change };
    Key { name, doc, kind }
}

const fn part(name: &'static str, of: &'static str, doc: &'static str) -> Key {
    let kind = Kind::PartOf(of);
    Key { name, doc, kind }
}

/// Keys that the specification knows and this version does not.
pub(super) const LATER: [&str; 4] = ["schedule", "timezone", "overlap", "jitter"];

/// Every key of a service.
pub(super) static KEYS: &[Key] = &[
    key(
        "name",
        "its name, unique in the file",
        |entry| entry.name_at = name::read(entry),
        Never,
    ),
    key(
        "command",
        "the program; without a slash it is looked up in the service's PATH",
        |entry| entry.service.command = program::command(entry),
        NewProcess(|old, new| old.command != new.command),
    ),
    key(
        "args",
        "its arguments, without a shell",
        |entry| entry.service.args = program::arguments(&mut entry.fields),
        NewProcess(|old, new| old.args != new.args),
    ),
    part("raw_args", "args", "pass quotes around an argument on"),
    key(
        "enabled",
        "start it at boot",
        |entry| entry.service.enabled = entry.fields.boolean("enabled").unwrap_or(true),
        AtOnce(|old, new| old.enabled != new.enabled),
    ),
    key(
        "required",
        "end everything when it has failed for good",
        |entry| entry.service.required = entry.fields.boolean("required").unwrap_or(false),
        AtOnce(|old, new| old.required != new.required),
    ),
    key(
        "user",
        "the user and group it runs as",
        |entry| entry.service.user = user::read(entry, "user"),
        NewProcess(|old, new| old.user != new.user),
    ),
    key(
        "script_user",
        "the user and group its scripts run as",
        |entry| entry.service.script_user = user::read(entry, "script_user"),
        AtOnce(|old, new| old.script_user != new.script_user),
    ),
    key(
        "depends_on",
        "the services that have to be up first",
        depends_on::dependencies,
        AtOnce(|old, new| old.depends_on != new.depends_on),
    ),
    part(
        "wait_after",
        "depends_on",
        "how long each of them has to have been up",
    ),
    key(
        "pre_script",
        "runs before the program",
        |entry| entry.service.pre_script = program::script(entry, "pre_script"),
        AtOnce(|old, new| old.pre_script != new.pre_script),
    ),
    key(
        "pos_script",
        "runs once it has been up for `post_script_timeout`",
        |entry| entry.service.post_script = program::post_script(entry),
        AtOnce(|old, new| old.post_script != new.post_script),
    ),
    part("post_script", "pos_script", "the same as `pos_script`"),
    key(
        "log_file",
        "a file for its output, beside standard output",
        |entry| entry.service.log_file = log::file(entry),
        AtOnce(|old, new| old.log_file != new.log_file),
    ),
    key(
        "log",
        "what becomes of its output",
        |entry| entry.service.log = log::of_service(entry),
        AtOnce(|old, new| old.log != new.log),
    ),
    part("log_overflow", "log", "short for `overflow` in `log`"),
    part("log_buffer", "log", "short for `buffer` in `log`"),
    part("log_stdout", "log", "short for `stdout` in `log`"),
    key(
        "env",
        "variables of its environment",
        |entry| entry.service.env = environment::environment(&mut entry.fields),
        NewProcess(|old, new| old.env != new.env),
    ),
    key(
        "env_file",
        "files with such variables, read at each start",
        |entry| entry.service.env_file = environment::env_files(entry),
        NewProcess(|old, new| old.env_file != new.env_file),
    ),
    key(
        "working_dir",
        "the folder it runs in",
        |entry| entry.service.working_dir = program::working_dir(entry),
        NewProcess(|old, new| old.working_dir != new.working_dir),
    ),
    key(
        "umask",
        "its file mode creation mask",
        |entry| entry.service.umask = limits::umask(&mut entry.fields),
        NewProcess(|old, new| old.umask != new.umask),
    ),
    key(
        "nice",
        "its nice value",
        |entry| {
            let nice = entry.fields.integer("nice", -20..=19);
            entry.service.nice = nice.map(|nice| nice as i32);
        },
        NewProcess(|old, new| old.nice != new.nice),
    ),
    key(
        "oom_score_adj",
        "how early the kernel kills it for want of memory",
        |entry| {
            let score = entry.fields.integer("oom_score_adj", -1000..=1000);
            entry.service.oom_score_adj = score.map(|score| score as i32);
        },
        NewProcess(|old, new| old.oom_score_adj != new.oom_score_adj),
    ),
    key(
        "limits",
        "its resource limits",
        |entry| entry.service.limits = limits::limits(&mut entry.fields),
        NewProcess(|old, new| old.limits != new.limits),
    ),
    key(
        "no_new_privs",
        "keep it from gaining privileges",
        |entry| {
            let is_on = entry.fields.boolean("no_new_privs");
            entry.service.no_new_privs = is_on.unwrap_or(false);
        },
        NewProcess(|old, new| old.no_new_privs != new.no_new_privs),
    ),
    key(
        "tty",
        "run it on a terminal",
        |entry| entry.service.tty = entry.fields.boolean("tty").unwrap_or(true),
        NewProcess(|old, new| old.tty != new.tty),
    ),
    key(
        "stdin",
        "what it reads",
        |entry| entry.service.stdin = terminal::stdin(entry),
        NewProcess(|old, new| old.stdin != new.stdin),
    ),
    key(
        "tty_size",
        "the size of its terminal",
        |entry| entry.service.tty_size = terminal::size(entry),
        NewProcess(|old, new| old.tty_size != new.tty_size),
    ),
    key(
        "stop_signal",
        "the signal that asks it to end",
        |entry| entry.service.stop_signal = stopping::signal(&mut entry.fields),
        AtOnce(|old, new| old.stop_signal != new.stop_signal),
    ),
    key(
        "stop_timeout",
        "from that signal to SIGKILL",
        |entry| entry.service.stop_timeout = entry.fields.duration("stop_timeout"),
        AtOnce(|old, new| old.stop_timeout != new.stop_timeout),
    ),
    key(
        "restart",
        "whether and when it is started again after its end",
        |entry| entry.service.restart = restart::policy(&mut entry.fields),
        AtOnce(|old, new| old.restart != new.restart),
    ),
    key(
        "success_exit_codes",
        "ends that count as success, beside exit code 0",
        |entry| entry.service.success_exit_codes = restart::success_exit_codes(&mut entry.fields),
        AtOnce(|old, new| old.success_exit_codes != new.success_exit_codes),
    ),
    key(
        "health",
        "how it is checked",
        |entry| entry.service.health = health::read(entry),
        AtOnce(|old, new| old.health != new.health),
    ),
    key(
        "watchdog",
        "how often it has to report that it is alive",
        |entry| entry.service.watchdog = ready::watchdog(&mut entry.fields),
        NewProcess(|old, new| old.watchdog != new.watchdog),
    ),
    key(
        "ready",
        "what makes it RUNNING",
        |entry| entry.service.ready = ready::ready(&mut entry.fields),
        Depends(ready_effect),
    ),
    key(
        "ready_timeout",
        "how long that may take",
        ready::timeout,
        AtOnce(|old, new| old.ready_timeout != new.ready_timeout),
    ),
    key(
        "on_dependency_failure",
        "what it does when a dependency fails",
        |entry| {
            entry.service.on_dependency_failure =
                depends_on::on_dependency_failure(&mut entry.fields)
        },
        AtOnce(|old, new| old.on_dependency_failure != new.on_dependency_failure),
    ),
];

impl Key {
    /// What a change of the value asks for; None where it did not change.
    pub fn effect(&self, old: &Service, new: &Service) -> Option<Effect> {
        let Kind::Whole { change, .. } = &self.kind else {
            return None;
        };
        match change {
            Never => None,
            NewProcess(differs) => differs(old, new).then_some(Effect::NewProcess),
            AtOnce(differs) => differs(old, new).then_some(Effect::AtOnce),
            Depends(effect) => effect(old, new),
        }
    }
}

/// A process is given a descriptor or an address for `notify` and `fd`, and nothing for the others.
fn ready_effect(old: &Service, new: &Service) -> Option<Effect> {
    let is_given = |ready: &Ready| matches!(ready, Ready::Notify | Ready::Fd(_));
    let effect = match is_given(&old.ready) || is_given(&new.ready) {
        true => Effect::NewProcess,
        false => Effect::AtOnce,
    };
    (old.ready != new.ready).then_some(effect)
}

/// The names of all keys.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name)
}

/// How a change of this key is found.
pub(super) fn change_of(name: &str) -> Option<&'static Change> {
    KEYS.iter().find_map(|key| match &key.kind {
        Kind::Whole { change, .. } if key.name == name => Some(change),
        Kind::Whole { .. } | Kind::PartOf(_) => None,
    })
}

/// Whether a service has a key of this name.
pub(super) fn is_key(name: &str) -> bool {
    names().any(|known| known == name)
}
