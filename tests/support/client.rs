//! The two ways to talk to a daemon: its own command line, and the control socket itself.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// One row of `list --json`.
#[derive(Clone, Debug)]
pub struct Row(pub Value);

impl Row {
    /// The service's name.
    pub fn name(&self) -> &str {
        self.0["name"].as_str().unwrap()
    }

    /// Its state, in capitals.
    pub fn state(&self) -> &str {
        self.0["state"].as_str().unwrap()
    }

    /// The state in a few plain words.
    pub fn detail(&self) -> &str {
        self.0["detail"].as_str().unwrap()
    }

    /// Its health.
    pub fn health(&self) -> &str {
        self.0["health"].as_str().unwrap()
    }

    /// The process id as the daemon sees it.
    pub fn pid(&self) -> Option<i32> {
        self.0["pid"]
            .as_i64()
            .map(|pid| i32::try_from(pid).unwrap())
    }

    /// Seconds since RUNNING.
    pub fn uptime(&self) -> Option<f64> {
        self.0["uptime_seconds"].as_f64()
    }

    /// Of the last end.
    pub fn exit_code(&self) -> Option<i64> {
        self.0["exit_code"].as_i64()
    }
}

/// A connection to the control socket, if there is one to be had.
pub fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// One request and its answer on a connection of its own.
pub fn ask(socket: &Path, request: &Value) -> std::io::Result<Value> {
    let mut stream = connect(socket)?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(std::io::Error::other)
}

/// Runs `go-overlay --socket SOCKET ARGS…` as a user would.
pub fn cli(socket: &Path, args: &[&str]) -> Output {
    Command::new(super::PROGRAM)
        .arg("--socket")
        .arg(socket)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}
