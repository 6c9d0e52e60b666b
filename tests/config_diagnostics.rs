//! Every kind of malformed file, with the exact words it is refused with. None starts anything: there is
//! no configuration to start from.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use go_overlay::base::{ExitStatus, Signal};
use go_overlay::config::model::{Health, OnUnhealthy, Probe, Restart, RestartPolicy};
use go_overlay::config::{self, Account, Facts, FileKind, Files, Lookup, Needed, Report, Severity};

#[path = "config_diagnostics/keys.rs"]
mod keys;

/// A small machine.
struct World;

impl Facts for World {
    fn command(&self, command: &str, path: Option<&str>, _: Option<&Path>) -> Lookup {
        match command {
            "nginx" | "/usr/sbin/nginx" | "redis-server" | "sh" | "/bin/sh" | "/usr/bin/env" => {
                Lookup::Found
            }
            "/etc/passwd" => Lookup::NotExecutable(command.into()),
            _ if command.contains('/') => Lookup::Missing(None),
            _ => Lookup::Missing(Some(path.unwrap_or("/usr/bin:/bin").into())),
        }
    }

    fn file(&self, path: &Path) -> FileKind {
        match path.to_str().unwrap() {
            "/" | "/var/log" | "/srv" => FileKind::Directory,
            "/setup.sh" | "/old.sh" | "/app.env" => FileKind::File,
            _ => FileKind::Missing,
        }
    }

    fn interpreter(&self, path: &Path) -> Option<String> {
        (path == Path::new("/old.sh")).then(|| "/usr/bin/perl4".into())
    }

    fn account(&self, name: &str) -> Option<Account> {
        let home = "/var/www".into();
        let account = Account {
            name: name.into(),
            uid: 33,
            gid: 33,
            home,
            shell: "/bin/sh".into(),
        };
        (name == "www-data").then_some(account)
    }

    fn account_of_uid(&self, _: u32) -> Option<Account> {
        None
    }

    fn group(&self, name: &str) -> Option<u32> {
        (name == "www-data").then_some(33)
    }

    fn groups_of(&self, _: &OsStr) -> Vec<u32> {
        Vec::new()
    }

    fn account_names(&self) -> Vec<String> {
        vec!["www-data".into(), "root".into()]
    }

    fn group_names(&self) -> Vec<String> {
        vec!["www-data".into(), "adm".into()]
    }

    fn host(&self, name: &str) -> Vec<IpAddr> {
        match name {
            "localhost" => vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
            "box" => vec![[172, 17, 0, 2].into()],
            _ => Vec::new(),
        }
    }
}

/// A service that is all right, with something added.
/// What comes of an error at the start.
const OUTCOME: &str = "nothing was started";

fn web(more: &str) -> String {
    format!("[[services]]\nname = \"web\"\ncommand = \"nginx\"\n{more}\n")
}

fn health(lines: &str) -> String {
    web(&format!("[services.health]\n{lines}"))
}

fn load(text: &str, needed: Needed<'_>) -> Report {
    config::load(Files::of("services.toml", text.into()), &World, needed)
}

fn check(text: &str) -> Report {
    load(text, Needed::ByAll)
}

fn redis_and_web(more: &str) -> String {
    format!(
        "[[services]]\nname = \"redis\"\ncommand = \"redis-server\"\n\n{}",
        web(more)
    )
}

fn chain(edges: &[(&str, &str)]) -> String {
    edges
        .iter()
        .map(|(name, on)| {
            format!(
                "[[services]]\nname = \"{name}\"\ncommand = \"nginx\"\ndepends_on = \"{on}\"\n\n"
            )
        })
        .collect()
}

