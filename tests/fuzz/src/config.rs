//! `services.toml`: any text is a configuration that holds what it promises, or findings that point into it.

use std::collections::BTreeSet;
use std::time::Duration;

use go_overlay::base::{self, Signal};
use go_overlay::config::model::{Condition, Health, Probe, Ready, Restart, Service};
use go_overlay::config::{
    self, Config, FileId, Files, Finding, Needed, Report, Severity, Span, change,
};
use go_overlay::domain::Now;
use go_overlay::supervisor::Supervisor;

use super::machine::Machine;
use super::steers_nothing;

/// No file of people is longer.
const MAX_TEXT: usize = 64 * 1024;

/// So many findings are shown with their places, whatever else there is.
const FEW: usize = 20;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if text.len() > MAX_TEXT {
        return;
    }
    let report = check(text);
    let findings = &report.findings;
    let refused = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    assert_eq!(report.config.is_none(), refused, "{findings:?}");
    points_into(text, findings);
    shows(&report);
    if let Some(config) = report.config {
        keeps_its_promises(&config);
        says_the_same_with_a_comment(text, &config);
        goes_on(&config);
    }
    text.lines().take(100).for_each(scalars);
}

fn check(text: &str) -> Report {
    let files = Files::of("services.toml", text.into());
    config::load(files, &Machine, Needed::ByAll)
}

/// In the order of the file, each inside it and at whole characters.
fn points_into(text: &str, findings: &[Finding]) {
    let starts = findings.iter().map(|finding| finding.span.start);
    assert!(starts.is_sorted(), "findings out of order");
    for finding in findings {
        assert!(!finding.message.is_empty());
        let also = finding.also.iter().map(|(span, _)| span);
        for Span { start, end, file } in also.chain([&finding.span]) {
            assert_eq!(*file, FileId::MAIN);
            assert!(start <= end && *end <= text.len(), "{finding:?}");
            assert!(
                text.is_char_boundary(*start) && text.is_char_boundary(*end),
                "half a character in {finding:?}"
            );
        }
    }
}

/// Every finding is shown, or counted behind those that are: errors before warnings.
fn shows(report: &Report) {
    let findings = &report.findings;
    let shown = report.render(false, "");
    let counted = shown.lines().find_map(|line| {
        let count = line.strip_prefix("and ")?.strip_suffix(" more")?;
        count.parse::<usize>().ok()
    });
    let places = findings.len() - counted.unwrap_or(0);
    assert!(
        counted.is_none_or(|count| count > 0 && places >= FEW),
        "{shown}"
    );
    let found = shown.matches("--> services.toml:").count();
    assert!(found >= places, "{found} of {places} places in {shown}");
    let is_error = |finding: &&Finding| finding.severity == Severity::Error;
    let errors = findings.iter().filter(is_error).count();
    let heads = shown.lines().filter(|line| line.starts_with("error"));
    assert!(heads.count() >= errors.min(places), "{shown}");
    steers_nothing(&shown);
    let colored = report.render(true, "");
    assert!(colored.len() >= shown.len());
    steers_nothing(&without_colors(&colored));
}

/// Without ECMA-48's SGR; any other ESC stays.
fn without_colors(colored: &str) -> String {
    let mut parts = colored.split("\x1b[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_color =
            |parameters: &str| parameters.bytes().all(|b| b.is_ascii_digit() || b == b';');
        match part.split_once('m') {
            Some((parameters, rest)) if is_color(parameters) => text.push_str(rest),
            Some(_) | None => text.extend(["\x1b[", part]),
        }
    }
    text
}

fn keeps_its_promises(config: &Config) {
    assert!(!config.services.is_empty());
    let mut names = BTreeSet::new();
    for service in &config.services {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!(!service.name.is_empty() && service.name.chars().all(plain));
        assert!(names.insert(service.name.as_str()), "two {}", service.name);
        numbers(service);
        restart(&service.restart);
        service.health.as_deref().into_iter().for_each(health);
        let needs_a_check = service.ready == Ready::Healthy;
        assert!(!needs_a_check || service.health.is_some());
        assert!(change::between(service, service).is_empty());
    }
    edges(config);
}

