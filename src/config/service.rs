//! One `[[services]]` entry.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::diagnostic::Finding;
use super::model::{
    Condition, Dependency, EnvValue, Limit, Log, OnDependencyFailure, Resource, Script, Service,
};
use super::scalar::{Table, integer_of, parse_duration, type_name};
use super::{Facts, FileKind, Lookup, health, log, ready, restart, terminal, user};
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
    let header = span.start..span.start + "[[services]]".len();
    let (name, name_at) = name(&mut fields, header.clone());
    let env = environment(&mut fields);
    let working_dir = existing(&mut fields, "working_dir", FileKind::Directory, facts);
    let command = command(&mut fields, header, &env, working_dir.as_deref(), facts);
    let user = user::read(&mut fields, "user", facts);
    let script_user = user::read(&mut fields, "script_user", facts);
    let (depends_on, dependencies_at) = dependencies(&mut fields);
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
    service.args = arguments(&mut fields);
    service.enabled = fields.boolean("enabled").unwrap_or(true);
    service.required = fields.boolean("required").unwrap_or(false);
    service.tty = fields.boolean("tty").unwrap_or(true);
    service.no_new_privs = fields.boolean("no_new_privs").unwrap_or(false);
    service.pre_script = script(&mut fields, "pre_script", facts);
    service.post_script = post_script(&mut fields, facts);
    service.log_file = log::file(&mut fields, facts);
    service.log = log::of_service(&mut fields, log);
    service.stdin = terminal::stdin(&mut fields, service.tty);
    service.tty_size = terminal::size(&mut fields, service.tty);
    service.env_file = env_files(&mut fields, facts);
    service.umask = umask(&mut fields);
    service.nice = fields.integer("nice", -20..=19).map(|nice| nice as i32);
    service.oom_score_adj = fields
        .integer("oom_score_adj", -1000..=1000)
        .map(|score| score as i32);
    service.limits = limits(&mut fields);
    service.stop_signal = stop_signal(&mut fields).unwrap_or(Signal::TERM);
    service.stop_timeout = fields.duration("stop_timeout");
    service.restart = restart::policy(&mut fields);
    service.success_exit_codes = restart::success_exit_codes(&mut fields);
    let place = health::Place {
        env: &service.env,
        cwd: service.working_dir.as_deref(),
        facts,
    };
    service.health = health::read(&mut fields, &place);
    ready::read(&mut fields, &mut service);
    service.on_dependency_failure = on_dependency_failure(&mut fields);
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
            Finding::error(
                span,
                format!("unknown key `{name}` in a service"),
                "unknown",
            )
            .suggest(name, KEYS)
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

fn command(
    fields: &mut Table<'_, '_>,
    header: Range<usize>,
    env: &[(String, EnvValue)],
    cwd: Option<&Path>,
    facts: &dyn Facts,
) -> String {
    if fields.get("command").is_none() {
        let finding = Finding::error(
            header,
            "this service has no command",
            "`command` is missing",
        );
        fields.report(finding.help("add a line such as command = \"/usr/sbin/nginx\""));
    }
    let Some((command, span)) = fields.string("command") else {
        return String::new();
    };
    if command.is_empty() {
        fields.report(Finding::error(
            span,
            "`command` is empty",
            "expected a program",
        ));
        return command;
    }
    let path = env.iter().find_map(|(key, value)| match value {
        EnvValue::Text(text) if key == "PATH" => Some(text.as_str()),
        _ => None,
    });
    match facts.command(&command, path, cwd) {
        Lookup::Found => {}
        Lookup::NotExecutable(path) => {
            fields.report(
                Finding::error(
                    span,
                    format!("`{path}` cannot be executed"),
                    "not an executable file",
                )
                .help(format!("chmod +x {path}")),
            );
        }
        Lookup::Missing(searched) => {
            let finding = Finding::error(
                span,
                format!("there is no program `{command}`"),
                "not found",
            );
            let split = command
                .split_once(char::is_whitespace)
                .filter(|(first, _)| facts.command(first, path, cwd) == Lookup::Found);
            fields.report(match (split, searched) {
                (Some((first, rest)), _) => {
                    let words: Vec<String> = rest
                        .split_whitespace()
                        .map(|word| format!("\"{word}\""))
                        .collect();
                    finding.help(format!(
                        "no shell splits it; write command = \"{first}\" and args = [{}]",
                        words.join(", ")
                    ))
                }
                (None, Some(path)) => finding.help(format!(
                    "looked for it in {path}; install it, or give its whole path"
                )),
                (None, None) => finding.help("install it, or correct the path"),
            });
        }
    }
    command
}

