//! Who is compared: the floors, go-overlay, and every other supervisor that is installed. Each is told to keep the same
//! services in the way its own documentation says, with no pause before a restart where it can do without one.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::site::Site;

/// Makes the commands that show all services.
type List = Box<dyn Fn(&Site) -> Vec<Command>>;

/// One way to supervise.
pub struct Contender {
    pub name: &'static str,
    pub version: String,
    pub kind: Kind,
    /// Writes the configuration; the command that supervises.
    pub start: Box<dyn Fn(&Site) -> Command>,
    /// The commands that show all services, where it has one.
    pub list: Option<List>,
    /// What tells it to end everything.
    pub stop: Signal,
    /// It keeps exactly one program.
    pub only_one: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Floor,
    Ours,
    Peer,
}

impl Contender {
    fn new(
        name: &'static str,
        kind: Kind,
        start: impl Fn(&Site) -> Command + 'static,
    ) -> Contender {
        Contender {
            name,
            version: String::new(),
            kind,
            start: Box::new(start),
            list: None,
            stop: Signal::SIGTERM,
            only_one: false,
        }
    }

    fn version(mut self, version: &str) -> Contender {
        self.version = version.lines().next().unwrap_or_default().trim().to_owned();
        self
    }

    fn list(mut self, list: impl Fn(&Site) -> Vec<Command> + 'static) -> Contender {
        self.list = Some(Box::new(list));
        self
    }

    fn stopped_by(mut self, signal: Signal) -> Contender {
        self.stop = signal;
        self
    }

    fn only_one(mut self) -> Contender {
        self.only_one = true;
        self
    }
}

/// Everybody who is there, the floor first.
pub fn all(go_overlay: &Path, tools: &Tools) -> Vec<Contender> {
    let mut all = vec![
        floor("floor: posix_spawn", "plain"),
        floor("floor: two pipes each", "pipes"),
        floor("floor: a terminal each", "terminals"),
    ];
    all.push(ours("go-overlay, pipes", go_overlay, false));
    all.push(ours("go-overlay, terminals", go_overlay, true));
    all.extend(
        [
            s6(tools),
            runit(tools),
            supervisor(tools),
            circus(tools),
            horust(tools),
            dinit(tools),
            nitro(tools),
        ]
        .into_iter()
        .flatten(),
    );
    all
}

/// Who can be the init of one program.
pub fn inits(go_overlay: &Path, tools: &Tools) -> Vec<Contender> {
    let program = go_overlay.to_owned();
    let ours = Contender::new("go-overlay", Kind::Ours, move |site| {
        let mut command = Command::new(&program);
        command
            .args(["--no-install", "--socket", &site.at("socket"), "--"])
            .arg(&site.service);
        command
    });
    let mut all = vec![floor("floor: posix_spawn", "plain"), ours.only_one()];
    for name in ["tini", "dumb-init"] {
        if let Some(program) = tools.find(name) {
            let is_tini = name == "tini";
            let start = move |site: &Site| {
                let mut command = Command::new(&program);
                // It is no first process here: -s makes it a subreaper, as go-overlay is.
                command
                    .args(is_tini.then_some("-s"))
                    .arg("--")
                    .arg(&site.service);
                command
            };
            all.push(Contender::new(name, Kind::Peer, start).only_one());
        }
    }
    all
}

/// A name for what is measured beside the contenders.
pub fn floor_of(name: &'static str) -> Contender {
    Contender::new(name, Kind::Floor, |_| Command::new("true"))
}

/// Where programs are.
pub struct Tools {
    /// Searched before PATH.
    pub folders: Vec<PathBuf>,
}

impl Tools {
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        self.folders
            .iter()
            .cloned()
            .chain(std::env::split_paths(&path))
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    }
}

/// What `program WORDS` prints.
fn printed(program: &Path, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    output.map_or_else(
        |_| String::new(),
        |output| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            text(&output.stdout) + &text(&output.stderr)
        },
    )
}

fn floor(name: &'static str, how: &'static str) -> Contender {
    Contender::new(name, Kind::Floor, move |site| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .arg("floor")
            .arg(site.count.to_string())
            .arg(&site.service)
            .arg(how);
        command
    })
}

