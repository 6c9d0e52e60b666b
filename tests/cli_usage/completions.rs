//! Completions in real shells: each loads its script and completes what a person types at a terminal.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::Command;

use super::support::{self, Daemon, Launch, PROGRAM, Seat, Stage, sleeper};
use super::{out, program};

/// Shows the line that is being edited, between angle brackets.
const SHOW: &str = "\x07";
/// Empties it.
const CLEAR: &str = "\x15";

/// How a shell gets its script: from a line in its start-up file, or from a folder that it searches when a command
/// is completed for the first time.
#[derive(Clone, Copy)]
enum Loading {
    Sourced,
    Installed,
}

/// A shell at a terminal, with completions and nothing else of a user's.
struct Shell {
    seat: Seat,
    name: &'static str,
}

impl Shell {
    /// Starts a shell, or skips the test where it is not installed.
    fn start(
        name: &'static str,
        loading: Loading,
        stage: &Stage,
        daemon: &Daemon,
    ) -> Option<Shell> {
        let Some(path) = support::find_program(name) else {
            support::skip(&format!("{name} is not installed"));
            return None;
        };
        let mut command = Command::new(path);
        match name {
            "bash" => {
                let rc = stage.file("bashrc", &bash(loading, stage)?);
                command.args(["--noprofile", "--rcfile", &rc, "-i"]);
            }
            "zsh" => {
                stage.file(".zshrc", &zsh(loading, stage));
                command.args(["-o", "no_global_rcs", "-i"]);
                command.env("ZDOTDIR", stage.root());
            }
            _ => {
                stage.file("config/fish/config.fish", &fish(loading, stage));
                command
                    .env("XDG_CONFIG_HOME", stage.path("config"))
                    .arg("-i");
            }
        }
        let folder = std::path::Path::new(PROGRAM).parent().unwrap();
        command
            .env(
                "PATH",
                format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()),
            )
            .env("HOME", stage.root())
            .env("XDG_DATA_HOME", stage.path("data"))
            .env("GO_OVERLAY_SOCKET", &daemon.socket);
        let mut shell = Shell {
            seat: Seat::of(&command, 400, 40),
            name,
        };
        shell.seat.sees("ready>");
        Some(shell)
    }

    /// The line after `keys` have been typed into an empty one.
    fn line(&mut self, keys: &str) -> String {
        self.seat.types(&format!("{CLEAR}{keys}{SHOW}"));
        self.seat.sees("<<");
        self.seat.reads_to(">>")
    }

    #[track_caller]
    fn completes(&mut self, typed: &str, wanted: &str) {
        let line = self.line(&format!("{typed}\t"));
        assert_eq!(line.trim_end(), wanted, "{}: {typed:?}", self.name);
    }
}

fn bash(loading: Loading, stage: &Stage) -> Option<String> {
    let load = match loading {
        Loading::Sourced => "eval \"$(go-overlay completions bash)\"".to_owned(),
        Loading::Installed => {
            let package = "/usr/share/bash-completion/bash_completion";
            if !std::path::Path::new(package).exists() {
                support::skip("bash-completion is not installed");
                return None;
            }
            stage.file(
                "data/bash-completion/completions/go-overlay",
                &script("bash"),
            );
            format!("source {package}")
        }
    };
    Some(format!(
        "{load}\nshow() {{ printf '<<%s>>' \"$READLINE_LINE\"; }}\nbind -x '\"\\C-g\": show'\n\
         bind 'set enable-bracketed-paste off'\nbind 'set bell-style none'\nPS1='ready> '\n"
    ))
}

fn zsh(loading: Loading, stage: &Stage) -> String {
    let start = "autoload -Uz compinit; compinit -u -D";
    let load = match loading {
        Loading::Sourced => format!("{start}\nsource <(go-overlay completions zsh)"),
        Loading::Installed => {
            stage.file("functions/_go-overlay", &script("zsh"));
            format!("fpath=({} $fpath)\n{start}", stage.at("functions"))
        }
    };
    format!(
        "{load}\nshow() {{ print -rn -- \"<<$BUFFER>>\"; }}\nzle -N show\nbindkey -e\nbindkey '^G' show\n\
         unsetopt beep list_beep\nPS1='ready> '\n"
    )
}

