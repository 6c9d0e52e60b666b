//! Programs that care about terminals, each on a PTY of the daemon's: what a person sees of them on the
//! daemon's own terminal, and what a pipe gets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::path::Path;

use support::{
    Daemon, Launch, PATIENCE, Screen, Stage, find_program, free_port, payload, pieces, python,
    quoted, service, shell, skip,
};

/// Of the daemon's terminal.
const COLUMNS: u16 = 160;

/// So many that no line wraps, whatever a program draws into one.
const NO_END: u16 = u16::MAX;

/// The interpreter with the emulator, or a visible skip and a return from the test.
macro_rules! need_python {
    () => {
        match python() {
            Some(python) => python,
            None => return skip("pyte and pytest are not installed"),
        }
    };
}

/// Runs `job` to its end, and beside it a service that has nothing to do with it and whose lines come
/// between its own.
fn run(stage: &Stage, services: &str, job: &str, on_terminal: bool) -> Daemon {
    let bystander = "while :; do echo nothing special; sleep 0.02; done";
    let launch = Launch::on(stage)
        .config(services.to_owned() + &shell("bystander", bystander, ""))
        .env("TERM", "xterm-256color")
        .env("LS_COLORS", "")
        // On a build machine programs think that nobody looks.
        .env("CI", "")
        .env("PIP_CONFIG_FILE", "/dev/null");
    let mut daemon = match on_terminal {
        true => launch.on_terminal(COLUMNS, 50).start(),
        false => launch.start(),
    };
    daemon.out.wait_for("nothing special", PATIENCE);
    daemon.wait_state(job, "STOPPED");
    daemon.shut_down();
    daemon
}

/// What a person sees: names in colour, each with a text, nothing that steers the terminal, and no colour
/// that goes beyond its line.
fn seen(python: &Path, daemon: &Daemon, columns: u16) -> Screen {
    let screen = Screen::show(python, &daemon.out.text(), columns);
    let text = screen.text();
    assert_eq!(screen.steered, [""; 0], "{text:#?}");
    assert_eq!(screen.left_on, [0; 0], "{text:#?}");
    for row in screen.rows.iter().filter(|row| !row.is_empty()) {
        let (name, style) = &row[0];
        assert!(name.starts_with('[') && name.ends_with(']'), "{row:?}");
        assert!(!style.is_empty(), "{row:?}");
        if let Some((text, style)) = row.get(1) {
            assert!(text.starts_with([' ', '+']) && style.is_empty(), "{row:?}");
        }
        if name == "[bystander]" {
            assert_eq!(row[1..], [(" nothing special".to_owned(), String::new())]);
        }
    }
    screen
}

/// What a pipe gets of `job`, byte for byte: names without colour, and no colour that goes beyond its line.
fn piped(python: &Path, daemon: &Daemon, job: &str) -> Vec<String> {
    let lines = daemon.out.all();
    let both = pieces(&lines, "bystander").len() + pieces(&lines, job).len();
    assert_eq!(both, lines.len(), "{lines:#?}");
    let plain = payload(&lines, "bystander");
    assert!(plain.iter().all(|line| line == "nothing special"));
    let screen = Screen::show(python, &daemon.out.text(), NO_END);
    assert_eq!(screen.left_on, [0; 0], "{lines:#?}");
    payload(&lines, job)
}

/// The rows of a service that hold `needle`.
fn rows_with(screen: &Screen, service: &str, needle: &str) -> Vec<String> {
    let text = screen.text();
    let rows = pieces(&text, service).into_iter().map(|(_, row)| row);
    rows.filter(|row| row.contains(needle))
        .map(str::to_owned)
        .collect()
}

#[test]
fn ls_keeps_its_colours_and_none_goes_beyond_its_line() {
    let python = need_python!();
    for how in ["always", "auto"] {
        let stage = Stage::new();
        stage.file("folder/sub/text", "");
        let folder = stage.at("folder");
        let script = format!("ls --color={how} {folder}; printf '\\033[1;31mno end\\nafter it\\n'");
        let config = shell("ls", &script, "");

        let screen = seen(&python, &run(&stage, &config, "ls", true), COLUMNS);
        assert_eq!(screen.style_of("sub"), "bold blue", "{how}");
        assert_eq!(screen.style_of("no end"), "bold red");
        assert_eq!(screen.style_of("after it"), "");

        let lines = piped(&python, &run(&stage, &config, "ls", false), "ls");
        assert!(lines[0].contains("\x1b[01;34msub\x1b[0m"), "{lines:?}");
        assert_eq!(lines[1..], ["\x1b[1;31mno end\x1b[0m", "after it"]);
    }
}