fn ours(name: &'static str, program: &Path, tty: bool) -> Contender {
    let (program, client) = (program.to_owned(), program.to_owned());
    let version = printed(&program, &["version"]);
    let start = move |site: &Site| {
        let mut text = String::new();
        for index in 0..site.count {
            text += &format!(
                "[[services]]\nname = \"s{index}\"\ncommand = \"{}\"\ntty = {tty}\n\
                 restart = {{ policy = \"always\", delay = 0, jitter = 0 }}\n\n",
                site.service.display()
            );
        }
        let file = site.write("services.toml", &text);
        let mut command = Command::new(&program);
        command.args([
            "--no-install",
            "--socket",
            &site.at("socket"),
            "--config",
            &file,
        ]);
        command
    };
    let list = move |site: &Site| {
        let mut command = Command::new(&client);
        command.args(["--socket", &site.at("socket"), "list"]);
        vec![command]
    };
    Contender::new(name, Kind::Ours, start)
        .version(&version)
        .list(list)
}

fn s6(tools: &Tools) -> Option<Contender> {
    let (program, client) = (tools.find("s6-svscan")?, tools.find("s6-svstat")?);
    let version = printed(
        Path::new("dpkg-query"),
        &["--show", "--showformat", "${Version}", "s6"],
    );
    let start = move |site: &Site| {
        run_links(site);
        let mut command = Command::new(&program);
        command.args(["-c", "10000", &site.at("sv")]);
        command
    };
    let list = move |site: &Site| {
        (0..site.count)
            .map(|index| {
                let mut command = Command::new(&client);
                command.arg(site.at(&format!("sv/s{index}")));
                command
            })
            .collect()
    };
    Some(
        Contender::new("s6", Kind::Peer, start)
            .version(&version)
            .list(list),
    )
}

fn runit(tools: &Tools) -> Option<Contender> {
    let (program, client) = (tools.find("runsvdir")?, tools.find("sv")?);
    let version = printed(
        Path::new("dpkg-query"),
        &["--show", "--showformat", "${Version}", "runit"],
    );
    let start = move |site: &Site| {
        run_links(site);
        let mut command = Command::new(&program);
        command.arg(site.at("sv"));
        command
    };
    let list = move |site: &Site| {
        let mut command = Command::new(&client);
        command.arg("status");
        command.args((0..site.count).map(|index| site.at(&format!("sv/s{index}"))));
        vec![command]
    };
    // SIGTERM would leave the services running.
    Some(
        Contender::new("runit", Kind::Peer, start)
            .version(&version)
            .list(list)
            .stopped_by(Signal::SIGHUP),
    )
}

