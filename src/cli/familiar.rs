//! What is typed out of habit: verbs and options of supervisorctl, systemctl, docker compose, runit's sv, s6-rc and
//! s6-svc, and pm2, each with what to type here.

use crate::base::Signal;

/// Words that mean the same, and what to type instead.
type Row = (&'static [&'static str], &'static str);

const VERBS: [Row; 27] = [
    (
        &[
            "ps",
            "ls",
            "services",
            "units",
            "list-units",
            "list-services",
            "avail",
            "jlist",
            "prettylist",
            "listall",
            "summary",
            "svstat",
        ],
        "go-overlay list shows every service with its state",
    ),
    (
        &[
            "top",
            "htop",
            "stats",
            "monit",
            "monitor",
            "usage",
            "dashboard",
        ],
        "go-overlay list shows the CPU and memory of every service",
    ),
    (
        &[
            "show",
            "info",
            "inspect",
            "describe",
            "pid",
            "state",
            "is-active",
            "is-failed",
            "is-enabled",
            "is-up",
            "svstatus",
        ],
        "go-overlay status SERVICE shows everything about one service",
    ),
    (
        &[
            "graph",
            "tree",
            "deps",
            "dependencies",
            "list-dependencies",
            "order",
            "dot",
        ],
        "go-overlay check shows the order of the start, go-overlay status SERVICE its dependencies",
    ),
    (
        &[
            "tail",
            "log",
            "cat",
            "journal",
            "journalctl",
            "maintail",
            "output",
            "follow",
        ],
        "go-overlay logs SERVICE shows its last output, and with -f what comes",
    ),
    (
        &["history", "watch", "event", "timeline"],
        "go-overlay events -f shows what happens to services",
    ),
    (
        &["attach", "fg", "foreground", "console", "connect", "enter"],
        "there is no way into a service; go-overlay logs -f SERVICE follows its output",
    ),
    (
        &[
            "flush",
            "clear",
            "rotate",
            "logrotate",
            "reopen",
            "reloadLogs",
            "reopenlogs",
        ],
        "SIGUSR2 to the daemon opens log files again: kill -USR2 PID; go-overlay version shows the PID",
    ),
    (
        &[
            "up",
            "boot",
            "init",
            "daemon",
            "serve",
            "supervise",
            "supervisord",
            "launch",
        ],
        "go-overlay --config FILE starts the daemon and its services; \
         with a daemon, go-overlay start --all",
    ),
    (
        &["run", "exec", "spawn", "shell", "fork", "program"],
        "to run a program with the services: go-overlay -- PROGRAM ARGS…; to run one beside them, run it itself",
    ),
    (
        &["once", "oneshot"],
        "a service runs once with restart = \"no\"; go-overlay start SERVICE runs it again",
    ),
    (
        &["down", "compose-down", "terminate", "end", "force-stop"],
        "go-overlay stop SERVICE stops one, stop --all every one; shutdown ends the daemon too",
    ),
    (
        &["kill"],
        "go-overlay stop SERVICE stops it; go-overlay signal SERVICE KILL sends a signal",
    ),
    (
        &["pause", "freeze", "suspend"],
        "go-overlay signal SERVICE STOP pauses it, signal SERVICE CONT lets it go on",
    ),
    (
        &["unpause", "thaw", "resume", "continue"],
        "go-overlay signal SERVICE CONT lets a paused service go on",
    ),
    (
        &["alarm", "interrupt", "sendSignal"],
        "go-overlay signal SERVICE SIGNAL sends a signal",
    ),
    (
        &[
            "exit",
            "quit",
            "halt",
            "poweroff",
            "reboot",
            "bye",
            "teardown",
            "force-shutdown",
        ],
        "go-overlay shutdown stops everything and ends the daemon",
    ),
    (
        &[
            "try-restart",
            "force-restart",
            "condrestart",
            "reload-or-restart",
            "force-reload",
            "restartAll",
            "restart-all",
            "recreate",
            "again",
            "bounce",
            "cycle",
        ],
        "go-overlay restart SERVICE stops a service and starts it again",
    ),
    (
        &["reset-failed", "reset", "retry", "recover"],
        "go-overlay start SERVICE tries a failed service again",
    ),
    (
        &[
            "reread",
            "update",
            "add",
            "apply",
            "refresh",
            "sync",
            "daemon-reload",
            "reconfigure",
            "daemon-reexec",
            "rehash",
            "change",
            "diff",
        ],
        "go-overlay reload goes over to the changed configuration; reload --dry-run only shows what it would do",
    ),
    (
        &[
            "remove",
            "rm",
            "delete",
            "del",
            "create",
            "edit",
            "scale",
            "set",
            "save",
            "resurrect",
        ],
        "services are added, changed and removed in the configuration; then go-overlay reload",
    ),
    (
        &[
            "enable",
            "disable",
            "mask",
            "unmask",
            "reenable",
            "preset",
            "link",
            "revert",
            "startup",
            "unstartup",
            "autostart",
        ],
        "write enabled = true or enabled = false in the configuration; then go-overlay reload",
    ),
    (
        &["cron", "crontab", "timer", "timers", "list-timers", "at"],
        "go-overlay schedule shows when an expression is due",
    ),
    (
        &[
            "config",
            "configtest",
            "validate",
            "verify",
            "lint",
            "test",
            "convert",
        ],
        "go-overlay check FILE reports everything that is wrong with a configuration",
    ),
    (
        &[
            "ping",
            "healthcheck",
            "is-healthy",
            "ready",
            "is-ready",
            "is-system-running",
            "live",
        ],
        "go-overlay health exits with 0 when every enabled service is up",
    ),
    (
        &[
            "env",
            "environment",
            "show-environment",
            "set-environment",
            "import-environment",
        ],
        "write env = { NAME = \"value\" } in the configuration; then go-overlay reload",
    ),
    (
        &[
            "build", "pull", "push", "images", "cp", "port", "ports", "volumes",
        ],
        "go-overlay runs programs inside one container; images, files and ports are its engine's",
    ),
];

