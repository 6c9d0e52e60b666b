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

/// Tables of supervisord's configuration; those that have a name of their own end with a colon.
const OF_SUPERVISORD: [&str; 9] = [
    "program:",
    "group:",
    "eventlistener:",
    "fcgi-program:",
    "rpcinterface:",
    "supervisor",
    "unix_http_server",
    "inet_http_server",
    "include",
];

/// What a line shows the whole file to be, and what to do then.
type Shown = (&'static str, &'static str);

const YAML: Shown = (
    "YAML",
    "docs/MIGRATION-compose.md has the counterpart of each key of Compose; write [[services]] for each service",
);

const JSON: Shown = (
    "JSON",
    "write [[services]] with name and command for each service",
);

const COMPOSE_AS_JSON: Shown = (
    "a Compose file in JSON",
    "docs/MIGRATION-compose.md has the counterpart of each key; write [[services]] for each service",
);

const PM2_AS_JSON: Shown = ("an ecosystem file of pm2", OF_PM2);

const JAVASCRIPT: Shown = ("JavaScript", OF_PM2);

const OF_PM2: &str = "for each app of pm2 write [[services]] with name, command = \"node\" and args = [\"SCRIPT\"]; \
    docs/CONFIGURATION.md has the other keys";

/// How an ecosystem file of pm2 begins, once its comments are left out.
const BEGINS_JAVASCRIPT: [&str; 8] = [
    "module.exports",
    "exports.",
    "export ",
    "const ",
    "require(",
    "'use strict'",
    "\"use strict\"",
    "import ",
];

const PROCFILE: Shown = (
    "a Procfile",
    "write [[services]] with name, command = \"sh\" and args = [\"-c\", \"LINE\"] for each line",
);

/// What a text that is no TOML seems to be.
pub(super) fn format(text: &str) -> Option<Finding> {
    let mut at = text.len();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    at -= text.len();
    let mut procfile = None;
    for line in text.split_inclusive('\n') {
        let span = at..at + line.trim_end().len();
        at += line.len();
        let line = line.trim_end();
        if line.is_empty() || line.starts_with(['#', ';']) || is_comment_of_javascript(line) {
            continue;
        }
        let of = |(what, help): Shown| {
            let message = format!("this is {what}, not TOML");
            Some(Finding::error(span.clone(), message, "here").help(help))
        };
        match unmistakable(line, procfile.is_some()) {
            Some(JSON) => return of(of_json(text)),
            Some(shown) => return of(shown),
            None => {}
        }
        let (key, command) = line.split_once(':')?;
        if command.trim().is_empty() || !is_name(key) {
            return None;
        }
        procfile = procfile.or_else(|| of(PROCFILE));
    }
    procfile
}

fn is_comment_of_javascript(line: &str) -> bool {
    let line = line.trim_start();
    ["//", "/*", "*"].iter().any(|mark| line.starts_with(mark))
}

/// Which program's file in JSON it is, by its first keys.
fn of_json(text: &str) -> Shown {
    let mut strings = text.split('"').skip(1).step_by(2);
    let known = |key: &str| match key {
        "services" => Some(COMPOSE_AS_JSON),
        "apps" => Some(PM2_AS_JSON),
        _ => None,
    };
    // With an array in its place it is not Compose's.
    let shown = strings.find_map(known).unwrap_or(JSON);
    let squeezed: String = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .take(4096)
        .collect();
    match shown == COMPOSE_AS_JSON && squeezed.contains("\"services\":[") {
        true => JSON,
        false => shown,
    }
}

