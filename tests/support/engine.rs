//! A Docker engine of the tests' own: its data, its socket and its processes are below one temporary folder,
//! and gone with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{PROGRAM, find_program, until};

/// The engine's own start, and what it does with an image, on a busy machine.
const SLOW: Duration = Duration::from_secs(120);

/// The image with a shell.
pub const BUSYBOX: &str = "go-overlay-busybox";

/// The image of a Debian system with nginx.
const DEBIAN: &str = "go-overlay-debian";

/// A running engine.
pub struct Engine {
    folder: TempDir,
    client: String,
    daemon: Child,
}

static SHARED: Mutex<Weak<Engine>> = Mutex::new(Weak::new());

impl Engine {
    /// The engine that the tests of a program share; it ends with the last of them. None where there is no
    /// engine to be had.
    pub fn shared() -> Option<Arc<Engine>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = shared.upgrade() {
            return Some(engine);
        }
        let engine = Arc::new(Engine::start(&[])?);
        engine.build_busybox();
        *shared = Arc::downgrade(&engine);
        Some(engine)
    }

    /// An engine in a network namespace of its own, in which there is nothing but loopback: the ports of a
    /// cluster are free there.
    pub fn apart() -> Option<Engine> {
        let loopback = "busybox ip link set lo up && exec \"$@\"";
        Engine::start(&["unshare", "--net", "--", "sh", "-c", loopback, "sh"])
    }

    /// Starts one; `before` are words in front of the daemon's, which end in executing it.
    fn start(before: &[&str]) -> Option<Engine> {
        let dockerd = find_program("dockerd")?;
        // Debian's; another program of that name may be earlier in PATH.
        let client = ["/usr/bin/docker".to_owned()];
        let client = client.into_iter().find(|path| Path::new(path).exists())?;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let words = [before, &[dockerd.as_str()]].concat();
        let daemon = Command::new(words[0])
            .args(&words[1..])
            .args(["--bridge=none", "--iptables=false"])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
            .args([
                "--pidfile",
                &at("pid"),
                "--host",
                &format!("unix://{}", at("socket")),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let engine = Engine {
            folder,
            client,
            daemon,
        };
        until("the engine to answer", SLOW, || {
            engine.docker(&["version"]).status.success().then_some(())
        });
        Some(engine)
    }

    /// Where it listens, as DOCKER_HOST wants it.
    pub fn address(&self) -> String {
        format!("unix://{}", self.folder.path().join("socket").display())
    }

    /// The daemon's process, by which its network namespace can be entered.
    pub fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// `docker` with these words.
    pub fn docker(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// `docker` with these words, to be started.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command
            .args(["--host", &self.address()])
            .args(words)
            .env("DOCKER_CONFIG", self.folder.path().join("config"))
            .stdin(Stdio::null());
        command
    }

    /// What `docker` prints, which has to succeed.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.docker(words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "docker {words:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout).trim_end().to_owned()
    }

    /// Builds an image from a Dockerfile and files beside it: name and content, or the path it is copied from.
    pub fn build(&self, tag: &str, dockerfile: &str, files: &[(&str, File<'_>)]) {
        let context = self.context(tag, dockerfile, files).display().to_string();
        self.ok(&[
            "build",
            "--quiet",
            "--network",
            "none",
            "--tag",
            tag,
            &context,
        ]);
    }

    /// A folder with a Dockerfile and files beside it.
    pub fn context(&self, tag: &str, dockerfile: &str, files: &[(&str, File<'_>)]) -> PathBuf {
        let folder = self.folder.path().join(tag);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
        for (name, file) in files {
            let path = folder.join(name);
            match file {
                File::Text(text) => std::fs::write(&path, text).unwrap(),
                File::CopyOf(from) => drop(std::fs::copy(from, &path).unwrap()),
            }
        }
        folder
    }

    /// The image of a whole Debian system, which `tests/setup.sh` made; None where it did not.
    pub fn debian(&self) -> Option<&'static str> {
        let target = Path::new(PROGRAM).ancestors().nth(3)?;
        let tree = target.join("test-debian.tar");
        let known = self.docker(&["image", "inspect", DEBIAN]).status.success();
        if !known && tree.exists() {
            self.ok(&["import", &tree.display().to_string(), DEBIAN]);
        }
        (known || tree.exists()).then_some(DEBIAN)
    }

    /// Builds the image with a shell; the shared engine has it from the start.
    pub fn build_busybox(&self) {
        let busybox = PathBuf::from(find_program("busybox").unwrap());
        self.build(
            BUSYBOX,
            "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
             COPY go-overlay /go-overlay\nCOPY passwd /etc/passwd\nENV PATH=/bin\nENTRYPOINT [\"/go-overlay\"]\n",
            &[
                ("busybox", File::CopyOf(busybox)),
                ("go-overlay", File::CopyOf(PROGRAM.into())),
                ("passwd", File::Text("root:x:0:0::/:/bin/sh\n")),
            ],
        );
    }

    /// An image with this `services.toml` and a shell; its tag.
    pub fn image(&self, tag: &str, services: &str) -> String {
        let tag = format!("go-overlay-{tag}");
        self.build(
            &tag,
            &format!("FROM {BUSYBOX}\nCOPY services.toml /services.toml\n"),
            &[("services.toml", File::Text(services))],
        );
        tag
    }

    /// Starts a container in the background; `words` are `docker run`'s, with the image at the end.
    pub fn run(self: &Arc<Engine>, words: &[&str]) -> Container {
        let id = self.ok(&[&["run", "--detach", "--network", "none"], words].concat());
        Container {
            engine: Arc::clone(self),
            id,
        }
    }
}

/// Where a file of an image comes from.
pub enum File<'a> {
    Text(&'a str),
    CopyOf(PathBuf),
}

impl Drop for Engine {
    fn drop(&mut self) {
        let all =
            String::from_utf8(self.docker(&["ps", "--all", "--quiet"]).stdout).unwrap_or_default();
        let containers: Vec<&str> = all.split_whitespace().collect();
        if !containers.is_empty() {
            self.docker(&[&["rm", "--force"], containers.as_slice()].concat());
        }
        let _ = kill(Pid::from_raw(self.daemon.id() as i32), Signal::SIGTERM);
        let _ = self.daemon.wait();
        // The engine leaves its network namespace mounted, and so nothing below could be removed.
        let namespace = self.folder.path().join("exec/netns/default");
        let _ = umount2(&namespace, MntFlags::MNT_DETACH);
        let removed = std::fs::remove_dir_all(self.folder.path());
        if !std::thread::panicking() {
            removed.expect("what the engine left cannot be removed");
        }
    }
}

/// A container; removed when it is dropped.
pub struct Container {
    engine: Arc<Engine>,
    pub id: String,
}

impl Container {
    /// What both streams of it hold so far.
    pub fn logs(&self) -> String {
        let output = self.engine.docker(&["logs", &self.id]);
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }

    /// Waits until its log has this.
    pub fn wait_for(&self, needle: &str) {
        let mut last = String::new();
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while std::time::Instant::now() < deadline {
            last = self.logs();
            if last.contains(needle) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no {needle:?} in:\n{last}");
    }

    /// One value of `docker inspect`.
    pub fn inspect(&self, format: &str) -> String {
        self.engine.ok(&["inspect", "--format", format, &self.id])
    }

    /// `docker exec` of go-overlay with these words: exit code and everything it printed.
    pub fn go(&self, words: &[&str]) -> (i32, String) {
        let output = self
            .engine
            .docker(&[&["exec", &self.id, "/go-overlay"], words].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), text)
    }

    /// Sends a signal.
    pub fn kill(&self, signal: &str) {
        self.engine.ok(&["kill", "--signal", signal, &self.id]);
    }

    /// `docker stop` with this grace, in seconds; how long it took.
    pub fn stop(&self, grace: u32) -> Duration {
        let began = std::time::Instant::now();
        self.engine
            .ok(&["stop", "--time", &grace.to_string(), &self.id]);
        began.elapsed()
    }

    /// `docker stop` with a grace of 10 s, which has to end within `bound` and what the engine itself needs: ten times
    /// as long as a question to it takes just before, and less than the grace.
    pub fn stops_within(&self, bound: Duration) {
        let began = std::time::Instant::now();
        self.inspect("{{.State.Pid}}");
        let bound = (bound + 10 * began.elapsed()).min(Duration::from_secs(9));
        let took = self.stop(10);
        assert!(took < bound, "{took:?}, not {bound:?}");
    }

    /// Waits for its end; its exit code.
    pub fn wait(&self) -> i32 {
        self.engine.ok(&["wait", &self.id]).parse().unwrap()
    }

    pub fn exit_code(&self) -> i32 {
        self.inspect("{{.State.ExitCode}}").parse().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.engine.docker(&["rm", "--force", &self.id]);
    }
}
