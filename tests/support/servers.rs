//! Real servers, with all they write on the stage.

use std::path::PathBuf;

use super::{Stage, is_root};

/// nginx with everything it writes below the stage; `server` is the inside of its `server` block.
pub fn nginx_configuration(stage: &Stage, port: u16, server: &str) -> String {
    let run = stage.open_folder("nginx");
    let user = if is_root() { "user root;" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {run}/{kind};\n"))
        .collect();
    stage.file(
        "nginx.conf",
        &format!(
            "{user}\nworker_processes 2;\npid {run}/nginx.pid;\nerror_log stderr;\n\
             events {{}}\nhttp {{\n{temporary}access_log /dev/stdout;\n\
             server {{ listen 127.0.0.1:{port}; {server} }}\n}}\n"
        ),
    )
}

/// The folder of PostgreSQL's programs, which Debian keeps out of PATH.
pub fn postgres_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<PathBuf> = versions
        .filter_map(Result::ok)
        .map(|version| version.path().join("bin"))
        .filter(|folder| folder.join("postgres").exists())
        .collect();
    folders.sort();
    folders.pop()
}
