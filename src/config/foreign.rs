//! What other supervisors write: their keys, and whole files of theirs.

use super::diagnostic::Finding;

/// Keys of others, and what to write here.
const KEYS: [(&[&str], &str); 27] = [
    (
        &["directory", "cwd", "WorkingDirectory", "chdir"],
        "it is called `working_dir` here",
    ),
    (
        &[
            "cmd",
            "exec",
            "ExecStart",
            "entrypoint",
            "program",
            "run",
            "shell",
        ],
        "write command = \"/path/to/program\" and args = [\"…\"]; for a shell, command = \"sh\" and args = [\"-c\", \"…\"]",
    ),
    (
        &[
            "requires",
            "after",
            "wants",
            "needs",
            "Requires",
            "After",
            "Wants",
            "BindsTo",
            "dependencies",
        ],
        "write depends_on = [\"NAME\"]",
    ),
    (
        &["before", "Before"],
        "write depends_on in the service that starts later",
    ),
    (&["autostart"], "write enabled = true or enabled = false"),
    (&["disabled"], "write enabled = false"),
    (
        &["autorestart", "Restart", "respawn"],
        "write restart = \"always\", \"on-failure\" or \"no\"",
    ),
    (
        &[
            "startretries",
            "RestartSec",
            "restart_delay",
            "StartLimitBurst",
        ],
        "write restart = { policy = \"on-failure\", delay = \"1s\", max_attempts = 3 }",
    ),
    (
        &["startsecs"],
        "write ready, for example ready = \"healthy\" with a [services.health] table",
    ),
    (
        &["priority"],
        "the order comes from depends_on; the priority of a process is `nice`",
    ),
    (
        &["group", "Group"],
        "write the group behind the user: user = \"app:www-data\"",
    ),
    (&["User", "uid"], "it is called `user` here"),
    (
        &["type", "Type"],
        "remove it: a program stays in the foreground, one that ends with 0 has completed, and ready = \"notify\" waits for READY=1",
    ),
    (
        &["numprocs", "replicas", "scale", "instances", "deploy"],
        "write one [[services]] for each process",
    ),
    (
        &["image", "build", "container_name"],
        "remove it: services are programs of this container, named by `command`",
    ),
    (
        &["ports", "expose"],
        "remove it: the container runtime publishes ports",
    ),
    (
        &["volumes", "networks"],
        "remove it: the container runtime mounts volumes and sets up networks",
    ),
    (
        &["stopsignal", "KillSignal", "stop_sig"],
        "it is called `stop_signal` here",
    ),
    (
        &[
            "stopwaitsecs",
            "TimeoutStopSec",
            "stop_grace_period",
            "kill_timeout",
        ],
        "it is called `stop_timeout` here",
    ),
    (
        &["environment", "Environment", "environ"],
        "write env = { NAME = \"value\" }",
    ),
    (
        &["EnvironmentFile", "envfile"],
        "it is called `env_file` here",
    ),
    (
        &["exitcodes", "SuccessExitStatus"],
        "it is called `success_exit_codes` here",
    ),
    (
        &["pre_start", "prestart", "ExecStartPre", "pre_exec"],
        "it is called `pre_script` here",
    ),
    (
        &["post_start", "poststart", "ExecStartPost"],
        "it is called `post_script` here",
    ),
    (
        &[
            "post_stop",
            "poststop",
            "ExecStopPost",
            "ExecStop",
            "pre_stop",
            "stop_command",
            "finish",
        ],
        "there is no script for the end: let the program end by its `stop_signal`",
    ),
    (&["healthcheck"], "write a [services.health] table"),
    (
        &[
            "nofile",
            "nproc",
            "core",
            "memlock",
            "stack",
            "as",
            "fsize",
            "ulimits",
            "LimitNOFILE",
            "rtprio",
            "cpu",
        ],
        "write it below [services.limits], such as limits = { nofile = 65536 }",
    ),
];

/// What to write instead of a key of another supervisor.
pub(super) fn direction(key: &str) -> Option<&'static str> {
    let known = KEYS.iter().find(|(names, _)| names.contains(&key));
    known.map(|(_, direction)| *direction)
}

/// What a text that is no TOML seems to be.
pub(super) fn format(text: &str) -> Option<Finding> {
    let mut at = 0;
    let mut procfile = None;
    for line in text.split_inclusive('\n') {
        let span = at..at + line.trim_end().len();
        at += line.len();
        let line = line.trim_end();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let of = |what: &str, help: &str| {
            let message = format!("this is {what}, not TOML");
            Some(Finding::error(span.clone(), message, "here").help(help.to_owned()))
        };
        let header = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'));
        let key = line.split([':', ' ']).next().unwrap_or_default();
        match header {
            Some(header) if header.starts_with("program:") || header.starts_with("supervisor") => {
                return of(
                    "a configuration of supervisord",
                    "docs/MIGRATION-supervisord.md has the counterpart of each key",
                );
            }
            Some("Unit" | "Service" | "Install") => {
                return of(
                    "a unit of systemd",
                    "write [[services]] with name, command (from ExecStart), args, user (from User) and depends_on (from After)",
                );
            }
            Some(_) => return None,
            None if line == "---" || matches!(line, "services:" | "processes:") => {
                return of(
                    "YAML",
                    "docs/MIGRATION-compose.md has the counterpart of each key of Compose; write [[services]] for each service",
                );
            }
            None if key == "version" && line.starts_with("version:") => {
                return of(
                    "YAML",
                    "docs/MIGRATION-compose.md has the counterpart of each key of Compose; write [[services]] for each service",
                );
            }
            None if line.starts_with('{') => {
                return of(
                    "JSON",
                    "write [[services]] with name and command for each service",
                );
            }
            None => {}
        }
        let command = line
            .strip_prefix(key)
            .and_then(|rest| rest.strip_prefix(": "));
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if command.is_none() || !key.chars().all(is_name) {
            return None;
        }
        procfile = procfile.or_else(|| {
            of(
                "a Procfile",
                "write [[services]] with name, command = \"sh\" and args = [\"-c\", \"LINE\"] for each line",
            )
        });
    }
    procfile
}
