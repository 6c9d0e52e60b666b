//! A service's terminal: `stdin` and `tty_size`.

use toml::de::DeValue;

use super::diagnostic::Finding;
use super::entry::Entry;
use super::model::{Stdin, TtySize};
use super::scalar::type_name;

/// The kernel counts rows and columns in 16 bits.
const MAX_SIZE: u16 = u16::MAX;

/// `stdin`: the terminal where there is one, unless it says otherwise.
pub(super) fn stdin(entry: &mut Entry<'_>) -> Stdin {
    let tty = entry.has_tty();
    let fields = &mut entry.fields;
    let stdin = fields.word("stdin", &[("tty", Stdin::Tty), ("null", Stdin::Null)]);
    if stdin == Some(Stdin::Tty)
        && !tty
        && let Some(span) = fields.span_of_key("stdin")
    {
        let finding = Finding::error(
            span,
            "`stdin = \"tty\"` needs a terminal, and `tty = false` gives none",
            "there is no terminal",
        );
        fields.report(finding.help("remove one of the two"));
    }
    stdin.unwrap_or(if tty { Stdin::Tty } else { Stdin::Null })
}

const SIZE_EXAMPLE: &str = "write it such as tty_size = \"132x50\", columns first";

/// `tty_size = "80x24"`, columns first.
pub(super) fn size(entry: &mut Entry<'_>) -> Option<TtySize> {
    let tty = entry.has_tty();
    let fields = &mut entry.fields;
    let value = fields.get("tty_size")?;
    let span = value.span();
    let DeValue::String(text) = value.get_ref() else {
        let found = type_name(value.get_ref());
        let what = format!("`tty_size` has to be columns x rows in quotes, and is {found}");
        fields.report(Finding::error(span, what, "expected a string").help(SIZE_EXAMPLE));
        return None;
    };
    if !tty {
        let finding = Finding::error(
            span,
            "`tty_size` needs a terminal, and `tty = false` gives none",
            "there is no terminal",
        );
        fields.report(finding.help("remove one of the two"));
        return None;
    }
    let number = |text: &str| {
        let number = text.trim().parse::<u16>().ok();
        number.filter(|number| (1..=MAX_SIZE).contains(number))
    };
    let size = text.split_once('x').and_then(|(columns, rows)| {
        Some(TtySize {
            columns: number(columns)?,
            rows: number(rows)?,
        })
    });
    if size.is_none() {
        let label = match text.split_once('x') {
            Some((columns, rows)) if is_number(columns) && is_number(rows) => {
                "columns and rows are from 1 to 65535"
            }
            _ => "expected columns x rows",
        };
        let finding = Finding::error(span, "`tty_size` is no size", label);
        fields.report(finding.help(SIZE_EXAMPLE));
    }
    size
}

fn is_number(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