fn fish(loading: Loading, stage: &Stage) -> String {
    let load = match loading {
        Loading::Sourced => "go-overlay completions fish | source",
        Loading::Installed => {
            stage.file("config/fish/completions/go-overlay.fish", &script("fish"));
            ""
        }
    };
    format!(
        "{load}\nset fish_greeting\nset -g fish_autosuggestion_enabled 0\n\
         function fish_prompt; echo 'ready> '; end\n\
         function fish_user_key_bindings; bind \\cg 'printf \"<<%s>>\" (commandline | string collect)'; end\n"
    )
}

fn script(shell: &str) -> String {
    out(&program(&["completions", shell]))
}

/// Lines and what one TAB makes of them, the same in every shell.
const LINES: [(&str, &str); 27] = [
    ("go-overlay rest", "go-overlay restart"),
    ("go-overlay hel", "go-overlay help"),
    ("go-overlay help rest", "go-overlay help restart"),
    ("go-overlay --deb", "go-overlay --debug"),
    ("go-overlay --json li", "go-overlay --json list"),
    (
        "go-overlay --timeout 5 --all sto",
        "go-overlay --timeout 5 --all stop",
    ),
    (
        "go-overlay --all stop --no-w",
        "go-overlay --all stop --no-wait",
    ),
    ("go-overlay restart we", "go-overlay restart web"),
    ("go-overlay restart web d", "go-overlay restart web db"),
    (
        "go-overlay restart --with",
        "go-overlay restart --with-dependents",
    ),
    ("go-overlay restart web we", "go-overlay restart web we"),
    ("go-overlay status we", "go-overlay status web"),
    ("go-overlay status web d", "go-overlay status web d"),
    ("go-overlay logs -f we", "go-overlay logs -f web"),
    ("go-overlay logs -n 5 we", "go-overlay logs -n 5 web"),
    (
        "go-overlay logs --lines=5 we",
        "go-overlay logs --lines=5 web",
    ),
    ("go-overlay signal we", "go-overlay signal web"),
    ("go-overlay signal web US", "go-overlay signal web USR"),
    ("go-overlay signal web VT", "go-overlay signal web VTALRM"),
    (
        "go-overlay signal web SIGVT",
        "go-overlay signal web SIGVTALRM",
    ),
    (
        "go-overlay wait web --for he",
        "go-overlay wait web --for healthy",
    ),
    ("go-overlay wait --for=he", "go-overlay wait --for=healthy"),
    (
        "go-overlay wait --for healthy we",
        "go-overlay wait --for healthy web",
    ),
    ("go-overlay --color nev", "go-overlay --color never"),
    ("go-overlay completions zs", "go-overlay completions zsh"),
    ("go-overlay check --js", "go-overlay check --json"),
    ("go-overlay -- go-over", "go-overlay -- go-overlay"),
];

fn stage_and_daemon() -> (Stage, Daemon) {
    let stage = Stage::new();
    let daemon = Launch::on(&stage)
        .config(sleeper("web", "") + &sleeper("db", "enabled = false"))
        .start();
    daemon.wait_state("web", "RUNNING");
    (stage, daemon)
}

fn a_shell_completes(name: &'static str) {
    for loading in [Loading::Sourced, Loading::Installed] {
        let (stage, daemon) = stage_and_daemon();
        let Some(mut shell) = Shell::start(name, loading, &stage, &daemon) else {
            return;
        };
        for (typed, wanted) in LINES {
            shell.completes(typed, wanted);
        }
        // Files of the configuration, in a folder.
        stage.file("etc/my-services.toml", "");
        let typed = format!("go-overlay check {}/my", stage.at("etc"));
        let wanted = format!("go-overlay check {}/my-services.toml", stage.at("etc"));
        shell.completes(&typed, &wanted);
        let typed = format!("go-overlay install --dir {}/et", stage.root().display());
        shell.completes(
            &typed,
            &format!("go-overlay install --dir {}/", stage.at("etc")),
        );
    }
}

