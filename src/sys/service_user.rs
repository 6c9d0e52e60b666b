//! The user that a service runs as, and what that user finds. Reads the user database and walks paths, which may never
//! answer: for children.

use std::path::Path;

use crate::config::log::folder_of;
use crate::config::model::{Service, User, UserSpec};
use crate::config::user::resolve;
use crate::sys::commands::reason;
use crate::sys::facts::SystemFacts;
use crate::sys::guarded::{self, Links, Rights};
use crate::sys::spawn::Ids;

/// The daemon's own user, which is a service's where none is named.
pub fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Whose log file a service has that runs as this user: user and group; None where there is no such user.
pub fn owner_of(user: &UserSpec) -> Option<(u32, u32)> {
    let user = resolve(user, &SystemFacts::new()).ok()?;
    Some((user.uid, user.gid))
}

/// Whether the folder of a log file is there; it may be made before the service starts.
pub fn has_log_folder(path: &Path) -> bool {
    is_folder(folder_of(path), &Rights::of(None)).is_ok()
}

/// The rights of a service's user.
///
/// # Errors
/// In words, where there is no such user.
pub fn rights(service: &Service) -> Result<Rights, String> {
    let user = service.user.as_deref().map(|spec| look_up(spec, "user"));
    Ok(Rights::of(user.transpose()?.map(|(user, _)| user).as_ref()))
}

/// The user as the passwd and group files know it now, which a service before this one may have changed.
///
/// # Errors
/// In words, where there is no such user.
pub fn look_up(spec: &UserSpec, key: &'static str) -> Result<(User, Ids), String> {
    let user = resolve(spec, &SystemFacts::new())
        .map_err(|why| format!("cannot use `{key}`: {why} ({})", why.place()))?;
    let ids = Ids {
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        name: spec.user.to_string(),
        key,
    };
    Ok((user, ids))
}

/// Whether a folder is there, as far as these rights reach.
///
/// # Errors
/// In words, why it cannot be used.
pub fn is_folder(folder: &Path, rights: &Rights) -> Result<(), String> {
    let found = guarded::find(folder, rights, Links::Judged)
        .and_then(|place| place.metadata().map(|found| found.is_dir()));
    match found {
        Ok(true) => Ok(()),
        Ok(false) => Err("it is not a directory".to_owned()),
        // The service's user may see more than the daemon's.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(reason(&error)),
    }
}
