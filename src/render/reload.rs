//! What a reload does, a line a service.

use super::{GREEN, RED, Style, YELLOW, plain};
use crate::control::message::{ReloadChange, ReloadPlan};

/// The answer to `reload`.
pub fn reload(applied: bool, plan: &ReloadPlan, style: Style) -> String {
    let mut text = String::new();
    let mut line = |color: &str, sign: &str, name: &str, what: &str| {
        let sign = style.paint(color, sign);
        text.push_str(&format!("{sign} {}  {what}\n", plain(name)));
    };
    for name in &plan.added {
        line(GREEN, "+", name, "added");
    }
    for name in &plan.removed {
        line(RED, "-", name, "removed");
    }
    for ReloadChange { name, keys } in &plan.restarted {
        line(YELLOW, "~", name, &format!("restarted ({})", because(keys)));
    }
    for ReloadChange { name, keys } in &plan.updated {
        line(YELLOW, "=", name, &format!("updated ({})", because(keys)));
    }
    for setting in &plan.settings {
        line(YELLOW, "=", &format!("[{setting}]"), "updated");
    }
    let services = if plan.unchanged == 1 {
        "service"
    } else {
        "services"
    };
    let did = if applied {
        ""
    } else {
        "; nothing was done yet"
    };
    text.push_str(&format!("{} {services} unchanged{did}\n", plan.unchanged));
    text
}

fn because(keys: &[String]) -> String {
    match keys {
        [] => "it was on its way out".into(),
        keys => plain(&keys.join(", ")).into_owned(),
    }
}
