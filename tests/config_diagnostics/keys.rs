//! The table of keys: each is read, compared and documented.

use go_overlay::config::change;
use go_overlay::config::listing::{Listed, every_key};
use go_overlay::config::model::Service;

use super::check;

/// A key of a service, the value that it is tried with, and the other keys that this value needs.
const TRIED: &[(&str, &str, &str)] = &[
    ("command", "\"redis-server\"", ""),
    ("args", "[\"a\"]", ""),
    ("raw_args", "true", "args = [\"'a'\"]"),
    ("enabled", "false", ""),
    ("required", "true", ""),
    ("user", "\"www-data\"", ""),
    ("script_user", "\"www-data\"", ""),
    ("depends_on", "\"redis\"", ""),
    ("wait_after", "1", "depends_on = \"redis\""),
    ("pre_script", "\"/setup.sh\"", ""),
    ("pos_script", "\"/setup.sh\"", ""),
    ("post_script", "\"/setup.sh\"", ""),
    ("log_file", "\"/var/log/web.log\"", ""),
    ("log", "{ keep = 1 }", ""),
    ("log_overflow", "\"drop\"", ""),
    ("log_buffer", "0", ""),
    ("log_stdout", "false", ""),
    ("env", "{ A = \"1\" }", ""),
    ("env_file", "\"/app.env\"", ""),
    ("working_dir", "\"/srv\"", ""),
    ("umask", "\"022\"", ""),
    ("nice", "1", ""),
    ("oom_score_adj", "1", ""),
    ("limits", "{ nofile = 8 }", ""),
    ("no_new_privs", "true", ""),
    ("tty", "false", "stdin = \"null\""),
    ("stdin", "\"null\"", ""),
    ("tty_size", "\"80x24\"", ""),
    ("stop_signal", "\"QUIT\"", ""),
    ("stop_timeout", "1", ""),
    ("restart", "\"always\"", ""),
    ("success_exit_codes", "[3]", ""),
    ("health", "{ tcp = \"127.0.0.1:80\" }", ""),
    ("ready", "\"notify\"", ""),
    ("ready_timeout", "1", "ready = \"notify\""),
    ("watchdog", "1", ""),
    (
        "on_dependency_failure",
        "\"stop\"",
        "depends_on = \"redis\"",
    ),
];

/// A service of these lines, beside another one.
fn read(lines: &str) -> Service {
    let command = match lines.contains("\ncommand = ") {
        true => "",
        false => "command = \"nginx\"\n",
    };
    let text = format!(
        "[[services]]\nname = \"redis\"\ncommand = \"redis-server\"\n\n[[services]]\nname = \"web\"\n{command}{lines}\n"
    );
    let checked = check(&text);
    let mut config = checked
        .config
        .unwrap_or_else(|| panic!("{text}: {:?}", checked.findings));
    config.services.remove(1)
}

fn of_services() -> impl Iterator<Item = Listed> {
    let keys = every_key().into_iter();
    keys.filter(|key| key.table == "[[services]]" && key.name != "name")
}

/// A row that reads or compares another field than its own would show here.
#[test]
fn each_key_is_read_into_the_model_and_its_change_is_found() {
    for key in of_services() {
        let tried = TRIED.iter().find(|(name, ..)| *name == key.name);
        let (name, value, more) = tried.unwrap_or_else(|| panic!("`{}` is not tried", key.name));
        let changed = read(&format!("{more}\n{name} = {value}"));
        let change = change::between(&read(more), &changed);
        // A key that belongs to the value of another one is found as that one.
        let whole = match *name {
            "raw_args" => "args",
            "wait_after" => "depends_on",
            "post_script" => "pos_script",
            "log_overflow" | "log_buffer" | "log_stdout" => "log",
            name => name,
        };
        assert_eq!(change.keys, [whole], "{name}");
        let (_, on_reload) = key.documented.unwrap();
        assert_eq!(
            change.needs_restart,
            on_reload.starts_with("restart"),
            "{name}"
        );
    }
    assert_eq!(of_services().count(), TRIED.len());
}

/// The cells of the row of a table that has this key in its first cell.
fn row<'p>(page: &'p str, name: &str) -> Option<Vec<&'p str>> {
    let quoted = format!("`{name}`");
    let mut rows = page.lines().filter(|line| line.starts_with('|'));
    let row = rows.find(|row| {
        row.split('|')
            .nth(1)
            .is_some_and(|cell| cell.contains(&quoted))
    })?;
    Some(row.trim_matches('|').split('|').map(str::trim).collect())
}

#[test]
fn the_page_lists_each_key_with_what_it_is_and_what_a_reload_does() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIGURATION.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, list) = page.split_once("\n## All keys\n").unwrap();
    let (list, _) = list.split_once("\n## ").unwrap();
    for key in every_key() {
        let name = key.name;
        let Some((doc, on_reload)) = key.documented else {
            assert!(
                page.contains(&format!("`{name}`")),
                "{} has no `{name}`",
                key.table
            );
            continue;
        };
        let row = row(list, name).unwrap_or_else(|| panic!("the list has no `{name}`"));
        assert_eq!(row.get(3..), Some([doc, on_reload].as_slice()), "`{name}`");
    }
}
