//! What asks a service to end.

use toml::de::DeValue;

use super::diagnostic::Finding;
use super::scalar::{Table, integer_of};
use crate::base::Signal;

/// `stop_signal`.
pub(super) fn signal(fields: &mut Table<'_, '_>) -> Signal {
    let Some(value) = fields.get("stop_signal") else {
        return Signal::TERM;
    };
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        other => integer_of(other)
            .map(|number| number.to_string())
            .unwrap_or_default(),
    };
    let signal = Signal::parse(&text);
    if signal.is_none() {
        let finding = Finding::error(
            value.span(),
            "`stop_signal` is no signal",
            "expected a name such as \"SIGTERM\", or a number from 1 to 64",
        );
        fields.report_unknown_signal(finding, &text);
    }
    signal.unwrap_or(Signal::TERM)
}