fn malformed() -> Vec<(&'static str, String)> {
    vec![
        ("syntax-no-value", web("args =")),
        ("syntax-open-string", web("user = \"www-data")),
        ("syntax-open-array", web("args = [\"a\",")),
        ("syntax-key-twice", web("name = \"again\"")),
        ("empty-file", String::new()),
        ("no-services", "[timeouts]\nglobal_shutdown_timeout = 5\n".into()),
        ("services-is-a-table", "[services]\nname = \"web\"\ncommand = \"nginx\"\n".into()),
        ("services-is-a-string", "services = \"web\"\n".into()),
        ("service-instead-of-services", "[[service]]\nname = \"web\"\ncommand = \"nginx\"\n".into()),
        ("service-is-no-table", "services = [\"web\"]\n".into()),
        ("key-outside-of-a-service", format!("command = \"nginx\"\n{}", web(""))),
        ("timeout-outside-of-its-table", format!("global_shutdown_timeout = 5\n{}", web(""))),
        ("unknown-table", format!("[timeout]\n{}", web(""))),
        ("later-table", format!("[http]\nlisten = \"127.0.0.1:80\"\n{}", web(""))),
        ("unknown-timeout", format!("[timeouts]\nglobal_shutdwn_timeout = 5\n{}", web(""))),
        ("negative-timeout", format!("[timeouts]\nglobal_shutdown_timeout = -5\n{}", web(""))),
        ("decimal-timeout", format!("[timeouts]\nglobal_shutdown_timeout = 1.5\n{}", web(""))),
        ("name-missing", "[[services]]\ncommand = \"nginx\"\n".into()),
        ("name-with-a-space", "[[services]]\nname = \"my web\"\ncommand = \"nginx\"\n".into()),
        ("name-empty", "[[services]]\nname = \"\"\ncommand = \"nginx\"\n".into()),
        ("name-twice", format!("{}\n{}", web(""), web(""))),
        ("name-is-a-number", "[[services]]\nname = 7\ncommand = \"nginx\"\n".into()),
        ("command-missing", "[[services]]\nname = \"web\"\n".into()),
        ("command-for-a-shell-beside-args", "[[services]]\nname = \"web\"\ncommand = \"cd /srv && nginx\"\nargs = [\"x\"]\n".into()),
        ("command-names-its-shell", "[[services]]\nname = \"web\"\ncommand = \"sh -c 'nginx; redis-server'\"\n".into()),
        ("command-is-an-array-beside-args", "[[services]]\nname = \"web\"\ncommand = [\"nginx\", \"-g\"]\nargs = [\"off\"]\n".into()),
        ("command-misspelt", "[[services]]\nname = \"web\"\ncomand = \"nginx\"\n".into()),
        ("command-empty", "[[services]]\nname = \"web\"\ncommand = \"\"\n".into()),
        ("command-not-found", "[[services]]\nname = \"web\"\ncommand = \"ngnix\"\n".into()),
        ("command-path-not-found", "[[services]]\nname = \"web\"\ncommand = \"/opt/web\"\n".into()),
        ("command-with-arguments", "[[services]]\nname = \"web\"\ncommand = \"nginx -g off\"\n".into()),
        ("command-for-a-shell", "[[services]]\nname = \"web\"\ncommand = \"nginx | cat\"\n".into()),
        ("command-is-an-array", "[[services]]\nname = \"web\"\ncommand = [\"nginx\", \"-g\", \"off\"]\n".into()),
        ("command-not-executable", "[[services]]\nname = \"web\"\ncommand = \"/etc/passwd\"\n".into()),
        ("unknown-key", web("comand_line = 1")),
        ("unknown-key-near-depends-on", redis_and_web("dependsOn = \"redis\"")),
        ("later-key", web("schedule = \"@hourly\"")),
        ("args-is-a-string", web("args = \"-g daemon\"")),
        ("args-is-a-string-with-quotes", web("args = \"-g 'daemon off;'\"")),
        ("args-with-a-number", web("args = [\"-p\", 8080]")),
        ("enabled-in-quotes", web("enabled = \"true\"")),
        ("required-is-a-number", web("required = 1")),
        ("unknown-user", web("user = \"www-date\"")),
        ("unknown-group", web("user = \"www-data:admin\"")),
        ("unknown-dependency", redis_and_web("depends_on = \"reddis\"")),
        ("dependency-on-itself", web("depends_on = \"web\"")),
        ("dependency-twice", redis_and_web("depends_on = [\"redis\", \"redis\"]")),
        ("dependency-on-a-disabled-service", redis_and_web("depends_on = \"redis\"").replacen("\n\n", "\nenabled = false\n\n", 1)),
        ("dependency-is-a-number", redis_and_web("depends_on = 1")),
        ("unknown-condition", redis_and_web("depends_on = { redis = \"complete\" }")),
        ("condition-without-a-health-check", redis_and_web("depends_on = { redis = \"healthy\" }")),
        ("cycle-of-two", chain(&[("a", "b"), ("b", "a")])),
        ("cycle-of-three", chain(&[("a", "b"), ("b", "c"), ("c", "a")])),
        ("wait-after-too-long", redis_and_web("depends_on = \"redis\"\nwait_after = 301")),
        ("wait-after-without-dependency", web("wait_after = 3")),
        ("wait-after-for-a-stranger", redis_and_web("depends_on = \"redis\"\n[services.wait_after]\nredi = 3")),
        ("script-missing", web("pre_script = \"/missing.sh\"")),
        ("script-is-a-directory", web("pre_script = \"/srv\"")),
        ("script-without-interpreter", web("pre_script = \"/old.sh\"")),
        ("inline-script-without-interpreter", web("pos_script = \"#!/usr/bin/pyton\\nprint()\"")),
        ("post-script-twice", web("pos_script = \"/setup.sh\"\npost_script = \"/setup.sh\"")),
        ("log-directory-missing", web("log_file = \"/var/log/web/out.log\"")),
        ("log-file-is-a-directory", web("log_file = \"/var/log\"")),
        ("working-dir-missing", web("working_dir = \"/srv/app\"")),
        ("env-file-missing", web("env_file = \"/other.env\"")),
        ("env-with-a-number", web("env = { PORT = 80 }")),
        ("env-with-a-bad-name", web("env = { \"A=B\" = \"1\" }")),
        ("nul-byte", web("args = [\"a\\u0000b\"]")),
        ("umask-not-octal", web("umask = \"999\"")),
        ("nice-out-of-range", web("nice = 20")),
        ("oom-score-adj-out-of-range", web("oom_score_adj = 2000")),
        ("unknown-limit", web("[services.limits]\nnofiles = 10")),
        ("limit-soft-above-hard", web("[services.limits]\nnofile = { soft = 20, hard = 10 }")),
        ("limit-is-a-word", web("[services.limits]\nnofile = \"many\"")),
        ("unknown-signal", web("stop_signal = \"SIGTREM\"")),
        ("signal-out-of-range", web("stop_signal = 99")),
        ("duration-with-a-wrong-unit", web("stop_timeout = \"5 parsecs\"")),
        ("restart-unknown-policy", web("restart = \"allways\"")),
        ("restart-policy-of-compose", web("restart = \"unless-stopped\"")),
        ("restart-attempts-of-compose", web("restart = \"on-failure:5\"")),
        ("restart-is-true", web("restart = true")),
        ("restart-is-a-number", web("restart = 3")),
        ("restart-without-policy", web("[services.restart]\ndelay = 1")),
        ("restart-inline-without-policy", web("restart = { delay = 1 }")),
        ("restart-unknown-key", web("restart = { policy = \"always\", max_attemps = 3 }")),
        ("restart-max-delay-below-delay", web("[services.restart]\npolicy = \"always\"\ndelay = 10\nmax_delay = \"5s\"")),
        ("restart-max-delay-below-the-default", web("[services.restart]\npolicy = \"always\"\nmax_delay = \"100ms\"")),
        ("restart-numbers-out-of-range", web("[services.restart]\npolicy = \"always\"\nfactor = 0.5\njitter = 2\nmax_attempts = 0\nreset_after = -1")),
        ("restart-numbers-of-a-wrong-type", web("[services.restart]\npolicy = 1\nfactor = \"2\"\njitter = inf")),
        ("success-exit-codes-without-brackets", web("success_exit_codes = 3")),
        ("success-exit-codes-that-are-none", web("success_exit_codes = [1, 256, -1, \"143\", \"SIGTREM\"]")),
        ("condition-on-a-wrong-health-check", health("tcp = 1").replace("\"web\"", "\"redis\"") + &web("depends_on = { redis = \"healthy\" }").replace("[[services]]", "\n[[services]]")),
        ("health-is-a-string", web("health = \"http://127.0.0.1\"")),
        ("health-tries-nothing", health("interval = 5")),
        ("health-tries-two-things", health("tcp = \"127.0.0.1:80\"\nhttp = \"http://127.0.0.1\"")),
        ("health-unknown-key", health("tcp = \"127.0.0.1:80\"\nretry = 3")),
        ("health-keys-of-others", health("test = [\"true\"]\ntcp = \"127.0.0.1:80\"")),
        ("health-https", health("http = \"https://127.0.0.1/\"")),
        ("health-http-without-scheme", health("http = \"127.0.0.1:8080/healthz\"")),
        ("health-http-other-scheme", health("http = \"ftp://127.0.0.1\"")),
        ("health-http-with-a-space", health("http = \"http://127.0.0.1/a b\"")),
        ("health-http-with-a-fragment", health("http = \"http://127.0.0.1/a#b\"")),
        ("health-http-with-a-login", health("http = \"http://me:secret@127.0.0.1/\"")),
        ("health-unknown-host", health("http = \"http://redis.example:8080/\"")),
        ("health-host-misspelt", health("tcp = \"localhots:80\"")),
        ("health-tcp-without-port", health("tcp = \"127.0.0.1\"")),
        ("health-tcp-without-host", health("tcp = \":6379\"")),
        ("health-tcp-port-zero", health("tcp = \"127.0.0.1:0\"")),
        ("health-tcp-port-of-letters", health("tcp = \"127.0.0.1:+80\"")),
        ("health-tcp-ipv6-without-brackets", health("tcp = \"::1\"")),
        ("health-tcp-is-a-url", health("tcp = \"http://127.0.0.1:80\"")),
        ("health-tcp-is-a-port", health("tcp = 6379")),
        ("health-unix-empty", health("unix = \"\"")),
        ("health-unix-too-long", health(&format!("unix = \"/{}\"", "x".repeat(107)))),
        ("health-tries-two-things-and-both-are-wrong", health("tcp = \"127.0.0.1\"\nhttp = \"127.0.0.1\"")),
        ("health-two-checks-and-a-status-of-neither", health("unix = \"/run/x\"\ntcp = \"127.0.0.1:80\"\nexpected_status = 200")),
        ("health-exec-for-a-shell", health("exec = \"redis-cli ping | grep PONG\"")),
        ("health-exec-is-a-string", health("exec = \"redis-cli ping\"")),
        ("health-exec-empty", health("exec = []")),
        ("health-exec-not-found", health("exec = [\"redis-clu\", \"ping\"]")),
        ("health-exec-of-docker", health("exec = [\"CMD-SHELL\", \"redis-cli ping\"]")),
        ("health-numbers-out-of-range", health("tcp = \"127.0.0.1:80\"\ninterval = 0\ntimeout = 0\nretries = 0\nstart_period = -1\nstart_interval = \"1ms\"")),
        ("health-status-that-is-none", health("http = \"http://127.0.0.1\"\nexpected_status = [200, 99, \"2xx\", \"299-200\", \"ok\", true]")),
        ("health-status-empty", health("http = \"http://127.0.0.1\"\nexpected_status = []")),
        ("health-status-of-tcp", health("tcp = \"127.0.0.1:80\"\nexpected_status = 200")),
        ("health-unknown-consequence", health("tcp = \"127.0.0.1:80\"\non_unhealthy = \"kill\"")),
        ("ready-unknown", web("ready = \"notified\"")),
        ("ready-is-true", web("ready = true")),
        ("ready-does-not-say-which", web("ready = \"fd\"")),
        ("ready-with-two-keys", web("ready = { fd = 3, log = \"up\" }")),
        ("ready-with-an-unknown-key", web("ready = { logs = \"up\" }")),
        ("ready-at-standard-output", web("ready = { fd = 1 }")),
        ("ready-at-any-text", web("ready = { log = \"\" }")),
        ("ready-at-two-lines", web("ready = { log = \"up\\nand\" }")),
        ("ready-healthy-without-a-health-check", web("ready = \"healthy\"")),
        ("ready-timeout-of-nothing", web("ready_timeout = 5")),
        ("ready-timeout-zero", web("ready = \"notify\"\nready_timeout = 0")),
        ("log-unknown-words", web("[services.log]\nformat = \"xml\"\ntimestamps = \"rfc-3339\"\noverflow = \"wait\"")),
        ("log-unknown-key", web("[services.log]\nmaxsize = \"1MiB\"")),
        ("log-is-a-string", web("log = \"/var/log/web.log\"")),
        ("log-for-all-unknown-key", format!("[log]\ntimestamp = \"none\"\n{}", web(""))),
        ("log-sizes", web("[services.log]\nmax_size = \"1 lightyear\"\nbuffer = \"1GiB\"\nkeep = -1\ncompress = \"yes\"")),
        ("log-rotation-too-small", web("[services.log]\nmax_size = 10")),
        ("log-given-twice", web("log_overflow = \"drop\"\nlog_buffer = 0\n[services.log]\noverflow = \"block\"\nbuffer = 1")),
        ("log-wrong-types", web("[services.log]\nformat = 1\ntimestamps = true\noverflow = [\"drop\"]\nbuffer = 1.5\nstdout = \"false\"\nmax_size = true\nkeep = \"5\"\ncompress = 0")),
        ("log-is-a-boolean", web("log = false")),
        ("log-is-a-list", web("[[services.log]]\nformat = \"json\"")),
        ("log-for-all-is-a-string", format!("log = \"json\"\n{}", web(""))),
        ("log-for-all-is-a-list", format!("[[log]]\nformat = \"json\"\n{}", web(""))),
        ("log-for-all-wrong-values", format!("[log]\nformat = \"JSON\"\ntimestamps = \"iso8601\"\noverflow = \"dorp\"\nbuffer = \"100MB\"\nmax_size = \"10 mb\"\nkeep = 1001\n{}", web(""))),
        ("log-for-all-names-a-file", format!("[log]\nlog_file = \"/var/log/all.log\"\n{}", web(""))),
        ("log-short-keys-wrong-values", web("log_overflow = \"dropp\"\nlog_buffer = \"64 KB/s\"\nlog_stdout = \"false\"")),
        ("log-short-keys-wrong-types", web("log_overflow = true\nlog_buffer = false\nlog_stdout = 0")),
        ("log-short-keys-that-are-none", web("log_format = \"json\"\nlog_max_size = \"10MiB\"\nlog_keep = 3\nlog_level = \"info\"")),
        ("log-short-keys-in-the-table", web("[services.log]\nlog_buffer = 0\nlog_stdout = false")),
        ("log-keys-outside-of-their-table", web("max_size = \"10MiB\"\ntimestamps = \"rfc3339\"\noverflow = \"drop\"")),
        ("log-keys-outside-of-everything", format!("log_buffer = 0\ntimestamps = \"rfc3339\"\n{}", web(""))),
        ("log-keys-of-docker", web("[services.log]\ndriver = \"json-file\"\nmax-size = \"10m\"\nmax-file = 3")),
        ("log-keys-of-supervisord", web("stdout_logfile = \"/var/log/web.log\"\nstdout_logfile_maxbytes = \"10MB\"\nstdout_logfile_backups = 3\nredirect_stderr = true")),
        ("log-file-of-a-wrong-type", web("log_file = true")),
        ("log-file-empty", web("log_file = \"\"")),
        ("log-file-misspelt", web("logfile = \"/var/log/web.log\"")),
        ("stdin-of-a-wrong-type", web("stdin = false")),
        ("stdin-is-a-file", web("stdin = \"/dev/null\"")),
        ("tty-size-of-a-wrong-type", web("tty_size = 80")),
        ("tty-size-is-a-list", web("tty_size = [80, 24]")),
        ("tty-size-too-large", web("tty_size = \"70000x24\"")),
        ("tty-size-of-columns-only", web("tty_size = \"80\"")),
        ("tty-in-quotes", web("tty = \"false\"")),
        ("stdin-unknown", web("stdin = \"terminal\"")),
        ("stdin-tty-without-a-terminal", web("tty = false\nstdin = \"tty\"\ntty_size = \"80x24\"")),
        ("tty-size-that-is-none", web("tty_size = \"80 by 24\"")),
        ("tty-size-of-nothing", web("tty_size = \"0x24\"")),
        ("watchdog-too-short", web("watchdog = 0")),
        ("follows-unknown", redis_and_web("depends_on = \"redis\"\non_dependency_failure = \"die\"")),
        ("follows-nobody", web("on_dependency_failure = \"restart\"")),
        ("health-tcp-is-a-port-in-quotes", health("tcp = \"6379\"")),
        ("dependency-list-of-tables", redis_and_web("depends_on = [{ name = \"redis\", condition = \"service_started\" }]")),
        ("keys-of-systemd", web("ExecStart = \"x\"\nRestart = \"always\"\nrequires = \"x\"\npost_stop = \"x\"\npre_start = \"x\"")),
        ("keys-of-supervisord", web("directory = \"/\"\nautostart = true\nautorestart = true\npriority = 1\nnumprocs = 2\nstopsignal = \"INT\"\nstopwaitsecs = 3\nenvironment = \"A=1\"")),
        ("keys-of-compose", web("image = \"x\"\nports = []\nvolumes = []\nreplicas = 2\ncwd = \"/\"\ncmd = \"x\"\nafter = \"x\"\ngroup = \"x\"\ntype = \"simple\"\nexec = \"x\"")),
        ("limit-outside-of-its-table", web("nofile = 1024")),
        ("numbers-beyond-64-bits", health("tcp = \"127.0.0.1:80\"\nretries = 99999999999999999999") + &web("nice = 99999999999999999999\nstop_timeout = 99999999999999999999\nwatchdog = -99999999999999999999\nlog_buffer = 99999999999999999999\n[services.limits]\nnofile = 99999999999999999999").replace("\"web\"", "\"other\"")),
        ("numbers-out-of-range", web("umask = \"+22\"\nstop_signal = 65\nrestart = { policy = \"always\", factor = 99999999999999999999, jitter = -99999999999999999999 }\nhealth = { tcp = 6379 }\nlimits = { nofile = { soft = 99999999999999999999, hard = 1 }, core = { soft = \"x\" } }")),
        ("file-is-yaml", "# compose\nservices:\n  web:\n    image: nginx\n".into()),
        ("file-is-of-supervisord", "[supervisord]\nnodaemon=true\n\n[program:web]\ncommand=/usr/sbin/nginx -g 'daemon off;'\n".into()),
        ("file-is-a-unit", "[Unit]\nDescription=web\n[Service]\nExecStart=/usr/sbin/nginx\n".into()),
        ("file-is-a-procfile", "web: bundle exec puma -C config/puma.rb\nworker: bundle exec sidekiq\n".into()),
        ("file-is-json", "{\n  \"services\": []\n}\n".into()),
        ("several-at-once", "[[services]]\nname = \"web\"\ncommand = \"ngnix\"\nargs = 1\nuser = \"nobdy\"\ndepends_on = \"db\"\n".into()),
    ]
}