/// Programs whose first argument is the verb, and here the command itself is.
const CONTROLLERS: [&str; 12] = [
    "ctl",
    "service",
    "supervisorctl",
    "systemctl",
    "compose",
    "docker",
    "sv",
    "s6-rc",
    "s6-svc",
    "s6",
    "pm2",
    "rc-service",
];

const OPTIONS: [Row; 10] = [
    (
        &["-c", "--configuration", "--file"],
        "the configuration is --config FILE",
    ),
    (
        &["-s", "--serverurl", "--url"],
        "the control socket is --socket PATH",
    ),
    (&["--tail", "--num", "--count"], "the last N lines are -n N"),
    (&["-a", "--every"], "every service is --all"),
    (&["-o", "--output", "--format"], "JSON is --json"),
    (&["-v", "--verbose"], "--debug shows more, -V the version"),
    (
        &["-w", "--wait", "--block"],
        "the command waits unless --no-wait is given",
    ),
    (
        &["--no-block", "--background"],
        "the command does not wait with --no-wait",
    ),
    (
        &[
            "-d",
            "-D",
            "--detach",
            "--daemon",
            "--daemonize",
            "--nodaemon",
            "--foreground",
        ],
        "the daemon always stays in the foreground; start it with & or by a container engine",
    ),
    (
        &["--test", "--check", "--validate", "--configtest"],
        "go-overlay check FILE checks a configuration",
    ),
];

/// What to type instead of a verb of another program's, or of a file that was named without its option.
pub(super) fn verb(verb: &str) -> Option<String> {
    if CONTROLLERS.contains(&verb) {
        return Some("the command is the first word: go-overlay list".into());
    }
    if let Some(help) = found(&VERBS, verb) {
        return Some(help);
    }
    let signal = Signal::parse(verb).filter(|_| !verb.starts_with(|c: char| c.is_ascii_digit()));
    if let Some(signal) = signal {
        return Some(format!("go-overlay signal SERVICE {signal} sends it"));
    }
    let is_file = [
        ".toml", ".yaml", ".yml", ".json", ".ini", ".conf", "Procfile",
    ]
    .iter()
    .any(|end| verb.ends_with(end));
    if is_file {
        return Some(format!(
            "go-overlay --config {verb} supervises what it says"
        ));
    }
    found(&VERBS, verb)
}

