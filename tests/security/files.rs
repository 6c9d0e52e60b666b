//! Scripts, environment files, secrets and sockets in places that a user of a service can write.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use go_overlay::config::model::{EnvValue, Script, Service};
use go_overlay::launch;
use go_overlay::launch::environment::{self, Environment};
use go_overlay::supervisor::event::{Role, SpawnFailure};
use nix::sys::stat::Mode;

use crate::attack::{
    Attacker, RACE, STRANGER, TRIES, USER, as_pid_one, file, give, mode_of, report, spec, tries,
    user, users_folder, users_link,
};
use crate::support::{Daemon, Launch, PATIENCE, Stage, quoted, shell, sleeper, until};

// --- Scripts ---

/// What is to be executed for a script of a service of the user's.
fn plan_script(path: PathBuf, script_user: Option<u32>) -> Result<launch::Plan, SpawnFailure> {
    let service = Service {
        command: "true".into(),
        user: Some(spec(USER)),
        script_user: script_user.map(spec),
        pre_script: Some(Script::Path(path)),
        ..Service::default()
    };
    launch::plan(&Environment::inherited(), &service, Role::PreScript)
}

/// A script in the user's folder, which swaps it for a link to root's file, and the two. The script has no execute bit
/// whenever the daemon comes to look.
fn script_under_attack(stage: &Stage) -> (PathBuf, PathBuf, Attacker) {
    let app = users_folder(stage, "app");
    let (script, evil) = (app.join("pre.sh"), app.join("evil"));
    let victim = stage.path("victim");
    file(&victim, "#!/bin/false\n", 0o644, 0);
    file(&script, "#!/bin/false\n", 0o6666, USER);
    users_link(&victim, &evil);
    let attacker = Attacker::swaps(&script, &evil);
    (script, victim, attacker)
}

/// A hundred services that are started again as soon as they have ended.
fn hundred(more: &str, service: impl Fn(&str, &str) -> String) -> String {
    let again =
        "restart = { policy = \"always\", delay = \"1ms\", max_delay = \"1ms\", jitter = 0 }";
    let more = format!("user = \"{USER}\"\ntty = false\n{again}\n{more}");
    (0..100)
        .map(|number| service(&format!("app{number}"), &more))
        .collect()
}

/// Many services, each with that pre-script, which are started as often as they fail.
fn race_for_a_script(pid_one: bool) {
    let stage = Stage::new();
    let (script, victim, attacker) = script_under_attack(&stage);
    let path = quoted(&script.display().to_string());
    let config = hundred(&format!("pre_script = {path}"), sleeper);
    let daemon = as_pid_one(Launch::on(&stage).config(config), pid_one).start();
    let before = attacker.count();
    let failed = "STARTING -> FAILED";
    let figures = || (daemon.err.count(failed), attacker.count() - before);
    let (starts, swaps) = until("the tries of both", RACE, || {
        let (starts, swaps) = figures();
        (starts >= tries() && swaps >= tries()).then_some((starts, swaps))
    });
    report(
        "script",
        pid_one,
        &format!("{starts} starts, {swaps} swaps"),
    );
    assert_eq!(mode_of(&victim), 0o644);
    assert_eq!(fs::read(&victim).unwrap(), b"#!/bin/false\n");
}

#[test]
fn a_script_swapped_while_its_start_is_planned_makes_nothing_of_roots_executable() {
    need_root!();
    let stage = Stage::new();
    let (script, victim, _attacker) = script_under_attack(&stage);
    let mut planned = 0;
    for _ in 0..TRIES {
        planned += usize::from(plan_script(script.clone(), None).is_ok());
        assert_eq!(mode_of(&victim), 0o644);
    }
    assert!(planned > 0, "no try met the script");
}

#[test]
fn a_script_swapped_for_a_link_makes_nothing_of_roots_executable() {
    need_root!();
    race_for_a_script(false);
}

#[test]
fn a_script_swapped_for_a_link_makes_nothing_of_roots_executable_under_pid_1() {
    need_root!();
    race_for_a_script(true);
}