#[test]
fn each_malformed_file_is_refused_with_its_own_words() {
    let cases = malformed();
    assert!(cases.len() >= 40);
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, text) in &cases {
            let checked = check(text);
            assert!(checked.config.is_none(), "{name} was taken");
            assert!(
                checked
                    .findings
                    .iter()
                    .any(|finding| finding.severity == Severity::Error),
                "{name}"
            );
            insta::assert_snapshot!(
                *name,
                config::render(&checked.findings, &checked.files, false, OUTCOME)
            );
        }
    });
}

#[test]
fn quoted_arguments_are_taken_with_a_warning_that_shows_the_clean_spelling() {
    let text = web("args = [\"-g\", \"'daemon off;'\"]");
    let checked = check(&text);
    assert_eq!(
        checked.config.unwrap().services[0].args,
        ["-g", "daemon off;"]
    );
    let shown = config::render(&checked.findings, &checked.files, false, OUTCOME);
    assert!(
        shown.starts_with("warning: ") && shown.contains("write \"daemon off;\""),
        "{shown}"
    );

    let raw = check(&web("raw_args = true\nargs = [\"'a'\"]"));
    assert_eq!(raw.config.unwrap().services[0].args, ["'a'"]);
}

#[test]
fn a_rotation_without_a_file_is_taken_with_a_warning() {
    let text = web("log = { max_size = \"10MiB\" }");
    let checked = check(&text);
    assert!(checked.config.is_some());
    let shown = config::render(&checked.findings, &checked.files, false, OUTCOME);
    assert!(
        shown.starts_with("warning: `max_size` has no file to rotate")
            && shown.contains("help: add log_file = \"/path\" to the service"),
        "{shown}"
    );
    // For all services it is a default, and may find a file or not.
    let text = format!("[log]\nmax_size = \"10MiB\"\n{}", web(""));
    assert!(check(&text).findings.is_empty());
}