/// What to type instead of an option of another program's.
pub(super) fn option(name: &str, command: Option<&str>) -> Option<String> {
    let bare = name.trim_start_matches('-');
    if command == Some("signal") && Signal::parse(bare).is_some() {
        return Some(format!(
            "the signal has no dash: go-overlay signal SERVICE {bare}"
        ));
    }
    found(&OPTIONS, name)
}

fn found(rows: &[Row], word: &str) -> Option<String> {
    let row = rows.iter().find(|(words, _)| words.contains(&word))?;
    Some(row.1.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::commands::{self, Flag};
    use super::*;

    /// The verbs of each, as its manual lists them, but for what one would not look for in a container.
    const MANUALS: [(&str, &str); 6] = [
        (
            "supervisorctl",
            "add avail clear exit fg maintail pid quit reload remove reread restart shutdown signal start status \
             stop tail update version",
        ),
        (
            "systemctl",
            "list-units start stop reload restart try-restart reload-or-restart kill freeze thaw is-active is-failed \
             status show cat list-dependencies reset-failed enable disable reenable preset is-enabled mask unmask \
             link revert edit daemon-reload daemon-reexec show-environment set-environment is-system-running halt \
             poweroff reboot exit list-timers",
        ),
        (
            "docker compose",
            "attach build config cp create down events exec images kill logs ls pause port ps pull push restart rm \
             run scale start stats stop top unpause up version wait watch",
        ),
        (
            "sv",
            "status up down once pause cont hup alarm interrupt quit term kill exit start stop reload restart \
             shutdown force-stop force-reload force-restart force-shutdown try-restart check",
        ),
        ("s6-rc", "list listall diff start stop change"),
        (
            "pm2",
            "start stop restart delete reload kill list ls jlist prettylist describe monit logs flush reloadLogs \
             startup unstartup save resurrect scale ping sendSignal update reset env serve",
        ),
    ];

    #[test]
    fn every_verb_of_a_known_program_leads_somewhere() {
        for (program, verbs) in MANUALS {
            for word in verbs.split_whitespace() {
                let leads = commands::find(word).is_some() || verb(word).is_some();
                assert!(leads, "{program} {word}");
            }
            let first = program.split(' ').next_back().unwrap();
            assert!(verb(first).unwrap().contains("first word"), "{program}");
        }
    }

    #[test]
    fn no_word_is_there_twice_or_a_command_or_an_option_of_this_program() {
        let words =
            |rows: &[Row]| -> Vec<&str> { rows.iter().flat_map(|row| row.0).copied().collect() };
        let verbs = [words(&VERBS), CONTROLLERS.to_vec()].concat();
        for list in [&verbs, &words(&OPTIONS)] {
            for (at, word) in list.iter().enumerate() {
                assert!(!list[..at].contains(word), "{word} twice");
            }
        }
        for word in verbs {
            assert!(commands::find(word).is_none(), "{word}");
        }
        let flags = commands::all().flat_map(|spec| spec.flags);
        let known: Vec<&str> = flags
            .chain(&commands::GLOBAL)
            .flat_map(Flag::forms)
            .collect();
        for word in words(&OPTIONS) {
            assert!(!known.contains(&word), "{word}");
        }
    }

    /// A command that is named in a hint is one of this program's.
    #[test]
    fn hints_name_commands_that_are_there() {
        for (_, hint) in VERBS.iter().chain(&OPTIONS) {
            for rest in hint.split("go-overlay ").skip(1) {
                let word = rest.split([' ', ';']).next().unwrap();
                let is_prose = ["has", "runs"].contains(&word) || word.starts_with('-');
                assert!(is_prose || commands::find(word).is_some(), "{hint}");
            }
        }
    }
}
