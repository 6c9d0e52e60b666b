//! One `[[services]]` entry.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::Facts;
use super::diagnostic::{Finding, may_suggest};
use super::foreign;
use super::model::{Log, Service};
use super::scalar::{Table, integer_of};
use super::{
    depends_on, environment, health, limits, log, program, ready, restart, terminal, user,
};
use crate::base::Signal;

/// Every key of a service.
pub(super) const KEYS: [&str; 38] = [
    "name",
    "command",
    "args",
    "raw_args",
    "enabled",
    "required",
    "user",
    "depends_on",
    "wait_after",
    "pre_script",
    "pos_script",
    "post_script",
    "script_user",
    "log_file",
    "env",
    "env_file",
    "working_dir",
    "umask",
    "nice",
    "oom_score_adj",
    "limits",
    "no_new_privs",
    "tty",
    "stop_signal",
    "stop_timeout",
    "log",
    "log_overflow",
    "log_buffer",
    "log_stdout",
    "stdin",
    "tty_size",
    "restart",
    "success_exit_codes",
    "health",
    "ready",
    "ready_timeout",
    "watchdog",
    "on_dependency_failure",
];

/// Keys that the specification knows and this version does not.
const LATER: [&str; 4] = ["schedule", "timezone", "overlap", "jitter"];

/// A service and where its parts stand, for what is checked between services.
pub(super) struct Read {
    pub service: Service,
    pub name_at: Range<usize>,
    /// One for each of the service's dependencies.
    pub dependencies_at: Vec<Range<usize>>,
    /// Also where its health check is wrong: that has its own finding.
    pub has_health: bool,
}

pub(super) fn read(
    table: &DeTable<'_>,
    span: Range<usize>,
    log: &Log,
    facts: &dyn Facts,
    findings: &mut Vec<Finding>,
) -> Read {
    let mut fields = Table { table, findings };
    unknown_keys(&mut fields);
    let enabled = fields.boolean("enabled").unwrap_or(true);
    let facts = enabled.then_some(facts);
    let header = span.start..span.start + "[[services]]".len();
    let (name, name_at) = name(&mut fields, header.clone());
    let env = environment::environment(&mut fields);
    let working_dir = program::working_dir(&mut fields, facts);
    let command = program::command(&mut fields, header, &env, working_dir.as_deref(), facts);
    let user = user::read(&mut fields, "user", facts).map(Box::new);
    let script_user = user::read(&mut fields, "script_user", facts).map(Box::new);
    let (depends_on, dependencies_at) = depends_on::dependencies(&mut fields);
    let mut service = Service {
        name,
        command,
        env,
        working_dir,
        user,
        script_user,
        depends_on,
        ..Service::default()
    };
    service.args = program::arguments(&mut fields);
    service.enabled = enabled;
    service.required = fields.boolean("required").unwrap_or(false);
    service.tty = fields.boolean("tty").unwrap_or(true);
    service.no_new_privs = fields.boolean("no_new_privs").unwrap_or(false);
    service.pre_script = program::script(&mut fields, "pre_script", facts);
    service.post_script = program::post_script(&mut fields, facts);
    service.log_file = log::file(&mut fields, facts);
    service.log = log::of_service(&mut fields, log);
    service.stdin = terminal::stdin(&mut fields, service.tty);
    service.tty_size = terminal::size(&mut fields, service.tty);
    service.env_file = environment::env_files(&mut fields, facts);
    service.umask = limits::umask(&mut fields);
    service.nice = fields.integer("nice", -20..=19).map(|nice| nice as i32);
    service.oom_score_adj = fields
        .integer("oom_score_adj", -1000..=1000)
        .map(|score| score as i32);
    service.limits = limits::limits(&mut fields);
    service.stop_signal = stop_signal(&mut fields).unwrap_or(Signal::TERM);
    service.stop_timeout = fields.duration("stop_timeout");
    service.restart = restart::policy(&mut fields);
    service.success_exit_codes = restart::success_exit_codes(&mut fields);
    let place = health::Place {
        env: &service.env,
        cwd: service.working_dir.as_deref(),
        facts,
    };
    service.health = health::read(&mut fields, &place).map(Box::new);
    ready::read(&mut fields, &mut service);
    service.on_dependency_failure = depends_on::on_dependency_failure(&mut fields);
    Read {
        service,
        name_at,
        dependencies_at,
        has_health: table.contains_key("health"),
    }
}

fn unknown_keys(fields: &mut Table<'_, '_>) {
    let table = fields.table;
    for key in table.keys() {
        let (name, span) = (key.get_ref().as_ref(), key.span());
        if KEYS.contains(&name) {
            continue;
        }
        let finding = if LATER.contains(&name) {
            Finding::error(
                span,
                format!("`{name}` is not supported by this version"),
                "not supported yet",
            )
            .help("remove it")
        } else if name.ends_with("_timeout")
            && crate::base::nearest(
                name,
                [
                    "post_script_timeout",
                    "service_shutdown_timeout",
                    "global_shutdown_timeout",
                    "dependency_wait_timeout",
                ],
            ) == Some(name)
        {
            Finding::error(
                span,
                format!("`{name}` is no key of a service"),
                "belongs to [timeouts]",
            )
            .help("move it below a [timeouts] line; a service has `stop_timeout`")
        } else if let Some(finding) = log::misplaced_key(name, span.clone()) {
            finding
        } else {
            let what = format!("unknown key `{name}` in a service");
            let finding = Finding::error(span, what, "unknown");
            match (foreign::direction(name), fields.findings.len()) {
                (Some(direction), _) => finding.help(direction),
                (None, found) if may_suggest(found, KEYS.len()) => finding.suggest(name, KEYS),
                (None, _) => finding,
            }
        };
        fields.report(finding);
    }
}

fn name(fields: &mut Table<'_, '_>, header: Range<usize>) -> (String, Range<usize>) {
    if fields.get("name").is_none() {
        let near = fields.span_of_key("Name");
        let finding = Finding::error(
            near.unwrap_or(header.clone()),
            "this service has no name",
            "`name` is missing",
        );
        fields.report(finding.help("add a line such as name = \"web\""));
    }
    let Some((name, span)) = fields.string("name") else {
        return (String::new(), header);
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(allowed) {
        let clean: String = name
            .trim()
            .chars()
            .map(|c| if allowed(c) { c } else { '-' })
            .collect();
        let finding = Finding::error(
            span.clone(),
            "a service's name is made of letters, digits, `_` and `-`",
            "not a name",
        );
        fields.report(if clean.is_empty() {
            finding
        } else {
            finding.help(format!("write name = \"{clean}\""))
        });
    } else if name.len() > 64 {
        fields.report(Finding::error(
            span.clone(),
            "a service's name has 64 characters at most",
            "too long",
        ));
    }
    (name, span)
}

fn stop_signal(fields: &mut Table<'_, '_>) -> Option<Signal> {
    let value = fields.get("stop_signal")?;
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
    signal
}
