//! The stacks the product was made for, on the real servers: they start, they answer, they are listed,
//! and they go without leaving anything behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::process::Command;
use std::time::Duration;

use support::{
    Daemon, Launch, PATIENCE, Row, Stage, free_port, http, is_root, nginx_configuration, python,
    quoted, service, shell, skip, until, wait_for_http, wait_for_port,
};

/// The longest a server may take to answer for the first time; MariaDB has its data folder made before.
const SLOW_START: Duration = Duration::from_secs(180);

fn stage_with_open_folders(names: &[&str]) -> Stage {
    let stage = Stage::new();
    for name in names {
        stage.open_folder(name);
    }
    stage
}

fn all_listed_running(daemon: &Daemon, names: &[&str]) {
    let text = daemon.cli_ok(&["list", "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let rows: Vec<Row> = rows.into_iter().map(Row).collect();
    let listed: Vec<(&str, &str)> = rows.iter().map(|row| (row.name(), row.state())).collect();
    let expected: Vec<(&str, &str)> = names.iter().map(|name| (*name, "RUNNING")).collect();
    assert_eq!(listed, expected, "{}", daemon.said());
}

/// How much longer one service runs than another, in seconds: by one answer, for time goes on between two.
fn runs_longer_by(daemon: &Daemon, one: &str, other: &str) -> f64 {
    let rows = daemon.list();
    let uptime = |name: &str| rows.iter().find(|row| row.name() == name)?.uptime();
    uptime(one).unwrap() - uptime(other).unwrap()
}

/// Whether the services stopped in this order, by the daemon's own account.
fn stopped_in_order(daemon: &Daemon, names: &[&str]) {
    daemon.err.wait_for_end(PATIENCE);
    let lines = daemon.err.all();
    let places: Vec<Option<usize>> = names
        .iter()
        .map(|name| {
            let change = format!("{name}: STOPPING -> STOPPED");
            lines.iter().rposition(|line| line.contains(&change))
        })
        .collect();
    let told = places.iter().all(Option::is_some) && places.is_sorted();
    assert!(told, "{names:?} at {places:?}\n{}", daemon.err.text());
}

#[test]
fn nginx_with_quoted_arguments_and_a_pre_script() {
    let nginx = need!("nginx");
    let stage = Stage::new();
    let port = free_port();
    let prepared = stage.at("prepared");
    let server = "location / { return 200 'hello from nginx'; }";
    let conf = nginx_configuration(&stage, port, server);
    // It is not executable, as a file copied into an image often is; it is run all the same.
    let text = format!("#!/bin/sh\necho preparing nginx\ntouch {prepared}\n");
    let pre_script = stage.file("prepare.sh", &text);
    let config = service(
        "nginx",
        &nginx,
        &["-c", &conf, "-g", "'daemon off;'"],
        &format!("required = true\npre_script = {}", quoted(&pre_script)),
    );
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("nginx", "RUNNING");
    wait_for_http(port, "/", "hello from nginx", PATIENCE);
    assert!(stage.path("prepared").exists());
    daemon.out.wait_for("preparing nginx", PATIENCE);
    // The access log goes to /dev/stdout, which is the service's own terminal.
    daemon.out.wait_for("\"GET / HTTP/1.0\" 200", PATIENCE);
    all_listed_running(&daemon, &["nginx"]);
    // It said once how the argument is written without the quotes.
    assert!(daemon.said().contains("daemon off;"), "{}", daemon.said());
    daemon.shut_down();
    assert!(http(port, "/").is_none());
}

#[test]
fn php_fpm_behind_nginx() {
    let (nginx, php) = (need!("nginx"), need!("php-fpm*"));
    let stage = stage_with_open_folders(&["php"]);
    let (port, php_port) = (free_port(), free_port());
    let page = stage.file("www/index.php", "<?php echo 'sum: ', 40 + 2;");
    let user = if is_root() {
        "user = www-data\ngroup = www-data\n"
    } else {
        ""
    };
    let pool = stage.file(
        "php-fpm.conf",
        &format!(
            "[global]\nerror_log = /dev/stderr\npid = {}/fpm.pid\n\
             [www]\n{user}listen = 127.0.0.1:{php_port}\npm = static\npm.max_children = 2\n",
            stage.at("php")
        ),
    );
    let server = format!(
        "location / {{ fastcgi_pass 127.0.0.1:{php_port}; \
         fastcgi_param SCRIPT_FILENAME {page}; fastcgi_param REQUEST_METHOD GET; }}"
    );
    let conf = nginx_configuration(&stage, port, &server);
    // Both images' STOPSIGNAL: they finish what they are at.
    let quit = "stop_signal = \"SIGQUIT\"";
    let config = service("php-fpm", &php, &["-F", "-y", &pool], quit)
        + &service(
            "nginx",
            &nginx,
            &["-c", &conf, "-g", "daemon off;"],
            &format!("{quit}\ndepends_on = \"php-fpm\"\nwait_after = 1"),
        );
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("nginx", "RUNNING");
    wait_for_http(port, "/", "sum: 42", PATIENCE);
    all_listed_running(&daemon, &["php-fpm", "nginx"]);
    let between = runs_longer_by(&daemon, "php-fpm", "nginx");
    assert!(between > 0.9, "nginx ran {between} s after php-fpm");
    daemon.shut_down();
    stopped_in_order(&daemon, &["nginx", "php-fpm"]);
}

/// One statement over TCP, and what it gives.
fn sql(port: u16, statement: &str) -> Option<String> {
    let client = support::find_program("mariadb")?;
    let output = Command::new(client)
        .args([
            "--no-defaults",
            "--protocol=tcp",
            "--host=127.0.0.1",
            "--user=root",
            "--batch",
        ])
        .args([
            "--skip-column-names",
            &format!("--port={port}"),
            "--execute",
            statement,
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

const FILL_DATABASE: &str = r#"#!/usr/bin/env python3
import subprocess, sys, time

STATEMENTS = "create database app; create table app.t (n int); insert into app.t values (42)"
for attempt in range(600):
    done = subprocess.run([
        "mariadb", "--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--user=root",
        "--port=PORT", "--execute", STATEMENTS])
    if done.returncode == 0:
        print("database filled", flush=True)
        sys.exit(0)
    time.sleep(0.2)
sys.exit("the database does not answer")
"#;

#[test]
fn mariadb_with_a_pre_script_and_a_post_script_in_python() {
    need_root!();
    let server = need!("mariadbd");
    let install = need!("mariadb-install-db");
    let _ = (need!("mariadb"), need!("python3"));
    let stage = stage_with_open_folders(&["mysql"]);
    let port = free_port();
    let data = stage.at("mysql/data");
    let pre_script = stage.program(
        "pre.sh",
        &format!(
            "#!/bin/sh\nset -e\n[ -d {data} ] || {install} --no-defaults --user=mysql \
             --datadir={data} --auth-root-authentication-method=normal --skip-test-db\n"
        ),
    );
    let pos_script = stage.program("pos.py", &FILL_DATABASE.replace("PORT", &port.to_string()));
    let args = [
        "--no-defaults",
        "--user=mysql",
        "--console",
        "--skip-name-resolve",
        "--skip-networking=0",
        "--bind-address=127.0.0.1",
        &format!("--port={port}"),
        &format!("--datadir={data}"),
        &format!("--socket={data}/mysqld.sock"),
        &format!("--pid-file={data}/mysqld.pid"),
    ];
    let more = format!(
        "required = true\npre_script = {}\npos_script = {}",
        quoted(&pre_script),
        quoted(&pos_script)
    );
    let config = "[timeouts]\npost_script_timeout = 1\nservice_shutdown_timeout = 20\n\n"
        .to_owned()
        + &service("mariadb", &server, &args, &more);
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state_for("mariadb", "RUNNING", SLOW_START);
    daemon.out.wait_for("database filled", SLOW_START);
    assert_eq!(sql(port, "select n from app.t").as_deref(), Some("42"));
    all_listed_running(&daemon, &["mariadb"]);
    // --console: the server's own words come through.
    daemon.out.wait_for("ready for connections", PATIENCE);
    daemon.shut_down();
    assert!(
        daemon.said().contains("Shutdown complete"),
        "it was killed:\n{}",
        daemon.said()
    );
}

const APPLICATION: &str = "from fastapi import FastAPI

app = FastAPI()


@app.get(\"/\")
def root():
    return {\"version\": \"first\"}
";

#[test]
fn uvicorn_with_reload() {
    let Some(python) = python() else {
        return skip("uvicorn and fastapi are not installed");
    };
    let stage = Stage::new();
    let port = free_port();
    stage.file("app/main.py", APPLICATION);
    let uvicorn = python.with_file_name("uvicorn").display().to_string();
    let args = [
        "main:app",
        "--host=127.0.0.1",
        &format!("--port={port}"),
        "--reload",
        "--log-level=debug",
    ];
    let more = format!("working_dir = {}", quoted(&stage.at("app")));
    let config = service("api", &uvicorn, &args, &more);
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("api", "RUNNING");
    wait_for_http(port, "/", "first", SLOW_START);
    all_listed_running(&daemon, &["api"]);
    stage.file("app/main.py", &APPLICATION.replace("first", "second"));
    wait_for_http(port, "/", "second", SLOW_START);
    daemon.shut_down();
    assert!(http(port, "/").is_none());
}

const DEV_SERVER: &str = "const http = require('http');
const port = Number(process.env.PORT);
const server = http.createServer((request, answer) => answer.end('hello from node'));
server.listen(port, '127.0.0.1', () => console.log('listening'));
";

#[test]
fn npm_development_server() {
    let npm = need!("npm");
    let _ = need!("node");
    let stage = Stage::new();
    let port = free_port();
    stage.file("front/server.js", DEV_SERVER);
    stage.file(
        "front/package.json",
        r#"{"name": "front", "version": "1.0.0", "scripts": {"dev": "node server.js"}}"#,
    );
    let more = format!(
        "working_dir = {}\nenv = {{ PORT = \"{port}\", HOME = {}, npm_config_update_notifier = \"false\" }}",
        quoted(&stage.at("front")),
        quoted(&stage.open_folder("home")),
    );
    let config = service("front", &npm, &["run", "dev"], &more);
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("front", "RUNNING");
    wait_for_http(port, "/", "hello from node", SLOW_START);
    daemon.out.wait_for("listening", PATIENCE);
    all_listed_running(&daemon, &["front"]);
    daemon.shut_down();
    assert!(http(port, "/").is_none());
}

const WEB: &str = "import http.server, socket, sys

PORT, REDIS = int(sys.argv[1]), int(sys.argv[2])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with socket.create_connection((\"127.0.0.1\", REDIS)) as redis:
            redis.sendall(b\"GET schema\\r\\n\")
            value = redis.recv(1024)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b\"schema: \" + value)


http.server.HTTPServer((\"127.0.0.1\", PORT), Handler).serve_forever()
";

#[test]
fn redis_then_db_migrate_then_web() {
    let (redis, client) = (need!("redis-server"), need!("redis-cli"));
    let python = need!("python3");
    let stage = Stage::new();
    let (redis_port, port) = (free_port(), free_port());
    let redis_text = redis_port.to_string();
    let web = stage.file("web.py", WEB);
    let ask = format!("{client} -p {redis_port}");
    let migrate = format!(
        "until [ \"$({ask} ping)\" = PONG ]; do sleep 0.1; done; {ask} set schema version-7 && echo migrated"
    );
    let config = service(
        "redis",
        &redis,
        &[
            "--port",
            &redis_text,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            &stage.at(""),
        ],
        "",
    ) + &shell(
        "db-migrate",
        &migrate,
        "depends_on = \"redis\"\nwait_after = 2",
    ) + &service(
        "web",
        &python,
        &[&web, &port.to_string(), &redis_text],
        "required = true\ndepends_on = [\"db-migrate\"]\nwait_after = 1",
    );
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("web", "RUNNING");
    wait_for_http(port, "/", "version-7", PATIENCE);
    let row = daemon.row("db-migrate");
    assert_eq!((row.state(), row.detail()), ("STOPPED", "completed"));
    let between = runs_longer_by(&daemon, "redis", "web");
    assert!(between > 2.9, "web ran {between} s after redis");

    // web goes first: redis is still there when it is told to end.
    daemon.cli_ok(&["stop", "web"]);
    wait_for_port(redis_port, PATIENCE);
    daemon.cli_ok(&["start", "web"]);
    wait_for_http(port, "/", "version-7", PATIENCE);
    daemon.shut_down();
    stopped_in_order(&daemon, &["web", "redis"]);
    daemon.out.wait_for("Redis is now ready to exit", PATIENCE);
    until("both ports free", PATIENCE, || {
        (http(port, "/").is_none() && http(redis_port, "/").is_none()).then_some(())
    });
}
