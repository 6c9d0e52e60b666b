//! The program's place in PATH: a symlink. A file is never replaced or removed, nor a link that leads to
//! somebody else's program.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::sys::commands::DEFAULT_PATH;

const NAME: &str = "go-overlay";
const DEFAULT_DIR: &str = "/usr/local/bin";
const AT_ROOT: &str = "/go-overlay";

/// Puts a symlink to this program into a directory, and for the default one to `/go-overlay` too where
/// that is free. Gives back a line for each thing done.
///
/// # Errors
/// In words, when the directory's link cannot be made.
pub fn install(dir: Option<&Path>) -> Result<Vec<String>, String> {
    let program = this_program()?;
    let link = dir.unwrap_or(Path::new(DEFAULT_DIR)).join(NAME);
    let mut done = vec![put_link(&link, &program)?];
    if let Some(writable) = writable_by_others(&program).filter(|_| dir.is_none()) {
        done.push(format!(
            "note: a user other than root can write to {}, and so replace the program",
            writable.display()
        ));
    }
    if dir.is_none() {
        done.push(put_link(Path::new(AT_ROOT), &program).unwrap_or_else(|why| why));
    }
    Ok(done)
}

/// Takes the symlinks away again; what is not ours stays.
///
/// # Errors
/// In words, when a link cannot be removed.
pub fn uninstall(dir: Option<&Path>) -> Result<Vec<String>, String> {
    let program = this_program().unwrap_or_default();
    let mut links = vec![dir.unwrap_or(Path::new(DEFAULT_DIR)).join(NAME)];
    if dir.is_none() {
        links.push(AT_ROOT.into());
    }
    let mut done = Vec::new();
    for link in links {
        match standing_at(&link, &program) {
            Standing::Nothing => {}
            Standing::Ours => {
                fs::remove_file(&link)
                    .map_err(|error| format!("cannot remove {}: {error}", link.display()))?;
                done.push(format!("removed {}", link.display()));
            }
            Standing::Foreign(what) => done.push(format!("left {} alone: {what}", link.display())),
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
    if let Some(writable) = writable_by_others(&program) {
        return vec![format!(
            "cannot link {}: a user other than root can write to {}, and so replace the program",
            program.display(),
            writable.display()
        )];
    }
    // An empty image has no such directory; where it cannot be made, the link says why.
    let _ = DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(DEFAULT_DIR);
    [Path::new(DEFAULT_DIR).join(NAME), AT_ROOT.into()]
        .iter()
        .map(|link| put_link(link, &program).unwrap_or_else(|why| why))
        .collect()
}

/// The first of a program and the folders above it that a user other than root can change. What every user
/// runs as `go-overlay` must be root's to choose. An access control list shows in the group's bits (acl(5)).
fn writable_by_others(program: &Path) -> Option<&Path> {
    let is_roots = |path: &&Path| {
        fs::symlink_metadata(path)
            .is_ok_and(|metadata| metadata.uid() == 0 && metadata.mode() & 0o022 == 0)
    };
    program.ancestors().find(|path| !is_roots(path))
}

fn this_program() -> Result<PathBuf, String> {
    let program = std::env::current_exe()
        .map_err(|error| format!("cannot find this program's own file: {error}"))?;
    match program.exists() {
        true => Ok(program),
        false => Err(format!(
            "cannot link {}: it is not there any more",
            program.display()
        )),
    }
}

/// What is in a link's place.
enum Standing {
    Nothing,
    /// A link to this program, to one of its name, or to nothing.
    Ours,
    /// Anything else, in words.
    Foreign(String),
}

fn standing_at(link: &Path, program: &Path) -> Standing {
    let Ok(metadata) = fs::symlink_metadata(link) else {
        return Standing::Nothing;
    };
    if !metadata.is_symlink() {
        return Standing::Foreign("it is no symlink".into());
    }
    let Ok(target) = fs::read_link(link) else {
        return Standing::Foreign("it cannot be read".into());
    };
    let dangling = !link.exists();
    if dangling || target == program || target.file_name().is_some_and(|name| name == NAME) {
        return Standing::Ours;
    }
    Standing::Foreign(format!("it leads to {}", target.display()))
}

fn put_link(link: &Path, program: &Path) -> Result<String, String> {
    let cannot = |error: io::Error| format!("cannot link {}: {error}", link.display());
    if link == program {
        return Ok(format!("{} is the program itself", link.display()));
    }
    match standing_at(link, program) {
        Standing::Nothing => symlink(program, link).map_err(cannot)?,
        Standing::Ours if fs::read_link(link).is_ok_and(|target| target == program) => {
            return Ok(format!("{} is there already", link.display()));
        }
        Standing::Ours => {
            fs::remove_file(link).map_err(cannot)?;
            symlink(program, link).map_err(cannot)?;
        }
        Standing::Foreign(what) => {
            return Err(format!(
                "cannot link {}: something is in its place, and {what}; remove it, or name another directory with --dir",
                link.display()
            ));
        }
    }
    Ok(format!("{} -> {}", link.display(), program.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{install, uninstall, writable_by_others};

    #[test]
    fn a_program_that_others_can_replace_is_found() {
        use std::os::unix::fs::{PermissionsExt, chown};
        use std::path::Path;
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can give a folder to another user");
            return;
        }
        assert_eq!(writable_by_others(Path::new("/usr/bin")), None);
        // Below a folder that every user can write, whatever is on the way.
        let folder = tempfile::tempdir_in("/").unwrap();
        let program = folder.path().join("a/go-overlay");
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(&program, "").unwrap();
        let root = fs::symlink_metadata("/").unwrap().permissions().mode();
        assert_eq!(root & 0o022, 0, "/ is not root's alone");
        let set = |path: &Path, mode: u32, owner: u32| {
            chown(path, Some(owner), Some(0)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        assert_eq!(writable_by_others(&program), None);
        for path in program.ancestors().take(3) {
            for (mode, owner) in [(0o775, 0), (0o757, 0), (0o1777, 0), (0o755, 20_001)] {
                set(path, mode, owner);
                assert_eq!(writable_by_others(&program), Some(path), "{mode:o}");
                set(path, 0o755, 0);
            }
        }
        assert_eq!(writable_by_others(&program), None);
    }

    #[test]
    fn a_link_is_made_once_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("go-overlay");
        let install = || install(Some(folder.path())).unwrap().join("\n");
        assert!(install().contains(" -> "));
        assert_eq!(
            fs::read_link(&link).unwrap(),
            std::env::current_exe().unwrap()
        );
        assert!(install().contains("is there already"));
        assert!(
            uninstall(Some(folder.path())).unwrap()[0].starts_with("removed"),
            "{link:?}"
        );
        assert!(!link.is_symlink());
        assert_eq!(
            uninstall(Some(folder.path())).unwrap(),
            ["nothing to remove"]
        );
    }

    #[test]
    fn old_and_dangling_links_are_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("go-overlay");
        let old = folder.path().join("old/go-overlay");
        fs::create_dir(old.parent().unwrap()).unwrap();
        fs::write(&old, "").unwrap();
        for target in [old.as_path(), "/nowhere/program".as_ref()] {
            symlink(target, &link).unwrap();
            install(Some(folder.path())).unwrap();
            assert_eq!(
                fs::read_link(&link).unwrap(),
                std::env::current_exe().unwrap()
            );
            fs::remove_file(&link).unwrap();
        }
    }

    #[test]
    fn what_is_not_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("go-overlay");
        fs::write(&link, "precious").unwrap();
        assert!(
            install(Some(folder.path()))
                .unwrap_err()
                .contains("it is no symlink")
        );
        assert!(uninstall(Some(folder.path())).unwrap()[0].contains("left"));
        assert_eq!(fs::read(&link).unwrap(), b"precious");
        fs::remove_file(&link).unwrap();
        symlink("/bin/sh", &link).unwrap();
        assert!(
            install(Some(folder.path()))
                .unwrap_err()
                .contains("it leads to /bin/sh")
        );
        assert!(uninstall(Some(folder.path())).unwrap()[0].contains("left"));
        assert!(link.is_symlink());
    }
}
