//! Pieces of `services.toml`.

use super::quoted;

/// A service; `more` are further lines of its table.
pub fn service(name: &str, command: &str, args: &[&str], more: &str) -> String {
    let args: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
    format!(
        "[[services]]\nname = {}\ncommand = {}\nargs = [{}]\n{more}\n\n",
        quoted(name),
        quoted(command),
        args.join(", ")
    )
}

/// A service that is a shell script.
pub fn shell(name: &str, script: &str, more: &str) -> String {
    service(name, "/bin/sh", &["-c", script], more)
}

/// A service that does nothing for ever.
pub fn sleeper(name: &str, more: &str) -> String {
    service(name, "/bin/sleep", &["infinity"], more)
}

/// A service that says its name and `up` when it runs, and `down` when it is told to end.
pub fn talker(name: &str, more: &str) -> String {
    let script =
        format!("trap 'echo {name} down; exit 0' TERM; echo {name} up; sleep infinity & wait");
    shell(name, &script, more)
}
