//! Other users of the machine, and a daemon that they can connect to.

use std::io::{BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{self, PATIENCE, PROGRAM, Stage, status_field, until};

/// The first of the users that no file of the machine knows.
pub const STRANGER: u32 = 20_001;

/// Runs `act` as another user, in a thread of its own: the kernel keeps ids by thread, and the credentials of
/// a socket are those of the thread that connects or listens (the library would change all threads).
pub fn as_user<T: Send>(uid: u32, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: these calls take numbers only, and concern this thread alone.
            let changed = unsafe {
                libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) == 0
                    && libc::syscall(libc::SYS_setresgid, uid, uid, uid) == 0
                    && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
            };
            assert!(changed, "cannot become user {uid}");
            act()
        });
        thread.join().unwrap()
    })
}

pub fn abstract_address(name: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(name.trim_start_matches('@')).unwrap()
}

pub fn connect(name: &str) -> std::io::Result<UnixStream> {
    let stream = UnixStream::connect_addr(&abstract_address(name))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub fn ask(stream: &mut UnixStream, request: &Value) -> std::io::Result<Value> {
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(std::io::Error::other)
}

/// A daemon on an abstract name, which any user can connect to; killed when it is dropped.
pub struct Open {
    pub name: String,
    child: Child,
}

impl Open {
    pub fn start(stage: &Stage, config: &str) -> Open {
        let config = stage.file("services.toml", config);
        Open::run(stage, Command::new(PROGRAM).args(["--config", &config]))
    }

    pub fn run(stage: &Stage, command: &mut Command) -> Open {
        let name = abstract_name(stage);
        let child = command
            .args(["--no-install", "--socket", &name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let open = Open { name, child };
        until("the daemon's socket", PATIENCE, || connect(&open.name).ok());
        open
    }

    pub fn cli(&self, args: &[&str]) -> Output {
        support::cli(Path::new(&self.name), args)
    }

    /// SIGKILL, which it can do nothing about; its end.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn resident(&self) -> u64 {
        status_field(self.child.id().cast_signed(), "VmRSS").unwrap()
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Its services end with it.
        // SAFETY: takes numbers only; the child is ours and not reaped yet.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        for _ in 0..500 {
            if !self.is_alive() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One that no other test has.
pub fn abstract_name(stage: &Stage) -> String {
    format!("@go-overlay-test{}", stage.root().display())
}
