//! What the machine has to have for a service, and when it is looked for: programs, paths and users.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;

use support::{Launch, PATIENCE, Stage, cli, quoted, service, shell, sleeper, until};

/// What a service can lack, the code that a shell would give it, and a part of the message.
fn lacking(stage: &Stage) -> Vec<(String, i32, &'static str)> {
    let plain = stage.file("plain", "");
    std::fs::create_dir_all(stage.path("folders/program")).unwrap();
    let path = |name: &str| quoted(&stage.at(name));
    let service = |command: &str, more: String| service("it", command, &[], &more);
    let with = |more: String| service("/bin/true", more);
    vec![
        (
            service("no-such-program", String::new()),
            127,
            "there is no program `no-such-program`",
        ),
        (
            service(&stage.at("none"), String::new()),
            127,
            "there is no program `/",
        ),
        (
            service(&plain, String::new()),
            126,
            "plain` cannot be executed",
        ),
        (
            service(&stage.at(""), String::new()),
            126,
            "cannot be executed: it is a directory",
        ),
        (
            service("/dev/null", String::new()),
            126,
            "`/dev/null` cannot be executed: it is not a regular file",
        ),
        (
            service("program", format!("env = {{ PATH = {} }}", path("folders"))),
            126,
            "folders/program` cannot be executed: it is a directory",
        ),
        (
            with(format!("working_dir = {}", path("none"))),
            1,
            "`working_dir`: there is no directory",
        ),
        (
            with(format!("env_file = {}", path("none"))),
            1,
            "`env_file`: there is no file",
        ),
        (
            with(format!("log_file = {}", path("none/a.log"))),
            1,
            "`log_file`: there is no directory",
        ),
        (
            with(format!("pre_script = {}", path("none"))),
            127,
            "there is no script",
        ),
        (
            with("pre_script = \"#!/no/such\\n\"".into()),
            127,
            "cannot find the script's interpreter",
        ),
        (
            with("user = \"no-such-user\"".into()),
            1,
            "there is no user `no-such-user`",
        ),
        (
            with("user = \"root:no-such-group\"".into()),
            1,
            "there is no group `no-such-group`",
        ),
        (
            with("script_user = \"no-such-user\"\npre_script = \"#!/bin/sh\\n\"".into()),
            1,
            "there is no user `no-such-user`",
        ),
    ]
}

#[test]
fn what_the_machine_lacks_fails_its_own_service_alone() {
    let stage = Stage::new();
    for (config, code, message) in lacking(&stage) {
        let file = stage.file("checked.toml", &config);
        let checked = cli(&stage.socket(), &["check", &file]);
        let error = String::from_utf8(checked.stderr).unwrap();
        assert_eq!(checked.status.code(), Some(2), "{error}");
        assert!(
            error.starts_with("error: ") && error.contains(message),
            "{error}"
        );
        // The execute bit helps a file alone.
        let is_file = message.starts_with("plain");
        assert_eq!(error.contains("chmod"), is_file, "{error}");

        let first_line = error.lines().next().unwrap();
        let warning = first_line.replacen("error: ", "warning: ", 1);
        let text = config.clone() + &sleeper("other", "");
        let mut daemon = Launch::on(&stage).config(text).start();
        daemon.wait_state("it", "FAILED");
        daemon.wait_state("other", "RUNNING");
        daemon.err.wait_for(&warning, PATIENCE);
        daemon.shut_down();
        let said = daemon.err.text();
        assert!(!said.contains("error: "), "{said}");

        let required = config.replacen("command", "required = true\ncommand", 1);
        let ended = Launch::on(&stage).config(required).run_to_end();
        assert_eq!(ended.code, code, "{message}\n{}", ended.err);
    }
}

#[test]
fn what_is_wrong_with_the_text_starts_nothing() {
    let stage = Stage::new();
    for more in [
        "comand = \"x\"",
        "nice = 100",
        "user = -1",
        "depends_on = \"nobody\"",
    ] {
        let config = sleeper("web", "") + &service("it", "no-such-program", &[], more);
        let ended = Launch::on(&stage).config(config).run_to_end();
        assert_eq!(ended.code, 2, "{more}: {}", ended.err);
        assert!(ended.err.contains("error: "), "{}", ended.err);
        assert!(ended.err.contains("nothing was started"), "{}", ended.err);
    }
    // A line for a shell is no name of a program that will ever be there.
    for command in ["nginx | cat", "true and more"] {
        let config = service("it", command, &[], "");
        let ended = Launch::on(&stage).config(config).run_to_end();
        assert_eq!(ended.code, 2, "{command}: {}", ended.err);
    }
}