#[test]
fn every_spelling_of_what_is_allowed_is_taken() {
    for more in [
        "",
        "depends_on = \"redis\"\nwait_after = 2",
        "depends_on = [\"redis\"]\nwait_after = \"1m30s\"",
        "depends_on = { redis = \"started\" }\n[services.wait_after]\nredis = 300",
        "depends_on = { redis = \"completed\" }",
        "pre_script = \"/setup.sh\"\npost_script = \"#!/usr/bin/env python3\\nprint(1)\"",
        "user = \"www-data\"\nscript_user = \"0:0\"\nlog_file = \"/var/log/web.log\"",
        "user = \"12345:www-data\"\nenv_file = [\"/app.env\"]\nenv = { A = \"1\", B = { file = \"/run/secrets/b\" } }",
        "umask = 0o022\nnice = -5\noom_score_adj = 100\nno_new_privs = true\ntty = false\nworking_dir = \"/srv\"",
        "restart = \"always\"\nsuccess_exit_codes = [3, 0, \"SIGHUP\", \"term\"]",
        "restart = { policy = \"on-failure\", delay = 0, max_delay = 0, factor = 1, jitter = 0, max_attempts = 1 }",
        "[services.restart]\npolicy = \"no\"\ndelay = \"5m\"\nfactor = 1.5\njitter = 1.0\nreset_after = 0",
        "health = { tcp = \"127.0.0.1:80\", interval = \"1s\", timeout = \"1m\", retries = 1, start_period = 60, start_interval = \"10ms\", on_unhealthy = \"none\" }",
        "ready = \"healthy\"\nready_timeout = \"5m\"\nhealth = { exec = [\"sh\", \"-c\", \"exit 0\"] }",
        "health = { unix = \"/run/x.sock\" }\nready = \"started\"",
        "health = { http = \"HTTP://[::1]\", expected_status = [204, \"200-299\", \"404\"] }\nready = \"notify\"",
        "ready = { fd = 3 }\nready_timeout = \"1ms\"",
        "ready = { log = \"ready to accept connections\" }",
        "log_file = \"/var/log/web.log\"\nlog_overflow = \"drop\"\nlog_buffer = \"64 MiB\"\nlog_stdout = false\nlog = { max_size = 4096, keep = 0, compress = false }",
        "[services.log]\nformat = \"json\"\ntimestamps = \"elapsed\"\noverflow = \"block\"\nbuffer = 0\nstdout = true\nkeep = 1000",
        "tty_size = \"1x65535\"\nstdin = \"tty\"",
        "tty_size = \"132 x 50\"\nstdin = \"null\"",
        "tty = false\nstdin = \"null\"",
        "stop_signal = \"QUIT\"\nstop_timeout = 0\n[services.limits]\nnofile = 1024\ncore = \"unlimited\"",
    ] {
        let text = redis_and_web(more);
        let checked = check(&text);
        let shown = config::render(&checked.findings, &checked.files, false, OUTCOME);
        assert!(
            checked.config.is_some() && checked.findings.is_empty(),
            "{more}\n{shown}"
        );
    }
}

