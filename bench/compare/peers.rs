//! The other supervisors: how each is told to keep the services, to end them, and to show them.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::contenders::{Contender, Kind, Tools, command, each_service, printed};
use crate::site::Site;

/// Those that are installed.
pub fn all(tools: &Tools) -> impl Iterator<Item = Contender> {
    let all = [s6, runit, supervisor, circus, horust, dinit, nitro];
    all.into_iter().filter_map(|peer| peer(tools))
}

fn s6(tools: &Tools) -> Option<Contender> {
    let (program, client) = (tools.find("s6-svscan")?, tools.find("s6-svstat")?);
    let start = move |site: &Site| {
        run_links(site);
        command(&program, ["-c", "10000", &site.at("sv")])
    };
    let list = move |site: &Site| {
        let folders = (0..site.count).map(|index| site.at(&format!("sv/s{index}")));
        folders.map(|folder| command(&client, [&folder])).collect()
    };
    Some(
        Contender::new("s6", Kind::Peer, start)
            .version(&packaged("s6"))
            .list(list),
    )
}

fn runit(tools: &Tools) -> Option<Contender> {
    let (program, client) = (tools.find("runsvdir")?, tools.find("sv")?);
    let start = move |site: &Site| {
        run_links(site);
        command(&program, [&site.at("sv")])
    };
    let list = move |site: &Site| {
        let mut command = command(&client, ["status"]);
        command.args((0..site.count).map(|index| site.at(&format!("sv/s{index}"))));
        vec![command]
    };
    // SIGTERM would leave the services running.
    Some(
        Contender::new("runit", Kind::Peer, start)
            .version(&packaged("runit"))
            .list(list)
            .stopped_by(Signal::SIGHUP),
    )
}

/// The version of a Debian package whose programs do not tell theirs.
fn packaged(package: &str) -> String {
    printed(
        Path::new("dpkg-query"),
        &["--show", "--showformat", "${Version}", package],
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
        let text = format!(
            "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={}\nminfds=20000\n\
             [unix_http_server]\nfile={socket}\n[supervisorctl]\nserverurl=unix://{socket}\n\
             [rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n",
            site.at("supervisor.pid")
        ) + &each_service(site, |name, program| {
            format!(
                "[program:{name}]\ncommand={program}\nautorestart=true\nstartsecs=0\n\
                 stdout_logfile=NONE\nstderr_logfile=NONE\n"
            )
        });
        let file = site.write("supervisor.conf", &text);
        command(&program, ["--configuration", &file])
    };
    let list = move |site: &Site| {
        let file = site.at("supervisor.conf");
        vec![command(&client, ["--configuration", &file, "status"])]
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
        let text = format!(
            "[circus]\nendpoint = {}\npubsub_endpoint = ipc://{}\ncheck_delay = 1\n",
            endpoint(site),
            site.at("circus-events.sock")
        ) + &each_service(site, |name, program| {
            format!("[watcher:{name}]\ncmd = {program}\nnumprocesses = 1\ncopy_env = True\n")
        });
        let file = site.write("circus.ini", &text);
        command(&program, ["--log-level", "critical", &file])
    };
    let list = move |site: &Site| vec![command(&client, ["--endpoint", &endpoint(site), "status"])];
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
        let sockets = site.at("uds");
        std::fs::create_dir_all(&sockets).unwrap();
        let services = site.at("horust");
        let arguments = ["--services-path", &services, "--uds-folder-path", &sockets];
        command(&program, arguments)
    };
    // Its client asks for one service at a time, and needs seconds for a hundred of them; it is left out.
    Some(Contender::new("horust", Kind::Peer, start).version(&version))
}

/// Not packaged for Debian 12; compared where somebody has installed it.
fn dinit(tools: &Tools) -> Option<Contender> {
    let (program, client) = (tools.find("dinit")?, tools.find("dinitctl")?);
    let version = printed(&program, &["--version"]);
    let start = move |site: &Site| {
        for index in 0..site.count {
            let text = format!(
                "type = process\ncommand = {}\nrestart = true\nrestart-delay = 0\nrestart-limit-count = 0\n",
                site.service.display()
            );
            site.write(&format!("dinit/s{index}"), &text);
        }
        let all = each_service(site, |name, _| format!("waits-for: {name}\n"));
        site.write("dinit/boot", &format!("type = internal\n{all}"));
        let (services, socket) = (site.at("dinit"), site.at("dinit.sock"));
        let mut command = command(&program, ["--container", "--services-dir", &services]);
        command.args(["--socket-path", &socket]);
        command
    };
    let list = move |site: &Site| {
        let socket = site.at("dinit.sock");
        vec![command(&client, ["--socket-path", &socket, "list"])]
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
    let at_socket = |mut command: Command, site: &Site| {
        command.env("NITRO_SOCK", site.at("nitro.sock"));
        command
    };
    let start = move |site: &Site| {
        run_links(site);
        at_socket(command(&program, [&site.at("sv")]), site)
    };
    let list = move |site: &Site| vec![at_socket(command(&client, ["list"]), site)];
    Some(Contender::new("nitro", Kind::Peer, start).list(list))
}
