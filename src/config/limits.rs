//! What the kernel allows a service: `limits` and `umask`.

use toml::de::DeValue;

use super::diagnostic::Finding;
use super::model::{Limit, Resource};
use super::scalar::{Table, integer_of};

const LIMITS: [(&str, Resource); 16] = [
    ("core", Resource::Core),
    ("data", Resource::Data),
    ("nice", Resource::Nice),
    ("fsize", Resource::Fsize),
    ("sigpending", Resource::Sigpending),
    ("memlock", Resource::Memlock),
    ("rss", Resource::Rss),
    ("nofile", Resource::Nofile),
    ("msgqueue", Resource::Msgqueue),
    ("rtprio", Resource::Rtprio),
    ("stack", Resource::Stack),
    ("cpu", Resource::Cpu),
    ("nproc", Resource::Nproc),
    ("as", Resource::As),
    ("locks", Resource::Locks),
    ("rttime", Resource::Rttime),
];

/// The names of all limits.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    LIMITS.iter().map(|(name, _)| *name)
}

/// `umask`.
pub(super) fn umask(fields: &mut Table<'_, '_>) -> Option<u32> {
    let value = fields.get("umask")?;
    let mask = match value.get_ref() {
        // The number's own reader takes a sign.
        DeValue::String(text) => Some(text.strip_prefix("0o").unwrap_or(text))
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| u32::from_str_radix(digits, 8).ok()),
        other => other
            .as_integer()
            .filter(|number| number.radix() == 8)
            .and_then(|number| u32::from_str_radix(number.as_str(), 8).ok()),
    };
    if mask.is_none_or(|mask| mask > 0o777) {
        let finding = Finding::error(
            value.span(),
            "`umask` has to be octal, from 000 to 777",
            "not an octal mask",
        );
        fields.report(finding.help("write umask = \"022\" or umask = 0o022"));
        return None;
    }
    mask
}

/// `limits`.
pub(super) fn limits(fields: &mut Table<'_, '_>) -> Vec<Limit> {
    let Some(table) = fields.table("limits", "a table") else {
        return Vec::new();
    };
    let mut limits = Vec::new();
    for (key, value) in table.iter() {
        let name = key.get_ref().as_ref();
        let Some((_, resource)) = LIMITS.iter().find(|(known, _)| *known == name) else {
            let finding = Finding::error(key.span(), format!("unknown limit `{name}`"), "unknown");
            fields.report_unknown(finding, name, names());
            continue;
        };
        let (soft, hard) = match value.get_ref() {
            DeValue::Table(pair) => {
                let part = |key: &str| pair.get(key).map(|part| amount(part.get_ref()));
                let (soft, hard) = (part("soft"), part("hard"));
                (soft.or(hard).flatten(), hard.or(soft).flatten())
            }
            other => (amount(other), amount(other)),
        };
        match (soft, hard) {
            (Some(soft), Some(hard)) if soft.unwrap_or(u64::MAX) <= hard.unwrap_or(u64::MAX) => {
                limits.push(Limit {
                    resource: *resource,
                    soft,
                    hard,
                });
            }
            (Some(_), Some(_)) => fields.report(Finding::error(
                value.span(),
                format!("the soft limit of `{name}` is above the hard one"),
                "soft has to be at most hard",
            )),
            _ => {
                let is_number = match value.get_ref() {
                    DeValue::Table(pair) => ["soft", "hard"]
                        .iter()
                        .filter_map(|part| pair.get(*part))
                        .any(|part| {
                            part.get_ref().is_integer() && amount(part.get_ref()).is_none()
                        }),
                    other => other.is_integer(),
                };
                let what = match is_number {
                    true => format!(
                        "`{name}` is out of range: limits are from 0 to {}",
                        i64::MAX
                    ),
                    false => format!("`{name}` is no limit"),
                };
                let finding = Finding::error(
                    value.span(),
                    what,
                    "expected a whole number, \"unlimited\", or { soft = …, hard = … }",
                );
                fields.report(finding);
            }
        }
    }
    limits
}

/// The inner None is unlimited.
fn amount(value: &DeValue<'_>) -> Option<Option<u64>> {
    match value.as_str() {
        Some("unlimited" | "infinity") => Some(None),
        Some(_) => None,
        None => integer_of(value)
            .and_then(|number| u64::try_from(number).ok())
            .map(Some),
    }
}
