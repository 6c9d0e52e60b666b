//! From what names a zone to its rules: the key `timezone`, the variable TZ, or `/etc/localtime`.

use super::bundle;
use super::zone::{Zone, ZoneSource};

/// What is asked of the machine about zones.
pub trait ZoneFiles {
    /// The file of this zone in the system's database.
    fn zone(&self, name: &str) -> Option<ZoneFile>;
    /// What is at a path.
    fn file(&self, path: &str) -> Option<ZoneFile>;
    /// Where the symlink `/etc/localtime` points.
    fn local_link(&self) -> Option<String>;
    /// The variable TZ of the daemon.
    fn variable(&self) -> Option<String>;
}

/// A file with the rules of a zone (tzfile(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneFile {
    /// Where it is.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A zone that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// The file that holds, or names, the machine's zone.
pub const LOCALTIME: &str = "/etc/localtime";

/// The longest name of a zone, or rule, in bytes.
const MAX_NAME: usize = 128;

/// The zone that a configuration names: an IANA name, `UTC`, `local`, or a POSIX TZ string.
///
/// # Errors
/// There is no such zone, or its file is broken.
pub fn find_zone(written: &str, files: &dyn ZoneFiles) -> Result<Zone, ZoneError> {
    match written {
        "local" => local_zone(files),
        _ => by_name(written, files),
    }
}

/// The machine's zone: the variable TZ, then `/etc/localtime`, then UTC.
///
/// # Errors
/// TZ or the link `/etc/localtime` names no zone, or the file is broken.
pub fn local_zone(files: &dyn ZoneFiles) -> Result<Zone, ZoneError> {
    if let Some(variable) = files.variable() {
        let zone = of_variable(&variable, files).map_err(|error| ZoneError {
            message: format!(
                "the environment variable TZ is `{variable}`: {}",
                error.message
            ),
            help: format!("{}, or unset TZ", error.help),
        })?;
        return Ok(zone.chosen_by("TZ"));
    }
    let link = files.local_link();
    let name = link.as_deref().and_then(name_in_path);
    if let Some(file) = files.file(LOCALTIME) {
        return of_file(name.unwrap_or("local time"), &file).map(|zone| zone.chosen_by(LOCALTIME));
    }
    match name.map(|name| by_name(name, files)) {
        Some(Ok(zone)) => Ok(zone.chosen_by(LOCALTIME)),
        Some(Err(error)) => Err(ZoneError {
            message: format!(
                "{LOCALTIME} names a zone that is not there: {}",
                error.message
            ),
            help: error.help,
        }),
        None => Ok(Zone::utc().chosen_by("no TZ, no /etc/localtime")),
    }
}

/// The value of TZ (tzset(3)): it may begin with a colon, and may be a path. Empty is UTC, as for every program.
fn of_variable(value: &str, files: &dyn ZoneFiles) -> Result<Zone, ZoneError> {
    let value = value.strip_prefix(':').unwrap_or(value);
    if value.is_empty() {
        return Ok(Zone::utc());
    }
    if !value.starts_with('/') {
        return by_name(value, files);
    }
    if let Some(file) = files.file(value) {
        return of_file(name_in_path(value).unwrap_or(value), &file);
    }
    match name_in_path(value) {
        Some(name) => by_name(name, files),
        None => Err(ZoneError {
            message: "there is no such file".to_owned(),
            help: "set TZ to a name such as Europe/Berlin".to_owned(),
        }),
    }
}

/// `Europe/Berlin` of `/usr/share/zoneinfo/Europe/Berlin`.
fn name_in_path(path: &str) -> Option<&str> {
    let (_, name) = path.rsplit_once("zoneinfo/")?;
    Some(name.strip_prefix("posix/").unwrap_or(name))
}

fn of_file(name: &str, file: &ZoneFile) -> Result<Zone, ZoneError> {
    Zone::from_file(name, &file.path, &file.bytes).ok_or_else(|| ZoneError {
        message: format!("{} is no time zone file", file.path),
        help: "install the package tzdata again, or remove the file: a database is built in"
            .to_owned(),
    })
}

/// Letters of names; a path, or a way out of the database's directory, is none.
fn is_name(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-_".contains(&byte))
    };
    // Those below right/ count leap seconds, which no clock shows.
    text.len() <= MAX_NAME && text.split('/').all(part) && !text.starts_with("right/")
}

