//! Who is compared: the floors, go-overlay, and every other supervisor that is installed. Each is told to keep the same
//! services in the way its own documentation says, with no pause before a restart where it can do without one.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::peers;
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
    /// The floor whose services write to the same: pipes or terminals.
    pub floor_alike: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Floor,
    Ours,
    Peer,
}

impl Contender {
    pub fn new(
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
            floor_alike: None,
        }
    }

    pub fn version(mut self, version: &str) -> Contender {
        self.version = version.lines().next().unwrap_or_default().trim().to_owned();
        self
    }

    pub fn list(mut self, list: impl Fn(&Site) -> Vec<Command> + 'static) -> Contender {
        self.list = Some(Box::new(list));
        self
    }

    pub fn stopped_by(mut self, signal: Signal) -> Contender {
        self.stop = signal;
        self
    }

    fn beside(mut self, floor: &'static str) -> Contender {
        self.floor_alike = Some(floor);
        self
    }

    fn only_one(mut self) -> Contender {
        self.only_one = true;
        self
    }
}

const PIPES: &str = "floor: two pipes each";
const TERMINALS: &str = "floor: a terminal each";

/// Everybody who is there, the floor first.
pub fn all(go_overlay: &Path, tools: &Tools) -> Vec<Contender> {
    let mut all = vec![
        floor("floor: posix_spawn", "plain"),
        floor(PIPES, "pipes"),
        floor(TERMINALS, "terminals"),
        ours("go-overlay, pipes", go_overlay, false).beside(PIPES),
        ours("go-overlay, terminals", go_overlay, true).beside(TERMINALS),
    ];
    if let Some(before) = std::env::var_os("BEFORE").map(PathBuf::from) {
        all.push(ours("before, pipes", &before, false).beside(PIPES));
        all.push(ours("before, terminals", &before, true).beside(TERMINALS));
    }
    all.extend(peers::all(tools));
    all
}

/// Who can be the init of one program.
pub fn inits(go_overlay: &Path, tools: &Tools) -> Vec<Contender> {
    let program = go_overlay.to_owned();
    let ours = Contender::new("go-overlay", Kind::Ours, move |site| {
        let socket = site.at("socket");
        let arguments = ["--no-install", "--socket", &socket, "--"];
        let mut command = command(&program, arguments);
        command.arg(&site.service);
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
pub fn printed(program: &Path, words: &[&str]) -> String {
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
        let file = site.write(
            "services.toml",
            &each_service(site, |name, program| {
                format!(
                    "[[services]]\nname = \"{name}\"\ncommand = \"{program}\"\ntty = {tty}\n\
                     restart = {{ policy = \"always\", delay = 0, jitter = 0 }}\n\n"
                )
            }),
        );
        let socket = site.at("socket");
        command(
            &program,
            ["--no-install", "--socket", &socket, "--config", &file],
        )
    };
    let list = move |site: &Site| vec![command(&client, ["--socket", &site.at("socket"), "list"])];
    Contender::new(name, Kind::Ours, start)
        .version(&version)
        .list(list)
}

/// A program with its arguments.
pub fn command<const N: usize>(program: &Path, arguments: [&str; N]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The texts for each service's name and program, one after the other.
pub fn each_service(site: &Site, text: impl Fn(&str, &str) -> String) -> String {
    let program = site.service.display().to_string();
    (0..site.count)
        .map(|index| text(&format!("s{index}"), &program))
        .collect()
}