#[test]
fn a_restart_policy_is_read_with_its_defaults() {
    let read = |more: &str| {
        let checked = check(&web(more));
        checked.config.unwrap().services.remove(0).restart
    };
    assert_eq!(read(""), Restart::default());
    assert_eq!(read("").policy, RestartPolicy::No);
    assert_eq!(
        read("restart = \"on-failure\"").policy,
        RestartPolicy::OnFailure
    );

    let all = read(
        "[services.restart]\npolicy = \"always\"\ndelay = \"5m\"\nfactor = 1.25\njitter = 1\nmax_attempts = 7",
    );
    let expected = Restart {
        policy: RestartPolicy::Always,
        delay: Duration::from_secs(300),
        // Not the default of a minute, which would be less than the delay.
        max_delay: Duration::from_secs(300),
        factor_permille: 1250,
        jitter_permille: 1000,
        max_attempts: Some(7),
        reset_after: Duration::from_secs(60),
    };
    assert_eq!(all, expected);
}

#[test]
fn success_exit_codes_are_codes_and_signals() {
    let text = web("success_exit_codes = [3, \"SIGHUP\"]");
    let service = check(&text).config.unwrap().services.remove(0);
    let hup = ExitStatus::Signaled(Signal::HUP);
    for success in [ExitStatus::Exited(0), ExitStatus::Exited(3), hup] {
        assert!(service.is_success(success), "{success}");
    }
    // 129 is what a shell makes of SIGHUP; it is an exit code like any other.
    for failure in [1, 129] {
        assert!(
            !service.is_success(ExitStatus::Exited(failure)),
            "{failure}"
        );
    }
}