#[test]
fn a_script_path_through_what_the_user_can_write_changes_no_mode() {
    need_root!();
    let stage = Stage::new();
    let app = users_folder(&stage, "app");
    let roots = stage.path("roots");
    fs::create_dir(&roots).unwrap();
    let victim = roots.join("pre.sh");
    file(&victim, "#!/bin/sh\ntrue\n", 0o4644, 0);
    users_link(&victim, &app.join("link"));
    users_link(&roots, &app.join("folder"));
    fs::hard_link(&victim, app.join("hard")).unwrap();
    // In a folder like /tmp anybody can make a link to it.
    let shared = stage.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(&victim, shared.join("hard")).unwrap();
    for path in ["app/link", "app/folder/pre.sh", "app/hard", "shared/hard"] {
        let plan = plan_script(stage.path(path), None).unwrap();
        let program = plan.program.path.to_str().unwrap();
        assert_eq!(program, "/bin/sh", "{path} is run by its interpreter");
        assert_eq!(mode_of(&victim), 0o4644, "{path}");
    }
    // Without a second name, in root's own folder, it is made executable, and loses what it must not have.
    fs::remove_file(app.join("hard")).unwrap();
    fs::remove_file(shared.join("hard")).unwrap();
    plan_script(victim.clone(), None).unwrap();
    assert_eq!(mode_of(&victim), 0o755);
    // One that the service's user can write is not for another user: the operator is told so.
    let own = app.join("own.sh");
    file(&own, "#!/bin/sh\n", 0o755, USER);
    let notes = plan_script(own.clone(), Some(0)).unwrap().notes;
    assert!(notes[0].contains("others can write script"), "{notes:?}");
    assert!(plan_script(victim, Some(0)).unwrap().notes.is_empty());
    assert!(plan_script(own, None).unwrap().notes.is_empty());
    // What it cannot read is not read for it, not even the line that names the interpreter.
    let secret = roots.join("secret");
    file(&secret, "#!/secret/word\n", 0o600, 0);
    users_link(&secret, &app.join("peep"));
    let refused = plan_script(app.join("peep"), None).unwrap_err().message;
    assert!(refused.ends_with("Permission denied"), "{refused}");
}

// --- Environment ---

/// What a service of the user's would find, or why it does not start.
fn environment_of(env_file: &Path, secret: Option<&Path>) -> Result<Environment, String> {
    let secret = secret.map(|path| ("SECRET".to_owned(), EnvValue::File(path.to_owned())));
    let service = Service {
        user: Some(spec(USER)),
        env_file: vec![env_file.to_owned()],
        env: secret.into_iter().collect(),
        ..Service::default()
    };
    let made = environment::of(&Environment::default(), &service, Some(&user()), false);
    made.map(|made| made.environment)
}