/// The founding document writes `["-g", "'daemon off;'"]`, where no shell takes the quotes away.
fn arguments(fields: &mut Table<'_, '_>) -> Vec<String> {
    let raw = fields.boolean("raw_args").unwrap_or(false);
    let mut arguments = Vec::new();
    for (argument, span) in fields.strings("args").unwrap_or_default() {
        let inner = |quote: char| {
            argument
                .strip_prefix(quote)?
                .strip_suffix(quote)
                .filter(|inner| !inner.contains(quote))
        };
        match inner('\'').or_else(|| inner('"')).filter(|_| !raw) {
            Some(clean) => {
                let finding = Finding::warning(
                    span,
                    "this argument is wrapped in quotes, which no shell takes away",
                    "taken without them",
                );
                fields.report(finding.help(format!(
                    "write {clean:?}, or set raw_args = true to pass the quotes on"
                )));
                arguments.push(clean.to_owned());
            }
            None => arguments.push(argument),
        }
    }
    arguments
}

fn dependencies(fields: &mut Table<'_, '_>) -> (Vec<Dependency>, Vec<Range<usize>>) {
    let mut found: Vec<(String, Range<usize>, Condition)> = Vec::new();
    match fields
        .get("depends_on")
        .map(|value| (value.get_ref(), value.span()))
    {
        None => {}
        Some((DeValue::String(name), span)) => {
            found.push((name.to_string(), span, Condition::Started))
        }
        Some((DeValue::Array(_), _)) => {
            let names = fields.strings("depends_on").unwrap_or_default();
            found.extend(
                names
                    .into_iter()
                    .map(|(name, span)| (name, span, Condition::Started)),
            );
        }
        Some((DeValue::Table(table), _)) => {
            for (name, value) in table.iter() {
                let condition = condition(fields, value.get_ref(), value.span());
                found.push((name.get_ref().to_string(), name.span(), condition));
            }
            found.sort_by_key(|(_, span, _)| span.start);
        }
        Some((other, span)) => {
            let message = format!(
                "`depends_on` has to be a name, a list of names, or a table, and is {}",
                type_name(other)
            );
            fields.report(Finding::error(
                span,
                message,
                "expected \"redis\", [\"redis\", \"db\"] or { redis = \"started\" }",
            ));
        }
    }
    let waits = waits(fields, &found);
    let edges = found.iter().map(|(name, _, condition)| Dependency {
        on: name.clone(),
        condition: *condition,
        wait_after: waits.of(name),
    });
    let edges = edges.collect();
    (edges, found.into_iter().map(|(_, span, _)| span).collect())
}

fn on_dependency_failure(fields: &mut Table<'_, '_>) -> OnDependencyFailure {
    let words = [
        ("ignore", OnDependencyFailure::Ignore),
        ("stop", OnDependencyFailure::Stop),
        ("restart", OnDependencyFailure::Restart),
    ];
    let chosen = fields.word("on_dependency_failure", &words);
    if chosen.is_some()
        && fields.get("depends_on").is_none()
        && let Some(span) = fields.span_of_key("on_dependency_failure")
    {
        let what = "`on_dependency_failure` is about a dependency, and the service has none";
        let finding = Finding::error(span, what, "nothing to follow");
        fields.report(finding.help("name what it follows with depends_on, or remove this line"));
    }
    chosen.unwrap_or(OnDependencyFailure::Ignore)
}

fn condition(fields: &mut Table<'_, '_>, value: &DeValue<'_>, span: Range<usize>) -> Condition {
    match value.as_str() {
        Some("started") => Condition::Started,
        Some("completed") => Condition::Completed,
        Some("healthy") => Condition::Healthy,
        Some(other) => {
            let finding = Finding::error(
                span,
                format!("unknown condition `{other}`"),
                "expected \"started\", \"healthy\" or \"completed\"",
            );
            fields.report(finding.suggest(other, ["started", "healthy", "completed"]));
            Condition::Started
        }
        None => {
            fields.report(Finding::error(
                span,
                "a condition has to be a string",
                "expected \"started\", \"healthy\" or \"completed\"",
            ));
            Condition::Started
        }
    }
}