fn read_health(lines: &str) -> Health {
    let text = health(lines);
    let checked = check(&text);
    let shown = config::render(&checked.findings, &checked.files, false, OUTCOME);
    let mut config = checked.config.unwrap_or_else(|| panic!("{shown}"));
    *config.services.remove(0).health.unwrap()
}

#[test]
fn a_health_check_is_read_with_its_defaults() {
    let defaults = Health {
        probe: Probe::Tcp {
            addresses: vec![([127, 0, 0, 1], 80).into()],
            host: "127.0.0.1:80".into(),
        },
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(2),
        retries: 3,
        start_period: Duration::ZERO,
        start_interval: Duration::from_secs(1),
        on_unhealthy: OnUnhealthy::Restart,
    };
    assert_eq!(read_health("tcp = \"127.0.0.1:80\""), defaults);
    let unix = Probe::Unix("@app".into());
    assert_eq!(read_health("unix = \"@app\"").probe, unix);
    let exec = Probe::Exec(vec!["nginx".into(), "-t".into()]);
    assert_eq!(read_health("exec = [\"nginx\", \"-t\"]").probe, exec);
}

#[test]
fn addresses_are_resolved_when_the_file_is_read() {
    let tcp = |text: &str| match read_health(&format!("tcp = \"{text}\"")).probe {
        Probe::Tcp { addresses, .. } => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            addresses.join(" ")
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(tcp("localhost:80"), "[::1]:80 127.0.0.1:80");
    assert_eq!(tcp("[::1]:65535"), "[::1]:65535");
    assert_eq!(tcp("box:1"), "172.17.0.2:1");

    for (url, port, host, path) in [
        (
            "http://127.0.0.1:8080/healthz",
            8080,
            "127.0.0.1:8080",
            "/healthz",
        ),
        ("http://127.0.0.1", 80, "127.0.0.1", "/"),
        ("http://127.0.0.1?full=1", 80, "127.0.0.1", "/?full=1"),
        (
            "http://127.0.0.1/a?b=http://c/",
            80,
            "127.0.0.1",
            "/a?b=http://c/",
        ),
    ] {
        let expected = Probe::Http {
            addresses: vec![([127, 0, 0, 1], port).into()],
            host: host.into(),
            path: path.into(),
            expected: vec![(200, 399)],
        };
        assert_eq!(read_health(&format!("http = \"{url}\"")).probe, expected);
    }
}

#[test]
fn expected_statuses_are_ranges() {
    let expected = |value: &str| {
        let lines = format!("http = \"http://box\"\nexpected_status = {value}");
        match read_health(&lines).probe {
            Probe::Http { expected, .. } => expected,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(expected("200"), [(200, 200)]);
    assert_eq!(expected("\"200 - 299\""), [(200, 299)]);
    assert_eq!(
        expected("[200, \"204\", \"400-404\"]"),
        [(200, 200), (204, 204), (400, 404)]
    );
}

/// Time that grows with the square of the number would be minutes.
#[test]
fn many_findings_and_long_chains_take_time_in_proportion() {
    const MANY: usize = 10_000;
    let many = |line: &dyn Fn(usize) -> String| -> String {
        let lines = (0..MANY).map(|i| format!("[[services]]\nname = \"s{i}\"\n{}\n", line(i)));
        lines.collect()
    };
    let misspelt = many(&|_| "comand = \"nginx\"".into());
    let checked = check(&misspelt);
    assert!(checked.findings.len() >= MANY);
    let shown = config::render(&checked.findings, &checked.files, false, OUTCOME);
    assert!(
        shown.contains(&format!("and {} more", checked.findings.len() - 50)),
        "{shown}"
    );
    assert!(shown.contains("services.toml has 10000 errors"), "{shown}");

    let unknown = many(&|i| format!("command = \"nginx\"\ndepends_on = \"x{i}\"\nuser = \"u{i}\""));
    assert_eq!(check(&unknown).findings.len(), 2 * MANY);

    let circle = many(&|i| format!("command = \"nginx\"\ndepends_on = \"s{}\"", (i + 1) % MANY));
    let checked = check(&circle);
    assert_eq!(checked.findings.len(), 1);
    assert!(
        checked.findings[0].message.contains("(9984 more)"),
        "{}",
        checked.findings[0].message
    );

    let chain = many(&|i| match i + 1 {
        MANY => "command = \"nginx\"".into(),
        next => format!("command = \"nginx\"\ndepends_on = \"s{next}\""),
    });
    let order = check(&chain).config.unwrap().start_order();
    assert!(order.iter().copied().eq((0..MANY).rev()));
}

/// A file that is one line, as a generator may write it: each finding that is shown takes all of it.
#[test]
fn findings_in_a_long_line_take_time_in_proportion() {
    let services = (0..10_000).map(|i| format!("{{ name = \"s{i}\", comand = \"nginx\" }}"));
    let text = format!("services = [{}]\n", services.collect::<Vec<_>>().join(", "));
    let checked = check(&text);
    let shown = config::render(&checked.findings, &checked.files, false, OUTCOME);
    let count = shown.matches("services.toml:1:").count();
    let all_read = count * text.len();
    assert!(
        count > 0 && all_read < 2 << 20,
        "{count} findings, {all_read} bytes"
    );
    assert!(shown.contains(&format!("and {} more", checked.findings.len() - count)));
}

/// A suggestion is made only where it is shown.
#[test]
fn unknown_words_are_compared_only_while_they_are_shown() {
    const MANY: usize = 1000;
    let many = |line: &str| -> String {
        let lines = (0..MANY).map(|i| line.replace('#', &i.to_string()) + "\n");
        lines.collect()
    };
    let services = |line: &str| {
        many(&format!(
            "[[services]]\nname = \"s#\"\ncommand = \"nginx\"\n{line}"
        ))
    };
    for text in [
        many("servics# = 1"),
        format!("[timeouts]\n{}", many("post_script_timeot# = 1")),
        web(&format!("[services.limits]\n{}", many("nofile# = 1"))),
        health(&format!(
            "tcp = \"127.0.0.1:80\"\n{}",
            many("interval# = 1")
        )),
        services("restart = \"alwys\""),
        services("restart = { policy = \"no\", delai = 1 }"),
        services("stop_signal = \"SIGTERN\""),
        services("success_exit_codes = [\"SIGTERN\"]"),
        services("ready = \"helthy\""),
        services("stdin = \"nul\""),
        services("depends_on = { s0 = \"helthy\" }"),
    ] {
        let checked = check(&text);
        let help = |finding: &&config::Finding| {
            let help = finding.help.as_deref().unwrap_or_default();
            help.starts_with("did you mean")
        };
        let suggested = checked.findings.iter().filter(help).count();
        let start = text.get(..80).unwrap_or(&text);
        assert!((1..=50).contains(&suggested), "{suggested}: {start}");
        assert!(checked.findings.len() >= MANY, "{start}");
    }
}

#[test]
fn errors_are_shown_before_warnings_where_not_all_are() {
    let mut text: String = (0..100).fold(String::new(), |text, i| {
        text + &format!("[[services]]\nname = \"s{i}\"\ncommand = \"nginx\"\nargs = [\"'x'\"]\n")
    });
    text += "[[services]]\nname = \"last\"\ncommand = \"nginx\"\nnice = 100\n";
    let checked = check(&text);
    let shown = config::render(&checked.findings, &checked.files, false, OUTCOME);
    assert!(
        shown.contains("error: `nice` is out of range\n   --> services.toml:404:8"),
        "{shown}"
    );
    assert!(shown.contains("and 51 more"), "{shown}");
}

#[test]
fn more_services_than_can_be_told_apart_are_refused() {
    let item = "{name=\"a\"},";
    let most = go_overlay::base::MAX_SERVICES;
    let text = format!("services = [{}]", item.repeat(most + 1));
    let checked = check(&text);
    assert!(checked.config.is_none());
    let message = &checked.findings[0].message;
    assert_eq!(
        (checked.findings.len(), message.as_str()),
        (1, "a file has 524287 services at most")
    );
}

#[test]
fn what_is_lacking_is_a_warning_at_boot_and_an_error_of_what_a_reload_starts() {
    let text = web("user = \"nobdy\"") + &redis_and_web("").replace("\"web\"", "\"other\"");
    assert!(check(&text).config.is_none());
    let boot = load(&text, Needed::ByNone);
    assert!(boot.config.is_some());
    assert_eq!(boot.findings.len(), 1);
    assert_eq!(
        (boot.findings[0].severity, boot.findings[0].kind),
        (Severity::Warning, config::Kind::Machine)
    );
    let reload = |name: &str| {
        load(&text, Needed::By(&|_| [name.to_owned()].into()))
            .config
            .is_some()
    };
    assert!(reload("other") && !reload("web"));
}
