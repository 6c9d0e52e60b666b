//! The program's place in PATH: a symlink, never in the place of a file.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::sys::environment::DEFAULT_PATH;

const NAME: &str = "go-overlay";
const DEFAULT_DIR: &str = "/usr/local/bin";

/// Puts a symlink to this program into a directory, and for the default one to `/go-overlay` too.
/// Gives back a line for each thing done.
///
/// # Errors
/// In words, when the directory's link cannot be made.
pub fn install(dir: Option<&Path>) -> Result<Vec<String>, String> {
    let program = this_program()?;
    let link = dir.unwrap_or(Path::new(DEFAULT_DIR)).join(NAME);
    let mut done = vec![put_link(&link, &program)?];
    if dir.is_none() {
        done.extend(put_link(Path::new("/go-overlay"), &program));
    }
    Ok(done)
}

/// Takes the symlinks away again; files stay.
///
/// # Errors
/// In words, when a link cannot be removed.
pub fn uninstall(dir: Option<&Path>) -> Result<Vec<String>, String> {
    let mut links = vec![dir.unwrap_or(Path::new(DEFAULT_DIR)).join(NAME)];
    if dir.is_none() {
        links.push("/go-overlay".into());
    }
    let mut done = Vec::new();
    for link in links {
        match fs::symlink_metadata(&link) {
            Ok(metadata) if metadata.is_symlink() => {
                fs::remove_file(&link)
                    .map_err(|error| format!("cannot remove {}: {error}", link.display()))?;
                done.push(format!("removed {}", link.display()));
            }
            Ok(_) => done.push(format!("left {} alone: it is no symlink", link.display())),
            Err(_) => {}
        }
    }
    if done.is_empty() {
        done.push("nothing to remove".into());
    }
    Ok(done)
}

/// In the daemon, as root: if the program's folder is not in PATH, its links are made. Gives back what
/// was done or could not be, for whoever wants to know; a read-only file system is no trouble.
pub fn auto_install() -> Vec<String> {
    if !nix::unistd::geteuid().is_root() {
        return Vec::new();
    }
    let program = match this_program() {
        Ok(program) => program,
        Err(why) => return vec![why],
    };
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let folder = program.parent().map(Path::to_owned);
    if std::env::split_paths(&path).any(|entry| Some(&entry) == folder.as_ref()) {
        return Vec::new();
    }
    [Path::new(DEFAULT_DIR).join(NAME), "/go-overlay".into()]
        .iter()
        .map(|link| put_link(link, &program).unwrap_or_else(|why| why))
        .collect()
}

fn this_program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("cannot find this program's own file: {error}"))
}

fn put_link(link: &Path, program: &Path) -> Result<String, String> {
    let cannot = |error: io::Error| format!("cannot link {}: {error}", link.display());
    if link == program {
        return Ok(format!("{} is the program itself", link.display()));
    }
    match fs::symlink_metadata(link) {
        Ok(metadata) if metadata.is_symlink() => {
            if fs::read_link(link).is_ok_and(|target| target == program) {
                return Ok(format!("{} is there already", link.display()));
            }
            fs::remove_file(link).map_err(cannot)?;
        }
        Ok(_) => {
            return Err(format!(
                "cannot link {}: a file is in its place",
                link.display()
            ));
        }
        Err(_) => {}
    }
    symlink(program, link).map_err(cannot)?;
    Ok(format!("{} -> {}", link.display(), program.display()))
}