/// `wait_after`, for all dependencies or for each.
struct Waits {
    all: Duration,
    each: BTreeMap<String, Duration>,
}

impl Waits {
    fn of(&self, name: &str) -> Duration {
        self.each.get(name).copied().unwrap_or(self.all)
    }
}

fn waits(fields: &mut Table<'_, '_>, dependencies: &[(String, Range<usize>, Condition)]) -> Waits {
    let mut waits = Waits {
        all: Duration::ZERO,
        each: BTreeMap::new(),
    };
    let Some(value) = fields.get("wait_after") else {
        return waits;
    };
    if dependencies.is_empty() {
        let finding = Finding::error(
            value.span(),
            "`wait_after` waits for nothing: the service depends on nobody",
            "no dependency",
        );
        fields.report(finding.help("add depends_on, or remove it"));
        return waits;
    }
    let DeValue::Table(table) = value.get_ref() else {
        waits.all = wait(fields, value.get_ref(), value.span());
        return waits;
    };
    for (name, value) in table.iter() {
        let duration = wait(fields, value.get_ref(), value.span());
        let known = name.get_ref().as_ref();
        if dependencies.iter().any(|(on, _, _)| on == known) {
            waits.each.insert(known.to_owned(), duration);
        } else {
            let finding = Finding::error(
                name.span(),
                format!("`wait_after` for `{known}`, which is not depended on"),
                "not in depends_on",
            );
            fields
                .report(finding.suggest(known, dependencies.iter().map(|(on, _, _)| on.as_str())));
        }
    }
    waits
}

fn wait(fields: &mut Table<'_, '_>, value: &DeValue<'_>, span: Range<usize>) -> Duration {
    let duration = match value.as_str() {
        Some(text) => parse_duration(text).ok(),
        None => integer_of(value)
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs),
    };
    match duration {
        Some(duration) if duration <= Duration::from_secs(300) => duration,
        _ => {
            let finding = Finding::error(
                span,
                "`wait_after` has to be from 0 to 300 seconds",
                "not in that range",
            );
            fields.report(
                finding.help("write whole seconds, or a string with units such as \"1m30s\""),
            );
            Duration::ZERO
        }
    }
}

fn post_script(fields: &mut Table<'_, '_>, facts: &dyn Facts) -> Option<Script> {
    if let (Some(first), Some(second)) = (
        fields.span_of_key("pos_script"),
        fields.span_of_key("post_script"),
    ) {
        fields.report(
            Finding::error(
                second,
                "`post_script` and `pos_script` are the same key",
                "given twice",
            )
            .also(first, "first here"),
        );
    }
    script(fields, "pos_script", facts).or_else(|| script(fields, "post_script", facts))
}

fn script(fields: &mut Table<'_, '_>, key: &str, facts: &dyn Facts) -> Option<Script> {
    let (text, span) = fields.string(key)?;
    let interpreter = if text.starts_with("#!") || text.contains('\n') {
        let line = text.lines().next().unwrap_or_default();
        Some(
            line.strip_prefix("#!")
                .unwrap_or("/bin/sh")
                .trim()
                .to_owned(),
        )
    } else {
        match facts.file(Path::new(&text)) {
            FileKind::File => facts.interpreter(Path::new(&text)),
            FileKind::Directory => {
                fields.report(Finding::error(
                    span.clone(),
                    format!("`{text}` is a directory"),
                    "expected a script",
                ));
                None
            }
            FileKind::Missing => {
                let finding = Finding::error(
                    span.clone(),
                    format!("there is no script `{text}`"),
                    "not found",
                );
                fields.report(finding.help("give the whole path of a file, or the text itself: one that begins with #! or has several lines"));
                None
            }
        }
    };
    let program = interpreter
        .as_deref()
        .and_then(|line| line.split_whitespace().next());
    if let Some(program) = program
        && facts.command(program, None, None) != Lookup::Found
    {
        fields.report(Finding::error(
            span,
            format!("the script's interpreter `{program}` is not to be had"),
            "cannot be executed",
        ));
    }
    match text.starts_with("#!") || text.contains('\n') {
        true => Some(Script::Inline(text)),
        false => Some(Script::Path(text.into())),
    }
}