fn by_name(text: &str, files: &dyn ZoneFiles) -> Result<Zone, ZoneError> {
    if text == "UTC" {
        return Ok(Zone::utc());
    }
    if is_name(text) {
        if let Some(file) = files.zone(text) {
            return of_file(text, &file);
        }
        if let Some(zone) = Zone::bundled(text) {
            return Ok(zone);
        }
    }
    if text.len() <= MAX_NAME
        && let Some(zone) = Zone::posix(text)
    {
        return Ok(zone);
    }
    Err(unknown(text))
}

/// What the rule of a zone is often mistaken for: `UTC+2` is two hours behind UTC.
pub fn mistaken(zone: &Zone) -> Option<String> {
    let text = zone.name();
    let rest = ["UTC", "GMT"]
        .iter()
        .find_map(|name| text.strip_prefix(name))?;
    let sign = rest.chars().next().filter(|sign| "+-".contains(*sign))?;
    if *zone.source() != ZoneSource::Posix || rest[1..].bytes().all(|byte| byte == b'0') {
        return None;
    }
    let (side, other) = if sign == '+' {
        ("behind", '-')
    } else {
        ("ahead of", '+')
    };
    Some(format!(
        "in a POSIX TZ string west of Greenwich is positive: `{text}` is {side} UTC, and the opposite is `{}{other}{}`",
        &text[..3],
        &rest[1..]
    ))
}

/// Abbreviations that are no names of zones, and a zone that is probably meant.
const ABBREVIATIONS: [(&str, &str); 15] = [
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
    ("MDT", "America/Denver"),
    ("CST", "America/Chicago"),
    ("CDT", "America/Chicago"),
    ("EDT", "America/New_York"),
    ("BST", "Europe/London"),
    ("CEST", "Europe/Berlin"),
    ("EEST", "Europe/Athens"),
    ("MSK", "Europe/Moscow"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("AEST", "Australia/Sydney"),
    ("AEDT", "Australia/Sydney"),
    ("Z", "UTC"),
];

fn unknown(text: &str) -> ZoneError {
    let names = || bundle::names().chain(["UTC", "local"]);
    let same = |name: &&str| name.eq_ignore_ascii_case(&text.replace(' ', "_"));
    let city = |name: &&str| {
        let city = name.rsplit('/').next().unwrap_or(name);
        city.eq_ignore_ascii_case(&text.replace(' ', "_"))
    };
    let meant = ABBREVIATIONS
        .iter()
        .find(|(short, _)| short.eq_ignore_ascii_case(text));
    let near = match text.len() <= MAX_NAME {
        true => names()
            .find(same)
            .or_else(|| meant.map(|(_, zone)| *zone))
            .or_else(|| names().find(city))
            .or_else(|| crate::base::nearest(text, names())),
        false => None,
    };
    if text.is_empty() {
        return ZoneError {
            message: "the time zone is empty".to_owned(),
            help: "write a name such as `Europe/Berlin`, `UTC` or `local`".to_owned(),
        };
    }
    // Which days it goes by is not in its text, and differs from country to country.
    if text.len() <= MAX_NAME && Zone::posix(&format!("{text},M3.5.0,M10.5.0/3")).is_some() {
        return ZoneError {
            message: format!("`{text}` does not say when daylight saving begins and ends"),
            help: format!(
                "write a name such as `Europe/Berlin`, or the rule too: `{text},M3.5.0,M10.5.0/3`"
            ),
        };
    }
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    let help = match near {
        _ if digits && text.trim_start_matches(['+', '-']).bytes().all(|byte| byte.is_ascii_digit() || byte == b':') => {
            "write a name such as `Europe/Berlin`, or `<+02>-2` for two hours ahead of UTC all year".to_owned()
        }
        Some(near) => format!("did you mean `{near}`?"),
        None => "write a name such as `Europe/Berlin`, `UTC`, `local`, or a POSIX TZ string with its rule, such as \
                 `CET-1CEST,M3.5.0,M10.5.0/3`"
            .to_owned(),
    };
    let shown: String = text.chars().take(MAX_NAME).collect();
    ZoneError {
        message: format!("there is no time zone `{shown}`"),
        help,
    }
}