#[test]
fn an_env_file_gives_the_user_nothing_that_it_could_not_read() {
    need_root!();
    let stage = Stage::new();
    let app = users_folder(&stage, "app");
    let roots = stage.path("roots");
    fs::create_dir(&roots).unwrap();
    let (secret, public) = (roots.join("secret"), roots.join("public"));
    file(&secret, "KEY=of root\n", 0o600, 0);
    file(&public, "KEY=of all\n", 0o644, 0);
    let closed = stage.path("closed");
    fs::create_dir(&closed).unwrap();
    file(&closed.join("public"), "KEY=of root\n", 0o644, 0);
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let own = app.join("own");
    file(&own, "KEY=of the user\n", 0o600, USER);

    users_link(&secret, &app.join("link"));
    users_link(Path::new("link"), &app.join("twice"));
    users_link(&roots, &app.join("folder"));
    users_link(&closed, &app.join("closed"));
    fs::hard_link(&secret, app.join("hard")).unwrap();
    users_link(Path::new("/proc/self/environ"), &app.join("environ"));
    users_link(Path::new("/proc/1/maps"), &app.join("maps"));
    users_link(Path::new("/proc/self/status"), &app.join("status"));
    users_link(Path::new("loop"), &app.join("loop"));
    users_link(Path::new("/dev/zero"), &app.join("device"));
    nix::unistd::mkfifo(&app.join("pipe"), Mode::from_bits_truncate(0o666)).unwrap();
    for name in [
        "link",
        "twice",
        "folder/secret",
        "folder/../roots/secret",
        "closed/public",
        "hard",
        "environ",
        "maps",
        "status",
        "loop",
        "device",
        "pipe",
    ] {
        let refused = environment_of(&app.join(name), None);
        assert!(refused.is_err(), "env_file {name}: {refused:?}");
        let refused = environment_of(&own, Some(&app.join(name)));
        assert!(refused.is_err(), "secret {name}: {refused:?}");
    }
    // In a folder like /tmp a link of the user's is no better.
    let shared = stage.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    users_link(&secret, &shared.join("link"));
    fs::hard_link(&secret, shared.join("hard")).unwrap();
    assert!(environment_of(&shared.join("link"), None).is_err());
    assert!(environment_of(&shared.join("hard"), None).is_err());

    let key = |path: &Path| {
        let environment = environment_of(path, Some(path)).unwrap();
        environment
            .get("KEY")
            .unwrap()
            .to_owned()
            .into_string()
            .unwrap()
    };
    // What it can read itself it gets.
    users_link(&public, &app.join("to_public"));
    users_link(Path::new("own"), &app.join("to_own"));
    assert_eq!(key(&app.join("to_public")), "of all");
    assert_eq!(key(&app.join("to_own")), "of the user");
    assert_eq!(key(&app.join("folder/public")), "of all");
    // What root has laid out is read as root, links and all, as Kubernetes does it.
    assert_eq!(key(&closed.join("public")), "of root");
    fs::remove_file(app.join("hard")).unwrap();
    fs::remove_file(shared.join("hard")).unwrap();
    assert_eq!(key(&secret), "of root");
    let volume = stage.path("volume");
    fs::create_dir_all(volume.join("..2026")).unwrap();
    fs::set_permissions(&volume, Permissions::from_mode(0o1777)).unwrap();
    file(&volume.join("..2026/token"), "KEY=mounted\n", 0o400, 0);
    symlink("..2026", volume.join("..data")).unwrap();
    symlink("..data/token", volume.join("token")).unwrap();
    assert_eq!(key(&volume.join("token")), "mounted");
}

#[test]
fn a_service_says_which_file_its_user_may_not_read() {
    need_root!();
    let stage = Stage::new();
    let app = users_folder(&stage, "app");
    file(&stage.path("secret"), "KEY=of root\n", 0o600, 0);
    users_link(&stage.path("secret"), &app.join(".env"));
    let more = format!(
        "user = \"{USER}\"\nenv_file = {}",
        quoted(&stage.at("app/.env"))
    );
    for pid_one in [false, true] {
        let config = shell("app", "echo $KEY", &more);
        let daemon = as_pid_one(Launch::on(&stage).config(config), pid_one).start();
        let line = daemon.err.wait_for("cannot read env_file", PATIENCE);
        assert!(line.contains("app/.env: Permission denied"), "{line}");
    }
}

#[test]
fn an_env_file_swapped_for_a_link_is_never_read_as_root() {
    need_root!();
    let stage = Stage::new();
    let app = users_folder(&stage, "app");
    let (own, evil) = (app.join(".env"), app.join("evil"));
    file(&own, "KEY=of the user\n", 0o666, USER);
    file(&stage.path("secret"), "KEY=of root\n", 0o600, 0);
    users_link(&stage.path("secret"), &evil);
    let _attacker = Attacker::swaps(&own, &evil);
    let mut read = 0;
    for _ in 0..TRIES {
        let Ok(environment) = environment_of(&own, Some(&own)) else {
            continue;
        };
        read += 1;
        assert_eq!(environment.get("KEY").unwrap(), "of the user");
        assert_eq!(environment.get("SECRET").unwrap(), "KEY=of the user");
    }
    assert!(read > 0, "no try met the file in its place");
}

