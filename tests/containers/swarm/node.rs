//! A cluster of one node in a network namespace of its own, a proxy in front of it, and a load on that.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Engine, PATIENCE, until};

/// What the orchestrator needs for an update on a busy machine.
const SLOW: Duration = Duration::from_secs(90);

/// Where the proxy listens, and the first and the last port of the replicas behind it.
const FRONT: u16 = 8000;
const REPLICAS: std::ops::RangeInclusive<u16> = 8001..=8010;

/// The node: its engine, and with it the namespace.
pub struct Node {
    pub engine: Engine,
}

impl Node {
    pub fn start() -> Option<Node> {
        let node = Node {
            engine: Engine::apart()?,
        };
        node.ok(&[
            "swarm",
            "init",
            "--advertise-addr",
            "127.0.0.1",
            "--listen-addr",
            "127.0.0.1:2377",
        ]);
        Some(node)
    }

    pub fn ok(&self, words: &[&str]) -> String {
        self.engine.ok(words)
    }

    /// A program in the node's network.
    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.engine.pid()))
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// The answer on a port of the node; None while there is none.
    pub fn get(&self, port: u16) -> Option<String> {
        let output = self
            .inside("curl")
            .args(["--silent", "--fail", &format!("http://127.0.0.1:{port}/")])
            .output()
            .unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// nginx in front of all replicas there may be; it asks another one when one does not answer.
    pub fn front(&self, nginx: &str) -> Front {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let servers: String = REPLICAS
            .map(|port| format!("server 127.0.0.1:{port} max_fails=0;\n"))
            .collect();
        let configuration = format!(
            "user root;\nworker_processes 1;\npid {pid};\nerror_log stderr crit;\nevents {{}}\nhttp {{\naccess_log off;\n\
             proxy_temp_path {proxy};\nclient_body_temp_path {body};\nfastcgi_temp_path {proxy}1;\n\
             uwsgi_temp_path {proxy}2;\nscgi_temp_path {proxy}3;\n\
             upstream replicas {{\n{servers}keepalive 8;\n}}\n\
             server {{\nlisten 127.0.0.1:{FRONT};\nlocation / {{\nproxy_pass http://replicas;\nproxy_http_version 1.1;\n\
             proxy_set_header Connection \"\";\nproxy_next_upstream error timeout;\n}}\n}}\n}}\n",
            pid = at("pid"),
            proxy = at("proxy"),
            body = at("body"),
        );
        std::fs::write(at("nginx.conf"), configuration).unwrap();
        let child = self
            .inside(nginx)
            .args(["-c", &at("nginx.conf"), "-g", "daemon off;"])
            .spawn()
            .unwrap();
        Front {
            child,
            _folder: folder,
        }
    }

    /// Waits until exactly so many tasks are wanted, all of this image and all running, which means healthy.
    pub fn wait_for_tasks(&self, image: &str, count: usize) {
        let mut last = String::new();
        let deadline = std::time::Instant::now() + SLOW;
        while std::time::Instant::now() < deadline {
            last = self.ok(&[
                "service",
                "ps",
                "web",
                "--filter",
                "desired-state=running",
                "--format",
                "{{.Image}} {{.CurrentState}}",
            ]);
            let good = format!("{image}:latest Running");
            let running = last.lines().filter(|line| line.starts_with(&good)).count();
            if running == count && last.lines().count() == count {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!(
            "{count} tasks of {image}: not so:\n{last}\n{}",
            self.story()
        );
    }

    /// Waits until the update has ended like this.
    pub fn wait_for_update(&self, wanted: &str) {
        let mut last = String::new();
        let deadline = std::time::Instant::now() + SLOW;
        while std::time::Instant::now() < deadline {
            let format =
                "{{if .UpdateStatus}}{{.UpdateStatus.State}}: {{.UpdateStatus.Message}}{{end}}";
            last = self.ok(&["service", "inspect", "web", "--format", format]);
            if last.split(':').next() == Some(wanted) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the update is {last:?}, not {wanted}\n{}", self.story());
    }

    /// What became of every task.
    fn story(&self) -> String {
        self.ok(&[
            "service",
            "ps",
            "web",
            "--no-trunc",
            "--format",
            "{{.Name}} {{.Image}} {{.DesiredState}} {{.CurrentState}} {{.Error}}",
        ])
    }

    /// The exit codes of the containers that were made from this image and have ended.
    pub fn exit_codes(&self, image: &str) -> Vec<String> {
        let all = self.ok(&["ps", "--all", "--quiet", "--filter", "status=exited"]);
        all.split_whitespace()
            .map(|id| {
                self.ok(&[
                    "inspect",
                    "--format",
                    "{{.Config.Image}} {{.State.ExitCode}}",
                    id,
                ])
            })
            .filter_map(|line| {
                line.strip_prefix(&format!("{image}:latest "))
                    .map(str::to_owned)
            })
            .collect()
    }
}

/// The proxy.
pub struct Front {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Front {
    fn drop(&mut self) {
        // Its workers go with it only when it is asked.
        let _ = kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}

/// `wrk`, which asks the proxy as fast as it can.
pub struct Load {
    child: Option<Child>,
}

impl Load {
    pub fn start(node: &Node, wrk: &str) -> Load {
        until("an answer of the proxy", PATIENCE, || node.get(FRONT));
        let child = node
            .inside(wrk)
            .args([
                "--threads",
                "1",
                "--connections",
                "4",
                "--duration",
                "10m",
                "--timeout",
                "10s",
            ])
            .arg(format!("http://127.0.0.1:{FRONT}/"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Load { child: Some(child) }
    }

    /// Ends it; each request was answered, and with 200.
    pub fn end_without_a_loss(mut self) {
        let child = self.child.take().unwrap();
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        let report = String::from_utf8(output.stdout).unwrap();
        println!("{report}");
        // It names socket errors and other answers than 2xx and 3xx only where there were any.
        assert!(
            !report.contains("errors") && !report.contains("Non-2xx"),
            "{report}"
        );
        let requests = report
            .split(" requests in")
            .next()
            .and_then(|text| text.split_whitespace().last());
        let requests: u64 = requests
            .unwrap_or_default()
            .parse()
            .unwrap_or_else(|_| panic!("{report}"));
        assert!(requests > 100, "{report}");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