#[test]
fn nothing_is_looked_up_for_a_disabled_service() {
    let stage = Stage::new();
    let mut all: String = lacking(&stage)
        .iter()
        .enumerate()
        .map(|(number, (config, _, _))| {
            let named = config.replacen("\"it\"", &format!("\"it{number}\""), 1);
            named.replacen("command", "enabled = false\ncommand", 1)
        })
        .collect();
    all += &sleeper(
        "far",
        "enabled = false\n[services.health]\ntcp = \"no-such-host:1\"",
    );
    all += &sleeper("other", "");
    let file = stage.file("checked.toml", &all);
    let checked = cli(&stage.socket(), &["check", &file]);
    assert!(checked.status.success(), "{checked:?}");
    let mut daemon = Launch::on(&stage).config(all).start();
    daemon.wait_state("other", "RUNNING");
    assert!(!daemon.err.text().contains("it0"), "{}", daemon.said());
    // Started by hand, each has to have what it names.
    let started = daemon.cli(&["start", "it0"]);
    let said = String::from_utf8(started.stdout).unwrap();
    assert!(said.contains("cannot find no-such-program"), "{said}");
    daemon.shut_down();
}

#[test]
fn what_an_earlier_service_makes_is_there_when_the_turn_comes() {
    need_root!();
    let stage = Stage::new();
    let root = stage.root().display().to_string();
    fs::copy("/etc/passwd", stage.path("passwd")).unwrap();
    fs::copy("/etc/group", stage.path("group")).unwrap();
    let make = format!(
        "mkdir {root}/made {root}/made/log; chmod 777 {root}/made; \
         echo 'late:x:20010:20011::/late:/bin/sh' >>{root}/passwd; \
         echo 'crew:x:20012:late' >>{root}/group; \
         echo FROM=file >{root}/made/env; \
         printf '#!/bin/sh\\necho script $(id -u)\\n' >{root}/made/pre; \
         printf '#!/bin/sh\\necho $FROM $(pwd) $(id -u) $(id -G) $HOME\\n' >{root}/made/run; \
         chmod 755 {root}/made/run {root}/made/pre"
    );
    let more = format!(
        "depends_on = {{ make = \"completed\" }}\nuser = \"late\"\nworking_dir = \"{root}/made\"\n\
         env_file = \"{root}/made/env\"\npre_script = \"{root}/made/pre\"\nlog_file = \"{root}/made/log/web.log\""
    );
    let config =
        shell("make", &make, "") + &service("web", &format!("{root}/made/run"), &[], &more);
    let etc =
        format!("mount --bind {root}/passwd /etc/passwd && mount --bind {root}/group /etc/group");
    let first = format!("set -- unshare -m sh -c '{etc} && exec \"$@\"' sh \"$@\"");
    let mut daemon = Launch::on(&stage)
        .config(config)
        .shell_first(&first)
        .start();
    daemon.wait_state("web", "STOPPED");
    let said = format!("file {root}/made 20010 20011 20012 /late");
    daemon.out.wait_for(&said, PATIENCE);
    daemon.out.wait_for("script 20010", PATIENCE);
    until("the line in the log file", PATIENCE, || {
        stage.read("made/log/web.log").contains(&said).then_some(())
    });
    let owner = fs::metadata(stage.path("made/log/web.log")).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (20010, 20011));
    // What is renumbered meanwhile has its new number from the next start on.
    let passwd = stage
        .read("passwd")
        .replace("late:x:20010:", "late:x:20013:");
    fs::write(stage.path("passwd"), passwd).unwrap();
    daemon.cli_ok(&["start", "web"]);
    daemon.out.wait_for(
        &format!("file {root}/made 20013 20011 20012 /late"),
        PATIENCE,
    );
    daemon.shut_down();
}

#[test]
fn a_missing_program_is_tried_again_by_the_policy() {
    let stage = Stage::new();
    let command = stage.at("late");
    let more =
        "restart = { policy = \"on-failure\", delay = \"50ms\", max_attempts = 1000, factor = 1 }";
    let daemon = Launch::on(&stage)
        .config(service("it", &command, &[], more))
        .start();
    daemon.err.wait_for("(3 of 1000)", PATIENCE);
    let part = stage.program("part", "#!/bin/sh\nexec sleep infinity\n");
    fs::rename(part, &command).unwrap();
    daemon.wait_state("it", "RUNNING");
}

#[test]
fn a_reload_refuses_what_it_would_start_in_vain_and_nothing_else() {
    let stage = Stage::new();
    let command = stage.program("there", "#!/bin/sh\nexec sleep infinity\n");
    let runs = service("runs", &command, &[], "");
    let mut daemon = Launch::on(&stage).config(runs.clone()).start();
    daemon.wait_state("runs", "RUNNING");
    let pid = daemon.pid_of("runs");
    fs::remove_file(&command).unwrap();
    let reload = |config: &str| {
        stage.file("services.toml", config);
        let output = daemon.cli(&["reload"]);
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    // What runs is not looked at.
    let (done, said) = reload(&(runs.clone() + &sleeper("more", "")));
    assert!(done, "{said}");
    assert_eq!(daemon.pid_of("runs"), pid);
    for (config, name) in [
        (
            runs.clone() + &service("new", "no-such-program", &[], ""),
            "no-such-program",
        ),
        (runs.replacen("args = []", "args = [\"x\"]", 1), "there"),
    ] {
        let (done, said) = reload(&config);
        assert!(
            !done && said.contains(name) && said.contains("nothing was changed"),
            "{said}"
        );
        assert_eq!(daemon.pid_of("runs"), pid);
    }
    daemon.shut_down();
}