#[test]
fn bash_completes_what_is_typed() {
    a_shell_completes("bash");
}

#[test]
fn zsh_completes_what_is_typed() {
    a_shell_completes("zsh");
}

#[test]
fn fish_completes_what_is_typed() {
    a_shell_completes("fish");
}

/// The services are those of the daemon that the line names, with the program that it names.
#[test]
fn services_are_those_of_the_daemon_on_the_line() {
    let other = Stage::new();
    let elsewhere = Launch::on(&other).config(sleeper("elsewhere", "")).start();
    elsewhere.wait_state("elsewhere", "RUNNING");
    let socket = elsewhere.socket.display();
    for name in ["bash", "zsh", "fish"] {
        let (stage, daemon) = stage_and_daemon();
        let Some(mut shell) = Shell::start(name, Loading::Sourced, &stage, &daemon) else {
            continue;
        };
        for before in [
            format!("go-overlay --socket {socket} stop"),
            format!("go-overlay --socket={socket} stop"),
            format!("go-overlay stop --socket {socket}"),
            format!("{PROGRAM} --socket {socket} stop"),
        ] {
            shell.completes(&format!("{before} el"), &format!("{before} elsewhere"));
        }
    }
}

/// A choice is shown: a second TAB, where the first one cannot go on.
#[test]
fn choices_are_listed() {
    for name in ["bash", "zsh", "fish"] {
        let (stage, daemon) = stage_and_daemon();
        let Some(mut shell) = Shell::start(name, Loading::Sourced, &stage, &daemon) else {
            continue;
        };
        for (typed, offered) in [
            ("go-overlay signal web ", &["HUP", "USR1", "WINCH"][..]),
            (
                "go-overlay wait web --for ",
                &["completed", "healthy", "running", "stopped"],
            ),
            ("go-overlay ", &["check", "list", "wait"]),
            ("go-overlay stop ", &["db", "web"]),
        ] {
            shell.seat.types(&format!("{CLEAR}{typed}\t\t"));
            for word in offered {
                shell.seat.sees(word);
            }
        }
    }
}

/// zsh's own error for it, `command not found: compdef`, names no way on.
#[test]
fn zsh_without_compinit_is_told_what_to_do() {
    let zsh = need!("zsh");
    let stage = Stage::new();
    let script = stage.file("script", &script("zsh"));
    let output = Command::new(zsh).args(["-f", &script]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("compinit"),
        "{output:?}"
    );
}

/// bash expands the words that it is given to choose from. A stranger who answers in the daemon's place names a
/// service that would run a command then.
#[test]
fn a_name_that_is_no_name_runs_nothing() {
    for name in ["bash", "zsh", "fish"] {
        let (stage, daemon) = stage_and_daemon();
        let trap = stage.at("trapped");
        let evil = [
            format!("$(touch${{IFS}}{trap})"),
            format!("`touch${{IFS}}{trap}`"),
            format!("web;touch${{IFS}}{trap}"),
            "web:$(x)".into(),
        ];
        let mut answer =
            support::ask(&daemon.socket, &serde_json::json!({"command": "list"})).unwrap();
        let row = answer["services"][0].clone();
        let rows = answer["services"].as_array_mut().unwrap();
        for name in evil {
            let mut row = row.clone();
            row["name"] = name.into();
            rows.push(row);
        }
        let stranger = stage.path("stranger.sock");
        let listener = UnixListener::bind(&stranger).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut request = String::new();
                BufReader::new(&stream).read_line(&mut request).unwrap();
                let _ = (&stream).write_all(format!("{answer}\n").as_bytes());
            }
        });
        let Some(mut shell) = Shell::start(name, Loading::Sourced, &stage, &daemon) else {
            continue;
        };
        let line = format!("go-overlay --socket {} stop", stranger.display());
        shell.completes(&format!("{line} d"), &format!("{line} db"));
        shell.line(&format!("{line} \t\t"));
        assert!(!stage.path("trapped").exists(), "{name}");
        shell.completes(&format!("{line} $"), &format!("{line} $"));
        shell.completes(&format!("{line} we"), &format!("{line} web"));
    }
}
