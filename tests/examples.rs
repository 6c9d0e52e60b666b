//! Every example in `docs/examples` is a configuration that the program accepts, and that runs where its
//! servers are installed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use support::{Launch, PROGRAM, Seat, Stage, skip, until};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    files
}

fn check(file: &Path) -> Output {
    Command::new(PROGRAM)
        .arg("check")
        .arg(file)
        .output()
        .unwrap()
}

/// Whether all that `check` minds is that something is not installed here.
fn only_lacks_programs(said: &str) -> bool {
    let errors = said.lines().filter(|line| line.starts_with("error"));
    let mut all =
        errors.map(|line| line.contains("there is no") || line.contains("nothing was started"));
    all.clone().count() > 0 && all.all(|lacks| lacks)
}

/// The text with `/srv/app` on the stage, where there is an application for each server that wants one.
fn on_stage(text: &str, stage: &Stage) -> String {
    stage.file(
        "app/main.py",
        "from fastapi import FastAPI\n\napp = FastAPI()\n",
    );
    stage.file(
        "app/server.js",
        "require('http').createServer((request, answer) => answer.end('hello')).listen(process.env.PORT);\n",
    );
    stage.file(
        "app/package.json",
        r#"{"name": "app", "version": "1.0.0", "scripts": {"dev": "node server.js"}}"#,
    );
    stage.file(
        "app/worker.sh",
        "echo working on \"$2\"; exec sleep infinity\n",
    );
    let uvicorn = support::python().map(|python| python.with_file_name("uvicorn"));
    let uvicorn = uvicorn.unwrap_or_else(|| "uvicorn".into());
    text.replace("/srv/app", &stage.at("app")).replace(
        "command = \"uvicorn\"",
        &format!("command = \"{}\"", uvicorn.display()),
    )
}

/// What a page says that a configuration becomes is the example that runs.
#[test]
fn every_page_of_migration_shows_its_example() {
    let mut pages = 0;
    for file in examples() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let Some(from) = name.strip_prefix("from-") else {
            continue;
        };
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let page = std::fs::read_to_string(docs.join(format!("MIGRATION-{from}.md"))).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let (_, services) = text.split_once("\n\n").unwrap();
        let shown = format!("```toml\n{services}```\n");
        assert!(page.contains(&shown), "{name}: the page shows another one");
        pages += 1;
    }
    assert_eq!(pages, 3);
}

#[test]
fn every_example_runs() {
    let examples = examples();
    assert!(!examples.is_empty());
    // One after the other: they may use the same ports.
    for file in examples {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let stage = Stage::new();
        let text = on_stage(&std::fs::read_to_string(&file).unwrap(), &stage);
        let staged = stage.at("example.toml");
        std::fs::write(&staged, &text).unwrap();
        let checked = check(Path::new(&staged));
        let said =
            String::from_utf8_lossy(&checked.stderr) + String::from_utf8_lossy(&checked.stdout);
        if checked.status.code() == Some(2) && only_lacks_programs(&said) {
            skip(&format!("{name} needs what is not installed:\n{said}"));
            continue;
        }
        assert_eq!(checked.status.code(), Some(0), "{name}:\n{said}");
        let mut daemon = Launch::on(&stage).config(text).start();
        until(
            &format!("{name} to be healthy"),
            Duration::from_secs(60),
            || daemon.cli(&["health"]).status.success().then_some(()),
        );
        daemon.shut_down();
    }
}

#[test]
fn the_example_of_the_readme_is_good_where_its_programs_are() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let text = readme.split("```toml\n").nth(1).unwrap();
    let text = text.split("```").next().unwrap();
    let stage = Stage::new();
    let checked = check(Path::new(&stage.file("services.toml", text)));
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(
        checked.status.success() || only_lacks_programs(&said),
        "{said}"
    );
}

/// `make run` with the program under test, typed at a terminal.
#[test]
fn make_run_says_what_to_type_elsewhere_and_ctrl_c_is_no_error() {
    let make = need!("make");
    let stage = Stage::new();
    // A shell that outlives Ctrl-C, as the one at a prompt does.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap : INT; \"$@\"; echo left", "sh", &make])
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "--no-print-directory"])
        .args(["--old-file=build", "run"])
        .arg(format!("BINARY={PROGRAM}"))
        // Those of a make that runs the tests are not for this one.
        .env("MAKEFLAGS", "")
        .env("GO_OVERLAY_SOCKET", stage.socket());
    let mut seat = Seat::of(&command, 200, 40);
    seat.sees("in a second terminal: ");
    let line = seat.reads_to("\r\n");
    seat.sees("web: STARTING -> RUNNING");
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(
        table.starts_with("NAME") && table.contains("web"),
        "{line}: {output:?}"
    );
    seat.types("\x03");
    seat.sees("web: STOPPING -> STOPPED");
    let rest = seat.reads_to("left");
    for word in ["Error", "***", "Interrupt"] {
        assert!(!rest.contains(word), "{rest}");
    }
}