fn numbers(service: &Service) {
    let within = |range: std::ops::RangeInclusive<i32>, number: Option<i32>| {
        assert!(number.is_none_or(|number| range.contains(&number)));
    };
    within(-20..=19, service.nice);
    within(-1000..=1000, service.oom_score_adj);
    assert!(service.umask.is_none_or(|umask| umask <= 0o777));
    assert!(service.log.buffer <= 64 << 20);
    let size = service.tty_size.map(|size| size.columns.min(size.rows));
    assert_ne!(size, Some(0));
    match &service.ready {
        Ready::Fd(fd) => assert!((3..=255).contains(fd)),
        Ready::Log(text) => assert!(!text.is_empty() && !text.contains(['\n', '\r'])),
        Ready::Started | Ready::Healthy | Ready::Notify => {}
    }
    for limit in &service.limits {
        let soft = limit.soft.unwrap_or(u64::MAX);
        assert!(soft <= limit.hard.unwrap_or(u64::MAX), "{limit:?}");
    }
    let words = service.args.iter().chain([&service.command]);
    assert!(words.clone().all(|word| !word.contains('\0')));
}

fn restart(restart: &Restart) {
    assert!(restart.delay <= restart.max_delay, "{restart:?}");
    assert!(restart.factor_permille >= 1000 && restart.jitter_permille <= 1000);
}

fn health(health: &Health) {
    let least = Duration::from_millis(10);
    assert!(health.interval >= least && health.start_interval >= least);
    assert!(health.retries >= 1 && !health.timeout.is_zero());
    match &health.probe {
        Probe::Http {
            addresses,
            path,
            expected,
            ..
        } => {
            assert!(addresses.len() <= 8);
            assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(!expected.is_empty() && expected.iter().all(|(low, high)| low <= high));
        }
        Probe::Tcp { addresses, .. } => assert!(addresses.len() <= 8),
        Probe::Unix(path) => assert!((1..=107).contains(&path.as_os_str().len())),
        Probe::Exec(words) => assert!(!words.is_empty()),
    }
}

/// Dependencies are there, enabled, and form no cycle.
fn edges(config: &Config) {
    let find = |name: &str| config.services.iter().find(|service| service.name == name);
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < config.services.len() {
        let before = done.len();
        for service in &config.services {
            let mut on = service.depends_on.iter().map(|edge| edge.on.as_str());
            if on.all(|name| done.contains(name)) {
                done.insert(&service.name);
            }
        }
        assert!(done.len() > before, "a cycle, or an edge to nowhere");
    }
    for edge in config
        .services
        .iter()
        .flat_map(|service| &service.depends_on)
    {
        let on = find(&edge.on).unwrap();
        assert!(edge.wait_after <= Duration::from_secs(300));
        assert!(edge.condition != Condition::Healthy || on.health.is_some());
    }
}

fn says_the_same_with_a_comment(text: &str, config: &Config) {
    let longer = format!("# before\n{text}\n# behind\n");
    let again = check(&longer).config;
    assert_eq!(again.as_ref(), Some(config), "a comment changes it");
}

/// Whoever holds a configuration need not check it again.
fn goes_on(config: &Config) {
    let supervisor = Supervisor::new(config.clone(), None, Now::default());
    let plan = supervisor.plan(config);
    assert_eq!(plan.unchanged, config.services.len(), "{plan:?}");
    let rows = supervisor.list(Now::default());
    assert_eq!(rows.len(), config.services.len());
}

/// What stands for a time, a size or a signal, by itself.
fn scalars(line: &str) {
    let text = line.rsplit_once('=').map_or(line, |(_, value)| value);
    let text = text.trim().trim_matches('"');
    if let Ok(duration) = base::parse_duration(text) {
        let millis = format!("{}ms", duration.as_millis());
        assert_eq!(base::parse_duration(&millis), Ok(duration), "{text}");
    }
    if let Ok(size) = config::parse_size(text) {
        assert_eq!(config::parse_size(&size.to_string()), Ok(size), "{text}");
    }
    if let Some(signal) = Signal::parse(text) {
        let number = signal.number();
        assert_eq!(Signal::parse(&number.to_string()), Some(signal));
        if let Some(name) = signal.to_string().strip_prefix("SIG") {
            assert_eq!(Signal::parse(name), Some(signal), "{text}");
        }
        let real_time = text.to_ascii_uppercase().contains("RTM");
        assert!(!real_time || number >= 34, "{text} is {signal}");
    }
}