/// Many services that show what they were given from the file, again and again.
fn race_for_an_env_file(pid_one: bool) {
    let stage = Stage::new();
    let app = users_folder(&stage, "app");
    let (own, evil) = (app.join(".env"), app.join("evil"));
    file(&own, "KEY=of the user\n", 0o666, USER);
    file(&stage.path("secret"), "KEY=of root\n", 0o600, 0);
    users_link(&stage.path("secret"), &evil);
    let attacker = Attacker::swaps(&own, &evil);
    let path = quoted(&own.display().to_string());
    let more = format!("env_file = {path}\nenv = {{ SECRET = {{ file = {path} }} }}");
    let config = hundred(&more, |name, more| {
        shell(name, "echo \"given $KEY, $SECRET\"", more)
    });
    let daemon = as_pid_one(Launch::on(&stage).config(config), pid_one).start();
    let before = attacker.count();
    let figures = || (daemon.out.count("given "), daemon.err.count("-> FAILED"));
    until("the tries", RACE, || {
        let (given, refused) = figures();
        let swaps = attacker.count() - before;
        let enough = given + refused >= tries() && swaps >= tries();
        (given > 0 && refused > 0 && enough).then_some(())
    });
    let ((given, refused), swaps) = (figures(), attacker.count() - before);
    report(
        "env_file",
        pid_one,
        &format!("{given} starts, {refused} refused, {swaps} swaps"),
    );
    let right = daemon.out.count("given of the user, KEY=of the user");
    assert!(right >= given, "{right} of {given}: {}", daemon.said());
    assert_eq!(daemon.out.count("of root"), 0);
}

#[test]
fn an_env_file_swapped_for_a_link_gives_no_service_what_is_roots() {
    need_root!();
    race_for_an_env_file(false);
}

#[test]
fn an_env_file_swapped_for_a_link_gives_no_service_what_is_roots_under_pid_1() {
    need_root!();
    race_for_an_env_file(true);
}

/// What a script of root's finds in a service of the user's.
fn script_of_root(stage: &Stage, more: &str) -> Daemon {
    let script = "pre_script = \"\"\"\n#!/bin/sh\nenv | sed 's/^/found /'; mkdir -p /tmp; echo end of script\n\"\"\"";
    let more = format!("user = \"{USER}\"\nscript_user = \"root\"\ntty = false\n{script}\n{more}");
    let daemon = Launch::on(stage).config(sleeper("app", &more)).start();
    daemon.out.wait_for("end of script", PATIENCE);
    daemon.wait_state("app", "RUNNING");
    daemon
}

#[test]
fn a_script_of_another_user_takes_nothing_from_files_that_others_can_write() {
    need_root!();
    let stage = Stage::new();
    let app = users_folder(&stage, "app");
    users_folder(&stage, "app/bin");
    let evil = "#!/bin/sh\necho evil mkdir runs as $(id -u)\n";
    file(&app.join("bin/mkdir"), evil, 0o755, USER);
    let bin = app.join("bin").display().to_string();
    let text = format!(
        "PORT=80\nPATH={bin}:/usr/bin:/bin\nLD_PRELOAD=/evil\nBASH_ENV=/evil\nENV=/evil\nIFS=/\nPERL5OPT=/evil\n"
    );
    file(&app.join(".env"), &text, 0o644, USER);
    // The user's own file; one of root's in the user's folder; one that a group can write; a link; one by the sticky bit.
    file(&app.join("roots.env"), &text, 0o644, 0);
    file(&stage.path("group.env"), &text, 0o664, 0);
    file(&stage.path("theirs.env"), &text, 0o644, STRANGER);
    symlink(app.join(".env"), stage.path("linked.env")).unwrap();
    for name in [
        "app/.env",
        "app/roots.env",
        "group.env",
        "theirs.env",
        "linked.env",
    ] {
        let path = quoted(&stage.at(name));
        let daemon = script_of_root(&stage, &format!("env_file = {path}"));
        let found = daemon.out.text();
        for taken in ["evil mkdir", "found PORT", "=/evil", &bin] {
            assert!(!found.contains(taken), "{name}: {taken}: {found}");
        }
        daemon.err.wait_for("is not given to a script", PATIENCE);
    }
    let path = quoted(&stage.at("app/path"));
    file(
        &app.join("path"),
        &format!("{bin}:/usr/bin:/bin"),
        0o644,
        USER,
    );
    let daemon = script_of_root(&stage, &format!("env = {{ PATH = {{ file = {path} }} }}"));
    let found = daemon.out.text();
    assert!(!found.contains("evil mkdir"), "{found}");
    drop(daemon);
    // Root's own file holds for it as before, and the service itself has what its user writes.
    file(&stage.path("root.env"), "PORT=80\nMODE=calm\n", 0o600, 0);
    let path = quoted(&stage.at("root.env"));
    let daemon = script_of_root(&stage, &format!("env_file = {path}"));
    daemon.out.wait_for("found MODE=calm", PATIENCE);
}