#[test]
fn pytest_is_as_wide_as_the_terminal_beside_the_names_and_coloured() {
    let python = need_python!();
    let stage = Stage::new();
    let folder = stage.open_folder("tests");
    stage.file(
        "tests/test_sample.py",
        "def test_good():\n    pass\n\n\ndef test_bad():\n    assert 1 == 2\n",
    );
    let more = format!(
        "working_dir = {}\nsuccess_exit_codes = [1]",
        quoted(&folder)
    );
    let words = ["-m", "pytest", "-p", "no:cacheprovider"];
    let config = service("pytest", &python.display().to_string(), &words, &more);

    let screen = seen(&python, &run(&stage, &config, "pytest", true), COLUMNS);
    assert_eq!(screen.style_of("FAILED"), "red");
    assert_eq!(screen.style_of("1 failed"), "bold red");
    assert_eq!(screen.style_of("1 passed"), "green");
    let text = screen.text();
    let header = text.iter().find(|row| row.contains("test session starts"));
    assert_eq!(header.unwrap().len(), usize::from(COLUMNS));

    let lines = piped(&python, &run(&stage, &config, "pytest", false), "pytest");
    let summary = "\x1b[31mFAILED\x1b[0m test_sample.py::\x1b[1mtest_bad\x1b[0m - assert 1 == 2";
    assert!(lines.iter().any(|line| line == summary), "{lines:#?}");
}

/// Offers a wheel of 2 MB on the port that it is given, slowly enough for a progress bar.
const WHEEL_SERVER: &str = r#"
import http.server, io, os, sys, time, zipfile