fn existing(
    fields: &mut Table<'_, '_>,
    key: &str,
    wanted: FileKind,
    facts: &dyn Facts,
) -> Option<PathBuf> {
    let (text, span) = fields.string(key)?;
    let found = facts.file(Path::new(&text));
    if found != wanted {
        let kind = if wanted == FileKind::Directory {
            "directory"
        } else {
            "file"
        };
        fields.report(Finding::error(
            span,
            format!("`{key}`: there is no {kind} `{text}`"),
            "not found",
        ));
    }
    Some(text.into())
}

fn env_files(fields: &mut Table<'_, '_>, facts: &dyn Facts) -> Vec<PathBuf> {
    let files = match fields.get("env_file").map(|value| value.get_ref()) {
        Some(DeValue::Array(_)) => fields.strings("env_file").unwrap_or_default(),
        _ => fields.string("env_file").into_iter().collect(),
    };
    for (file, span) in &files {
        if facts.file(Path::new(file)) != FileKind::File {
            fields.report(Finding::error(
                span.clone(),
                format!("`env_file`: there is no file `{file}`"),
                "not found",
            ));
        }
    }
    files.into_iter().map(|(file, _)| file.into()).collect()
}

fn environment(fields: &mut Table<'_, '_>) -> Vec<(String, EnvValue)> {
    let Some(table) = fields.table("env", "a table") else {
        return Vec::new();
    };
    let mut environment = Vec::new();
    for (key, value) in table.iter() {
        let name = key.get_ref().as_ref();
        if name.is_empty() || name.contains(['=', '\0']) {
            fields.report(Finding::error(
                key.span(),
                "an environment variable's name is not empty and holds no `=`",
                "not a name",
            ));
        }
        match value.get_ref() {
            DeValue::String(text) if fields.without_nul(name, text, value.span()) => {
                environment.push((name.to_owned(), EnvValue::Text(text.to_string())));
            }
            DeValue::String(_) => {}
            DeValue::Table(source)
                if source.len() == 1
                    && source
                        .get("file")
                        .is_some_and(|file| file.get_ref().is_str()) =>
            {
                let file = source
                    .get("file")
                    .and_then(|file| file.get_ref().as_str())
                    .unwrap_or_default();
                environment.push((name.to_owned(), EnvValue::File(file.into())));
            }
            other => {
                let finding = Finding::error(
                    value.span(),
                    format!("`{name}` has to be a string, and is {}", type_name(other)),
                    "expected a string",
                );
                let text = other
                    .as_integer()
                    .map(|number| number.as_str().to_owned())
                    .or_else(|| other.as_bool().map(|b| b.to_string()));
                fields.report(match text {
                    Some(text) => finding.help(format!("put it in quotes: {name} = \"{text}\"")),
                    None => finding.help(format!(
                        "write {name} = \"value\" or {name} = {{ file = \"/run/secrets/x\" }}"
                    )),
                });
            }
        }
    }
    environment
}

fn umask(fields: &mut Table<'_, '_>) -> Option<u32> {
    let value = fields.get("umask")?;
    let mask = match value.get_ref() {
        DeValue::String(text) => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
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

fn limits(fields: &mut Table<'_, '_>) -> Vec<Limit> {
    let Some(table) = fields.table("limits", "a table") else {
        return Vec::new();
    };
    let mut limits = Vec::new();
    for (key, value) in table.iter() {
        let name = key.get_ref().as_ref();
        let Some((_, resource)) = LIMITS.iter().find(|(known, _)| *known == name) else {
            let finding = Finding::error(key.span(), format!("unknown limit `{name}`"), "unknown");
            fields.report(finding.suggest(name, LIMITS.iter().map(|(known, _)| *known)));
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
                let finding = Finding::error(
                    value.span(),
                    format!("`{name}` is no limit"),
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
        let names: Vec<String> = Signal::names().collect();
        let finding = Finding::error(
            value.span(),
            "`stop_signal` is no signal",
            "expected a name such as \"SIGTERM\", or a number from 1 to 64",
        );
        let upper = text.to_uppercase();
        let with_sig = if upper.starts_with("SIG") {
            upper
        } else {
            format!("SIG{upper}")
        };
        fields.report(finding.suggest(&with_sig, names.iter().map(String::as_str)));
    }
    signal
}