/// What a single line shows; `after_keys`: only lines such as `web: command` came before it.
fn unmistakable(line: &str, after_keys: bool) -> Option<Shown> {
    if line.starts_with(['{', '['])
        && matches!(line.as_bytes(), [b'{', ..] | [b'['] | [_, b'{', ..])
    {
        return Some(JSON);
    }
    if BEGINS_JAVASCRIPT.iter().any(|word| line.starts_with(word)) {
        return Some(JAVASCRIPT);
    }
    let header = line
        .strip_prefix('[')
        .and_then(|line| line.strip_suffix(']'));
    match header {
        Some("Unit" | "Service" | "Install" | "Timer" | "Socket" | "Container" | "Pod") => {
            return Some((
                "a unit of systemd",
                "write [[services]] with name, command (from ExecStart), args, user (from User) and depends_on (from After)",
            ));
        }
        Some(header) if OF_SUPERVISORD.iter().any(|table| header.starts_with(table)) => {
            return Some((
                "a configuration of supervisord",
                "docs/MIGRATION-supervisord.md has the counterpart of each key",
            ));
        }
        Some(_) => return None,
        None => {}
    }
    let is_block = line
        .strip_suffix(':')
        .is_some_and(|key| is_name(unquoted(key)));
    let is_list = line.starts_with("- ");
    let is_nested = after_keys && line.starts_with([' ', '\t']);
    let is_version = line
        .split_once(':')
        .is_some_and(|(key, _)| unquoted(key) == "version");
    (line == "---" || is_block || is_list || is_nested || is_version).then_some(YAML)
}

/// A key of YAML without its quotes.
fn unquoted(key: &str) -> &str {
    let inside = |quote| key.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(key)
}

fn is_name(key: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !key.is_empty() && key.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::format;

    fn shows(text: &str, what: &str) {
        let message = format(text).map(|finding| finding.message);
        let expected = (!what.is_empty()).then(|| format!("this is {what}, not TOML"));
        assert_eq!(message, expected, "{text:?}");
    }

    #[test]
    fn the_first_lines_show_what_a_file_is() {
        let supervisord = "a configuration of supervisord";
        shows(
            "; Sample\n[unix_http_server]\nfile=/tmp/x.sock\n",
            supervisord,
        );
        shows("[group:x]\nprograms=a,b\n", supervisord);
        shows("[program:web]\r\ncommand=web\r\n", supervisord);
        shows(
            "[include]\nfiles = /etc/supervisor/conf.d/*.conf\n",
            supervisord,
        );
        shows("[Timer]\nOnCalendar=daily\n", "a unit of systemd");
        for yaml in [
            "services:\r\n  web:\r\n",
            "\u{feff}version: \"3\"\nservices:\n",
            "\"version\": \"3\"\n\"services\":\n",
            "'version': '3'\n",
            "\"services\":\n  web:\n",
            "name: foo\nservices:\n",
            "x-common: &c\n  restart: always\nservices:\n",
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n",
            "web:\n  image: x\n",
            "- name: x\n  command: y\n",
            "# first\n---\nfoo: 1\n",
        ] {
            shows(yaml, "YAML");
        }
        for json in [
            "{\"services\": []}",
            "[\n {\"name\": \"x\"}\n]\n",
            "[{\"name\": \"x\"}]",
            "{\"name\": \"x\", \"version\": \"1.0.0\"}",
        ] {
            shows(json, "JSON");
        }
        for compose in [
            "{\"services\": {\"web\": {\"image\": \"x\"}}}",
            "{\n  \"version\": \"3\",\n  \"services\": {\n",
            "{\n  \"name\": \"x\",\n  \"services\": {}\n}\n",
        ] {
            shows(compose, "a Compose file in JSON");
        }
        shows(
            "{\n  \"apps\": [{\"name\": \"x\"}]\n}\n",
            "an ecosystem file of pm2",
        );
        for javascript in [
            "module.exports = {\n  apps : [{\n    name: 'x'\n",
            "// pm2\n/*\n * more\n */\nmodule.exports={apps:[]}\n",
            "'use strict';\nmodule.exports = {}\n",
            "const os = require('os');\nmodule.exports = {}\n",
            "export default {\n",
        ] {
            shows(javascript, "JavaScript");
        }
        for procfile in ["web: a b\nworker: c\n", "web:\ta\n", "web:a\n"] {
            shows(procfile, "a Procfile");
        }
    }

    #[test]
    fn a_slip_in_toml_is_no_other_format() {
        for toml in [
            "",
            "# only\n",
            "[[services]]\nname: web\n",
            "[log]\nformat = json\n",
            "services = [\n{ name = 1 }\n",
            "name = web\n",
            "name: = 1\nx = 1\n",
            "  services:\n",
        ] {
            shows(toml, "");
        }
    }
}