memory = io.BytesIO()
with zipfile.ZipFile(memory, "w") as wheel:
    wheel.writestr("sample/data.bin", os.urandom(2_000_000))
    wheel.writestr("sample-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n")
    wheel.writestr("sample-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr("sample-1.0.dist-info/RECORD", "")
WHEEL = memory.getvalue()
INDEX = b'<a href="/sample-1.0-py3-none-any.whl">sample</a>'


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = WHEEL if self.path.endswith(".whl") else INDEX
        self.send_response(200)
        self.send_header("Content-Type", "application/zip" if body is WHEEL else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for at in range(0, len(body), 100_000):
            self.wfile.write(body[at : at + 100_000])
            time.sleep(0.03)

    def log_message(self, *what):
        pass


server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
open(sys.argv[2], "w").close()
server.serve_forever()
"#;

/// A server of a wheel, and `pip` that installs it from there.
fn pip_and_its_server(python: &Path, stage: &Stage) -> String {
    let (python, port) = (python.display().to_string(), free_port().to_string());
    let (server, listening) = (stage.file("serve.py", WHEEL_SERVER), stage.at("listening"));
    let install = format!(
        "until [ -e {listening} ]; do sleep 0.05; done\n\
         exec {python} -m pip install --no-cache-dir --disable-pip-version-check --no-index \
         --find-links http://127.0.0.1:{port}/ --target {} sample",
        stage.at("target")
    );
    let quiet = "depends_on = \"wheels\"";
    service("wheels", &python, &[&server, &port, &listening], "") + &shell("pip", &install, quiet)
}

#[test]
fn the_progress_bar_of_pip_is_shown_as_it_looks_last() {
    let python = need_python!();
    let stage = Stage::new();
    let config = pip_and_its_server(&python, &stage);
    let screen = seen(&python, &run(&stage, &config, "pip", true), COLUMNS);
    let last = rows_with(&screen, "pip", "MB/s").pop().unwrap_or_default();
    assert!(last.contains("2.0/2.0 MB"), "{:#?}", screen.text());
    assert_eq!(screen.style_of("2.0/2.0 MB"), "green");
    assert_eq!(
        rows_with(&screen, "pip", "Successfully installed sample-1.0").len(),
        1
    );

    let stage = Stage::new();
    let config = pip_and_its_server(&python, &stage);
    let lines = piped(&python, &run(&stage, &config, "pip", false), "pip");
    let bar = lines.iter().find(|line| line.contains("MB/s")).unwrap();
    // It was drawn over and over, and all of it is there.
    assert!(bar.matches("eta").count() > 3, "{bar:?}");
    assert!(bar.contains("\x1b[2K"), "{bar:?}");
    let last = lines.last().unwrap();
    assert_eq!(
        last.trim_end_matches('\r'),
        "Successfully installed sample-1.0"
    );
}

#[test]
fn npm_is_coloured_and_its_spinner_goes_when_it_is_done() {
    let python = need_python!();
    let npm = need!("npm");
    for on_terminal in [true, false] {
        let stage = Stage::new();
        stage.file(
            "front/package.json",
            r#"{"name": "front", "version": "1.0.0", "dependencies": {"back": "file:../back"},
                "scripts": {"dev": "node -e \"console.log({answer: 4240 + 2})\""}}"#,
        );
        stage.file(
            "back/package.json",
            r#"{"name": "back", "version": "1.0.0"}"#,
        );
        let more = format!(
            "working_dir = {}\nenv = {{ HOME = {}, npm_config_update_notifier = \"false\" }}",
            quoted(&stage.at("front")),
            quoted(&stage.open_folder("home")),
        );
        let script = format!("{npm} run dev && {npm} install --offline --no-audit --no-fund");
        let config = shell("npm", &script, &more);
        let daemon = run(&stage, &config, "npm", on_terminal);
        if on_terminal {
            let screen = seen(&python, &daemon, COLUMNS);
            assert_eq!(screen.style_of("4242"), "brown");
            let done = rows_with(&screen, "npm", "added 1 package");
            assert_eq!(done.len(), 1, "{:#?}", screen.text());
            assert!(done[0].starts_with("added 1 package"), "{done:?}");
        } else {
            let text = piped(&python, &daemon, "npm").join("\n");
            assert!(text.contains("\x1b[33m4242\x1b[39m"), "{text:?}");
            assert!(text.contains("added 1 package"), "{text:?}");
            let erased = ["\x1b[K", "\x1b[0K", "\x1b[2K"];
            assert!(erased.iter().any(|erase| text.contains(erase)), "{text:?}");
        }
    }
}

/// Draws in colour all over the terminal.
const DRAWING: &str = r#"
import curses, time


def draw(screen):
    curses.init_pair(1, curses.COLOR_RED, curses.COLOR_BLUE)
    for frame in range(5):
        screen.erase()
        screen.addstr(3 + frame, 10, f"frame {frame}", curses.color_pair(1) | curses.A_BOLD)
        screen.addstr(20, 0, "status line")
        screen.refresh()
        time.sleep(0.05)


curses.wrapper(draw)
"#;

#[test]
fn programs_that_fill_the_terminal_draw_on_nobodys() {
    let python = need_python!();
    let stage = Stage::new();
    let drawing = stage.file("drawing.py", DRAWING);
    let text = stage.file("text", "one\ntwo\nthree\n");
    let mut script = format!("{} {drawing}; echo curses is over", python.display());
    let mut over = vec!["curses is over"];
    let others = [
        (
            "vi",
            format!("vi -u NONE -c redraw -c 'sleep 200m' -c 'qa!' {text}"),
            "vi is over",
        ),
        (
            "less",
            format!("timeout --foreground 0.5 less -R {text}"),
            "less is over",
        ),
        ("top", "top -n 2 -d 0.2".to_owned(), "top is over"),
    ];
    for (program, command, end) in &others {
        if find_program(program).is_some() {
            script += &format!("; {command}; echo; echo {end}");
            over.push(end);
        }
    }
    let config = shell("full", &script, "");

    let screen = seen(&python, &run(&stage, &config, "full", true), NO_END);
    for end in &over {
        assert_eq!(
            rows_with(&screen, "full", end),
            [*end],
            "{:#?}",
            screen.text()
        );
    }

    // They did draw: a pipe gets what they wrote.
    let daemon = run(&stage, &config, "full", false);
    let text = payload(&daemon.out.all(), "full").join("\n");
    assert!(text.contains("\x1b[?1049h"), "{text:?}");
    assert!(text.contains("frame 4"), "{text:?}");
    for end in &over {
        assert!(text.contains(end), "{text:?}");
    }
}

#[test]
fn nothing_steers_a_terminal_on_which_no_colour_is_wanted() {
    let python = need_python!();
    let script =
        "printf 'top\\033[5;5Hmoved\\033[2J\\033[?1049h\\n10%%\\r20%%\\n\\033[32mgreen\\n'";
    let by_option = |launch: Launch<'_>| launch.option("--color=never").start_blindly();
    let by_variable = |launch: Launch<'_>| launch.env("NO_COLOR", "1").start_blindly();
    let launches: [&dyn Fn(Launch<'_>) -> Daemon; 2] = [&by_option, &by_variable];
    for launch in launches {
        let stage = Stage::new();
        let config = shell("draw", script, "");
        let mut daemon = launch(Launch::on(&stage).config(config).on_terminal(COLUMNS, 50));
        daemon.out.wait_for("green", PATIENCE);
        daemon.shut_down();
        let screen = Screen::show(&python, &daemon.out.text(), COLUMNS);
        assert_eq!(screen.steered, [""; 0], "{:#?}", screen.text());
        let text = screen.text();
        assert_eq!(text[..3], ["[draw] topmoved", "[draw] 20%", "[draw] green"]);
        assert_eq!(screen.style_of("[draw]"), "");
        // The service's own colours are its own affair.
        assert_eq!(screen.style_of("green"), "green");
        assert_eq!(screen.left_on, [0; 0]);
    }
}
