//! Users, groups and capabilities of services.

use std::fs;
use std::process::Output;

use crate::support::{Daemon, Launch, PATIENCE, Stage, cli, payload, service, shell};

/// Replaces files of /etc for the daemon, in a mount namespace of its own.
fn with_etc(stage: &Stage, files: &[(&str, &[u8])]) -> String {
    let mounts: Vec<String> = files
        .iter()
        .map(|(name, bytes)| {
            fs::write(stage.path(name), bytes).unwrap();
            format!("mount --bind {} /etc/{name}", stage.at(name))
        })
        .collect();
    let script = format!("{} && exec \\\"\\$@\\\"", mounts.join(" && "));
    format!("set -- unshare -m sh -c \"{script}\" sh \"$@\"")
}

/// Starts a daemon behind `wrapper`, which may make it one of user 20005.
fn modest(stage: &Stage, wrapper: &str, config: String) -> Daemon {
    let control = stage.at("control");
    let owner = if wrapper.contains("--reuid 20005") {
        20005
    } else {
        0
    };
    let first = format!("chown {owner} {control}\nset -- {wrapper} \"$@\"");
    Launch::on(stage)
        .config(config)
        .shell_first(&first)
        .start_blindly()
}

fn check(stage: &Stage, config: &str) -> (Output, String) {
    let file = stage.file("checked.toml", config);
    let output = cli(&stage.socket(), &["check", &file]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

/// What the kernel reads as -1, and what others read as 0 or as nothing at all.
const NO_USERS: [&str; 15] = [
    "\"4294967295\"",
    "4294967295",
    "0xFFFFFFFF",
    "0o37777777777",
    "\"4294967295:20001\"",
    "\"20001:4294967295\"",
    "4294967296",
    "\"4294967296\"",
    "18446744073709551616",
    "-1",
    "\"-1\"",
    "\"+0\"",
    "\"\"",
    "\":0\"",
    "\"20001:\"",
];

#[test]
fn a_number_that_no_process_can_have_is_refused_in_the_file() {
    need_root!();
    let stage = Stage::new();
    for user in NO_USERS {
        for key in ["user", "script_user"] {
            let more = format!("{key} = {user}\npre_script = \"\"\"\n#!/bin/sh\nid -u\n\"\"\"");
            let config = shell("whoever", "id -u; sleep infinity", &more);
            let (output, said) = check(&stage, &config);
            assert_eq!(output.status.code(), Some(2), "{key} = {user}: {said}");
            assert!(said.contains(&format!("error: `{key}` ")), "{user}: {said}");
            let ended = Launch::on(&stage).config(config).run_to_end();
            assert_eq!((ended.code, ended.out.len()), (2, 0), "{}", ended.err);
        }
    }
}

/// 65535 is -1 in 16 bits, and a user like any other to the calls that are made.
#[test]
fn the_highest_numbers_are_users_like_any_other() {
    need_root!();
    let stage = Stage::new();
    let who = "echo $(id -u) $(id -g) $(id -G)";
    let config = shell("short", who, "user = \"65535:65535\"")
        + &shell("highest", who, "user = \"4294967294:4294967294\"");
    let daemon = Launch::on(&stage).config(config).start();
    daemon
        .out
        .wait_for("4294967294 4294967294 4294967294", PATIENCE);
    daemon.out.wait_for("65535 65535 65535", PATIENCE);
}

#[test]
fn an_entry_with_a_number_that_no_process_can_have_runs_nothing() {
    need_root!();
    let stage = Stage::new();
    let passwd = b"root:x:0:0::/root:/bin/sh\n\
        minus:x:4294967295:20001::/:/bin/sh\n\
        group:x:20001:4294967295::/:/bin/sh\n\
        wraps:x:4294967296:4294967296::/:/bin/sh\n\
        sign:x:-1:-1::/:/bin/sh\n\
        empty:x:::::/bin/sh\n\
        :x:0:0::/:/bin/sh\n\
        member:x:20002:20002::/:/bin/sh\n";
    let group = b"root:x:0:\nlast:x:4294967295:member\nwraps:x:4294967296:\n";
    let etc = with_etc(&stage, &[("passwd", passwd), ("group", group)]);
    let users = [
        "minus",
        "group",
        "wraps",
        "sign",
        "empty",
        "member",
        "root:last",
        "root:wraps",
    ];
    for user in users {
        let more = format!("user = \"{user}\"\nrequired = true");
        let ended = Launch::on(&stage)
            .config(shell("whoever", "id", &more))
            .shell_first(&etc)
            .run_to_end();
        assert_ne!(ended.code, 0, "{user}: {}", ended.err);
        let said = payload(&ended.out, "whoever");
        assert!(said.is_empty(), "{user}: {said:?}");
        let name = user.rsplit(':').next().unwrap();
        assert!(ended.err.contains(name), "{user}: {}", ended.err);
    }
}

/// Lines that are no text, or no entry, beside good ones.
#[test]
fn a_bad_line_of_passwd_or_group_costs_itself() {
    need_root!();
    let stage = Stage::new();
    let long = vec![b'x'; 1 << 20];
    let passwd: [&[u8]; 5] = [
        b"root:x:0:0::/root:/bin/sh\n",
        b"jos\xe9:x:20009:20009:Jos\xe9:/home/jos\xe9:/bin/sh\n",
        b"wide:x:1:1::/:/bin/sh:more\nnarrow:x:1\nzero\0:x:0:0::/:/bin/sh\n",
        &long,
        b"\napp:x:20001:20002:caf\xe9:/srv/caf\xe9:/bin/sh\r\n",
    ];
    let group: [&[u8]; 3] = [
        b"root:x:0:\nr\xe9seau:x:20003:app,jos\xe9\nwide:x:1:app:more\n",
        &long,
        b"\nteam:x:20004:nobody,app\r\nlast:x:20005:app",
    ];
    let (passwd, group) = (passwd.concat(), group.concat());
    let who = "echo $(id -u) $(id -G)";
    let config = shell("app", &format!("{who} $HOME $SHELL."), "user = \"app\"")
        + &shell("number", who, "user = 20009")
        + &shell("named", who, "user = \"app:team\"");
    let mut daemon = Launch::on(&stage)
        .config(config)
        .shell_first(&with_etc(&stage, &[("passwd", &passwd), ("group", &group)]))
        .start();
    daemon.wait_all("STOPPED");
    daemon.shut_down();
    let said = |name| payload(&daemon.out.all(), name).join("");
    let home = String::from_utf8_lossy(b"/srv/caf\xe9").into_owned();
    let all_groups = format!("20001 20002 20003 20004 20005 {home} /bin/sh.");
    assert_eq!(said("app"), all_groups);
    // The configuration cannot write such a name; its groups count all the same.
    assert_eq!(said("number"), "20009 20009 20003");
    assert_eq!(said("named"), "20001 20004");
}

#[test]
fn a_bad_line_of_hosts_costs_itself() {
    need_root!();
    let stage = Stage::new();
    let hosts = b"127.0.0.1 localhost\n# caf\xe9\n10.0.0.1 r\xe9seau\n\0\n127.0.0.1 \xff db\r\n";
    let more = "[services.health]\ntcp = \"db:1\"\non_unhealthy = \"none\"";
    let daemon = Launch::on(&stage)
        .config(shell("app", "sleep infinity", more))
        .shell_first(&with_etc(&stage, &[("hosts", hosts)]))
        .start();
    daemon.wait_state("app", "RUNNING");
}

/// A daemon that is not root, with what it needs to become other users.
const MODEST: &str = "setpriv --reuid 20005 --regid 20005 --clear-groups \
    --inh-caps +setuid,+setgid,+net_raw --ambient-caps +setuid,+setgid,+net_raw";

/// Prints the four sets of capabilities, and tries to become root.
const CAPABILITIES: &str = "grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | tr -d '\\n\\t'; echo; \
    setpriv --reuid 0 --clear-groups id -u; echo tried";

const NONE: &str = "CapInh:0000000000000000CapPrm:0000000000000000\
    CapEff:0000000000000000CapAmb:0000000000000000";

fn services_of_others_have_nothing(wrapper: &str) {
    let stage = Stage::new();
    let script = stage.program("script", &format!("#!/bin/sh\n{CAPABILITIES}\n"));
    let scripted = format!("pre_script = \"{script}\"\nscript_user = 20003");
    let config = shell("plain", CAPABILITIES, "user = 20001")
        + &shell("nnp", CAPABILITIES, "user = 20001\nno_new_privs = true")
        + &shell("scripted", "true", &scripted);
    let daemon = modest(&stage, wrapper, config);
    daemon.out.wait_for_count("tried", 3, PATIENCE);
    let all = daemon.out.all();
    for name in ["plain", "nnp", "scripted"] {
        let said = payload(&all, name);
        assert!(said.iter().any(|line| line == NONE), "{name}: {said:?}");
        assert!(!said.iter().any(|line| line == "0"), "{name}: {said:?}");
    }
}

#[test]
fn ambient_capabilities_of_the_daemon_reach_no_other_user() {
    need_root!();
    services_of_others_have_nothing(MODEST);
}

#[test]
fn inheritable_capabilities_of_a_root_daemon_reach_no_other_user() {
    need_root!();
    services_of_others_have_nothing("setpriv --inh-caps +setuid,+net_raw");
}

#[test]
fn securebits_that_keep_capabilities_change_nothing() {
    need_root!();
    let sets = "--inh-caps +setuid,+net_raw --ambient-caps +setuid,+net_raw";
    services_of_others_have_nothing(&format!("setpriv --securebits +no_setuid_fixup {sets}"));
    services_of_others_have_nothing("setpriv --securebits +no_setuid_fixup");
}

/// Another group is another identity too.
#[test]
fn a_service_of_another_group_has_no_capability_of_the_daemons() {
    need_root!();
    let stage = Stage::new();
    let config = shell("grouped", CAPABILITIES, "user = \"20005:20001\"");
    let daemon = modest(&stage, MODEST, config);
    daemon.out.wait_for("tried", PATIENCE);
    assert!(daemon.out.text().contains(NONE), "{}", daemon.said());
}

#[test]
fn the_daemons_own_user_keeps_what_the_daemon_has() {
    need_root!();
    let stage = Stage::new();
    let ambient = "grep CapAmb /proc/self/status | tr -d '\\t'";
    let config = shell("unnamed", ambient, "") + &shell("named", ambient, "user = \"20005:20005\"");
    let daemon = modest(&stage, MODEST, config);
    daemon
        .out
        .wait_for_count("CapAmb:00000000000020c0", 2, PATIENCE);
}

/// Such a daemon may become root, which has what root has and passes nothing on.
#[test]
fn a_service_that_becomes_root_inherits_no_capability() {
    need_root!();
    let stage = Stage::new();
    let sets = "grep -E 'Cap(Inh|Amb)' /proc/self/status | tr -d '\\n\\t'; echo; id -u";
    let config = shell("root", sets, "user = \"0:0\"");
    let daemon = modest(&stage, MODEST, config);
    let none = "CapInh:0000000000000000CapAmb:0000000000000000";
    daemon.out.wait_for(none, PATIENCE);
}

#[test]
fn a_daemon_without_the_right_names_user_key_and_remedy() {
    need_root!();
    let stage = Stage::new();
    let more = "user = \"nobody\"\nrequired = true";
    let config = service("web", "/bin/true", &[], more);
    let wrapper = "setpriv --reuid 20005 --regid 20005 --clear-groups";
    let mut daemon = modest(&stage, wrapper, config);
    assert_eq!(daemon.wait_exit(PATIENCE), 1, "{}", daemon.said());
    daemon.err.wait_for_end(PATIENCE);
    let said = daemon.err.text();
    let cannot = "cannot run /bin/true as user nobody (`user`, uid 65534, gid 65534): Operation \
        not permitted; run the daemon as root, or give it CAP_SETUID and CAP_SETGID, or remove `user`";
    assert!(said.contains(cannot), "{said}");
}