/// A folder a service, in which `run` is the service's program itself.
fn run_links(site: &Site) {
    for index in 0..site.count {
        let folder = site.folder.join(format!("sv/s{index}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(&site.service, folder.join("run")).unwrap();
    }
}

fn supervisor(tools: &Tools) -> Option<Contender> {
    let (program, client) = (tools.find("supervisord")?, tools.find("supervisorctl")?);
    let version = printed(&program, &["--version"]);
    let start = move |site: &Site| {
        let socket = site.at("supervisor.sock");
        let mut text = format!(
            "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={}\nminfds=20000\n\
             [unix_http_server]\nfile={socket}\n[supervisorctl]\nserverurl=unix://{socket}\n\
             [rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n",
            site.at("supervisor.pid")
        );
        for index in 0..site.count {
            text += &format!(
                "[program:s{index}]\ncommand={}\nautorestart=true\nstartsecs=0\nstdout_logfile=NONE\nstderr_logfile=NONE\n",
                site.service.display()
            );
        }
        let file = site.write("supervisor.conf", &text);
        let mut command = Command::new(&program);
        command.args(["--configuration", &file]);
        command
    };
    let list = move |site: &Site| {
        let mut command = Command::new(&client);
        command.args(["--configuration", &site.at("supervisor.conf"), "status"]);
        vec![command]
    };
    Some(
        Contender::new("supervisord", Kind::Peer, start)
            .version(&version)
            .list(list),
    )
}

fn circus(tools: &Tools) -> Option<Contender> {
    let (program, client) = (tools.find("circusd")?, tools.find("circusctl")?);
    let version = printed(&program, &["--version"]);
    let endpoint = |site: &Site| format!("ipc://{}", site.at("circus.sock"));
    let start = move |site: &Site| {
        let mut text = format!(
            "[circus]\nendpoint = {}\npubsub_endpoint = ipc://{}\ncheck_delay = 1\n",
            endpoint(site),
            site.at("circus-events.sock")
        );
        for index in 0..site.count {
            text += &format!(
                "[watcher:s{index}]\ncmd = {}\nnumprocesses = 1\ncopy_env = True\n",
                site.service.display()
            );
        }
        let file = site.write("circus.ini", &text);
        let mut command = Command::new(&program);
        command.args(["--log-level", "critical", &file]);
        command
    };
    let list = move |site: &Site| {
        let mut command = Command::new(&client);
        command.args(["--endpoint", &endpoint(site), "status"]);
        vec![command]
    };
    Some(
        Contender::new("circus", Kind::Peer, start)
            .version(&version)
            .list(list),
    )
}

fn horust(tools: &Tools) -> Option<Contender> {
    let program = tools.find("horust")?;
    let version = printed(&program, &["--version"]);
    let start = move |site: &Site| {
        for index in 0..site.count {
            let text = format!(
                "command = \"{}\"\n[restart]\nstrategy = \"always\"\nbackoff = \"0s\"\n[environment]\nkeep-env = true\n",
                site.service.display()
            );
            site.write(&format!("horust/s{index}.toml"), &text);
        }
        std::fs::create_dir_all(site.at("uds")).unwrap();
        let mut command = Command::new(&program);
        command.args([
            "--services-path",
            &site.at("horust"),
            "--uds-folder-path",
            &site.at("uds"),
        ]);
        command
    };
    // Its client asks for one service at a time, and needs seconds for a hundred of them; it is left out.
    Some(Contender::new("horust", Kind::Peer, start).version(&version))
}

/// Not packaged for Debian 12; compared where somebody has installed it.
fn dinit(tools: &Tools) -> Option<Contender> {
    let (program, client) = (tools.find("dinit")?, tools.find("dinitctl")?);
    let version = printed(&program, &["--version"]);
    let start = move |site: &Site| {
        let mut boot = "type = internal\n".to_owned();
        for index in 0..site.count {
            boot += &format!("waits-for: s{index}\n");
            let text = format!(
                "type = process\ncommand = {}\nrestart = true\nrestart-delay = 0\nrestart-limit-count = 0\n",
                site.service.display()
            );
            site.write(&format!("dinit/s{index}"), &text);
        }
        site.write("dinit/boot", &boot);
        let mut command = Command::new(&program);
        command.args([
            "--container",
            "--services-dir",
            &site.at("dinit"),
            "--socket-path",
            &site.at("dinit.sock"),
        ]);
        command
    };
    let list = move |site: &Site| {
        let mut command = Command::new(&client);
        command.args(["--socket-path", &site.at("dinit.sock"), "list"]);
        vec![command]
    };
    Some(
        Contender::new("dinit", Kind::Peer, start)
            .version(&version)
            .list(list),
    )
}

/// Not packaged for Debian 12; compared where somebody has installed it.
fn nitro(tools: &Tools) -> Option<Contender> {
    let (program, client) = (tools.find("nitro")?, tools.find("nitroctl")?);
    let start = move |site: &Site| {
        run_links(site);
        let mut command = Command::new(&program);
        command
            .arg(site.at("sv"))
            .env("NITRO_SOCK", site.at("nitro.sock"));
        command
    };
    let list = move |site: &Site| {
        let mut command = Command::new(&client);
        command.arg("list").env("NITRO_SOCK", site.at("nitro.sock"));
        vec![command]
    };
    Some(Contender::new("nitro", Kind::Peer, start).list(list))
}