// --- Sockets of checks ---

#[test]
fn a_check_connects_to_no_socket_that_the_user_could_not() {
    need_root!();
    let stage = Stage::new();
    let app = users_folder(&stage, "app");
    let roots = stage.path("roots.sock");
    let _listener = UnixListener::bind(&roots).unwrap();
    fs::set_permissions(&roots, Permissions::from_mode(0o600)).unwrap();
    users_link(&roots, &app.join("link.sock"));
    let own = app.join("own.sock");
    let _own = UnixListener::bind(&own).unwrap();
    give(&own, USER);
    fs::set_permissions(&own, Permissions::from_mode(0o600)).unwrap();
    let check = |name: &str, path: PathBuf| {
        let health = format!(
            "[services.health]\nunix = {}\ninterval = \"100ms\"\nstart_interval = \"100ms\"\nretries = 1\nstart_period = \"0s\"",
            quoted(&path.display().to_string())
        );
        sleeper(name, &format!("user = \"{USER}\"\n{health}"))
    };
    let config = [
        check("link", app.join("link.sock")),
        check("own", own),
        check("root", roots),
    ];
    let daemon = Launch::on(&stage).config(config.concat()).start();
    let line = daemon.err.wait_for("link: unhealthy", PATIENCE);
    assert!(line.ends_with("link.sock: Permission denied"), "{line}");
    for name in ["own", "root"] {
        until("a check that passes", PATIENCE, || {
            (daemon.row(name).health() == "healthy").then_some(())
        });
    }
}

/// Counts the connections to a socket.
fn count_connections(socket: UnixListener) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        for connection in socket.incoming() {
            drop(connection);
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    count
}

/// Checks of many services connect to a socket that is swapped for a link to root's.
fn race_for_a_socket(pid_one: bool) {
    let stage = Stage::new();
    let app = users_folder(&stage, "app");
    let (own, evil, roots) = (app.join("own"), app.join("evil"), stage.path("roots.sock"));
    let [reached, not_reached] = [(&own, USER), (&roots, 0)].map(|(path, uid)| {
        let socket = UnixListener::bind(path).unwrap();
        give(path, uid);
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        count_connections(socket)
    });
    users_link(&roots, &evil);
    let attacker = Attacker::swaps(&own, &evil);
    let check = format!(
        "user = \"{USER}\"\n[services.health]\nunix = {}\ninterval = \"10ms\"\nstart_interval = \"10ms\"\n\
         on_unhealthy = \"none\"\nretries = 1",
        quoted(&own.display().to_string())
    );
    let config: String = (0..50)
        .map(|number| sleeper(&format!("app{number}"), &check))
        .collect();
    let daemon = as_pid_one(Launch::on(&stage).config(config), pid_one).start();
    let before = attacker.count();
    let passed = || reached.load(Ordering::Relaxed);
    let refused = || daemon.err.count("own: Permission denied");
    until("the tries of both", RACE, || {
        let enough = passed() >= tries() && attacker.count() - before >= tries();
        (enough && refused() > 0).then_some(())
    });
    let (passed, swaps) = (passed(), attacker.count() - before);
    let refused = refused();
    report(
        "check's socket",
        pid_one,
        &format!("{passed} passed, unhealthy {refused} times, {swaps} swaps"),
    );
    assert_eq!(not_reached.load(Ordering::Relaxed), 0);
}

#[test]
fn a_check_whose_socket_is_swapped_for_a_link_connects_to_none_of_roots() {
    need_root!();
    race_for_a_socket(false);
}

#[test]
fn a_check_whose_socket_is_swapped_for_a_link_connects_to_none_of_roots_under_pid_1() {
    need_root!();
    race_for_a_socket(true);
}
